"""What PostgreSQL cannot hold as it is: vectors as arrays of numbers, the character NUL, ids of any length.

A vector travels as pgvector's `vector_send` writes it: its dimensions and a zero, 16 bits each, then float32, all of it
big-endian.

A text of PostgreSQL may hold any character but NUL. So NUL is written as \\x01\\x01, and \\x01 as \\x01\\x02: all other
texts stay what they are, the order of code points does too, and it can be undone.
"""

import hashlib
import re
import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import psycopg

ESCAPED = {"\x00": "\x01\x01", "\x01": "\x01\x02"}
_PLAIN = {pair: character for character, pair in ESCAPED.items()}
_TABLE = str.maketrans(ESCAPED)
_PAIR = re.compile("\x01[\x01\x02]")
_HEADER = struct.Struct(">HH")


def escaped(text: str) -> str:
    """A text as PostgreSQL takes it."""
    return text.translate(_TABLE) if "\x00" in text or "\x01" in text else text


def unescaped(text: str) -> str:
    """The text that was escaped so."""
    return _PAIR.sub(lambda pair: _PLAIN[pair[0]], text) if "\x01" in text else text


def key_of(id: str) -> bytes:
    """What an item is found by: (32,) bytes, since an index takes no text of more than 2,704 bytes."""
    return hashlib.sha256(id.encode("utf-8", errors="surrogatepass")).digest()


def register_vectors(connection: "psycopg.Connection", oid: int) -> None:
    """Let a connection take and give vectors as (dim,) float32.

    Args:
        oid: of the type `vector` in this database.
    """
    from psycopg.adapt import Buffer, Dumper, Loader
    from psycopg.pq import Format

    class VectorDumper(Dumper):
        format = Format.BINARY

        def dump(self, obj: np.ndarray) -> Buffer:
            return _HEADER.pack(len(obj), 0) + obj.astype(">f4").tobytes()

    class VectorLoader(Loader):
        format = Format.BINARY

        def load(self, data: Buffer) -> np.ndarray:
            return np.frombuffer(data, ">f4", offset=_HEADER.size).astype(np.float32)

    VectorDumper.oid = oid
    connection.adapters.register_dumper(np.ndarray, VectorDumper)
    connection.adapters.register_loader(oid, VectorLoader)
