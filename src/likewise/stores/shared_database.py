"""Embedded databases that a process may open once only: its handles share one, and the last that lets go closes it."""

import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

Database = TypeVar("Database")


@dataclass(eq=False)
class SharedDatabase(Generic[Database]):
    """A database that some handles of this process have open.

    Attributes:
        lock: for databases that do not bear several threads at once.
        building: the names of the collections that are being written; others that are not in use were left by processes
            that died.
    """

    database: Database
    lock: Any = field(default_factory=threading.RLock)
    building: set[str] = field(default_factory=set)


class SharedDatabases(Generic[Database]):
    """The open databases of one engine, by their place.

    Args:
        open_database: opens the one at a place; what it raises reaches whoever asked.
        close_database: closes one.
    """

    def __init__(self, open_database: Callable[[Path], Database], close_database: Callable[[Database], None]) -> None:
        self._open_database, self._close_database = open_database, close_database
        self._lock = threading.RLock()  # an owner may be forgotten in the middle of anything
        self._open: dict[Path, tuple[SharedDatabase[Database], list[object]]] = {}

    def take(self, place: Path, owner: object) -> tuple[SharedDatabase[Database], Callable[[], None]]:
        """Open a database, or join those who have it open.

        Returns:
            It, and what gives it back: called once or several times, or never, since it also happens when `owner` is
            forgotten and when the process ends.
        """
        place = place.resolve()
        ticket = object()
        with self._lock:
            while ticket not in self._open.get(place, (None, []))[1]:
                if place not in self._open:
                    self._open[place] = SharedDatabase(self._open_database(place)), []
                self._open[place][1].append(ticket)
            shared = self._open[place][0]
        return shared, weakref.finalize(owner, self._give_back, place, ticket)

    def _give_back(self, place: Path, ticket: object) -> None:
        with self._lock:
            shared, tickets = self._open[place]
            tickets.remove(ticket)
            if not tickets:
                del self._open[place]
                self._close_database(shared.database)
