"""A picture on this machine, its key, and the error of one that cannot be used."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from likewise.catalog.report import describe_picture_cause
from likewise.errors import UserError

KEY_PATTERN = r"[0-9a-f]{64}"
_KEY = re.compile(KEY_PATTERN)


@dataclass(frozen=True)
class FoundFile:
    """A checked file on this machine that a catalogue names.

    Attributes:
        key: SHA-256 of the file's bytes in hexadecimal digits.
        path: the user's own file, or the copy in the download cache.

    Raises:
        PictureError: the key is not valid.
    """

    key: str
    path: Path

    def __post_init__(self) -> None:
        check_key(self.key)


class Picture(FoundFile):
    """A picture on this machine."""


class SourceError(UserError):
    """A file that a catalogue names cannot be used.

    Attributes:
        cause: the slug under which reports count it.
    """

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class PictureError(SourceError):
    """A picture cannot be used.

    Attributes:
        cause: one of `PICTURE_CAUSES` or "http-" and a status.
    """

    def __init__(self, cause: str, message: str = "") -> None:
        super().__init__(cause, message or f"the picture {describe_picture_cause(cause)}")


def is_key(value: object) -> bool:
    """Whether a value of any type is a string of exactly 64 lower-case hexadecimal digits."""
    return isinstance(value, str) and _KEY.fullmatch(value) is not None


def check_key(key: str) -> str:
    """Return the key if it is valid.

    Raises:
        PictureError: it is not.
    """
    if not is_key(key):
        raise PictureError(
            "malformed-source", f"a picture's key has 64 lower-case hexadecimal digits, unlike {key!r:.80}"
        )
    return key


def compute_key(data: bytes) -> str:
    """Compute the key of a picture file's bytes."""
    return hashlib.sha256(data).hexdigest()
