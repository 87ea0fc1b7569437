"""A recording on this machine, and the error of one that cannot be used."""

from dataclasses import dataclass
from pathlib import Path

from likewise.catalog.images.picture import SourceError, check_key
from likewise.catalog.report import describe_audio_cause


@dataclass(frozen=True)
class Recording:
    """A recording on this machine.

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


class AudioError(SourceError):
    """A recording cannot be used.

    Attributes:
        cause: one of `AUDIO_CAUSES` or "http-" and a status; reports put "audio-" before it.
    """

    def __init__(self, cause: str, message: str = "") -> None:
        super().__init__(cause, message or f"the recording {describe_audio_cause(cause)}")
