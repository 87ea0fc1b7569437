"""How much memory a search needs: a process of its own searches a store or a bare index, then looks at its pages.

python benchmarks/resident.py store FOLDER QUERIES.npy
python benchmarks/resident.py bare INDEX.faiss QUERIES.npy --breadth 64 [--candidates 100 --vectors vectors.f32]
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bare_faiss import BareIndex, opened
from clustered import DIM, mapped
from measuring import run

from likewise.stores.faiss.collection import FaissStore

_VECTORS = "vectors.f32"
_HEADER = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ (\d+) *(.*)$")


def of_store(folder: Path, queries: Path) -> dict[str, float]:
    """MB of a process that searches a store one query at a time and 64 at a time, and then fetches what it found."""
    return json.loads(run(sys.executable, __file__, "store", folder, queries).output)


def of_bare(file: Path, queries: Path, breadth: int, candidates: int | None, vectors: Path) -> dict[str, float]:
    """The same of FAISS alone."""
    rescoring = () if candidates is None else ("--candidates", str(candidates), "--vectors", vectors)
    return json.loads(
        run(sys.executable, __file__, "bare", file, queries, "--breadth", str(breadth), *rescoring).output
    )


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("store", "bare"))
    parser.add_argument("path", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--breadth", type=int, default=1)
    parser.add_argument("--candidates", type=int)
    parser.add_argument("--vectors", type=Path)
    arguments = parser.parse_args()
    before = anonymous_and_files()[0]
    queries = np.load(arguments.queries)
    search, fetch = _store(arguments.path) if arguments.what == "store" else (_bare(arguments), None)
    for query in queries:
        search(query[None])
    for start in range(0, len(queries), 64):
        search(queries[start : start + 64])
    anonymous, files = anonymous_and_files()
    index = sum(size for path, size in files.items() if _is_data(path, arguments) and path.name != _VECTORS)
    vectors = sum(size for path, size in files.items() if path.name == _VECTORS)
    figures = {
        "total without vectors.f32": anonymous + index,
        "anonymous": anonymous,
        "anonymous before anything was opened": before,
        "mapped pages of the index and other files": index,
        "mapped pages of vectors.f32": vectors,
    }
    if fetch is not None:
        for query in queries:
            fetch(query[None])
        more = sum(size for path, size in anonymous_and_files()[1].items() if path.name.startswith("fields."))
        figures["mapped pages of fields, once those of all hits were fetched"] = more
    print(json.dumps({name: round(size / 1e6, 1) for name, size in figures.items()}))


def _store(folder: Path) -> tuple[Callable[[np.ndarray], object], Callable[[np.ndarray], object]]:
    store = FaissStore(folder)

    def fetch(queries: np.ndarray) -> None:
        for found in store.search(queries, 10):
            store.fetch(found.ids)

    return lambda queries: store.search(queries, 10), fetch


def _bare(arguments: argparse.Namespace) -> Callable[[np.ndarray], object]:
    vectors = np.empty((0, DIM), np.float32)
    if arguments.vectors is not None:
        vectors = mapped(arguments.vectors, arguments.vectors.stat().st_size // (4 * DIM))
    index = BareIndex(opened(arguments.path), arguments.breadth, arguments.candidates, vectors)
    return lambda queries: index.search(queries, 10)


def _is_data(path: Path, arguments: argparse.Namespace) -> bool:
    folder = arguments.path.resolve()
    return path == folder or folder in path.parents


def anonymous_and_files() -> tuple[int, dict[Path, int]]:
    """Bytes of this process's memory that belong to no file, and of each file's pages; Linux only."""
    anonymous, files, path = 0, {}, Path()
    for line in Path("/proc/self/smaps").read_text().splitlines():
        header = _HEADER.match(line)
        if header:
            path = Path(header[2])
        elif line.startswith("Anonymous:"):
            anonymous += int(line.split()[1]) * 1024
        elif line.startswith("Rss:"):
            files[path] = files.get(path, 0) + int(line.split()[1]) * 1024
    return anonymous, files


if __name__ == "__main__":
    _main()
