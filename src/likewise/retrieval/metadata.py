"""Metadata of an index, as its store keeps it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from likewise.errors import UserError
from likewise.stores.schema import Schema

_EXAMPLES, _LONGEST_EXAMPLE = 60, 60


@dataclass(frozen=True)
class IndexMetadata:
    """How an index was built, kept in its store; updates do not change it.

    Attributes:
        model: fingerprint.
        catalog: fingerprint; empty where the vectors did not come from a catalogue.
        count: items that could be found then.
        left_out: items without anything to encode.
        created: when, ISO 8601.
        build: a random id of this build.
        written: when, in microseconds, as in `BookkeepingColumns.written`.
        bookkeeping: the name of the first of the `BookkeepingColumns`.
        examples: some titles.
        field_vector_bytes: what the vectors of single fields took when the index was built; 0: it keeps none.
    """

    model: str
    dim: int
    catalog: str
    count: int
    left_out: int
    created: str
    build: str
    written: int
    bookkeeping: str
    examples: tuple[str, ...]
    field_vector_bytes: int = 0

    @classmethod
    def from_schema(cls, schema: Schema) -> "IndexMetadata":
        """Read it from a store's schema.

        Raises:
            UserError: the schema holds something else.
        """
        try:
            about = dict(schema.about)
            return cls(**about | {"dim": schema.dim, "examples": tuple(about["examples"])})
        except (TypeError, KeyError):
            raise UserError("this store was made by another program or version of likewise: index again") from None

    def check_model(self, dim: int, fingerprint: str, folder: Path, way_out: str = "") -> None:
        """See that a model is the one that made the index.

        Args:
            folder: the run's, for the message.
            way_out: what to do, if that is something else than to build the index again.

        Raises:
            UserError: it is another one.
        """
        way_out = way_out or f"build it again: likewise index {folder} --data FILE"
        if self.dim != dim:
            raise UserError(f"the index of {folder} has {self.dim} dimensions, the model {dim}; {way_out}")
        if self.model != fingerprint:
            raise UserError(f"the index of {folder} was made by another model; {way_out}")

    def to_json(self) -> dict[str, Any]:
        """The JSON object that goes into a store's schema."""
        about = asdict(self)
        del about["dim"]
        return about | {"examples": list(self.examples)}


def sample_titles(items: pl.DataFrame) -> tuple[str, ...]:
    """Distinct short titles, spread evenly over a table."""
    if "title" not in items.columns or items.schema["title"] != pl.String:
        return ()
    titles = items["title"].str.strip_chars()
    short = titles.filter((titles.str.len_chars() > 0) & (titles.str.len_chars() <= _LONGEST_EXAMPLE)).unique(
        maintain_order=True
    )
    return tuple(sample_evenly(short.to_list(), _EXAMPLES))


def sample_evenly(values: Sequence[str], count: int) -> list[str]:
    """At most `count` of some values, spread evenly."""
    if len(values) <= count:
        return list(values)
    return [values[place * len(values) // count] for place in range(count)]
