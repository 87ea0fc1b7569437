"""The items that the model of a run was fitted on after it was measured, kept as digests.

Whoever evaluates such a model on any part of these items, such as those of a filter, has to be told. A file of eight
bytes an item says which they are, and nothing of what they hold.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from likewise.catalog.catalog import Catalog
from likewise.catalog.columns import FIELDS
from likewise.files import make_folder, write_file

FILE = Path("training") / "learned_items.bin"
_HEADER = b"likewise items 1"
_DIGEST = np.dtype("<u8")
_MOST_BYTES = 2**31
_ROWS_AT_ONCE = 10_000


def write_learned_items(run: Path, catalog: Catalog) -> None:
    """Keep the digests of the items in a run."""
    make_folder((run / FILE).parent)
    write_file(run / FILE, _HEADER + np.sort(_digest_items(catalog)).tobytes())


def count_known_items(run: Path, catalog: Catalog) -> int | None:
    """How many items of a catalogue `write_learned_items` kept; None where it kept none, or its file is damaged."""
    try:
        if not (run / FILE).is_file() or (run / FILE).stat().st_size > _MOST_BYTES:
            return None
        content = (run / FILE).read_bytes()
    except OSError:
        return None
    if not content.startswith(_HEADER) or (len(content) - len(_HEADER)) % _DIGEST.itemsize:
        return None
    known = np.frombuffer(content, _DIGEST, offset=len(_HEADER))
    return int(np.isin(_digest_items(catalog), known).sum())


def _digest_items(catalog: Catalog) -> NDArray[np.uint64]:
    """(items,) of ids, titles, descriptions and image sources."""
    found: list[bytes] = []
    for part in catalog.table.select("id", *FIELDS).iter_slices(_ROWS_AT_ONCE):
        found += [hashlib.blake2b(json.dumps(row).encode(), digest_size=8).digest() for row in part.iter_rows()]
    return np.frombuffer(b"".join(found), _DIGEST)
