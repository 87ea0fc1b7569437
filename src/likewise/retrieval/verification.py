"""Verifying everything that a run or a store keeps on this machine, however large: what `likewise verify` does."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from likewise.checksums import IndexManifest, Progress
from likewise.errors import UserError
from likewise.files import DamageError
from likewise.model.run_folder import check_run
from likewise.stores.faiss import wal
from likewise.stores.faiss.replica import WAL_FILE
from likewise.stores.registry import remembered_store
from likewise.stores.uri import parse_location
from likewise.stores.versions import current_version

_LOCAL = ("faiss", "lancedb")


@dataclass(frozen=True)
class Verified:
    """A part of a run or a store after verification.

    Attributes:
        part: "model", "index" or "words".
        folder: where it is.
        files: how many files were verified.
        bytes: how large they are in all.
        damage: what is wrong with it; None: nothing.
    """

    part: str
    folder: Path
    files: int = 0
    bytes: int = 0
    damage: str | None = None


def verify(target: str, progress: Progress = lambda count: None) -> list[Verified]:
    """Verify a run with its index and its words, or a store by its folder or URI.

    Args:
        progress: called with the number of bytes that have been read since the last call.

    Raises:
        UserError: there is neither a run nor a store on this machine.
    """
    if (Path(target) / "config.yaml").is_file():
        return list(_run(Path(target), progress))
    folder = Path(target)
    if not folder.is_dir() and ":" in target:
        location, _ = parse_location(target)
        if location.scheme not in _LOCAL:
            raise UserError(f"{target}: a store on a server cannot be verified from here")
        folder = location.within(Path.cwd()).file
    if not _has_versions(folder):
        raise UserError(f"{target} is neither a run nor a store: name a run folder, or a store such as faiss:PATH")
    return [_index("index", folder, progress)]


def _run(run: Path, progress: Progress) -> Iterator[Verified]:
    try:
        names = check_run(run, everything=True, progress=progress)
        yield Verified("model", run, len(names), _size([run / name for name in names]))
    except UserError as error:
        yield Verified("model", run, damage=str(error))
    try:
        location = remembered_store(run)
        if location.scheme in _LOCAL and _has_versions(location.within(run).file):
            yield _index("index", location.within(run).file, progress)
    except UserError as error:
        yield Verified("index", run, damage=str(error))
    for folder in sorted((run / "words").glob("*")):
        if _has_versions(folder):
            yield _index("words", folder, progress)


def _index(part: str, folder: Path, progress: Progress) -> Verified:
    try:
        version = current_version(folder)
        if version is None:
            raise DamageError(f"{folder} has no version in use")
        manifest = IndexManifest(version)
        manifest.verify(progress=progress)
        files = [version / name for name in manifest.names]
        if part == "index" and (version / "segment.json").is_file():
            for _ in wal.read(version / WAL_FILE, wal.Position()):
                pass
            files.append(version / WAL_FILE)
    except (DamageError, FileNotFoundError) as error:
        return Verified(part, folder, damage=str(error))
    return Verified(part, folder, len(files), _size(files))


def _has_versions(folder: Path) -> bool:
    try:
        return current_version(folder) is not None
    except DamageError:
        return True


def _size(files: list[Path]) -> int:
    return sum(file.stat().st_size for file in files)
