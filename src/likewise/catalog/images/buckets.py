"""Objects in buckets (s3://, gs://) and in repositories of Hugging Face (hf://), read through fsspec.

Credentials, endpoints and regions are what each library finds in the environment or the user's own files; an address
with credentials in it is refused, so that none reach a run.
"""

import asyncio
import posixpath
import re
from functools import cache
from typing import Any

from likewise.catalog.images.picture import PictureError
from likewise.errors import MissingExtraError, UserError

BUCKET_SCHEMES = ("s3", "gs", "hf")
_URL = re.compile(r"(s3|gs|hf)://(.*)", re.IGNORECASE | re.DOTALL)
_LONGEST_URL = 2048
_MOST_CATALOG_BYTES = 4_000_000_000
_SECONDS_TO_CONNECT = 5
_SECONDS_TO_ANSWER = 600  # for the whole of a catalogue; a picture has the time that its settings give it
_REFUSED = ("PermissionDeniedError", "UnauthenticatedError", "GatedRepoError")
_MISSING = ("NotFoundError", "RepositoryNotFoundError", "EntryNotFoundError", "RevisionNotFoundError")


def is_bucket_url(text: str) -> bool:
    """Whether a text starts with the scheme of a bucket."""
    return _URL.match(text.lstrip()[:8]) is not None


def normalize_bucket_url(text: str) -> str:
    """The address of an object in its normal form.

    Raises:
        PictureError: "malformed-source": it names no object, leads out of its bucket, or holds credentials or another
            address.
    """
    match = _URL.fullmatch(text.strip())
    if match is None or len(text) > _LONGEST_URL:
        raise PictureError("malformed-source")
    bucket, slash, key = match[2].partition("/")
    parts = key.split("/")
    has_control = any(ord(letter) < 32 or ord(letter) == 127 for letter in match[2])
    if not bucket or not slash or not key or key.endswith("/") or ".." in parts or has_control:
        raise PictureError("malformed-source")
    if "@" in bucket or ":" in bucket or "::" in key:  # credentials, a port, a chain of file systems
        raise PictureError("malformed-source")
    return f"{match[1].lower()}://{bucket}/{key}"


def join_bucket_url(base: str, path: str) -> str:
    """The address that a relative path leads to from the folder of another object, within its bucket.

    Raises:
        PictureError: "outside-root" for a path of a machine, or one that leads out of the bucket.
    """
    scheme, _, place = base.partition("://")
    bucket, _, folder = place.partition("/")
    plain = path.replace("\\", "/")
    if plain.startswith("/") or re.match(r"[A-Za-z]:/", plain):
        raise PictureError("outside-root")
    key = posixpath.normpath(posixpath.join(folder, plain))
    if key.startswith(".."):
        raise PictureError("outside-root")
    return normalize_bucket_url(f"{scheme}://{bucket}/{key}")


def parent_url(url: str) -> str:
    """The address of the folder that an object lies in."""
    return url.rpartition("/")[0]


def parse_catalog_url(text: str, allowed: bool) -> str:
    """The normal form of a catalogue's address.

    Raises:
        UserError: it cannot be read as one, or buckets are not allowed.
    """
    try:
        url = normalize_bucket_url(text)
    except PictureError:
        scheme = text.partition(":")[0]
        raise UserError(
            f"a catalogue in a bucket is named as {scheme}://bucket/products.csv: a folder, several addresses or "
            "credentials cannot stand there; credentials come from the environment"
        ) from None
    if not allowed:
        raise UserError(f"{url} lies in a bucket: allow that with --allow-buckets (in Python: allow_buckets=True)")
    return url


def read_catalog(url: str) -> bytes:
    """The bytes of a catalogue's file.

    Raises:
        UserError: there is no such object, it may not be read, or the library for it is not installed.
    """
    try:
        scheme, _, place = url.partition("://")
        data = _read_start(open_bucket(scheme), place, _MOST_CATALOG_BYTES + 1)
    except UserError:
        raise
    except Exception as error:  # each library has its own
        raise UserError(f"cannot read {url}: {_explain(error)}") from None
    if len(data) > _MOST_CATALOG_BYTES:
        raise UserError(f"{url} has more than {_MOST_CATALOG_BYTES / 1e9:,.0f} GB: split it")
    return data


