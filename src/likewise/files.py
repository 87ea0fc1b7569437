"""Atomic, durable writes: every file that likewise keeps is written by the functions of this module.

The policy, which holds everywhere:

* A file is written under a hidden temporary name in its own folder, synced, renamed over the old one, and then its
  folder is synced. Whoever reads sees the old content or the new one, also after a crash or a power cut.
* A folder of files is built under a temporary name; all files and sub-folders are synced before it is renamed.
* What could not be written leaves nothing behind, and is one sentence that names the file and the reason. What a
  killed process left behind is removed by the next one that writes the same file.
* Pictures and thumbnails in a cache are verified when they are read and can be made again, so nobody waits until they
  are on the disk.
* Files that only ever grow (the write-ahead log, the feature cache) are appended to, synced, and say themselves how far
  they count.

Records are small JSON files with a `format` version and a checksum of their own, so that damage is told from content.
"""

import contextlib
import csv
import errno
import filecmp
import glob
import hashlib
import io
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from likewise.errors import UserError
from likewise.parsing import read_json

_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<process>\d+)-[0-9a-f]{8}\.tmp")
_FORMULA, _NUMBER = re.compile(r"[=+\-@\t\r\n＝＋－＠]"), re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_FOLDER = "folder"
_OS_ERROR = re.compile(r"\(os error (\d+)\)")  # in the messages of libraries written in Rust
_WAYS_OUT = {
    errno.ENOSPC: "free some space there, or use a folder on another disk",
    errno.EDQUOT: "free some space there, or use a folder on another disk",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f), or use a folder on another disk",
    errno.EROFS: "use a folder that you may write to",
    errno.EACCES: "use a folder that you may write to",
    errno.EPERM: "use a folder that you may write to",
    errno.EIO: "check the disk, or use a folder on another one",
    errno.ENOTDIR: "use a folder, not a file",
    errno.EEXIST: "use a folder, not a file",
    errno.ENAMETOOLONG: "use a shorter name",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs, which have too many files open",
}
_LARGEST_RECORD = 64_000_000  # bytes
_POLL = 0.005  # seconds between looks at a lock that someone else holds, mostly for a few milliseconds


class DamageError(ValueError):
    """A file is missing or does not hold what was written into it.

    The message is a clause that names the file. Whoever knows the way out turns it into a `UserError`.
    """


class FormatError(DamageError):
    """A file was written by another version of likewise."""


class NewerFormatError(FormatError):
    """A file was written by a newer version of likewise; the message says to update."""


def explain_damage(error: Exception, *, older: str, damaged: str) -> UserError:
    """The sentence for files that cannot be read.

    Args:
        older: the sentence if another version of likewise wrote them, unless it is a newer one.
        damaged: the sentence otherwise.
    """
    if isinstance(error, NewerFormatError):
        return UserError(str(error))
    return UserError(older if isinstance(error, FormatError) else damaged)


