"""Pictures and recordings that come with a request: bytes, or an http(s) URL of a picture where that is allowed."""

import base64
import binascii
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from PIL import Image

from likewise.catalog.audio.decode import Sound
from likewise.catalog.audio.decode import decode_bytes as decode_recording
from likewise.catalog.images.decode import decode_bytes
from likewise.catalog.images.download import download
from likewise.catalog.images.picture import PictureError, compute_key
from likewise.catalog.images.sources import normalize_url
from likewise.config import ImageSettings
from likewise.encoders.sounds import LONGEST_SECONDS
from likewise.errors import UserError
from likewise.retrieval.query_vector import QUERY_SIDE


@dataclass(frozen=True)
class PictureSource:
    """The bytes of a picture, or the URL that they are to be downloaded from."""

    data: bytes | None = None
    url: str | None = None


def names_url(text: str) -> bool:
    """Whether a client names a picture by an http(s) URL."""
    return text[:8].lower().startswith(("http://", "https://"))


def parse_picture(text: str, *, allow_urls: bool, most_bytes: int) -> PictureSource:
    """Read what a client calls a picture: base64, a `data:` URL, or an http(s) URL.

    Raises:
        UserError: it is none of them, is too large, or URLs are not allowed here.
        PictureError: it is no URL that anything could be fetched from.
    """
    if names_url(text):
        if not allow_urls:
            raise UserError("pictures are not fetched from URLs here: send the picture itself (base64)")
        return PictureSource(url=normalize_url(text))
    return PictureSource(data=_decode(text, "picture", most_bytes))


def parse_recording(text: str, most_bytes: int) -> bytes:
    """Read what a client calls a recording: base64, or a `data:` URL.

    Raises:
        UserError: it is neither, or is too large.
    """
    if names_url(text):
        raise UserError("recordings are not fetched from URLs: send the recording itself (base64)")
    return _decode(text, "recording", most_bytes)


def _decode(text: str, noun: str, most_bytes: int) -> bytes:
    if len(text) > 4 * most_bytes // 3 + 1_000:
        raise UserError(f"a {noun} has at most {most_bytes:,} bytes")
    head, comma, rest = text.partition(",")
    is_data = head[:5].lower() == "data:"
    if is_data and not comma:
        raise UserError(f"the data: URL of the {noun} has no comma")
    encoded = rest if is_data else text
    try:
        if is_data and not head.lower().endswith(";base64"):
            data = unquote_to_bytes(encoded)
        else:
            data = base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError):
        raise UserError(f"a {noun} is base64, or a data: URL") from None
    if not data:
        raise UserError(f"the {noun} is empty")
    if len(data) > most_bytes:
        raise UserError(f"a {noun} has at most {most_bytes:,} bytes, not {len(data):,}")
    return data


def decode_query_recording(data: bytes) -> Sound:
    """Decode the part of a recording that an encoder reads.

    Raises:
        AudioError: it cannot be decoded; the message says why.
    """
    return decode_recording(data, LONGEST_SECONDS)


def decode_query_picture(data: bytes, most_pixels: int) -> Image.Image:
    """Decode a picture.

    Raises:
        PictureError: it cannot be decoded; the message says why.
    """
    return decode_bytes(data, minimum_side=QUERY_SIDE, max_pixels=most_pixels)


def fetch_picture(url: str, most_bytes: int, seconds: float) -> bytes:
    """Download one picture under the rules for strangers' URLs: public hosts only, within limits.

    Raises:
        PictureError: it cannot be fetched; the message says why.
    """
    kept: list[bytes] = []

    def keep(data: bytes) -> tuple[str, int]:
        kept.append(data)
        return compute_key(data), 0

    settings = ImageSettings(retries=0, timeout=seconds, max_bytes=most_bytes)
    (result,) = list(download([url], settings, keep))
    if result.cause is not None or not kept:
        raise PictureError(result.cause or "broken")
    return kept[0]
