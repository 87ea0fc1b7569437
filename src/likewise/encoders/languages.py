"""A warning where a catalogue is written in a language that its text encoder has not learned."""

from collections.abc import Sequence

from likewise.config import PRESETS
from likewise.encoders.base import Encoder

_UNKNOWN_TEXT = 0.5  # from this share of unknown letters a text counts as foreign; brand names alone rarely reach it
_TOO_MANY = 1 / 3  # foreign texts: product titles of brand names are a quarter, texts of another language half and more
_FEWEST = 8  # texts that say anything
_SAMPLE = 2000
_EXAMPLE_LENGTH = 60
_MULTILINGUAL = {PRESETS[preset].text_encoder for preset in ("multilingual-lite", "multilingual", "e5")}


def language_warning(encoder: Encoder, texts: Sequence[str]) -> str | None:
    """One sentence with the way out if the encoder does not speak the language of many of the texts; None if it does.

    Args:
        encoder: a text encoder.
        texts: those of a catalogue; at most 2,000 of them, evenly spaced, are looked at.
    """
    step = max(1, -(-len(texts) // _SAMPLE))
    sample = [text for text in texts[::step] if text.strip()]
    if len(sample) < _FEWEST:
        return None
    shares = encoder.unknown_share(sample)
    foreign = shares >= _UNKNOWN_TEXT
    if foreign.mean() <= _TOO_MANY:
        return None
    example = sample[int(shares.argmax())]
    short = example if len(example) <= _EXAMPLE_LENGTH else example[: _EXAMPLE_LENGTH - 1].rstrip() + "…"
    known = "" if encoder.name in _MULTILINGUAL else ", such as that of --preset multilingual-lite, without a network"
    return (
        f"about {foreign.mean():.0%} of the texts, such as {short!r}, seem to be in a language or script that the "
        f"text encoder {encoder.name} has not learned: choose one that has{known}"
    )
