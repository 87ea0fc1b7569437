"""Arguments of the tools: their JSON schemas, their bounds, and one sentence for each mistake.

A caller may be anyone, so there is no way to name a file or an address: a picture comes as its own bytes.
"""

import base64
import binascii
import io
import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from likewise.errors import UserError

MOST_HITS = 50
MOST_THUMBNAILS = 8
LARGEST_PICTURE = 5_000_000  # bytes
LONGEST_TEXT = 10_000  # characters of a query or a filter
_LONGEST_BASE64 = 4 * (LARGEST_PICTURE // 3 + 1) + 100_000  # with some line breaks
_LONGEST_ID = 1_000
_LONGEST_NAME = 500
_LONGEST_SHOWN = 60  # characters of an argument in a message

Id = Annotated[str, Field(min_length=1, max_length=_LONGEST_ID)]
ColumnName = Annotated[str, Field(min_length=1, max_length=_LONGEST_NAME)]
Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
Hits = Annotated[int, Field(ge=1, le=MOST_HITS, description="Number of hits.")]
Thumbnails = Annotated[
    int, Field(ge=0, le=MOST_THUMBNAILS, description="Number of hits, from the first, whose pictures are shown.")
]
Where = Annotated[str | None, Field(max_length=LONGEST_TEXT, description="Filter; see the tool's description.")]


class Arguments(BaseModel):
    """Base of all arguments: no others than those that are named, and nothing converted."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


A = TypeVar("A", bound=Arguments)


class SearchArguments(Arguments):
    """What to search for, and how hits are selected."""

    query: Text | None = Field(None, description="Words to search for.")
    picture: str | None = Field(
        None,
        max_length=_LONGEST_BASE64,
        description=f"Picture to search with: base64 of a JPEG, PNG or WebP file of at most {LARGEST_PICTURE:,} bytes; "
        "neither a path nor an address.",
    )
    picture_weight: float = Field(
        0.5, ge=0, le=1, description="Weight of the picture where there are words or items, too."
    )
    like: list[Id] | None = Field(None, max_length=10, description="Ids of items to find similar ones to.")
    minus: list[Text] | None = Field(None, max_length=10, description="Words for what is not wanted.")
    where: Where = None
    hybrid: bool = Field(False, description="Also search by keyword (BM25), for ids, model numbers and names.")
    k: Hits = 10
    offset: int = Field(0, ge=0, le=10_000, description="Number of hits to skip, for the next pages.")
    min_score: float | None = Field(None, ge=-1_000, le=1_000, description="Minimum score of a hit.")
    group_by: ColumnName | None = Field(None, description="Return only the best hit for each value of this column.")
    facets: list[ColumnName] | None = Field(
        None, max_length=10, description="Columns whose values are counted among the best 1,000 items."
    )
    thumbnails: Thumbnails = 4


class SimilarArguments(Arguments):
    """An item to find similar ones to."""

    id: Id = Field(description="Id of the item.")
    where: Where = None
    k: Hits = 10
    thumbnails: Thumbnails = 4


class ItemArguments(Arguments):
    """An item to show."""

    id: Id = Field(description="Id of the item.")


class FacetsArguments(Arguments):
    """Columns to count the values of."""

    columns: list[ColumnName] = Field(min_length=1, max_length=10, description="Columns whose values are counted.")
    where: Where = None
    most_values: int = Field(20, ge=1, le=100, description="Number of values per column, the most frequent first.")


def parse_arguments(kind: type[A], given: Mapping[str, Any] | None) -> A:
    """Check the arguments of a call.

    Raises:
        UserError: one is missing, unknown, of another kind or beyond its bounds.
    """
    try:
        return kind.model_validate(dict(given or {}))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    except RecursionError:
        raise UserError("the arguments are nested too deeply") from None
    place = _describe_place(first["loc"])
    if first["type"] == "extra_forbidden":
        raise UserError(f"there is no argument {place}; use one of {', '.join(kind.model_fields)}")
    if first["type"] == "missing":
        raise UserError(f"the argument {place} is missing")
    raise UserError(f"the argument {place} {_START.sub('', first['msg'])}")


_START = re.compile(r"^(?:Input|String|List|Value|Dictionary) (?=should )")


def _describe_place(location: tuple[int | str, ...]) -> str:
    name = "".join(f"[{part}]" if isinstance(part, int) else str(part) for part in location)
    return repr(name if len(name) <= _LONGEST_SHOWN else f"{name[:_LONGEST_SHOWN]}…")


def decode_picture(encoded: str) -> io.BytesIO:
    """The bytes of a picture that came as base64; whether they are a picture is found out when it is decoded.

    Raises:
        UserError: it is not base64, or too large.
    """
    try:
        data = base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError):
        raise UserError(
            "the argument 'picture' must be base64 of a picture file; paths, addresses and data: URIs are not read"
        ) from None
    if len(data) > LARGEST_PICTURE:
        raise UserError(f"the picture has {len(data):,} bytes; the limit is {LARGEST_PICTURE:,}")
    return io.BytesIO(data)
