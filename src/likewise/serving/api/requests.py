"""Reading requests: JSON bodies and forms with uploaded pictures, checked before anything is computed."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile

from likewise.errors import UserError
from likewise.retrieval.hybrid import Hybrid
from likewise.retrieval.query import Query, build_query
from likewise.serving.api.problems import ProblemError, describe_first_error
from likewise.serving.api.schemas import (
    HybridSettings,
    SearchRequest,
    WeightedAudio,
    WeightedId,
    WeightedImage,
    WeightedText,
)
from likewise.serving.judging.collecting import PLAIN_TEXT
from likewise.serving.query_pictures import PictureSource, parse_picture, parse_recording
from likewise.serving.service import Limits

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
_MOST_UPLOADS = 16
_UNWATCHED = 0.05  # seconds
JSON, FORM = "application/json", "multipart/form-data"
SEARCH_PART = "query"  # of a form, as JSON


@dataclass(frozen=True)
class Form:
    """A form with a JSON part, pictures and recordings.

    Attributes:
        content: of the JSON part; None: it has none.
        pictures: the bytes of the files.
        recordings: the bytes of the files.
    """

    content: bytes | str | None
    pictures: list[bytes]
    recordings: list[bytes] = field(default_factory=list)


@dataclass(frozen=True)
class Uploads:
    """The files of a search."""

    pictures: tuple[PictureSource, ...] = ()
    recordings: tuple[bytes, ...] = ()


NO_UPLOADS = Uploads()


async def read_json(request: Request, model: type[M]) -> M:
    """The body of a request as a model.

    Raises:
        ProblemError: it is no JSON, or not what the model says.
    """
    kind = find_media_type(request, JSON)
    if kind != JSON:
        raise ProblemError(415, f"send {JSON} here, not {kind[:100]!r}")
    return parse_json(await request.body(), model.model_validate_json)


def find_media_type(request: Request, default: str = "") -> str:
    """The media type of a request's body, without its parameters."""
    return request.headers.get("content-type", default).partition(";")[0].strip().lower()


def parse_json(body: bytes | str, validate: Callable[[bytes | str], T]) -> T:
    """Parse JSON.

    Args:
        validate: parses and checks it, as `model_validate_json` of a model does.

    Raises:
        ProblemError: it is no JSON, or not what `validate` accepts.
    """
    try:
        return validate(body)
    except ValidationError as error:
        is_broken = error.errors()[0]["type"] == "json_invalid"
        raise ProblemError(400 if is_broken else 422, describe_first_error(error)) from None


async def read_form(request: Request, json_part: str, *, audio: bool = False) -> Form:
    """A form whose parts are JSON of this name and files named "image".

    Args:
        audio: files named "audio", too.

    Raises:
        ProblemError: it has other parts.
    """
    form = await request.form(max_files=_MOST_UPLOADS, max_fields=_MOST_UPLOADS, max_part_size=1_000_000)
    content: bytes | str | None = None
    files: dict[str, list[bytes]] = {"image": [], "audio": []} if audio else {"image": []}
    for name, part in form.multi_items():
        if isinstance(part, UploadFile) and name in files:
            files[name].append(await part.read())
        elif name == json_part:
            content = await part.read() if isinstance(part, UploadFile) else part
        else:
            named = " and ".join(f'"{file}"' for file in files)
            known = f'"{json_part}" (JSON) and {named} (files)'
            raise ProblemError(422, f"a form has the parts {known}, not {name[:100]!r}")
    return Form(content, files["image"], files.get("audio", []))


async def read_search(request: Request) -> tuple[SearchRequest, Uploads]:
    """A search as JSON, or as a form with a JSON part "query" and pictures and recordings as files.

    Returns:
        The search, and the uploaded files.
    """
    if find_media_type(request) != FORM:
        return await read_json(request, SearchRequest), Uploads()
    form = await read_form(request, SEARCH_PART, audio=True)
    asked = SearchRequest() if form.content is None else parse_json(form.content, SearchRequest.model_validate_json)
    return asked, Uploads(tuple(PictureSource(data=data) for data in form.pictures), tuple(form.recordings))


def note_texts(request: Request, *searches: SearchRequest) -> None:
    """Leave the words of searches where the request log finds them, which writes them only where it is asked to."""
    terms = [term for asked in searches for term in (*_terms(asked.text), *_terms(asked.minus))]
    request.scope.setdefault("state", {})["texts"] = [term[0] if isinstance(term, tuple) else term for term in terms]


