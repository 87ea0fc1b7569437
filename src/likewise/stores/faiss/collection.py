"""The embedded store: a folder on this machine, as fast as FAISS itself and safe to kill at any moment.

PATH/current                       the name of the version in use
PATH/20260131T120000-3f9a2c41/     a version: a segment that never changes, and a journal of what was written since

A write goes to the journal, and is answered for once the disk has it; in memory it is a small delta that every search
looks through, and rows of the segment that count as dead. Compaction writes segment and delta as a new version beside
the old one and switches, while both reads and writes go on. Other processes look at the journal now and then.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import polars as pl

from likewise.files import cannot_write, hold_lock
from likewise.stores.base import Store
from likewise.stores.faiss.bulk_load import Loading
from likewise.stores.faiss.replica import JOURNAL
from likewise.stores.faiss.store import EmbeddedStore
from likewise.stores.goal import Goal
from likewise.stores.schema import Schema
from likewise.stores.uri import Credentials, Location
from likewise.stores.versions import WRITE_LOCK, new_version


def open_store(location: Location, credentials: Credentials) -> Store:
    """Open the store in a folder; see base.py."""
    return EmbeddedStore(location.file)


@contextmanager
def replace_store(
    location: Location, schema: Schema, credentials: Credentials, goal: Goal | None = None
) -> Iterator[Store]:
    """Fill a folder afresh; see base.py.

    Args:
        goal: what searches should aim at; None: what the URI says, such as `?target_recall=0.95&memory=2GB`.
    """
    goal = goal if goal is not None else Goal.of(dict(location.options))
    folder = location.file
    with ExitStack() as switching, ExitStack() as building:
        with _naming_errors(folder):
            version = building.enter_context(new_version(folder, unlisted=[JOURNAL]))
            loading = Loading(version, schema, goal)
        building.callback(loading.close)
        yield loading
        with _naming_errors(folder):
            loading.finish()
            switching.enter_context(hold_lock(folder / WRITE_LOCK))  # nobody writes into the old version meanwhile
            building.close()


@contextmanager
def _naming_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pl.exceptions.PolarsError) as error:
        raise cannot_write(folder, error) from None
