"""Versions of an index side by side; a small file names the one in use, and changes in one step.

index/current                       the name of the version in use
index/20260131T120000-3f9a2c41/     a finished version, with a manifest of its files (see checksums.py)
index/.building-…                   one that is being written, or was when its process died

Nothing but such files and folders is ever removed, and a folder that holds anything else before it holds a version is
refused before anything is written into it.
"""

import contextlib
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from likewise.checksums import write_index_manifest
from likewise.errors import UserError
from likewise.files import DamageError, hold_lock, make_folder, sync, sync_tree, write_file

_CURRENT = "current"
_LOCK, WRITE_LOCK = ".lock", ".write.lock"
_BUILDING = ".building-"
_VERSION = re.compile(r"[0-9]{8}T[0-9]{6}-[0-9a-f]{8}")
_OURS = re.compile(rf"{_CURRENT}|\.{_CURRENT}\..+\.tmp|\.lock|\.write\.lock|(\.building-)?{_VERSION.pattern}")


def current_version(folder: Path) -> Path | None:
    """The folder of the version in use, or None where nothing was ever finished.

    Raises:
        DamageError: the file that names it is damaged, or gone while there are versions.
    """
    try:
        name = (folder / _CURRENT).read_text(encoding="ascii").removesuffix("\n")
    except (FileNotFoundError, NotADirectoryError):
        if any(_versions(folder)):
            raise DamageError(f"{folder / _CURRENT} is missing") from None
        return None
    except (OSError, ValueError):
        raise DamageError(f"{folder / _CURRENT} cannot be read") from None
    if not _VERSION.fullmatch(name):
        raise DamageError(f"{folder / _CURRENT} is damaged")
    return folder / name


def check_is_ours(folder: Path) -> None:
    """See that a folder is empty, missing, or holds versions and nothing that we would mistake for one.

    Raises:
        UserError: it holds something else.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"cannot write an index into {folder}, which is a file: name another folder")
    with contextlib.suppress(DamageError):
        version = current_version(folder)
        if version is not None and version.is_dir():
            return
    strange = next((path.name for path in sorted(folder.iterdir()) if not _OURS.fullmatch(path.name)), None)
    if strange is not None:
        raise UserError(
            f"{folder} holds {strange} and is no index of likewise: name a new or an empty folder for the store"
        )


@contextmanager
def new_version(folder: Path, *, wait: bool = True, unlisted: Iterable[str] = ()) -> Iterator[Path]:
    """Yield an empty folder to fill; it becomes the version in use when the block ends without an error.

    Killed at any moment, the process leaves the version in use as it was. Others that build at the same time wait
    here. The version that was in use before is kept for those who still read it; older ones are removed.

    Args:
        unlisted: files that will change and protect themselves, so that the manifest leaves them out.

    Raises:
        UserError: the folder holds something else than versions, or cannot be written.
        Timeout: another process or thread builds, and `wait` is False.
    """
    check_is_ours(folder)
    make_folder(folder)
    with hold_lock(folder / _LOCK, wait=wait):
        for path in _folders(folder):
            if path.name.startswith(_BUILDING):  # whoever was writing it no longer holds the lock
                shutil.rmtree(path, ignore_errors=True)
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
        building, finished = folder / f"{_BUILDING}{name}", folder / name
        building.mkdir()
        try:
            yield building
            write_index_manifest(building, unlisted)
            sync_tree(building)
            building.rename(finished)
            sync(folder)
            previous = _previous(folder)
            write_file(folder / _CURRENT, f"{name}\n")
        except BaseException:
            in_use = _previous(folder) == name  # nothing but the sync after the switch failed
            for path in (building,) if in_use else (building, finished):
                shutil.rmtree(path, ignore_errors=True)
            raise
        for path in _versions(folder):
            if path.name not in (name, previous):
                shutil.rmtree(path, ignore_errors=True)


def remove_versions(folder: Path) -> None:
    """Remove all versions from a folder, and the folder if nothing else is in it."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in _folders(folder):
        shutil.rmtree(path, ignore_errors=True)
    for name in (_CURRENT, _LOCK, WRITE_LOCK):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _previous(folder: Path) -> str | None:
    try:
        version = current_version(folder)
    except DamageError:
        return None
    return version.name if version else None


def _versions(folder: Path) -> Iterator[Path]:
    return (path for path in _folders(folder) if _VERSION.fullmatch(path.name))


def _folders(folder: Path) -> Iterator[Path]:
    """The folders in `folder` that have a name of ours; links are none."""
    if folder.is_dir():
        for path in list(folder.iterdir()):
            if _VERSION.fullmatch(path.name.removeprefix(_BUILDING)) and path.is_dir() and not path.is_symlink():
                yield path
