"""Queries: their parameters, parsed and checked before anything is computed."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Generic, Literal, TypeAlias, TypedDict, TypeVar, Unpack

from PIL import Image

from likewise.catalog.audio.decode import Sound
from likewise.catalog.filters import Condition, parse_filter
from likewise.errors import UserError
from likewise.retrieval.boost import Boost, parse_boost
from likewise.retrieval.hybrid import Hybrid

T = TypeVar("T")
ImageSource = str | Path | Image.Image | BinaryIO
AudioSource = str | Path | Sound | BinaryIO
# One of something, or one with a weight, or a list of these.
OneOrMany: TypeAlias = T | tuple[T, float] | list[T | tuple[T, float]]

DUPLICATE_COSINE = 0.98  # cosine from which on two items are near-duplicates
AUTO = "auto"  # in place of a minimum score
MOST_EXPLAINED = 100  # hits, whose fields are fused in all their subsets
MOST_EXPLAINED_BY_WORDS = 20  # hits, each of which takes a few passes through the text encoder
_MINUS = 0.5
_WEIGHTED = re.compile(r"(.*\S)\s*\^\s*(\d+(?:\.\d*)?|\.\d+)\s*", re.DOTALL)


@dataclass(frozen=True)
class Term(Generic[T]):
    """A part of a query and its weight."""

    value: T
    weight: float


class QueryParameters(TypedDict, total=False):
    """The parts of a query that go with its words; `Index.search` takes them by name.

    Attributes:
        image: a picture to look for: a path, an open binary file, or an image; one with a weight; or a list of these.
        audio: likewise recordings; the model needs a field of the kind audio, of which the first is searched.
        like: likewise ids of items, which are not among the hits themselves.
        minus: likewise words for what is not wanted; they weigh 0.5 unless they say otherwise.
        image_weight: the share of pictures and recordings where there are words or items too, in [0, 1]; 0.5 by
            default.
        where: a filter that hits must meet, such as 'price < 50 and brand is not null'.
        hybrid: also search by keyword (BM25 over all texts, ids and codes); a `Hybrid` says how both are combined.
        k: how many hits, 10 by default; fewer come back where fewer items qualify.
        offset: how many hits to skip: k, 2k, … for the pages after the first.
        min_score: the minimum score of a hit; "auto" leaves out none, and says of each hit whether it is likely an
            answer, by the calibrated threshold of the query (see `Hits.threshold`).
        group_by: a column of which each value gets its best hit only; items with a blank cell count singly.
        hide_duplicates: skip items that are nearly equal to a hit before them; a number instead of True is the cosine
            from which on two items count as such.
        diversity: how much hits must differ from those before them, in [0, 1).
        boost: arithmetic over numeric columns that is added to the score, such as 'popularity * 0.1'.
        facet: columns whose values are counted among the best 1,000 items, see `Hits.facets`.
        explain: say of each hit which fields, words and boosts its score comes from, see `Hit.explanation`; k is at
            most 100 then. "words" also says what each word of the query and of the item's texts adds; k is at most 20
            then.
    """

    image: OneOrMany[ImageSource] | None
    audio: OneOrMany[AudioSource] | None
    like: OneOrMany[str] | None
    minus: OneOrMany[str] | None
    image_weight: float
    where: str | Condition | None
    hybrid: bool | Hybrid
    k: int
    offset: int
    min_score: float | Literal["auto"] | None
    group_by: str | None
    hide_duplicates: bool | float
    diversity: float
    boost: str | None
    facet: str | Sequence[str]
    explain: bool | Literal["words"]


@dataclass(frozen=True)
class Query:
    """A parsed query; `QueryParameters` says what each part means."""

    texts: tuple[Term[str], ...] = ()
    images: tuple[Term[ImageSource], ...] = ()
    sounds: tuple[Term[AudioSource], ...] = ()
    likes: tuple[Term[str], ...] = ()
    minus: tuple[Term[str], ...] = ()
    image_weight: float = 0.5
    where: Condition | None = None
    hybrid: Hybrid | None = None
    k: int = 10
    offset: int = 0
    group_by: str | None = None
    duplicate_threshold: float | None = None
    diversity: float = 0.0
    boost: Boost | None = None
    min_score: float | None = None
    auto_threshold: bool = False
    facets: tuple[str, ...] = field(default=())
    explain: bool | Literal["words"] = False

    def __post_init__(self) -> None:
        if self.k < 1:
            raise UserError(f"k must be at least 1, not {self.k}")
        if self.explain not in (False, True, "words"):
            raise UserError(f'explain is True, False or "words", not {self.explain!r}')
        most, how = (MOST_EXPLAINED_BY_WORDS, " word by word") if self.explain == "words" else (MOST_EXPLAINED, "")
        if self.explain and self.k > most:
            raise UserError(
                f"{most} hits are explained{how} at once at most: ask for k = {most} or fewer, then for the next page "
                "(offset)"
            )
        if self.offset < 0:
            raise UserError(f"the offset must be at least 0, not {self.offset}")
        if not 0.0 <= self.image_weight <= 1.0:
            raise UserError(f"the weight of the picture must be between 0 and 1, not {self.image_weight}")
        if not 0.0 <= self.diversity < 1.0:
            raise UserError(f"the diversity must be at least 0 and below 1, not {self.diversity}")
        if self.min_score is not None and not math.isfinite(self.min_score):
            raise UserError(f"min_score must be a number, not {self.min_score}")
        terms: list[Term[Any]] = [*self.texts, *self.images, *self.sounds, *self.likes, *self.minus]
        for term in terms:
            if not (math.isfinite(term.weight) and term.weight > 0):
                raise UserError(f"a weight must be a number above 0, not {term.weight}")
        if not (self.texts or self.images or self.sounds or self.likes):
            raise UserError("nothing to search for: give words, a picture or both, a recording, or an item (like)")
        if self.hybrid is not None and not self.texts:
            raise UserError("a hybrid search needs words")


def build_query(text: OneOrMany[str] | None = None, **parameters: Unpack[QueryParameters]) -> Query:
    """Parse a query.

    Args:
        text: words, words with a weight such as ("in blue", 0.5), or a list of these; blank ones do not count.

    Raises:
        UserError: a part that makes no sense, or nothing to search for.
    """
    rest: dict[str, Any] = dict(parameters)
    where, boost, hybrid = rest.pop("where", None), rest.pop("boost", None), rest.pop("hybrid", False)
    facet, least = rest.pop("facet", ()), rest.pop("min_score", None)
    if isinstance(least, str) and least != AUTO:
        raise UserError(f'min_score must be a number or "{AUTO}", not {least!r}')
    return Query(
        texts=_words(text, 1.0),
        images=tuple(_terms(rest.pop("image", None), 1.0)),
        sounds=tuple(_terms(rest.pop("audio", None), 1.0)),
        likes=tuple(_terms(rest.pop("like", None), 1.0)),
        minus=_words(rest.pop("minus", None), _MINUS),
        where=parse_filter(where) if isinstance(where, str) else where,
        hybrid=hybrid if isinstance(hybrid, Hybrid) else Hybrid() if hybrid else None,
        duplicate_threshold=parse_duplicate_threshold(rest.pop("hide_duplicates", False)),
        boost=parse_boost(boost) if boost is not None else None,
        min_score=None if least == AUTO else least,
        auto_threshold=least == AUTO,
        facets=(facet,) if isinstance(facet, str) else tuple(facet),
        **rest,
    )


def parse_weighted(text: str) -> str | tuple[str, float]:
    """ "in blue^0.5" as ("in blue", 0.5); a text without a weight stays as it is."""
    found = _WEIGHTED.fullmatch(text)
    return (found[1], float(found[2])) if found else text


def _words(given: OneOrMany[str] | None, weight: float) -> tuple[Term[str], ...]:
    """Blank ones do not count."""
    terms = (Term(term.value.strip(), term.weight) for term in _terms(given, weight))
    return tuple(term for term in terms if term.value)


def _terms(given: OneOrMany[T] | None, weight: float) -> list[Term[T]]:
    if given is None:
        return []
    several = given if isinstance(given, list) else [given]
    return [Term(one[0], float(one[1])) if isinstance(one, tuple) else Term(one, weight) for one in several]


def parse_duplicate_threshold(hide_duplicates: bool | float) -> float | None:
    """The cosine from which on two items are near-duplicates; None: none are.

    Raises:
        UserError: it is no such cosine.
    """
    if isinstance(hide_duplicates, bool):
        return DUPLICATE_COSINE if hide_duplicates else None
    if not 0.0 < hide_duplicates <= 1.0:
        raise UserError(f"the cosine of near-duplicates is between 0 and 1, not {hide_duplicates}")
    return float(hide_duplicates)
