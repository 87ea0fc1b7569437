"""Checksums of the files in a folder, so that damage is noticed before anything is answered from it.

A manifest (`manifest.json`) lists files with their sizes and checksums. There are two kinds: that of a run names the
SHA-256 of each file; that of an index version holds a CRC-32 of every block of 16 KiB, so that a few rows of a large
file can be checked without reading all of it. Opening a folder verifies its smallest files first, up to 256 MiB in
all; what is left of an index is verified block by block as rows are returned, and all of it by `likewise verify`.
"""

import base64
import hashlib
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from likewise.files import DamageError, FormatError, read_record, reason, sync, write_record

MANIFEST = "manifest.json"
BLOCK = 16_384  # bytes under one checksum
AT_OPENING = 256 * 2**20  # bytes that are verified when a folder is opened
_RUN_FORMAT = 1
_INDEX_FORMAT = 2
_CHUNK = 64 * BLOCK  # bytes that a thread reads at a time

Progress = Callable[[int], None]


@dataclass(frozen=True)
class _File:
    bytes: int
    checksum: str


class Blocks:
    """The blocks of one file, each verified when rows in it are first returned; safe to use from several threads.

    Args:
        data: the whole file, mapped.
        checksums: (blocks,) uint32.
    """

    def __init__(self, path: Path, data: Any, checksums: np.ndarray) -> None:
        self._path = path
        self._data = memoryview(data)
        self._checksums = checksums
        self._verified = np.zeros(len(checksums), bool)

    def check(self, starts: np.ndarray, ends: np.ndarray) -> None:
        """Verify some ranges of bytes: (n,) int64 each, where they start and where they end.

        Raises:
            DamageError: a block does not hold what was written.
        """
        first, last = starts // BLOCK, np.maximum(ends - 1, starts) // BLOCK
        for step in range(int((last - first).max(initial=-1)) + 1):
            blocks = np.minimum(first + step, last)
            for block in np.unique(blocks[~self._verified[blocks]]).tolist():
                if zlib.crc32(self._data[block * BLOCK : (block + 1) * BLOCK]) != int(self._checksums[block]):
                    raise DamageError(f"{self._path} is damaged")
                self._verified[block] = True


class IndexManifest:
    """The manifest of an index version.

    Raises:
        FormatError: another version of likewise wrote it.
        DamageError: it is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = _read(folder, _INDEX_FORMAT, "crc32")

    @property
    def names(self) -> list[str]:
        """The files, as paths below the folder."""
        return list(self._files)

    def verify(self, limit: int | None = None, progress: Progress = lambda count: None) -> set[str]:
        """Verify sizes of all files, and contents of the smallest ones up to `limit` bytes in all.

        Args:
            limit: None: everything.
            progress: called with the number of bytes that have been read since the last call.

        Returns:
            The names of the files that were not read.

        Raises:
            DamageError: a file is missing or does not hold what was written.
        """
        return _verify(self.folder, self._files, limit, progress, self._verify_range)

    def blocks(self, name: str, data: Any) -> Blocks:
        """The blocks of a file, to be verified as they are used."""
        return Blocks(self.folder / name, data, self._checksums(name))

    def refresh(self, except_for: Iterable[str] = ()) -> None:
        """Bring the manifest up to date after files have come and gone, none of which ever changes; sync the new ones.

        Raises:
            OSError: a file cannot be read.
            UserError: the manifest cannot be written.
        """
        present = {name: (self.folder / name).stat().st_size for name in _names(self.folder, except_for)}
        new = [name for name, size in present.items() if name not in self._files or self._files[name].bytes != size]
        kept = {name: file for name, file in self._files.items() if name in present and name not in new}
        if new or len(kept) < len(self._files):
            for path in [self.folder / name for name in new]:
                sync(path)
            for folder in {(self.folder / name).parent for name in new}:
                sync(folder)
            self._files = kept | {name: _blocks_of(self.folder / name) for name in new}
            _write(self.folder, self._files, _INDEX_FORMAT, "crc32")

    def _checksums(self, name: str) -> np.ndarray:
        try:
            checksums = np.frombuffer(base64.b64decode(self._files[name].checksum, validate=True), "<u4")
        except (KeyError, ValueError):
            raise DamageError(f"{self.folder / MANIFEST} lacks {name}") from None
        if len(checksums) != -(-self._files[name].bytes // BLOCK):
            raise DamageError(f"{self.folder / MANIFEST} is damaged")
        return checksums

    def _verify_range(self, name: str, start: int, content: bytes) -> None:
        first = start // BLOCK
        expected = self._checksums(name)[first : first + -(-len(content) // BLOCK)]
        if not np.array_equal(expected, _crc32s(content)):
            raise DamageError(f"{self.folder / name} is damaged")


def write_index_manifest(folder: Path, except_for: Iterable[str] = ()) -> None:
    """Write the manifest of all files below a folder but some, which protect themselves.

    Raises:
        OSError: a file cannot be read.
        UserError: the manifest cannot be written.
    """
    files = {name: _blocks_of(folder / name) for name in _names(folder, except_for)}
    _write(folder, files, _INDEX_FORMAT, "crc32")


def write_run_manifest(run: Path, names: Sequence[str]) -> None:
    """Write the manifest of some files of a run, as paths below it.

    Raises:
        OSError: a file cannot be read.
        UserError: the manifest cannot be written.
    """
    files = {name: _File((run / name).stat().st_size, _sha256(run / name)) for name in names}
    _write(run, files, _RUN_FORMAT, "sha256")


def run_files(run: Path) -> list[str]:
    """The files that the manifest of a run names.

    Raises:
        FormatError: another version of likewise wrote the run.
        DamageError: the manifest is damaged.
    """
    return list(_read(run, _RUN_FORMAT, "sha256"))


def verify_run(
    run: Path, folders: Iterable[str] = (), limit: int | None = None, progress: Progress = lambda count: None
) -> list[str]:
    """Verify the files that the manifest of a run names: sizes, and contents of the smallest up to `limit` bytes.

    Args:
        folders: parts of the run in which nothing else may lie.
        limit: None: everything.
        progress: called with the number of bytes that have been read since the last call.

    Returns:
        The names of all files.

    Raises:
        FormatError: another version of likewise wrote the run.
        DamageError: a file is missing or is not what was written.
    """
    files = _read(run, _RUN_FORMAT, "sha256")
    for folder in folders:
        for path in (run / folder).rglob("*"):
            if not path.is_dir() and path.relative_to(run).as_posix() not in files:
                raise DamageError(f"{path} does not belong to the run")

    def check(name: str) -> None:
        try:
            digest = _sha256(run / name)
        except OSError as error:
            raise DamageError(f"{run / name} cannot be read ({reason(error)})") from None
        if digest != files[name].checksum:
            raise DamageError(f"{run / name} is damaged")
        progress(files[name].bytes)

    chosen = _chosen(run, files, limit)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(check, chosen))
    return list(files)


def verify_archive(path: Path) -> None:
    """Verify the checksums of a file that `torch.save` wrote, and that nothing in it is compressed.

    PyTorch itself does not look at the checksums when it reads.

    Raises:
        DamageError: it is no such file, or not what was written.
        OSError: it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise DamageError(f"{path} is compressed, which no file of likewise is")
            damaged = archive.testzip()
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError, struct.error):
        raise DamageError(f"{path} is damaged") from None
    if damaged is not None:
        raise DamageError(f"{path} is damaged")


