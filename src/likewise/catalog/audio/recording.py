"""A recording on this machine, and the error of one that cannot be used."""

from likewise.catalog.images.picture import FoundFile, SourceError
from likewise.catalog.report import describe_audio_cause


class Recording(FoundFile):
    """A recording on this machine."""


class AudioError(SourceError):
    """A recording cannot be used.

    Attributes:
        cause: one of `AUDIO_CAUSES` or "http-" and a status; reports put "audio-" before it.
    """

    def __init__(self, cause: str, message: str = "") -> None:
        super().__init__(cause, message or f"the recording {describe_audio_cause(cause)}")
