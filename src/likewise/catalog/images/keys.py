"""Keys of pictures: the SHA-256 of their bytes. A key becomes a file's name, so nothing else may pass for one."""

import hashlib
import re

from likewise.catalog.images.picture_error import PictureError

KEY_PATTERN = r"[0-9a-f]{64}"
_KEY = re.compile(KEY_PATTERN)


def is_key(value: object) -> bool:
    """Whether a value, of whatever origin, is exactly 64 lower-case hexadecimal digits."""
    return isinstance(value, str) and _KEY.fullmatch(value) is not None


def check_key(key: str) -> str:
    """The key itself.

    Raises:
        PictureError: it is none.
    """
    if not is_key(key):
        raise PictureError(
            "malformed-source", f"a picture's key has 64 lower-case hexadecimal digits, unlike {key!r:.80}"
        )
    return key


def key_of(data: bytes) -> str:
    """The key of a picture file's bytes."""
    return hashlib.sha256(data).hexdigest()
