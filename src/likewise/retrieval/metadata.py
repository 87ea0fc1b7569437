"""Metadata of an index, as its store keeps it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from likewise.errors import UserError
from likewise.retrieval.thresholds import SAMPLE
from likewise.stores.schema import Schema

_EXAMPLES, _LONGEST_EXAMPLE = 60, 60
_MOST_SAMPLE_BYTES = 20_000  # of ids; some engines keep the metadata in a property of limited size


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
        sample: ids of items drawn by chance, over which the scores of a query are summarised for its calibrated
            threshold; empty for an index that keeps none.
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
    sample: tuple[str, ...] = ()

    @classmethod
    def from_schema(cls, schema: Schema) -> "IndexMetadata":
        """Read it from a store's schema.

        Raises:
            UserError: the schema holds something else.
        """
        try:
            about = dict(schema.about)
            sample = _read_sample(about.get("sample", ()))
            return cls(**about | {"dim": schema.dim, "examples": tuple(about["examples"]), "sample": sample})
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
        return about | {"examples": list(self.examples), "sample": list(self.sample)}


def sample_ids(ids: Sequence[str]) -> tuple[str, ...]:
    """Up to `SAMPLE` of the ids of an index, drawn by chance; fewer of very long ones."""
    drawn = np.random.default_rng(0).permutation(len(ids))[:SAMPLE].tolist()
    lengths = np.cumsum([len(ids[place].encode("utf-8", "surrogatepass")) for place in drawn])
    return tuple(ids[place] for place in drawn[: int(np.searchsorted(lengths, _MOST_SAMPLE_BYTES, side="right"))])


def _read_sample(given: object) -> tuple[str, ...]:
    """The ids of a sample, from metadata that anyone may have written."""
    if not isinstance(given, list | tuple) or not all(isinstance(id, str) for id in given):
        raise TypeError("the sample is no list of ids")
    return tuple(given[:SAMPLE])


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
