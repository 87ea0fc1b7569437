"""What a store remembers of the index that it holds."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from likewise.errors import UserError
from likewise.stores.schema import Schema

_EXAMPLES, _LONGEST_EXAMPLE = 60, 60


@dataclass(frozen=True)
class Description:
    """How an index was built; updates do not change it.

    Attributes:
        model: fingerprint.
        catalog: fingerprint; empty where the vectors did not come from a catalogue.
        count: items that could be found then.
        left_out: items without anything to encode.
        created: when.
        build: another one for each build.
        written: the same moment in microseconds, as it stands beside the items.
        own: the name of the column that is likewise's own.
        examples: some titles, from all over the catalogue.
    """

    model: str
    dim: int
    catalog: str
    count: int
    left_out: int
    created: str
    build: str
    written: int
    own: str
    examples: tuple[str, ...]

    @classmethod
    def of(cls, schema: Schema) -> "Description":
        """What stands in a store's schema.

        Raises:
            UserError: something else does.
        """
        try:
            about = dict(schema.about)
            return cls(**about | {"dim": schema.dim, "examples": tuple(about["examples"])})
        except (TypeError, KeyError):
            raise UserError("this store was not made by likewise index, or by another version of it") from None

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

    def about(self) -> dict[str, Any]:
        """What is to stand in a store's schema."""
        about = asdict(self)
        del about["dim"]
        return about | {"examples": list(self.examples)}


def example_titles(items: pl.DataFrame) -> tuple[str, ...]:
    """Different short titles from all over a table."""
    if "title" not in items.columns or items.schema["title"] != pl.String:
        return ()
    titles = items["title"].str.strip_chars()
    short = titles.filter((titles.str.len_chars() > 0) & (titles.str.len_chars() <= _LONGEST_EXAMPLE)).unique(
        maintain_order=True
    )
    return tuple(spread(short.to_list(), _EXAMPLES))


def spread(values: Sequence[str], count: int) -> list[str]:
    """At most `count` of some values, evenly from all over them."""
    if len(values) <= count:
        return list(values)
    return [values[place * len(values) // count] for place in range(count)]
