"""Where an index is: a store by its URI, and a lexical index in a folder of this machine."""

import contextlib
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from likewise.errors import UserError
from likewise.files import DamageError, hold_lock, lies_within, make_folder
from likewise.progress import say
from likewise.retrieval.items import digest
from likewise.retrieval.lexical.writer import LexicalIndex
from likewise.stores import registry
from likewise.stores.base import Store
from likewise.stores.registry import add_search_target, open_store, remember_store, remembered_store
from likewise.stores.schema import Schema
from likewise.stores.uri import WITHOUT_TLS, Credentials, Location, parse_location
from likewise.stores.versions import WRITE_LOCK, current_version

_NOBODY = Credentials()
NO_AIMS: Mapping[str, str] = {}


@dataclass(frozen=True)
class IndexLocation:
    """A store and its lexical index.

    Attributes:
        folder: where relative paths in the URI start, and home of the lexical index: a run, or a temporary folder.
        remembered: the run alone names the store, and a stranger may have written the run.
    """

    location: Location
    folder: Path
    credentials: Credentials = _NOBODY
    is_temporary: bool = False
    remembered: bool = False
    _turns: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @classmethod
    def for_run(
        cls,
        run: str | Path,
        store: str | None = None,
        credentials: Credentials = _NOBODY,
        aims: Mapping[str, str] = NO_AIMS,
    ) -> "IndexLocation":
        """The store that a run uses, or another one.

        A run may come from a stranger: credentials go to a place that only the run names where they allow it, and what
        lies outside the run is printed.

        Args:
            credentials: for `store`; for the place that the run remembers, if its hosts are among `credentials.hosts`.
            aims: see `registry.add_search_target`.

        Raises:
            UserError: the URI, or what the run remembers, cannot be read, or the aims make no sense.
        """
        if store is None:
            location = add_search_target(remembered_store(Path(run)), aims)
            credentials = _announce(Path(run), location, credentials)
        else:
            location, given = parse_location(store)
            location, credentials = add_search_target(location, aims), credentials.over(given)
        return cls(location, Path(run), credentials, remembered=store is None)

    @classmethod
    def for_build(
        cls,
        run: str | Path | None,
        store: str | None,
        credentials: Credentials = _NOBODY,
        aims: Mapping[str, str] = NO_AIMS,
    ) -> "IndexLocation":
        """Where to build an index: in a run, as `for_run` says, or in a temporary folder for no run.

        Raises:
            UserError: as `for_run`, or a store is given without a run.
        """
        if run is not None:
            return cls.for_run(run, store, credentials, aims)
        if store is not None:
            raise UserError("an index in a separate store needs a run folder that remembers it: also give run")
        return cls.temporary(aims)

    @classmethod
    def temporary(cls, aims: Mapping[str, str] = NO_AIMS) -> "IndexLocation":
        """A folder that is removed with this object, or at the end of the process."""
        location = add_search_target(registry.DEFAULT, aims)
        folder = Path(tempfile.mkdtemp(prefix="likewise-index-"))
        place = cls(location, folder, is_temporary=True)
        weakref.finalize(place, shutil.rmtree, folder, ignore_errors=True)
        return place

    def open(self) -> Store:
        """Open the store.

        Raises:
            UserError: there is none, it is damaged or cannot be reached.
        """
        with contextlib.suppress(DamageError):  # of which the store itself says more
            if self.location.scheme == "faiss" and current_version(self.location.within(self.folder).file) is None:
                raise UserError(f"{self.folder} has no index yet: likewise index {self.folder} --data FILE")
        return open_store(self.location, self.credentials, folder=self.folder)

    def replace_store(self, schema: Schema) -> AbstractContextManager[Store]:
        """Fill a new store that takes this place; see `registry.replace_store`.

        Raises:
            UserError: the run alone names a folder outside of itself, where there is no store.
        """
        outside = self.remembered and _leads_outside(self.folder, self.location)
        if outside and not (self.location.within(self.folder).file / "current").is_file():
            raise UserError(
                f"{self.folder} remembers a store at {self.location}, but there is none: "
                "to create one there, outside the run, give --store"
            )
        return registry.replace_store(self.location, schema, self.credentials, folder=self.folder)

    def check_writable(self, dim: int) -> None:
        """Check that a store can be written here, before the long work whose result goes into it.

        Raises:
            UserError: it cannot; the library is missing, the server does not answer, the disk is read-only.
        """
        try:
            with self.replace_store(Schema(dim)):
                raise _CheckedError
        except _CheckedError:
            return

    def remember(self) -> None:
        """Write into the run that this is its store."""
        if not self.is_temporary:
            remember_store(self.folder, self.location)

    @contextlib.contextmanager
    def write_lock(self) -> Iterator[None]:
        """Keep all others from writing items into this index, in this process and in others on this machine.

        Raises:
            UserError: the folder of the run cannot be written.
        """
        make_folder(self._words)
        with self._turns, hold_lock(self._words / WRITE_LOCK):  # threads here need not look at the file in turns
            yield

    @property
    def lexical(self) -> LexicalIndex:
        """The lexical index; a run has one for each store that it has used."""
        return LexicalIndex(self._words)

    @property
    def _words(self) -> Path:
        same = digest(
            [self.location.scheme, self.location.host, self.location.path, self.location.option("collection", "")]
        )
        return self.folder / "words" / f"{self.location.scheme}-{same[:8]}"


def _announce(run: Path, location: Location, credentials: Credentials) -> Credentials:
    """Tell the user which store a run names, and choose the credentials that may go there."""
    if not location.hosts:
        if _leads_outside(run, location):
            say(f"{run} remembers a store outside its folder: {location}")
        return credentials
    hosts = ",".join(f"{host}:{port}" if port else host for host, port in location.hosts)
    say(f"{run} remembers the store {location}")
    if not credentials.allowed_at(location):
        if credentials.are_given or location.has_credentials_elsewhere:
            say(f"No credentials are sent: to send them, give --store or set LIKEWISE_STORE_HOST={hosts}")
        return Credentials(withheld=True)
    if location.option("sslmode", "") in WITHOUT_TLS and location.is_remote:
        say("No credentials are sent, because the run asks for a connection without TLS: give --store to send them")
        return Credentials(withheld=True)
    return credentials


def _leads_outside(run: Path, location: Location) -> bool:
    """Whether a store is a folder of this machine outside the run."""
    if location.hosts or location.is_server or not location.path.strip("/"):
        return False
    return not lies_within(Path(location.within(run).path), run)


class _CheckedError(Exception):
    """The new store can be written; the check ends here and keeps nothing."""
