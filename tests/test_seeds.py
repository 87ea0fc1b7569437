"""Random streams: the same arguments give the same numbers, and no two streams share them."""

import re
from pathlib import Path

import numpy as np

import likewise
from likewise.seeds import Stream, random_stream


def test_equal_arguments_give_equal_numbers_and_any_other_argument_gives_others():
    def draw(*arguments):
        return tuple(random_stream(*arguments).integers(2**32, size=4).tolist())

    assert draw(0, Stream.STEP, 3) == draw(0, Stream.STEP, 3)
    arguments = [(seed, stream, *rest) for seed in (0, 1) for stream in Stream for rest in ((), (1,), (2,))]
    assert len({draw(*each) for each in arguments}) == len(arguments)


def test_every_choice_has_a_stream_of_its_own():
    """Each name is used in one place, and no module numbers a stream by hand."""
    sources = [path.read_text() for path in Path(likewise.__file__).parent.rglob("*.py") if path.name != "seeds.py"]
    for stream in Stream:
        assert (
            sum(source.count(f"Stream.{stream.name})") + source.count(f"Stream.{stream.name},") for source in sources)
            == 1
        )
    assert not [source for source in sources if re.search(r"default_rng\(\[", source)]
    assert isinstance(random_stream(0, Stream.SPLIT), np.random.Generator)
