"""The engines that the conformance suite runs on. To add one, add an entry to ENGINES."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from conftest import require
from retrieval.stores import postgres


@dataclass(frozen=True)
class Engine:
    """An engine under test.

    Attributes:
        new_place: the URI of a place without a store, given a folder that is the test's own. Skips, through `require`,
            where the engine cannot run.
        processes: several processes may have one store open at a time.
    """

    name: str
    new_place: Callable[[Path], str]
    processes: bool = False


def _server(variable: str) -> Callable[[Path], str]:
    """A server that someone else has started; each test has a collection of its own."""

    def new_place(folder: Path) -> str:
        uri = os.environ.get(variable, "")
        require(uri, f"no server: {variable} is not set")
        return f"{uri}{'&' if '?' in uri else '?'}collection=test_{uuid4().hex[:16]}"

    return new_place


ENGINES: list[Engine] = [
    Engine("faiss", lambda folder: f"faiss://{folder}/store", processes=True),
    Engine("lancedb", lambda folder: f"lancedb://{folder}/store", processes=True),
    Engine("pgvector", postgres.new_place, processes=True),
]