@contextlib.contextmanager
def replace_file(
    path: Path, *failures: type[Exception], temporary_in: Path | None = None, durable: bool = True
) -> Iterator[Path]:
    """Yield a temporary path to write to; when the block ends without an error, the file takes the place of `path`.

    Args:
        path: its folder must exist.
        failures: what a library raises instead of OSError where it cannot write.
        temporary_in: a folder on the same disk for the temporary file, whose owner removes what is left there; None:
            that of `path`.
        durable: wait for the disk; not worth its time for what is verified when it is read and can be made again.

    Raises:
        UserError: the file cannot be written; the old one is as it was.
    """
    temporary = (temporary_in or path.parent) / _temporary_name(path.name)
    try:
        if temporary_in is None:
            remove_leftovers(path)
        yield temporary
        if durable:
            sync(temporary)
        temporary.replace(path)
        if durable:
            sync(path.parent)
    except Exception as error:
        if isinstance(error, failures) or _system_error(error) is not None:
            raise cannot_write(path, error) from None
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_file(path: Path, content: bytes | str, *, temporary_in: Path | None = None, durable: bool = True) -> None:
    """Write a file atomically; text as UTF-8.

    Args:
        temporary_in, durable: see `replace_file`.

    Raises:
        UserError: the file cannot be written; the old one is as it was.
    """
    with replace_file(path, temporary_in=temporary_in, durable=durable) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a CSV file atomically, for people who open it in a spreadsheet.

    A cell that a spreadsheet would run as a formula gets an apostrophe in front; numbers stay numbers.

    Raises:
        UserError: the file cannot be written; the old one is as it was.
    """
    table = io.StringIO(newline="")
    lines = csv.writer(table)
    for row in (header, *rows):
        lines.writerow([f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell for cell in row])
    write_file(path, table.getvalue())


@contextlib.contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty hidden folder in another one; it is removed when the block ends.

    Raises:
        UserError: something cannot be written.
    """
    made: Path | None = None
    try:
        for leftover in folder.glob(f".{_FOLDER}.*.tmp"):
            match = _TEMPORARY.fullmatch(leftover.name)
            if match and not _is_alive(int(match["process"])):
                shutil.rmtree(leftover, ignore_errors=True)
        made = folder / _temporary_name(_FOLDER)
        made.mkdir()
        yield made
    except Exception as error:
        if _system_error(error) is not None:
            raise cannot_write(folder, error) from None
        raise
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)


def replace_tree(source: Path, target: Path) -> None:
    """Make a folder hold what another one holds, file by file; those that are equal already are not touched.

    Args:
        source: on the same disk, such as a temporary folder beside `target`; its files are moved.

    Raises:
        UserError: a file cannot be written.
    """
    wanted = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    try:
        for name in sorted(wanted):
            new, old = source / name, target / name
            if old.is_file() and not old.is_symlink() and filecmp.cmp(new, old, shallow=False):
                continue
            old.parent.mkdir(parents=True, exist_ok=True)
            sync(new)
            new.replace(old)
            sync(old.parent)
        for path in [path for path in target.rglob("*") if not path.is_dir()]:
            if path.relative_to(target) not in wanted:
                path.unlink()
    except OSError as error:
        raise cannot_write(target, error) from None


@contextlib.contextmanager
def hold_lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a file's lock, which other processes and threads wait for.

    Raises:
        Timeout: someone else holds it, and `wait` is False.
        UserError: it cannot be opened, such as in a folder that is read-only.
    """
    lock = FileLock(path)
    acquire_lock(lock, wait=wait)
    try:
        yield
    finally:
        lock.release()


def acquire_lock(lock: FileLock, *, wait: bool = True) -> None:
    """Take a lock that its holder may take several times; see `hold_lock`."""
    try:
        lock.acquire(timeout=-1 if wait else 0, poll_interval=_POLL)
    except Timeout:  # an OSError, too
        raise
    except (OSError, NotImplementedError) as error:
        raise cannot_write(Path(lock.lock_file), error) from None


def lies_within(path: Path, folder: Path) -> bool:
    """Whether a path leads into a folder, or to it, once links are followed; a loop of links leads nowhere else."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def make_folder(path: Path) -> None:
    """Create a folder and its parents if they do not exist.

    Raises:
        UserError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from None


def prepare_file(path: Path) -> None:
    """Make the folder of a file that will be written later, and try to write there.

    Raises:
        UserError: the file cannot be written.
    """
    temporary = path.parent / _temporary_name(path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise cannot_write(path, error) from None


def cannot_write(path: Path, error: Exception) -> UserError:
    """The sentence for a file or folder that cannot be written, with the way out."""
    return UserError(_explain(f"cannot write {path}", error))


def explain_system_error(error: Exception) -> UserError | None:
    """The sentence for an error of the file system that nobody else has explained; None for any other error."""
    number = _system_error(error)
    if number not in _WAYS_OUT:
        return None
    name = error.filename if isinstance(error, OSError) else None
    return UserError(
        _explain("cannot write to a file or to the output" if name is None else f"cannot use {name}", error)
    )


def _explain(what: str, error: Exception) -> str:
    way_out = _WAYS_OUT.get(_find_number(error) or 0)
    return f"{what}: {reason(error)}" + (f"; {way_out}" if way_out else "")


def reason(error: Exception) -> str:
    """Why a file could not be read or written, in a few words."""
    number = _find_number(error)
    if number is not None:
        return os.strerror(number)
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _system_error(error: BaseException) -> int | None:
    """The system's number for an error, also one that a library has wrapped; None if it is not the system's."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if isinstance(error, UserError):
        return None
    if found := _OS_ERROR.search(str(error)):
        return int(found[1])
    if isinstance(error, RuntimeError) and error.__context__ is not None:  # PyTorch's, of a file that Python has opened
        return _system_error(error.__context__)
    return None


