"""A cache of vectors: what is kept, what goes, and how much memory it takes."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.model.recent_vectors import RecentVectors

GROWTH = """
import random
from pathlib import Path
import torch
from likewise.model.model import Model

def resident():
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024

torch.set_num_threads(1)
model, chance = Model.create("scratch", "cpu"), random.Random(1)
model.encode_queries(["a text before"])
before = resident()
for _ in range(4_000):
    words = chance.choices("red blue green shoe circle square shirt".split(), k=6)
    model.encode_queries([f"{' '.join(words)} {chance.random()}"])
print(resident() - before)
"""


@given(
    most=st.integers(0, 4),
    steps=st.lists(st.tuples(st.booleans(), st.lists(st.sampled_from("abcdef"), max_size=6)), max_size=20),
)
def test_it_is_a_cache_of_what_was_asked_for_last(most: int, steps: list[tuple[bool, list[str]]]) -> None:
    cache, kept = RecentVectors(most), dict[str, float]()  # the last ones come last
    for number, (is_kept, keys) in enumerate(steps):
        if is_kept:
            vectors = np.array([[number + place / 10] for place in range(len(keys))], np.float32).reshape(-1, 1)
            cache.remember(keys, vectors)
            for key, vector in list(zip(keys, vectors, strict=True))[-most:] if most else ():
                kept.pop(key, None)
                kept[key] = float(vector[0])
                if len(kept) > most:
                    del kept[next(iter(kept))]
            continue
        for key, vector in zip(keys, cache.find(keys), strict=True):
            assert (vector is None) == (key not in kept)
            if vector is not None:
                assert float(vector[0]) == kept[key]
                kept[key] = kept.pop(key)
    assert len(cache) == len(kept)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads memory from /proc")
def test_texts_that_are_remembered_do_not_scatter_the_memory() -> None:
    done = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 40  # megabytes; 4,000 vectors take 4
