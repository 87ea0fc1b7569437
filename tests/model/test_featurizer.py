"""Features of texts: remembered, dropped by use, and right in threads."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from likewise.encoders.scratch_text import ScratchText
from likewise.model import featurizer
from likewise.model.featurizer import Featurizer


class Counting(Featurizer):
    """A featurizer that counts the texts that it encodes."""

    def __init__(self, remembered: int = 4) -> None:
        super().__init__(ScratchText.random(0), torch.device("cpu"), torch.float32, remembered=remembered)
        self.encoded = 0

    def forward(self, inputs: dict[str, Tensor], cut: int | None = None) -> Tensor:
        self.encoded += len(next(iter(inputs.values())))
        return super().forward(inputs, cut)


@pytest.fixture
def few() -> Counting:
    """It remembers four texts."""
    return Counting()


def test_what_was_asked_for_last_is_remembered(few: Counting) -> None:
    few.texts(["a", "b", "c", "d"])
    few.texts(["a"])
    few.texts(["e", "f", "g"])  # b, c and d go
    assert few.encoded == 7
    few.texts(["a"])
    assert few.encoded == 7
    few.texts(["b"])
    assert few.encoded == 8


def test_more_texts_than_are_remembered(few: Counting) -> None:
    texts = [f"text {number}" for number in range(200)]
    few.texts(["text 3", "text 7"])
    assert few.encoded == 2
    assert torch.allclose(few.texts(texts), Counting().texts(texts), atol=1e-6)
    assert few.encoded == 200


def test_threads_push_each_others_texts_out_and_get_the_right_features(few: Counting) -> None:
    texts = [f"text {number}" for number in range(12)]
    right = dict(zip(texts, Counting().texts(texts), strict=True))

    def ask(seed: int) -> bool:
        order = torch.randperm(12, generator=torch.Generator().manual_seed(seed))[:6].tolist()
        asked = [texts[number] for number in order]
        return torch.allclose(few.texts(asked), torch.stack([right[text] for text in asked]), atol=1e-5)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(400)))


def test_a_query_starts_no_thread(few: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(featurizer, "ThreadPoolExecutor", lambda *_: pytest.fail("a thread was started"))
    assert few.texts(["red shoes"], "query").shape == (1, few.encoder.width)
    assert few.texts([]).shape == (0, few.encoder.width)
