"""Tokenizers without a Rust half work too, one thread at a time."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import transformers

from likewise.encoders.tokenizing import BatchTokenizer

TEXTS = ["red shoes", "ä", "", "a text that is longer than ten bytes"]


@pytest.fixture
def tokenizer():
    return transformers.ByT5Tokenizer()


def test_python_tokenizers_give_the_same_tensors(tokenizer):
    expected = tokenizer(TEXTS, padding=True, truncation=True, max_length=10, return_tensors="pt")
    inputs = BatchTokenizer(tokenizer, 10)(TEXTS)
    assert set(inputs) == {"input_ids", "attention_mask"}
    assert all(torch.equal(inputs[name], expected[name]) for name in inputs)


def test_python_tokenizers_are_shared_by_threads(tokenizer):
    batch = BatchTokenizer(tokenizer, 10)
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(batch, [TEXTS] * 20))
    assert all(torch.equal(inputs["input_ids"], together[0]["input_ids"]) for inputs in together)


def test_python_tokenizers_count_what_is_cut(tokenizer):
    batch = BatchTokenizer(tokenizer, 10)
    assert batch.count_truncated(TEXTS) == 1
    assert batch.count_truncated(["123456789", "1234567890"]) == 1  # an end token follows
    assert batch.length("abc") == 3


def test_padding_to_the_maximum(tokenizer):
    assert BatchTokenizer(tokenizer, 12, pad_to_maximum=True)(["a"])["input_ids"].shape == (1, 12)


def test_the_digest_is_that_of_the_vocabulary(tokenizer):
    other = transformers.ByT5Tokenizer(extra_ids=3)
    assert BatchTokenizer(tokenizer, 10).digest() == BatchTokenizer(transformers.ByT5Tokenizer(), 20).digest()
    assert BatchTokenizer(tokenizer, 10).digest() != BatchTokenizer(other, 10).digest()
