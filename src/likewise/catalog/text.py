"""Text normalisation and word tokenisation for any language."""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache

CONTROL = "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
NOTHING_WORDS = frozenset(
    {"null", "none", "n/a", "#n/a", "na", "-", "undefined"}
)  # what programs write into blank cells
# Scripts written without spaces between words: Thai, Lao, Burmese, Khmer, kana, Han.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_JOINT = re.compile("[-‐‑'’.&/_]")  # between the parts of one word
_ACCENTS = re.compile("[\u0300-\u036f]")


def normalize_text(text: str | None) -> str | None:
    """Text as identities compare it: Unicode-normalised (NFKC), case-folded, with single spaces."""
    return None if text is None else " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def split_words(text: str) -> list[str]:
    """Words of a text in any language, for a lexical index.

    Case and accents are folded. Scripts without spaces give overlapping pairs of characters, as Lucene's CJK analyser
    does. No word is a stop word and nothing is stemmed: the language of a catalogue is not known, and BM25 itself
    weighs common words down.
    """
    words: list[str] = []
    for run in _word_pattern().finditer(fold_case(text)):
        if run.lastgroup == "unspaced" and len(run[0]) > 1:
            words.extend(run[0][start : start + 2] for start in range(len(run[0]) - 1))
        else:
            words.append(run[0])
    return words


def find_spaced_words(text: str) -> Iterator[re.Match[str]]:
    """The words of a text in scripts that have spaces between words, where they stand; NFC texts only."""
    return (run for run in _word_pattern().finditer(text) if run.lastgroup != "unspaced")


def find_word_spans(text: str, most: int) -> list[tuple[int, int]]:
    """Where the first words of a text stand, as a reader sees them: (start, end).

    "t-shirt", "don't" and "XJ-917B" are one word each; scripts without spaces between words give pairs of characters.
    """
    spans: list[tuple[int, int]] = []
    for run in _word_pattern().finditer(text):
        start, end = run.span()
        if run.lastgroup == "unspaced":
            spans += [(place, min(place + 2, end)) for place in range(start, end, 2)]
        elif spans and _JOINT.fullmatch(text, spans[-1][1], start):
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
        if len(spans) > most:
            break
    return spans[:most]


def is_spaced(word: str) -> bool:
    """Whether a word is one of a script that has spaces between words."""
    run = _word_pattern().fullmatch(word)
    return run is not None and run.lastgroup != "unspaced"


def fold_case(text: str) -> str:
    """A text without case and accents: "Crème" becomes "creme"; Hangul and kana stay whole."""
    text = text.casefold()
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFKD", text)))


@cache
def _word_pattern() -> re.Pattern[str]:
    # \w leaves out combining marks, which would cut Hindi or Arabic words at every vowel sign.
    marks = "".join(chr(code) for code in range(0x370, 0x10000) if unicodedata.category(chr(code)) in ("Mn", "Mc"))
    spaced = rf"(?:(?![{_UNSPACED}_])[\w{marks}])+"
    return re.compile(rf"(?P<unspaced>(?:(?!\W)[{_UNSPACED}]|(?=[{_UNSPACED}])[{marks}])+)|{spaced}")
