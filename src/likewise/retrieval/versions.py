"""Versions of an index side by side; a small file names the one in use, and changes in one step.

index/current                       the name of the version in use
index/20260131T120000-3f9a2c41/     a finished version, never changed
index/.building-…                   one that is being written, or was when its process died
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

_CURRENT = "current"
_BUILDING = ".building-"


def current_version(folder: Path) -> Path | None:
    """The folder of the version in use, or None where nothing was ever finished."""
    try:
        name = (folder / _CURRENT).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    return folder / name


@contextmanager
def new_version(folder: Path, *, wait: bool = True) -> Iterator[Path]:
    """Yield an empty folder to fill; it becomes the version in use when the block ends without an error.

    Killed at any moment, the process leaves the version in use as it was. Others that build at the same time wait
    here. The version that was in use before is kept for those who still read it; older ones go.

    Raises:
        Timeout: another process or thread builds, and `wait` is False.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock", timeout=-1 if wait else 0):
        for dead in folder.glob(f"{_BUILDING}*"):  # whoever was writing it no longer holds the lock
            shutil.rmtree(dead, ignore_errors=True)
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
        building = folder / f"{_BUILDING}{name}"
        building.mkdir()
        try:
            yield building
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
        for file in building.iterdir():
            _sync(file)
        _sync(building)
        building.rename(folder / name)
        previous = current_version(folder)
        _name_current(folder, name)
        keep = {name, previous.name if previous else ""}
        for version in folder.iterdir():
            if version.is_dir() and version.name not in keep:
                shutil.rmtree(version, ignore_errors=True)


def _name_current(folder: Path, name: str) -> None:
    draft = folder / f".{_CURRENT}.new"
    draft.write_text(f"{name}\n", encoding="utf-8")
    _sync(draft)
    draft.replace(folder / _CURRENT)
    _sync(folder)


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
