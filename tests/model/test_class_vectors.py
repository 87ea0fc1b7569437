"""Vectors of class names are encoded once for a cache folder, whoever asks next."""

import json

import numpy as np
import pytest
import torch

from likewise.errors import UserError
from likewise.model.class_vectors import recall_class_vectors

NAMES = ["tench", "lemon", "toilet paper"]
DIM = 8


class Encoding:
    """An encoder of phrases that knows what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, phrases):
        self.asked += phrases
        return np.stack([np.random.default_rng(len(phrase)).normal(size=DIM) for phrase in phrases]).astype(np.float32)


@pytest.fixture
def encode():
    return Encoding()


def recall(encode, cache, names=NAMES, encoder=("weights", "float32")):
    return recall_class_vectors(names, encode, DIM, encoder=encoder, cache=cache)


def test_a_name_is_the_mean_of_two_phrases(encode):
    vectors = recall(encode, None)
    assert sorted(encode.asked) == sorted([*NAMES, *(f"a {name}" for name in NAMES)])
    summed = encode(["lemon"]) + encode(["a lemon"])
    np.testing.assert_allclose(vectors[1].numpy(), summed[0] / np.linalg.norm(summed), rtol=1e-5)


def test_the_next_one_reads_the_same_bits_and_encodes_nothing(encode, tmp_path):
    first = recall(encode, tmp_path / "cache")
    again = Encoding()
    assert torch.equal(recall(again, tmp_path / "cache"), first) and again.asked == []


@pytest.mark.parametrize("other", [{"names": NAMES[::-1]}, {"encoder": ("other weights", "float32")}])
def test_other_names_and_other_weights_are_encoded(encode, tmp_path, other):
    recall(encode, tmp_path)
    again = Encoding()
    recall(again, tmp_path, **other)
    assert len(again.asked) == 6 and len(list((tmp_path / "class-names").glob("*.json"))) == 2


def _cut(text):
    return text[: len(text) // 2]


def _alter(text):
    record = json.loads(text)
    return json.dumps(record | {"float32": "A" * len(record["float32"])})


@pytest.mark.parametrize("damage", [_cut, _alter, lambda text: "", lambda text: "[]"])
def test_what_is_damaged_is_encoded_and_written_again(encode, tmp_path, damage):
    first = recall(encode, tmp_path)
    [file] = (tmp_path / "class-names").glob("*.json")
    whole = file.read_text()
    file.write_text(damage(whole))
    assert torch.equal(recall(encode, tmp_path), first)
    assert file.read_text() == whole


def test_a_folder_that_takes_no_files_is_one_sentence(encode, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UserError, match="cache"):
        recall(encode, tmp_path / "cache")
