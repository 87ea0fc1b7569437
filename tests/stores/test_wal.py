"""The write-ahead log: nothing that it counts is ever lost unnoticed, and what a killed writer left does no harm."""

import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.files import DamageError, NewerFormatError
from likewise.stores.faiss import wal, wal_records
from likewise.stores.faiss.wal import Position

CONTENTS = [b"first", b"", b"x" * 1000, b"last"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return written(tmp_path / "wal")


def written(path: Path) -> Path:
    wal.create(path, CONTENTS[:1])
    position = wal.find_end(path)
    for content in CONTENTS[1:]:
        position = wal.append(path, position, content)
    assert wal.find_end(path) == position
    return path


def contents(path: Path, *, beyond: bool = False) -> list[bytes]:
    return [content for content, _ in wal.read(path, Position(), beyond=beyond)]


def test_records_come_back_in_their_order(path: Path) -> None:
    assert contents(path) == CONTENTS
    middle = [position for _, position in wal.read(path, Position())][1]
    assert [content for content, _ in wal.read(path, middle)] == CONTENTS[2:]


@settings(max_examples=300, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_is_damage(tmp_path_factory: pytest.TempPathFactory, place: float, bit: int) -> None:
    path = written(tmp_path_factory.mktemp("log") / "wal")
    damaged = bytearray(path.read_bytes())
    damaged[int(place * len(damaged))] ^= 1 << bit
    path.write_bytes(damaged)
    for beyond in (False, True):
        with pytest.raises(DamageError):
            contents(path, beyond=beyond)


@settings(max_examples=100, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_log_that_ends_early_is_damage(tmp_path_factory: pytest.TempPathFactory, share: float) -> None:
    path = written(tmp_path_factory.mktemp("log") / "wal")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DamageError):
        contents(path, beyond=True)


def test_a_log_that_is_gone_is_missing(path: Path) -> None:
    path.unlink()
    with pytest.raises(FileNotFoundError):
        contents(path)


@settings(max_examples=100, deadline=None)
@given(tail=st.binary(max_size=200))
def test_what_a_killed_writer_left_is_passed_over_and_cut_off(
    tmp_path_factory: pytest.TempPathFactory, tail: bytes
) -> None:
    path = written(tmp_path_factory.mktemp("log") / "wal")
    end = wal.find_end(path)
    with path.open("ab") as file:
        file.write(tail)
    assert contents(path, beyond=True) == CONTENTS
    wal.append(path, end, b"next")
    assert contents(path) == [*CONTENTS, b"next"]


def test_a_whole_record_that_the_header_does_not_count_yet_is_recovered_once_nobody_writes(path: Path) -> None:
    header = path.read_bytes()[:64]
    end = wal.append(path, wal.find_end(path), b"durable")
    path.write_bytes(header + path.read_bytes()[64:])  # the power went before the header was on the disk
    assert contents(path) == CONTENTS
    assert contents(path, beyond=True) == [*CONTENTS, b"durable"]
    wal.recover(path, end)
    assert contents(path) == [*CONTENTS, b"durable"]


def test_records_that_changed_places_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "wal"
    wal.create(path, [b"delete x", b"upsert x"])
    content = path.read_bytes()
    size = (len(content) - 64) // 2
    path.write_bytes(content[:64] + content[64 + size :] + content[64 : 64 + size])
    with pytest.raises(DamageError):
        contents(path)


def test_a_log_of_a_newer_version_says_so(path: Path) -> None:
    log_of_tomorrow = bytearray(path.read_bytes())
    log_of_tomorrow[:64] = _header_of_format(3, wal.find_end(path))
    path.write_bytes(log_of_tomorrow)
    with pytest.raises(NewerFormatError, match="update likewise"):
        contents(path)


def _header_of_format(number: int, end: Position) -> bytes:
    import struct
    import zlib

    fields = struct.pack("<13sHQI", b"likewise WAL ", number, end.offset, end.chain)
    return (fields + struct.pack("<I", zlib.crc32(fields))).ljust(64, b"\0")


def test_records_of_an_earlier_form_are_read() -> None:
    items, vectors = pl.DataFrame({"id": ["a", "b"]}), np.ones((2, 3), np.float32)
    table = io.BytesIO()
    items.write_ipc(table)
    body = table.getvalue()
    earlier = b"u" + len(body).to_bytes(8, "little") + body + vectors.tobytes()
    for content in (earlier, wal_records.encode(wal_records.Upsert(items, vectors))):
        write = wal_records.decode(content, 3)
        assert write.items.equals(items)
        np.testing.assert_array_equal(write.vectors, vectors)