def note_plain_text(request: Request, asked: SearchRequest, uploads: Uploads = NO_UPLOADS) -> None:
    """Leave the words of a search by words alone where `CollectQueries` finds them, which the operator may ask for."""
    match asked.text:
        case str(text) | [str(text)]:
            others = (asked.image, asked.audio, asked.like, asked.minus, *uploads.pictures, *uploads.recordings)
            if not any(others) and asked.offset == 0:
                request.scope.setdefault("state", {})[PLAIN_TEXT] = text


def build_search(asked: SearchRequest, limits: Limits, uploads: Uploads = NO_UPLOADS) -> Query:
    """The query of a request.

    Raises:
        UserError: a part makes no sense, or there is nothing to search for.
    """

    def picture(text: str) -> PictureSource:
        return parse_picture(text, allow_urls=limits.allow_urls, most_bytes=limits.image_bytes)

    def recording(text: str) -> bytes:
        return parse_recording(text, limits.audio_bytes)

    pictures: list[Any] = [*uploads.pictures, *(_parse(one, picture) for one in _terms(asked.image))]
    recordings: list[Any] = [*uploads.recordings, *(_parse(one, recording) for one in _terms(asked.audio))]
    if any(len(data) > limits.audio_bytes for data in uploads.recordings):
        raise UserError(f"a recording has at most {limits.audio_bytes:,} bytes")
    hybrid: bool | Hybrid = asked.hybrid if isinstance(asked.hybrid, bool) else _build_hybrid(asked.hybrid)
    return build_query(
        _terms(asked.text),
        image=pictures,
        audio=recordings,
        like=_terms(asked.like),
        minus=_terms(asked.minus),
        image_weight=asked.image_weight,
        where=asked.where,
        hybrid=hybrid,
        k=asked.k,
        offset=asked.offset,
        min_score=asked.min_score,
        group_by=asked.group_by,
        hide_duplicates=asked.hide_duplicates,
        diversity=asked.diversity,
        boost=asked.boost,
        facet=asked.facets,
        explain=asked.explain,
    )


def _build_hybrid(settings: HybridSettings) -> Hybrid:
    return Hybrid(settings.fusion, settings.words_weight, settings.correct)


def _terms(given: Any) -> list[Any]:
    several = given if isinstance(given, list) else [] if given is None else [given]
    return [_weighted(one) for one in several]


def _parse(one: Any, parse: Callable[[str], T]) -> T | tuple[T, float]:
    return (parse(one[0]), one[1]) if isinstance(one, tuple) else parse(one)


def _weighted(one: Any) -> Any:
    match one:
        case WeightedText(text=value, weight=weight):
            return value, weight
        case WeightedImage(image=value, weight=weight):
            return value, weight
        case WeightedAudio(audio=value, weight=weight):
            return value, weight
        case WeightedId(id=value, weight=weight):
            return value, weight
    return one


async def until_client_leaves(request: Request, work: Awaitable[T]) -> T:
    """The result of some work, which is cancelled when the client closes its connection.

    The body of the request must have been read. Work that is done soon is not watched, as tasks cost as much as it.

    Raises:
        ProblemError: the client has gone; nobody reads this.
    """
    loop = asyncio.get_running_loop()
    watch = _ClientWatch(request)
    timer = loop.call_later(_UNWATCHED, watch.begin)
    try:
        return await work
    except asyncio.CancelledError:
        if watch.takes_back():
            raise ProblemError(499, "the client has gone") from None
        raise
    finally:
        timer.cancel()
        watch.end()


class _ClientWatch:
    """Cancels the current task when the client of a request closes its connection."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._cancellations = self._task.cancelling()
        self._watching: asyncio.Task[None] | None = None
        self._has_left = False

    def begin(self) -> None:
        self._watching = asyncio.ensure_future(self._watch())

    def end(self) -> None:
        if self._watching is not None:
            self._watching.cancel()

    def takes_back(self) -> bool:
        """Take the cancellation of the task back, if it is this object's and nobody else wants it."""
        return self._has_left and self._task.uncancel() <= self._cancellations

    async def _watch(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self._has_left = True
        self._task.cancel()
