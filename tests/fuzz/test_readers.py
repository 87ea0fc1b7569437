"""Readers of strangers' bytes: whatever these are, the answer is right or one sentence, and it comes in time."""

import time

import pytest
from fuzz.readers import READERS, list_corpus, mutate
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

_SLOWEST = 10  # seconds for one input, on a busy machine
every_reader = pytest.mark.parametrize("name", READERS)


@every_reader
def test_what_is_not_damaged_is_read(name, tmp_path):
    for number, example in enumerate(READERS[name].examples()):
        folder = tmp_path / str(number)
        folder.mkdir()
        READERS[name].read(example, folder)


@every_reader
def test_what_was_found_once_is_not_found_again(name):
    for data in list_corpus(name):
        READERS[name].try_bytes(data)


@every_reader
def test_damaged_bytes_are_refused_in_one_sentence(name):
    reader, examples = READERS[name], READERS[name].examples()

    @settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**32 - 1))
    def try_mutation(seed):
        began = time.monotonic()
        reader.try_bytes(mutate(examples, seed))
        assert time.monotonic() - began < _SLOWEST

    @settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=300))
    def try_anything(data):
        reader.try_bytes(data)

    try_mutation()
    try_anything()
