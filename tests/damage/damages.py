"""What can happen to a file on a disk: a bit that flips, a tail or everything that is lost."""

import fnmatch
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

# Files whose loss or change cannot alter an answer, each with the reason. Whatever else lies in a folder is damaged.
HARMLESS = {
    "*.lock": "held, never read",
    ".writing": "held, never read",
    "lock": "held, never read",
    ".opening": "held, never read",
    "report.html": "for people; nothing reads it back",
    "README.md": "for people; nothing reads it back",
    "events.out.tfevents.*": "TensorBoard's; nothing of ours reads it back",
}


@dataclass(frozen=True)
class Damage:
    """One way to spoil a file.

    Attributes:
        spoil: from the old bytes to the new ones; None: the file goes.
    """

    name: str
    spoil: Callable[[bytes], bytes | None]

    def write(self, source: Path, target: Path) -> None:
        """Leave a spoilt copy of `source` at `target`, where nothing may be yet."""
        content = self.spoil(source.read_bytes())
        if content is not None:
            target.write_bytes(content)


def _flipped(content: bytes, place: int, bit: int) -> bytes:
    return content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]


def _flip(place: int, bit: int, name: str) -> Damage:
    return Damage(f"a bit of the {name} byte", lambda content: _flipped(content, place, bit))


def damages_of(size: int, *, more: int = 0) -> list[Damage]:
    """The ways to spoil a file of `size` bytes.

    The lowest bit turns one digit or letter into another one; in the middle and at the end of a row of little-endian
    numbers stand their highest bytes.

    Args:
        more: so many bits more, evenly from all over the file; for files that hold many things.
    """
    places = {"first": (0, 0x01), "tenth": (9, 0x10), "middle": ((size - 1) // 2, 0x01), "last": (size - 1, 0x40)}
    places |= {f"{size * part // (more + 1):,}th": (size * part // (more + 1), 0x02) for part in range(1, more + 1)}
    flips = [_flip(place, bit, name) for name, (place, bit) in places.items() if 0 <= place < size]
    losses = [
        Damage("one byte cut off", lambda content: content[:-1]),
        Damage("half", lambda content: content[: len(content) // 2]),
        Damage("blank", lambda content: b""),
    ]
    return [*flips, *(losses if size > 1 else losses[2:] if size else []), Damage("gone", lambda content: None)]


def files_of(folder: Path, elsewhere: Sequence[str] = ()) -> list[Path]:
    """The files of a folder that matter, relative to it, in a fixed order.

    Args:
        elsewhere: patterns of relative paths that are looked at elsewhere.
    """
    paths = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return [
        path
        for path in paths
        if not any(fnmatch.fnmatch(path.name, pattern) for pattern in HARMLESS)
        and not any(fnmatch.fnmatch(path.as_posix(), pattern) for pattern in elsewhere)
    ]


def copy_tree(source: Path, target: Path, *, without: Path | None = None, linked: bool = True) -> None:
    """Copy a folder; files that nobody writes into are linked, which is quicker.

    Args:
        without: a relative path that is left out.
    """
    target.mkdir(parents=True)
    for path, name in _walk(source, Path()):
        if path.is_dir():
            (target / name).mkdir()
        elif name != without:
            (os.link if linked else shutil.copy2)(path, target / name)


def _walk(folder: Path, name: Path) -> Iterator[tuple[Path, Path]]:
    for path in sorted(folder.iterdir()):
        yield path, name / path.name
        if path.is_dir():
            yield from _walk(path, name / path.name)


def listing(folder: Path) -> list[tuple[str, int, int, int]]:
    """What tells whether anything was written into a folder: names, inodes, sizes, times."""
    found = []
    for path, name in _walk(folder, Path()):
        status = path.stat()
        if not path.is_dir():
            found.append((str(name), status.st_ino, status.st_size, status.st_mtime_ns))
    return found
