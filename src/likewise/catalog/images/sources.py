"""Parser of picture sources: a local file, a URL, or a `data:` URI."""

import base64
import binascii
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import httpx
import numpy as np

from likewise.catalog.images.buckets import BUCKET_SCHEMES, is_bucket_url, join_bucket_url, normalize_bucket_url
from likewise.catalog.images.decode import LONGEST_PATH
from likewise.catalog.images.picture import PictureError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):")  # two letters at least: one is a Windows drive
_HOST_WITHOUT_SCHEME = re.compile(r"//[^/\\]+\.[^/\\]+")  # "//cdn.example.com/a.jpg", as copied from web pages
_LONGEST_ADDRESS = 8192
_URI_HEAD = 1024  # characters of a `data:` URI before its comma, and of line breaks in a short one
_BLANKS = b" \t\n\r\v\f"
_BASE64URL = bytes.maketrans(b"-_", b"+/")
_DIGITS = np.full(256, 255, np.uint8)  # byte of a hexadecimal digit → its value
_DIGITS[list(b"0123456789abcdefABCDEF")] = [*range(10), *range(10, 16), *range(10, 16)]
_PART = 1 << 20  # bytes that are decoded at once


@dataclass(frozen=True)
class LocalFile:
    """A file on this machine."""

    path: Path


@dataclass(frozen=True)
class WebAddress:
    """An http(s) URL in its normal form, without user, password and fragment."""

    url: str


@dataclass(frozen=True)
class InlinePicture:
    """The bytes of a picture, from a `data:` URI."""

    data: bytes


@dataclass(frozen=True)
class BucketObject:
    """An object in a bucket, or a file in a repository of Hugging Face, by its address in its normal form."""

    url: str


Source = LocalFile | WebAddress | BucketObject | InlinePicture


def parse_source(text: str, *, base: Path | str, root: Path | None, max_bytes: int) -> Source:
    """Parse a source; nothing is opened.

    Args:
        text: a path, or a URI with the scheme file, http, https, data, s3, gs or hf.
        base: the folder that relative paths start from, or its address in a bucket, which no path leads out of.
        root: local files must lie below this folder, symbolic links resolved; None: anywhere.
        max_bytes: the most that a `data:` URI may hold.

    Raises:
        PictureError: the cell cannot be read, or names a place that pictures may not come from.
    """
    if len(text) > max(compute_longest_source(max_bytes), LONGEST_PATH):
        raise PictureError("too-large")
    text = text.strip()
    match = _SCHEME.match(text[:100])
    scheme = match[1].lower() if match else ""
    if scheme == "data":
        return InlinePicture(decode_data_uri(text, max_bytes))
    if scheme in ("http", "https"):
        return WebAddress(normalize_url(text))
    if len(text) > LONGEST_PATH:
        raise PictureError("malformed-source")
    if scheme in BUCKET_SCHEMES and is_bucket_url(text):
        return BucketObject(normalize_bucket_url(text))
    if _HOST_WITHOUT_SCHEME.match(text):
        return WebAddress(normalize_url(f"https:{text}"))
    if isinstance(base, str):
        if scheme:
            raise PictureError("outside-root" if scheme == "file" else "unknown-scheme")
        return BucketObject(join_bucket_url(base, text))
    try:
        path = base / _parse_file_uri(text) if scheme == "file" else _find_file(base, text)
        if scheme not in ("", "file") and not path.exists():
            raise PictureError("unknown-scheme")
        return LocalFile(_confine(path, root))
    except (ValueError, OSError):  # a NUL byte, a name that is too long, a loop of links
        raise PictureError("malformed-source") from None


def compute_longest_source(max_bytes: int) -> int:
    """The length of a percent-encoded `data:` URI of `max_bytes`, the longest possible source."""
    return 3 * max_bytes + _URI_HEAD


