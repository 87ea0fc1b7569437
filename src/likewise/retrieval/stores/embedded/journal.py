"""The write-ahead log: what was promised since the segment was written, one checked record for each write.

A record is its length, its CRC-32 and its content. It counts once all of it is there, so a process that dies while it
writes leaves nothing but a tail that the next reader passes over and the next writer cuts off.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

_HEAD = struct.Struct("<QI")


class JournalError(Exception):
    """A record that was once whole is not any more."""


def append(path: Path, offset: int, content: bytes) -> int:
    """Write a record after those that end at `offset`, and wait until it is on the disk itself.

    Returns:
        Where the record ends.

    Raises:
        OSError: it could not be written; what was there before still is.
    """
    with path.open("r+b") as file:
        file.truncate(offset)  # what a killed writer left
        file.seek(offset)
        try:
            file.write(_HEAD.pack(len(content), zlib.crc32(content)) + content)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            file.truncate(offset)
            raise
    return offset + _HEAD.size + len(content)


def read(path: Path, offset: int = 0) -> Iterator[tuple[bytes, int]]:
    """The whole records from `offset` on, each with the place where it ends.

    Raises:
        OSError: the file is missing.
        JournalError: a record in the middle does not match its checksum.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        while offset + _HEAD.size <= size:
            file.seek(offset)
            length, checksum = _HEAD.unpack(file.read(_HEAD.size))
            end = offset + _HEAD.size + length
            if length == 0 or end > size:
                return
            content = file.read(length)
            if len(content) < length:
                return
            if zlib.crc32(content) != checksum:
                if end < size:
                    raise JournalError(f"{path} is damaged at byte {offset:,}")
                return
            yield content, end
            offset = end