def _verify(
    folder: Path,
    files: dict[str, _File],
    limit: int | None,
    progress: Progress,
    check: Callable[[str, int, bytes], None],
) -> set[str]:
    chosen = _chosen(folder, files, limit)

    def read(part: tuple[str, int]) -> None:
        name, start = part
        try:
            with (folder / name).open("rb") as file:
                file.seek(start)
                content = file.read(_CHUNK)
        except OSError as error:
            raise DamageError(f"{folder / name} cannot be read ({reason(error)})") from None
        check(name, start, content)
        progress(len(content))

    parts = [(name, start) for name in chosen for start in range(0, files[name].bytes, _CHUNK)]
    if len(parts) > 16:
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            list(pool.map(read, parts))
    else:
        for part in parts:
            read(part)
    return set(files) - set(chosen)


def _chosen(folder: Path, files: dict[str, _File], limit: int | None) -> list[str]:
    """The smallest files, up to `limit` bytes in all; the sizes of all are checked."""
    for name, file in files.items():
        path = folder / name
        try:
            if path.is_symlink() or path.stat().st_size != file.bytes:
                raise DamageError(f"{path} is damaged")
        except FileNotFoundError:
            raise DamageError(f"{path} is missing") from None
        except OSError as error:
            raise DamageError(f"{path} cannot be read ({reason(error)})") from None
    chosen, left = [], limit
    for name in sorted(files, key=lambda name: files[name].bytes):
        if left is not None:
            if files[name].bytes > left:
                break
            left -= files[name].bytes
        chosen.append(name)
    return chosen


def _names(folder: Path, except_for: Iterable[str]) -> list[str]:
    left_out = {MANIFEST, *except_for}
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if name not in left_out)


def _blocks_of(path: Path) -> _File:
    size, parts = 0, []
    with path.open("rb") as file:
        while content := file.read(_CHUNK):
            size += len(content)
            parts.append(_crc32s(content))
    checksums = np.concatenate([np.empty(0, "<u4"), *parts])
    return _File(size, base64.b64encode(checksums.astype("<u4").tobytes()).decode())


def _crc32s(content: bytes) -> np.ndarray:
    view = memoryview(content)
    return np.array([zlib.crc32(view[start : start + BLOCK]) for start in range(0, len(view), BLOCK)], "<u4")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(folder: Path, files: dict[str, _File], format: int, algorithm: str) -> None:
    listed = {name: {"bytes": file.bytes, algorithm: file.checksum} for name, file in files.items()}
    write_record(folder / MANIFEST, {"files": listed}, format)


def _read(folder: Path, format: int, algorithm: str) -> dict[str, _File]:
    try:
        listed = read_record(folder / MANIFEST, format)["files"]
        files = {str(name): _File(int(entry["bytes"]), str(entry[algorithm])) for name, entry in listed.items()}
    except FileNotFoundError:
        raise FormatError(
            f"{folder / MANIFEST} is missing: it is damaged, or was written by an older version of likewise"
        ) from None
    except DamageError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError):
        raise DamageError(f"{folder / MANIFEST} is damaged") from None
    for name in files:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise DamageError(f"{folder / MANIFEST} names a file outside of its folder")
    return files