def normalize_url(text: str) -> str:
    """Normalise an http(s) URL, so that the cache recognises it.

    Raises:
        PictureError: "malformed-source" or "unknown-scheme".
    """
    if len(text) > _LONGEST_ADDRESS:
        raise PictureError("malformed-source")
    try:
        url = httpx.URL(text.replace("\\", "/"))
        if url.scheme not in ("http", "https"):
            raise PictureError("unknown-scheme")
        if not url.host or (url.port is not None and not 0 < url.port < 65536):
            raise PictureError("malformed-source")
        return str(url.copy_with(userinfo=b"", fragment=None))
    except (httpx.InvalidURL, ValueError, UnicodeError):
        raise PictureError("malformed-source") from None


def decode_data_uri(text: str, max_bytes: int) -> bytes:
    """Decode a `data:` URI, base64 or percent-encoded. Its media type is ignored; the bytes decide.

    Raises:
        PictureError: "malformed-source", "too-large" or "empty-file".
    """
    comma = text.find(",", 0, _URI_HEAD)
    if comma < 0:
        raise PictureError("malformed-source")
    is_base64 = text[:comma].lower().rstrip().endswith(";base64")
    # Base64 takes four characters for three bytes; the rest is for line breaks, and a "+" that is written as "%2B".
    if len(text) > (2 * max_bytes + _URI_HEAD if is_base64 else compute_longest_source(max_bytes)):
        raise PictureError("too-large")
    data = _decode_percent(text[comma + 1 :].encode("utf-8", "surrogatepass"))
    if is_base64:
        data = data.translate(_BASE64URL, delete=_BLANKS)
        if len(data) > 4 * (max_bytes // 3 + 1):
            raise PictureError("too-large")
        try:
            data = base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
        except binascii.Error:
            raise PictureError("malformed-source") from None
    if len(data) > max_bytes:
        raise PictureError("too-large")
    if not data:
        raise PictureError("empty-file")
    return data


def _decode_percent(data: bytes) -> bytes:
    """The bytes that percent-encoded ones stand for, decoded part by part in memory of the order of the data."""
    if b"%" not in data:
        return data
    decoded = bytearray()
    start = 0
    while start < len(data):
        end = start + _PART
        escape = data.find(b"%", end - 2, end)
        end = end if escape < 0 else escape  # an escape is not cut in two
        values = np.frombuffer(data, np.uint8, min(end, len(data)) - start, start)
        high, low = _DIGITS[values[1:-1]], _DIGITS[values[2:]]
        escapes = np.flatnonzero((values[:-2] == ord("%")) & (high < 16) & (low < 16))
        plain = values.copy()
        kept = np.ones(len(values), bool)
        plain[escapes] = high[escapes] << 4 | low[escapes]
        kept[escapes + 1] = kept[escapes + 2] = False
        decoded += plain[kept].tobytes()
        start = end
    return bytes(decoded)


def _parse_file_uri(text: str) -> str:
    parts = urlsplit(text)
    if parts.netloc.lower() not in ("", "localhost"):
        raise PictureError("network-path")
    return url2pathname(parts.path)


def _find_file(base: Path, text: str) -> Path:
    """The path as written; if there is no such file, as Windows or a web page would have written it."""
    if text.startswith("\\\\"):
        raise PictureError("network-path")
    path = base / text
    if ("\\" in text or "%" in text) and not path.exists():
        for other in (text.replace("\\", "/"), unquote(text), unquote(text.replace("\\", "/"))):
            if (base / other).exists():
                return base / other
    return path


def _confine(path: Path, root: Path | None) -> Path:
    if "\0" in str(path):
        raise PictureError("malformed-source")
    if path.drive.startswith("\\\\"):
        raise PictureError("network-path")
    if root is None:
        return path.absolute()
    resolved = Path(os.path.realpath(path))  # unlike Path.resolve, it leaves a loop of links to whoever opens it
    if not resolved.is_relative_to(os.path.realpath(root)):
        raise PictureError("outside-root")
    return resolved
