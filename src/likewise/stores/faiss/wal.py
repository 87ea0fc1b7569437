"""The write-ahead log: what was promised since the segment was written, one checked record for each write.

The file begins with a header that says up to where records count. A record is its length, a checksum of this length
and of the chain, and its content; the chain is a CRC-32 over the length, the content and the chain before it, so that
no record can be lost, replaced or moved unnoticed. A write is finished once its record is on the disk and the header
counts it, so the header may lag behind by the last record, and never by more. Hence, whatever the header counts and is
not whole is damage. What lies behind is the record of a writer that died: if it is whole, it counts as well; if not,
the next writer cuts it off.
"""

import contextlib
import os
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from likewise.files import DamageError, NewerFormatError, sync, write_file

_MAGIC = b"likewise WAL "
_FORMAT = 2
_START = struct.Struct("<13sHQII")  # magic, format, end, chain there, checksum
_HEAD = struct.Struct("<QII")  # length, chain after the record, checksum
_FIRST = 64  # where records begin
_TRIES = 5  # at a header that another process is writing at this very moment


@dataclass(frozen=True)
class Position:
    """A place between two records.

    Attributes:
        offset: in bytes.
        chain: the checksum of all records before it.
    """

    offset: int = _FIRST
    chain: int = 0


def create(path: Path, contents: Iterable[bytes] = ()) -> None:
    """Write a log that holds some records.

    Raises:
        UserError: it cannot be written.
    """
    position, records = Position(), []
    for content in contents:
        record, position = _record(content, position)
        records.append(record)
    write_file(path, _header(position) + b"".join(records))


def append(path: Path, position: Position, content: bytes) -> Position:
    """Write a record after those that end at `position`, and wait until it is on the disk.

    Returns:
        Where the record ends.

    Raises:
        OSError: it could not be written; what was there before still is.
    """
    record, end = _record(content, position)
    with path.open("r+b", buffering=0) as file:
        file.truncate(position.offset)  # what a killed writer left
        try:
            _write(file, position.offset, record)
            os.fsync(file.fileno())
            _write(file, 0, _header(end))
        except OSError:
            with contextlib.suppress(OSError):
                _write(file, 0, _header(position))
                file.truncate(position.offset)
            raise
    return end


def find_end(path: Path) -> Position:
    """Up to where the records of a log count.

    Raises:
        FileNotFoundError: there is no log.
        DamageError: the log is damaged.
    """
    with path.open("rb") as file:
        return _read_count(path, file)


def read(path: Path, position: Position, *, beyond: bool = False) -> Iterator[tuple[bytes, Position]]:
    """The records from `position` on, each with the place where it ends.

    Args:
        beyond: also a whole record behind those that the header counts; only while nobody writes.

    Raises:
        FileNotFoundError: there is no log.
        DamageError: a record that counts is not what was written.
    """
    with path.open("rb") as file:
        end = _read_count(path, file)
        while position.offset < end.offset:
            found = _next(file, position)
            if found is None or found[1].offset > end.offset:
                raise DamageError(f"{path} is damaged at byte {position.offset:,}")
            yield found
            position = found[1]
        if position != end:
            raise DamageError(f"{path} is damaged at byte {position.offset:,}")
        while beyond and (found := _next(file, position)) is not None:
            yield found
            position = found[1]


def recover(path: Path, position: Position) -> None:
    """Let the header count whole records behind those that it counts; only while nobody writes.

    Args:
        position: where the last whole record ends.
    """
    if find_end(path) != position:
        sync(path)
        with path.open("r+b", buffering=0) as file:
            _write(file, 0, _header(position))


def _next(file: BinaryIO, position: Position) -> tuple[bytes, Position] | None:
    """The record at a position, unless there is no whole one."""
    file.seek(position.offset)
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    length, chain, checksum = _HEAD.unpack(head)
    if zlib.crc32(head[:-4]) != checksum or length > os.fstat(file.fileno()).st_size:
        return None
    content = file.read(length)
    if len(content) < length or _extend_chain(content, position.chain) != chain:
        return None
    return content, Position(position.offset + _HEAD.size + length, chain)


def _record(content: bytes, position: Position) -> tuple[bytes, Position]:
    chain = _extend_chain(content, position.chain)
    head = struct.pack("<QI", len(content), chain)
    record = head + struct.pack("<I", zlib.crc32(head)) + content
    return record, Position(position.offset + len(record), chain)


def _extend_chain(content: bytes, chain: int) -> int:
    return zlib.crc32(content, zlib.crc32(struct.pack("<QI", len(content), chain)))


def _header(end: Position) -> bytes:
    fields = struct.pack("<13sHQI", _MAGIC, _FORMAT, end.offset, end.chain)
    return (fields + struct.pack("<I", zlib.crc32(fields))).ljust(_FIRST, b"\0")


def _read_count(path: Path, file: BinaryIO) -> Position:
    for _ in range(_TRIES):
        file.seek(0)
        start = file.read(_FIRST)
        if len(start) == _FIRST and start.startswith(_MAGIC):
            _, format, offset, chain, checksum = _START.unpack(start[: _START.size])
            if zlib.crc32(start[: _START.size - 4]) == checksum and not start[_START.size :].strip(b"\0"):
                if format != _FORMAT:
                    raise NewerFormatError(f"{path} was written by a newer version of likewise: update likewise")
                return Position(offset, chain)
        time.sleep(0.002)
    raise DamageError(f"{path} is damaged")


def _write(file: BinaryIO, offset: int, content: bytes) -> None:
    """Write all bytes at an offset, however few the system takes at a time."""
    file.seek(offset)
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]
