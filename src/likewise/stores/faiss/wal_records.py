"""What the write-ahead log says: items written, or ids deleted, as bytes."""

import io
import json
import struct
from dataclasses import dataclass

import numpy as np
import polars as pl

_UPSERT, _DELETE = b"u", b"d"
_LENGTH = struct.Struct("<Q")
_ARROW_FILE = b"ARROW1"  # how tables begin in logs that were written before there were streams


@dataclass(frozen=True)
class Upsert:
    """Items as `prepare_items` gives them, and their unit vectors."""

    items: pl.DataFrame
    vectors: np.ndarray


@dataclass(frozen=True)
class Delete:
    """Ids of items that were there."""

    ids: list[str]


def encode(write: Upsert | Delete) -> bytes:
    """A write as the content of a record."""
    match write:
        case Delete(ids):
            return _DELETE + json.dumps(ids).encode()
        case Upsert(items, vectors):
            table = io.BytesIO()
            items.write_ipc_stream(table)  # ten times as fast as a file, for one item
            body = table.getvalue()
            return _UPSERT + _LENGTH.pack(len(body)) + body + vectors.astype("<f4", copy=False).tobytes()


def decode(content: bytes, dim: int) -> Upsert | Delete:
    """What `encode` wrote."""
    if content[:1] == _DELETE:
        return Delete(json.loads(content[1:]))
    start = 1 + _LENGTH.size
    end = start + _LENGTH.unpack(content[1:start])[0]
    table = content[start:end]
    read = pl.read_ipc if table.startswith(_ARROW_FILE) else pl.read_ipc_stream
    items = read(io.BytesIO(table))
    return Upsert(items, np.frombuffer(content, "<f4", offset=end).reshape(len(items), dim))
