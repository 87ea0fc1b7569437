"""Store of judgements: a file of JSON lines that only grows, and that several processes write to.

A judgement is on the disk when `add` returns. Writers take turns by a lock file, and each first reads what the others
have added. What a writer that was killed left behind is cut off by the next one, with a warning.
"""

import hashlib
import json
import logging
import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

from likewise.catalog.text import normalize_text
from likewise.errors import UserError
from likewise.evaluation.judgments.judgement_log import Key, LoggedJudgement, parse_line, split_lines
from likewise.files import cannot_write, hold_lock, lies_within, make_folder, prepare_file, reason, sync, write_file

log = logging.getLogger(__name__)

MOST_BYTES = 50_000_000  # of the file: some 200,000 judgements, which every worker keeps in memory
MOST_PICTURES = 10_000


class StoreFullError(UserError):
    """There is no room for another judgement."""


class JudgementStore:
    """Judgements in a file, with the pictures of their queries in a folder beside it.

    Args:
        path: ends in .jsonl; it is made if it does not exist.

    Raises:
        UserError: it cannot be written, is too large, or a line is no judgement.
    """

    def __init__(self, path: Path, *, most_bytes: int = MOST_BYTES, most_pictures: int = MOST_PICTURES) -> None:
        if path.suffix.lower() != ".jsonl":
            raise UserError(f"judgements are kept in a file that ends in .jsonl, unlike {path}")
        self.path = path
        self.pictures = path.with_name(f"{path.stem}-pictures")
        self._most_bytes = most_bytes
        self._most_pictures = most_pictures
        self._lock = path.with_name(f".{path.name}.lock")
        self._mutex = threading.Lock()
        self._kept: dict[str, LoggedJudgement] = {}
        self._texts: Counter[str] = Counter()  # judgements of each query that is words alone
        self._read = 0  # bytes of the file that are in memory
        self._lines = 0
        self._file: tuple[int, int] | None = None
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise UserError(f"{path} is no plain file: name another one with --judgements")
        prepare_file(path)
        with self._writing():
            pass

    def __len__(self) -> int:
        """How many judgements count."""
        with self._mutex:
            self._catch_up()
            return len(self._kept)

    def all(self) -> list[tuple[str, LoggedJudgement]]:
        """The judgements that count with their names, in the order in which they were first made."""
        with self._mutex:
            self._catch_up()
            return list(self._kept.items())

    def judged_texts(self) -> set[str]:
        """The words, normalised, of the queries that have a judgement."""
        with self._mutex:
            self._catch_up()
            return {text for text, count in self._texts.items() if count > 0}

    def add(
        self,
        text: str | None,
        picture: bytes | None,
        item: str,
        relevance: float,
        *,
        judge: str | None = None,
        note: str | None = None,
    ) -> tuple[str, int]:
        """Keep a judgement, in place of what the judge has said before of this item for this query.

        Args:
            picture: of the query, as a JPEG.

        Returns:
            The name of the judgement, and how many there are.

        Raises:
            StoreFullError: there is no room for it.
            UserError: it cannot be written.
        """
        image = None
        if picture is not None:
            image = f"{self.pictures.name}/{hashlib.sha256(picture).hexdigest()}.jpg"
        judged = LoggedJudgement(text, image, item, relevance, _now(), judge, note)
        with self._writing() as file:
            self._check_room(judged)
            if picture is not None and image is not None:
                self._keep_picture(self.path.parent / image, picture)
            self._append(file, judged)
            return name_of(judged.key), len(self._kept)

    def remove(self, name: str) -> bool:
        """Withdraw a judgement; false if there is none of this name.

        Raises:
            UserError: it cannot be written.
        """
        with self._writing() as file:
            found = self._kept.get(name)
            if found is None:
                return False
            withdrawn = LoggedJudgement(found.text, found.image, found.item, None, _now(), found.judge)
            self._append(file, withdrawn)
            return True

    @contextmanager
    def _writing(self) -> Iterator[FileIO]:
        """Be the only one that writes; yields the open file, of which everything is in memory."""
        with self._mutex, hold_lock(self._lock):
            is_new = not self.path.exists()
            try:
                with self.path.open("a+b", buffering=0) as file:
                    if is_new:
                        sync(self.path.parent)
                    self._mend_end(file)
                    self._catch_up()
                    yield file
            except OSError as error:
                raise cannot_write(self.path, error) from None

    def _mend_end(self, file: FileIO) -> None:
        """Cut off half of a line, or give a whole one its line feed."""
        size = file.seek(0, os.SEEK_END)
        self._check_size(size)
        if not size:
            return
        file.seek(size - 1)
        if file.read(1) == b"\n":
            return
        file.seek(0)
        _, tail = split_lines(file.readall() or b"")
        if tail:
            log.warning("%s ended with half of a line, of %d bytes, which is cut off", self.path, len(tail))
            file.truncate(size - len(tail))
        else:
            file.write(b"\n")
        os.fsync(file.fileno())

    def _catch_up(self) -> None:
        """Read what others have written since."""
        try:
            with self.path.open("rb") as file:
                found = os.fstat(file.fileno())
                if (found.st_dev, found.st_ino) != self._file or found.st_size < self._read:
                    self._forget()  # another file, or one that somebody has edited
                    self._file = found.st_dev, found.st_ino
                self._check_size(found.st_size)
                if found.st_size == self._read:
                    return
                file.seek(self._read)
                data = file.read(found.st_size - self._read)
        except FileNotFoundError:
            self._forget()
            return
        except OSError as error:
            raise UserError(f"cannot read the judgements in {self.path}: {reason(error)}") from None
        *lines, tail = data.split(b"\n")
        numbered = enumerate(lines, self._lines + 1)
        added = [parse_line(line, f"{self.path}, line {number}") for number, line in numbered if line.strip()]
        for judged in added:
            self._keep(judged)
        self._lines += len(lines)
        self._read += len(data) - len(tail)

    def _forget(self) -> None:
        self._kept, self._texts, self._read, self._lines, self._file = {}, Counter(), 0, 0, None

    def _check_size(self, size: int) -> None:
        if size > self._most_bytes:
            raise StoreFullError(
                f"{self.path.name} has more than {self._most_bytes:,} bytes: move it away, or name another file with"
                " --judgements"
            )

    def _check_room(self, judged: LoggedJudgement) -> None:
        if self._read + len(judged.to_line()) > self._most_bytes:
            raise StoreFullError(
                f"{self.path.name} is full, with {self._most_bytes:,} bytes: move it away, or name another file with"
                " --judgements"
            )

    def _keep_picture(self, path: Path, picture: bytes) -> None:
        if path.exists():
            return
        make_folder(self.pictures)
        if not lies_within(self.pictures, self.path.parent):
            raise UserError(f"{self.pictures} is a link to elsewhere: pictures are kept beside the judgements")
        if sum(1 for _ in self.pictures.iterdir()) >= self._most_pictures:
            raise StoreFullError(
                f"{self.pictures.name} is full, with {self._most_pictures:,} pictures: name another file with"
                " --judgements"
            )
        write_file(path, picture)

    def _append(self, file: FileIO, judged: LoggedJudgement) -> None:
        """Write a line to its end and to the disk, or not at all."""
        line = judged.to_line()
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                file.truncate(self._read)
            raise
        self._lines += 1
        self._read += len(line)
        self._keep(judged)

    def _keep(self, judged: LoggedJudgement) -> None:
        name = name_of(judged.key)
        before = self._kept.pop(name, None) if judged.relevance is None else self._kept.get(name)
        if judged.relevance is not None:
            self._kept[name] = judged
        if judged.text is not None and judged.image is None and (before is None) == (judged.relevance is not None):
            self._texts[normalize_text(judged.text) or ""] += 1 if before is None else -1


def name_of(key: Key) -> str:
    """A short name for a query, an item and a judge: the first 32 digits of a SHA-256."""
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
