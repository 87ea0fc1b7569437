"""What engines share whose stores are collections behind an alias."""

from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from likewise.errors import UserError
from likewise.stores.collection_swap import find_abandoned, replace_collection, split_by_size
from likewise.stores.schema import Schema
from likewise.stores.shared_database import SharedDatabases
from likewise.stores.uri import Location, parse_location


def name(collection: str, age: timedelta) -> str:
    return f"{collection}_{datetime.now(UTC) - age:%Y%m%dT%H%M%S}_0123abcd"


def test_what_a_dead_process_left_is_told_from_the_work_of_others() -> None:
    young, old, used = (
        name("shop", timedelta(hours=1)),
        name("shop", timedelta(days=2)),
        name("shop", timedelta(days=9)),
    )
    others = ["shop", "shop_2", name("shop_2", timedelta(days=2)), "shop_99999999T999999_0123abcd", "other"]
    others += ["shop_20260101T000000_0123abc", "shop_٢٠٢٦٠١٠١T٠٠٠٠٠٠_0123abcd"]
    everything = [young, old, used, *others]
    assert find_abandoned(everything, "shop", {used}, alone=False) == [old]
    assert find_abandoned(everything, "shop", {used}, alone=True) == [young, old]
    assert find_abandoned(everything, "shop", {used, young}, alone=True) == [old]


@dataclass
class FakeConnection:
    """An engine that has collections, and one alias."""

    used: str | None
    names: set[str]
    location: Location = field(default_factory=lambda: parse_location("qdrant://host?collection=shop")[0])
    alone: bool = True
    building: set[str] = field(default_factory=set)

    explain_errors = staticmethod(nullcontext)

    def current_name(self) -> str | None:
        return self.used

    def collection_names(self) -> set[str]:
        return self.names

    def move_alias(self, name: str, previous: str | None) -> None:
        assert previous == self.used
        self.used = name

    def drop_collection(self, name: str) -> None:
        self.names.discard(name)

    def close(self) -> None:
        pass


class FakeCollection:
    schema = Schema(4)

    def optimise(self) -> None:
        pass


def test_an_alias_of_somebody_else_keeps_its_collection() -> None:
    connection = FakeConnection("customers", {"customers"})
    with (
        pytest.raises(UserError, match="that likewise did not make"),
        replace_collection(connection, lambda _: FakeCollection()),
    ):
        raise AssertionError
    assert (connection.used, connection.names) == ("customers", {"customers"})


def test_a_name_with_an_impossible_date_stops_no_build() -> None:
    strange = "shop_99999999T999999_0123abcd"
    connection = FakeConnection(None, {strange})
    with replace_collection(connection, lambda _: FakeCollection()):
        pass
    assert connection.names == {strange}


def test_parcels_hold_everything_once_in_order_and_no_more_than_they_may() -> None:
    stored = pl.DataFrame(
        {"id": [str(row) for row in range(50)], "text": ["x" * (row * 37 % 400) for row in range(50)]}
    )
    unit = np.arange(200, dtype=np.float32).reshape(50, 4)
    parts = list(split_by_size(stored, unit, 500))
    assert pl.concat([rows for rows, _ in parts]).equals(stored)
    np.testing.assert_array_equal(np.concatenate([vectors for _, vectors in parts]), unit)
    sizes = [
        rows["text"].str.len_bytes().sum() + rows["id"].str.len_bytes().sum() + 16 * len(rows) for rows, _ in parts
    ]
    assert max(sizes) <= 500 < sizes[0] + sizes[1]
    assert [len(rows) for rows, _ in split_by_size(stored, unit, 1)] == [1] * 50, "what is too large goes alone"
    assert list(split_by_size(stored[:0], unit[:0], 500)) == []


class _Owner:
    pass


def test_a_database_is_open_once_and_closed_by_the_last_who_lets_go(tmp_path: Path) -> None:
    opened, closed = list[Path](), list[Path]()
    sharing = SharedDatabases(lambda place: opened.append(place) or place, closed.append)
    owners = [_Owner(), _Owner(), _Owner()]
    first, let_go = sharing.take(tmp_path / "a", owners[0])
    assert sharing.take(tmp_path / "b" / ".." / "a", owners[1])[0] is first
    sharing.take(tmp_path / "other", owners[2])
    assert opened == [tmp_path / "a", tmp_path / "other"]
    let_go()
    let_go()
    assert closed == []
    del owners[1]
    assert closed == [tmp_path / "a"], "an owner that is forgotten lets go, too"
    assert sharing.take(tmp_path / "a", owners[0])[0] is not first


def test_a_database_that_cannot_be_opened_can_be_tried_again(tmp_path: Path) -> None:
    places = iter([OSError("broken"), "whole"])

    def opened(place: Path) -> str:
        next_one = next(places)
        if isinstance(next_one, OSError):
            raise next_one
        return next_one

    sharing, owner = SharedDatabases(opened, lambda database: None), _Owner()
    with pytest.raises(OSError, match="broken"):
        sharing.take(tmp_path, owner)
    assert sharing.take(tmp_path, owner)[0].database == "whole"