def _find_number(error: BaseException) -> int | None:
    """The system's number for an error that is known to be about a file, by its text if need be."""
    number = _system_error(error)
    return number if number is not None else next((n for n in _WAYS_OUT if os.strerror(n) in str(error)), None)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that cannot sync a folder
            raise
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Wait until all files below a folder, its sub-folders and their names are on the disk."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if not path.is_symlink():
            sync(path)
    sync(folder)


def write_record(path: Path, content: Mapping[str, Any], format: int) -> None:
    """Write a JSON object that carries a format version and its own checksum.

    Raises:
        UserError: the file cannot be written.
    """
    record = {"format": format, **content}
    write_file(path, json.dumps({**record, "sha256": _digest(record)}, ensure_ascii=False, indent=1) + "\n")


def read_record(path: Path, format: int) -> dict[str, Any]:
    """Read what `write_record` wrote, without `format` and checksum.

    Raises:
        FileNotFoundError: there is no such file.
        FormatError: it is of another format version.
        DamageError: it cannot be read, or is not what was written.
    """
    try:
        record = read_json(path, _LARGEST_RECORD)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamageError(f"{path} cannot be read ({reason(error)})") from None
    except ValueError as error:
        raise DamageError(f"{path} is damaged ({error})") from None
    if not isinstance(record, dict):
        raise DamageError(f"{path} is damaged")
    checksum, found = record.pop("sha256", None), record.get("format")
    if isinstance(found, int) and found > format:
        raise NewerFormatError(f"{path} was written by a newer version of likewise: update likewise")
    if checksum is None or found != format or isinstance(found, bool):
        raise FormatError(f"{path} is damaged, or was written by an older version of likewise")
    if checksum != _digest(record):
        raise DamageError(f"{path} is damaged")
    del record["format"]
    return record


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def remove_leftovers(path: Path) -> None:
    """Remove temporary files of `path` whose process has ended."""
    name = _shortened(path.name)
    for leftover in path.parent.glob(f".{glob.escape(name)}.*.tmp"):
        match = _TEMPORARY.fullmatch(leftover.name)
        if match and match["name"] == name and not _is_alive(int(match["process"])):
            leftover.unlink(missing_ok=True)


def is_temporary(path: Path) -> bool:
    """Whether a file or folder is one that is being written, or was when its process died."""
    return _TEMPORARY.fullmatch(path.name) is not None


def _temporary_name(name: str) -> str:
    return f".{_shortened(name)}.{os.getpid()}-{secrets.token_hex(4)}.tmp"


def _shortened(name: str) -> str:
    """A name that leaves room for what a temporary one adds; file systems take 255 bytes."""
    return name if len(os.fsencode(name)) <= 200 else hashlib.sha256(os.fsencode(name)).hexdigest()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):  # no process has a number that is too large for one
        return False
    except OSError:
        return True
    return True
