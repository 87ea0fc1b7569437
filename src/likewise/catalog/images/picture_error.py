"""Why a picture could not be used: one slug for each cause, and the error that carries it."""

from likewise.errors import UserError

# What each cause means, as the reports say it. A status that a server answered is counted as "http-404" and the like.
CAUSES: dict[str, str] = {
    "malformed-source": "cannot be read as a path or an address",
    "unknown-scheme": "is neither a path nor http(s), file or data",
    "network-path": "names a share of another machine",
    "outside-root": "lies outside the image root",
    "no-file": "names a file that does not exist",
    "not-a-file": "names a folder or a device instead of a file",
    "unreadable": "may not be read",
    "empty-file": "is empty",
    "not-a-picture": "is not a picture",
    "format-not-allowed": "has a format other than JPEG, PNG, WebP, GIF, BMP, TIFF and AVIF",
    "too-large": "has more bytes than allowed",
    "too-many-pixels": "has more pixels than allowed",
    "too-small": "is only a few pixels wide or high",
    "too-long": "is more than 250 times as long as it is wide",
    "truncated": "ends too early",
    "broken": "is damaged",
    "changed": "has other bytes than when it was last looked at",
    "damaged-copy": "was damaged in the cache and will be downloaded or read again by the next run",
    "address-refused": "leads to an address that pictures may not come from",
    "port-refused": "names a port that pictures do not come from",
    "host-not-found": "names a host that does not exist",
    "connection-failed": "lies on a host that could not be reached",
    "host-unreachable": "was not tried, because its host could not be reached several times in a row",
    "connection-broken": "came from a host that broke off or did not speak HTTP",
    "timeout": "took too long to download",
    "too-many-redirects": "was redirected too often",
    "insecure-redirect": "was redirected from https to http",
    "compressed-answer": "came compressed although it was asked for as it is",
}


class PictureError(UserError):
    """A picture cannot be used.

    Attributes:
        cause: the slug under which reports count it, one of `CAUSES` or "http-" and a status.
    """

    def __init__(self, cause: str, message: str = "") -> None:
        super().__init__(message or f"the picture {describe(cause)}")
        self.cause = cause


def describe(cause: str) -> str:
    """Say a cause as the end of a sentence that starts with "the picture"."""
    if cause.startswith("http-"):
        return f"was refused by its server with status {cause.removeprefix('http-')}"
    return CAUSES.get(cause, "cannot be used")