@cache
def open_bucket(scheme: str) -> Any:
    """The fsspec file system for a scheme.

    Raises:
        MissingExtraError: the library for it is not installed.
    """
    if scheme == "hf":
        from huggingface_hub import HfFileSystem

        return HfFileSystem(use_listings_cache=False)
    try:
        from obstore.fsspec import FsspecStore
    except ImportError:
        raise MissingExtraError("obstore", "buckets") from None
    options = {
        "allow_http": True,  # for an endpoint that the user's environment names so; all others are https
        "connect_timeout": f"{_SECONDS_TO_CONNECT}s",
        "timeout": f"{_SECONDS_TO_ANSWER}s",
    }
    return FsspecStore(scheme, client_options=options, retry_config={"max_retries": 1}, skip_instance_cache=True)


async def read_object(url: str, max_bytes: int) -> bytes:
    """The bytes of an object; at most one more than `max_bytes` are read.

    Raises:
        PictureError: "no-object", "bucket-refused", "too-large" or "empty-file".
        Exception: whatever else the library raises, such as a connection that fails.
    """
    scheme, _, place = url.partition("://")
    files = open_bucket(scheme)
    try:
        if files.async_impl:  # its coroutines belong to the loop of fsspec
            task = asyncio.run_coroutine_threadsafe(files._cat_file(place, start=0, end=max_bytes + 1), files.loop)
            data: bytes = await asyncio.wrap_future(task)
        else:
            data = await asyncio.to_thread(_read_start, files, place, max_bytes + 1)
    except Exception as error:
        cause = find_cause(error)
        if cause is None:
            raise
        raise PictureError(cause) from None
    if len(data) > max_bytes:
        raise PictureError("too-large")
    if not data:
        raise PictureError("empty-file")
    return data


def _read_start(files: Any, place: str, size: int) -> bytes:
    """The first bytes of an object, at most `size` of them."""
    repository = files.resolve_path(place) if files.protocol == "hf" else None
    if repository is None or not hasattr(repository, "path_in_repo"):
        data: bytes = files.cat_file(place, start=0, end=size)
        return data
    return _read_repository(files, repository, size)


def _read_repository(files: Any, repository: Any, size: int) -> bytes:
    """The first bytes of a file in a repository of Hugging Face, by one request.

    `HfFileSystem.cat_file` lists the file's folder first, twice: 10,000 pictures would cost 20,000 such listings.
    """
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    url = hf_hub_url(
        repository.repo_id,
        repository.path_in_repo,
        repo_type=repository.repo_type,
        revision=repository.revision,
        endpoint=files.endpoint,
    )
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    data = bytearray()
    with get_session().stream("GET", url, headers=build_hf_headers(), timeout=timeout) as response:
        hf_raise_for_status(response)
        for part in response.iter_bytes():
            data += part
            if len(data) >= size:
                break
    return bytes(data[:size])


def _explain(error: Exception) -> str:
    if "RepositoryNotFoundError" in (type(error).__name__, type(error.__cause__).__name__):  # it does not say which
        return "there is no such repository, or the token of the environment (HF_TOKEN) does not open it"
    match find_cause(error):
        case "no-object":
            return "there is no such object"
        case "bucket-refused":
            return "it may not be read with the credentials of the environment"
        case _:
            return (str(error).splitlines() or [type(error).__name__])[0][:200]


def find_cause(error: Exception) -> str | None:
    """The cause behind what a file system raises; None where another attempt may succeed."""
    names = [ancestor.__name__ for ancestor in type(error).__mro__]
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, PermissionError) or status == 403 or any(name in _REFUSED for name in names):
        return "bucket-refused"
    if isinstance(error, FileNotFoundError | IsADirectoryError) or any(name in _MISSING for name in names):
        return "no-object"
    return "empty-file" if "416" in str(error) or "InvalidRange" in str(error) else None
