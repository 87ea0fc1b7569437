"""Recent query vectors come from memory, and are those that the model would give."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from retrieval.fakes import FakeModel

from likewise.model.model import Model
from likewise.serving.query_cache import QueryCache

SPELLINGS = [
    ("red shoes", "  red\tshoes \n"),
    ("red shoes", "Red SHOES"),
    ("crème brûlée", "Creme  Brulee"),
    ("usb-c cable", "usb - c cable"),
    ("日本 茶", "日本茶"),
]
DIFFERENT = [("red shoes", "redshoes"), ("red shoes", "shoes red"), ("a b", "a\x1cb"), ("", "."), ("10 ml", "1 0 ml")]


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.create("lite", device="cpu", precision={"text": "float32", "image": "float32"})


def vectors(*numbers: float) -> np.ndarray:
    return np.array([[number, number + 0.5] for number in numbers], np.float32)


def test_what_was_remembered_is_found_and_counted() -> None:
    cache = QueryCache("a model")
    assert cache.find(["red", "blue"]) == [None, None]
    cache.remember(["red", "blue"], vectors(1, 2))
    blue, green, red = cache.find(["blue", "green", "red"])
    assert green is None
    np.testing.assert_array_equal([red, blue], vectors(1, 2))
    assert (cache.hits, cache.misses) == (2, 3)
    assert cache.fingerprint == "a model"


def test_a_vector_in_the_cache_cannot_be_changed_from_outside() -> None:
    cache, given = QueryCache("a model"), vectors(1)
    cache.remember(["red"], given)
    given[:] = 9
    (found,) = cache.find(["red"])
    assert found is not None
    with pytest.raises(ValueError, match="read-only"):
        found[:] = 9
    np.testing.assert_array_equal(found, vectors(1)[0])


def test_beyond_the_bound_those_go_that_nobody_has_asked_for_the_longest() -> None:
    cache = QueryCache("a model", most_entries=3)
    cache.remember(["a", "b", "c"], vectors(1, 2, 3))
    cache.find(["a"])
    cache.remember(["b"], vectors(2))
    cache.remember(["d"], vectors(4))
    assert len(cache) == 3
    assert [found is not None for found in cache.find(["a", "b", "c", "d"])] == [True, True, False, True]
    cache.remember(list("efghi"), vectors(*range(5)))
    assert [found is not None for found in cache.find(list("efghi"))] == [False, False, True, True, True]


def test_a_cache_of_no_entries_keeps_nothing() -> None:
    cache = QueryCache("a model", most_entries=0)
    cache.remember(["a"], vectors(1))
    assert cache.find(["a"]) == [None]


def test_a_wrong_number_of_vectors_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        QueryCache("a model").remember(["a", "b"], vectors(1))


def test_many_threads_find_only_what_belongs_to_their_text() -> None:
    cache = QueryCache("a model", most_entries=20)
    start = threading.Barrier(4)

    def work(seed: int) -> int:
        random, found = np.random.default_rng(seed), 0
        start.wait(10)
        for number in random.integers(0, 40, 2_000):
            (vector,) = cache.find([str(number)])
            if vector is None:
                cache.remember([str(number)], vectors(float(number)))
            else:
                assert vector[0] == number
                found += 1
        return found

    with ThreadPoolExecutor(4) as pool:
        found = sum(pool.map(work, range(4)))
    assert cache.hits == found > 0
    assert cache.hits + cache.misses == 8_000
    assert len(cache) == 20


@pytest.mark.parametrize(("text", "other"), SPELLINGS)
def test_spellings_that_the_model_cannot_tell_apart_are_one_query(model: Model, text: str, other: str) -> None:
    cache = QueryCache.for_model(model)
    one, two = model.encode_queries([text]), model.encode_queries([other])
    np.testing.assert_array_equal(one, two)
    cache.remember([text], one)
    (found,) = cache.find([other])
    np.testing.assert_array_equal(found, two[0])


@pytest.mark.parametrize(("text", "other"), DIFFERENT)
def test_spellings_with_vectors_of_their_own_are_not_merged(model: Model, text: str, other: str) -> None:
    assert not np.allclose(*model.encode_queries([text, other]), atol=1e-4)
    cache = QueryCache.for_model(model)
    cache.remember([text], model.encode_queries([text]))
    assert cache.find([other]) == [None]


@settings(max_examples=60, deadline=None)
@given(words=st.lists(st.text(st.sampled_from("aAeEéßİ1. -\t\n\u00a0\u3000\x1c\u200b"), max_size=4), max_size=4))
def test_texts_of_one_key_have_one_vector_whatever_the_letters(model: Model, words: list[str]) -> None:
    cache = QueryCache.for_model(model)
    text = " ".join(words)
    cache.remember([text], model.encode_queries([text]))
    for other in ("  ".join(words), text.lower(), text.strip(), text.replace("\x1c", " "), "".join(words)):
        (found,) = cache.find([other])
        if found is not None:
            np.testing.assert_allclose(found, model.encode_queries([other])[0], atol=1e-6)


def test_other_models_have_their_texts_compared_as_they_are() -> None:
    cache = QueryCache.for_model(FakeModel())
    cache.remember(["red"], vectors(1))
    assert [found is not None for found in cache.find(["red", "Red", "red "])] == [True, False, False]
    assert cache.fingerprint == "fake-model"
