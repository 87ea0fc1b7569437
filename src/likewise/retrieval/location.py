"""Where an index is: a store by its URI, and its words in a folder of this machine."""

import contextlib
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from likewise.errors import UserError
from likewise.files import DamageError
from likewise.progress import say
from likewise.retrieval.items import digest_of
from likewise.retrieval.lexical.writer import WordIndex
from likewise.stores.base import Store
from likewise.stores.registry import aimed, open_store, remember_store, remembered_store, replace_store
from likewise.stores.schema import Schema
from likewise.stores.uri import WITHOUT_TLS, Credentials, Location, parse_location
from likewise.stores.versions import current_version

_NOBODY = Credentials()
_DEFAULT = "faiss:index"
NO_AIMS: Mapping[str, str] = {}


@dataclass(frozen=True)
class Place:
    """A store and its words.

    Attributes:
        folder: where relative paths in the URI start from, and where the words are; a run folder, or a temporary one.
        remembered: the run alone names the store, and a stranger may have written the run.
    """

    uri: str
    folder: Path
    credentials: Credentials = _NOBODY
    temporary: bool = False
    remembered: bool = False

    @classmethod
    def of_run(
        cls,
        run: str | Path,
        store: str | None = None,
        credentials: Credentials = _NOBODY,
        aims: Mapping[str, str] = NO_AIMS,
    ) -> "Place":
        """The store that a run uses, or another one.

        A run may come from a stranger: credentials go to a place that only the run names where they allow it, and what
        lies outside of the run is said aloud.

        Args:
            credentials: for `store`; for the place that the run remembers, if its hosts are among `credentials.hosts`.
            aims: see `registry.aimed`.

        Raises:
            UserError: the URI, or what the run remembers, cannot be read, or the aims make no sense.
        """
        uri = aimed(store if store is not None else remembered_store(Path(run)), aims)
        location, _ = parse_location(uri)
        if store is None:
            credentials = _announce(Path(run), location, credentials)
        return cls(uri, Path(run), credentials, remembered=store is None)

    @classmethod
    def for_now(cls, aims: Mapping[str, str] = NO_AIMS) -> "Place":
        """A folder that goes with this object, or at the end of the process."""
        uri = aimed(_DEFAULT, aims)
        folder = Path(tempfile.mkdtemp(prefix="likewise-index-"))
        place = cls(uri, folder, temporary=True)
        weakref.finalize(place, shutil.rmtree, folder, ignore_errors=True)
        return place

    def open(self) -> Store:
        """Open the store.

        Raises:
            UserError: there is none, it is damaged or cannot be reached.
        """
        location, _ = parse_location(self.uri)
        with contextlib.suppress(DamageError):  # of which the store itself says more
            if location.scheme == "faiss" and current_version(location.within(self.folder).file) is None:
                raise UserError(f"{self.folder} has no index yet: likewise index {self.folder} --data FILE")
        return open_store(self.uri, self.credentials, folder=self.folder)

    def replacing(self, schema: Schema) -> AbstractContextManager[Store]:
        """Fill a new store that takes this place; see `replace_store`.

        Raises:
            UserError: the run alone names a folder outside of itself, where there is no store.
        """
        location, _ = parse_location(self.uri)
        outside = self.remembered and _leads_outside(self.folder, location)
        if outside and not (location.within(self.folder).file / "current").is_file():
            raise UserError(
                f"{self.folder} remembers a store at {location}, where there is none: "
                "to make one there, outside of the run, name it with --store"
            )
        return replace_store(self.uri, schema, self.credentials, folder=self.folder)

    def try_out(self, dim: int) -> None:
        """See that a store can be written here, before the long work whose result belongs into it.

        Raises:
            UserError: it cannot; the library is missing, the server does not answer, the disk is read-only.
        """
        try:
            with self.replacing(Schema(dim)):
                raise _EnoughError
        except _EnoughError:
            return

    def remember(self) -> None:
        """Write into the run that this is its store."""
        if not self.temporary:
            remember_store(self.folder, self.uri)

    @property
    def words(self) -> WordIndex:
        """The words of this store; each store that a run has used has its own."""
        location, _ = parse_location(self.uri)
        same = digest_of([location.scheme, location.host, location.path, location.option("collection", "")])
        return WordIndex(self.folder / "words" / f"{location.scheme}-{same[:8]}")


def _announce(run: Path, location: Location, credentials: Credentials) -> Credentials:
    """Say aloud where a run leads to, and give the credentials that may go there."""
    if not location.hosts:
        if _leads_outside(run, location):
            say(f"{run} remembers a store outside of its folder: {location}")
        return credentials
    hosts = ",".join(f"{host}:{port}" if port else host for host, port in location.hosts)
    say(f"{run} remembers the store {location}")
    if not credentials.allowed_at(location):
        if credentials.are_given or location.has_credentials_elsewhere:
            say(f"It gets no credentials: to send them, give --store, or set LIKEWISE_STORE_HOST={hosts}")
        return Credentials(withheld=True)
    if location.option("sslmode", "") in WITHOUT_TLS and location.is_remote:
        say("It gets no credentials, since a run alone cannot have them sent without TLS: give --store to send them")
        return Credentials(withheld=True)
    return credentials


def _leads_outside(run: Path, location: Location) -> bool:
    """Whether a store is a folder of this machine outside of the run."""
    if location.hosts or location.is_server or not location.path.strip("/"):
        return False
    return not Path(location.within(run).path).resolve().is_relative_to(run.resolve())


class _EnoughError(Exception):
    """The new store can be written; nothing is to become of it."""
