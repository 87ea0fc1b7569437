"""Writing items: one by its id, parts of one, many as JSON lines."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import polars as pl
from fastapi import APIRouter, Request
from pydantic import JsonValue, TypeAdapter
from starlette.responses import Response

from likewise.catalog.given_rows import clean_rows
from likewise.errors import UserError
from likewise.retrieval.items import UnknownItemError
from likewise.retrieval.writing import WrittenItems
from likewise.serving.api.answers import JsonAnswer, describe_body
from likewise.serving.api.items import ItemId, read_id
from likewise.serving.api.problems import ProblemError
from likewise.serving.api.requests import FORM, JSON, Form, find_media_type, parse_json, read_form
from likewise.serving.api.schemas import MOST_ROWS, BulkAnswer, WrittenAnswer
from likewise.serving.query_pictures import parse_picture, parse_recording
from likewise.serving.service import Limits, SearchService

_FORM_PART = "item"
_ROW: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])
_ITEM_SCHEMA = {
    "type": "object",
    "description": "columns of the index; image, and a column of recordings, is a data: URL or, where those are "
    "allowed, an http(s) URL, or a list",
    "additionalProperties": True,
    "examples": [{"title": "red circle shirt", "price": 12.5}],
}
_ITEM_BODY = describe_body(_ITEM_SCHEMA, json_part=_FORM_PART, files=("image", "audio"))
_LINES_BODY = {
    "requestBody": {
        "required": True,
        "description": f"JSON lines, at most {MOST_ROWS:,}, each an item with its id",
        "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
    }
}


@dataclass
class GivenItem:
    """An item as a client sends it.

    Attributes:
        cells: column → value; of its pictures and recordings only the addresses.
        pictures: bytes of those that came along; None: none were given.
        recordings: bytes of those that came along, by column.
    """

    cells: dict[str, Any]
    pictures: list[bytes] | None = None
    recordings: dict[str, list[bytes]] = field(default_factory=dict)


def item_write_routes(service: SearchService) -> APIRouter:
    """The routes that change the index."""
    router = APIRouter(prefix="/items", tags=["items"])

    @router.put(
        "/{id}",
        summary="Write an item, in place of the one that has this id",
        response_model=WrittenAnswer,
        responses={201: {"model": WrittenAnswer, "description": "the item is new"}},
        openapi_extra=_ITEM_BODY,
    )
    async def put_item(request: Request, id: ItemId) -> Response:
        name = read_new_id(id)
        given = await read_item(request, name, service.limits, service.index.recording_fields)
        written = await service.write(
            service.index.upsert,
            [given.cells],
            pictures={name: given.pictures} if given.pictures else {},
            recordings={name: given.recordings} if given.recordings else {},
            allow_urls=service.limits.allow_urls,
        )
        return _answer(name, written)

    @router.patch(
        "/{id}", summary="Change some columns of an item", response_model=WrittenAnswer, openapi_extra=_ITEM_BODY
    )
    async def patch_item(request: Request, id: ItemId) -> Response:
        name = read_new_id(id)
        given = await read_item(request, name, service.limits, service.index.recording_fields)
        changes = {column: value for column, value in given.cells.items() if column != "id"}
        written = await service.write(
            service.index.patch,
            name,
            changes,
            pictures=given.pictures,
            recordings=given.recordings,
            allow_urls=service.limits.allow_urls,
        )
        return _answer(name, written)

    @router.delete("/{id}", summary="Remove an item", status_code=204)
    async def delete_item(id: ItemId) -> Response:
        name = read_id(id)
        if not await service.write(service.index.delete, [name]):
            raise UnknownItemError(name)
        return Response(status_code=204)

    @router.post(
        "", summary="Write many items (JSON lines), all or none", response_model=BulkAnswer, openapi_extra=_LINES_BODY
    )
    async def put_items(request: Request) -> Response:
        kind = find_media_type(request)
        if kind not in ("application/x-ndjson", "application/jsonl", "application/x-jsonlines"):
            raise ProblemError(415, f"send application/x-ndjson here, one JSON object in a line, not {kind[:100]!r}")
        items = parse_lines(await request.body(), service.limits, service.index.recording_fields)
        pictures = {_clean_id(one.cells.get("id")): one.pictures for one in items if one.pictures}
        written = await service.write(
            service.index.upsert,
            [one.cells for one in items],
            pictures=pictures,
            recordings={_clean_id(one.cells.get("id")): one.recordings for one in items if one.recordings},
            allow_urls=service.limits.allow_urls,
        )
        return JsonAnswer({outcome: len(ids) for outcome, ids in asdict(written).items()})

    return router


def read_new_id(encoded: str) -> str:
    """The id in a path, of an item that is to be written.

    Raises:
        ProblemError: it is none, or would be kept as another one, under which nobody would look for it.
    """
    id = read_id(encoded)
    kept = _clean_id(id)
    if kept != id:
        raise ProblemError(422, f"an item cannot have the id {id[:100]!r}: it would be kept as {kept[:100]!r}")
    return id


def _clean_id(given: Any) -> str:
    """An id as the index keeps it."""
    (row,) = clean_rows([{"id": given}], {"id": pl.String()})
    return str(row["id"])


async def read_item(request: Request, id: str, limits: Limits, audible: Sequence[str] = ()) -> GivenItem:
    """The item in a request, as JSON or as a form with pictures and recordings.

    Args:
        audible: the columns of recordings, to the first of which the files of a form belong.

    Raises:
        ProblemError: it is none, or has another id.
    """
    kind = find_media_type(request, JSON)
    if kind == FORM:
        form = await read_form(request, _FORM_PART, audio=bool(audible))
    elif kind == JSON:
        form = Form(await request.body(), [])
    else:
        raise ProblemError(415, f"send {JSON} or a form here, not {kind[:100]!r}")
    given = _parse_item(b"{}" if form.content is None else form.content, limits, audible)
    if given.cells.setdefault("id", id) != id:
        raise ProblemError(422, "the id in the body is not the one in the path")
    if form.pictures:
        given.pictures = [*form.pictures, *(given.pictures or [])]
    if form.recordings:
        given.recordings[audible[0]] = [*form.recordings, *given.recordings.get(audible[0], [])]
    if any(len(data) > limits.audio_bytes for heard in given.recordings.values() for data in heard):
        raise ProblemError(422, f"a recording has at most {limits.audio_bytes:,} bytes")
    return given


def parse_lines(body: bytes, limits: Limits, audible: Sequence[str] = ()) -> list[GivenItem]:
    """The items of JSON lines; blank lines do not count.

    Raises:
        ProblemError: a line is no item; the message names it.
    """
    items: list[GivenItem] = []
    for number, line in enumerate(body.split(b"\n"), 1):
        if not line.strip():
            continue
        if len(items) == MOST_ROWS:
            raise ProblemError(413, f"at most {MOST_ROWS:,} items are written at once")
        try:
            items.append(_parse_item(line, limits, audible))
        except ProblemError as error:
            raise ProblemError(error.status, f"line {number}: {error.detail}") from None
        except UserError as error:
            raise ProblemError(422, f"line {number}: {error}") from None
    if not items:
        raise ProblemError(422, "there are no items: send one JSON object in each line")
    return items


def _parse_item(body: bytes | str, limits: Limits, audible: Sequence[str]) -> GivenItem:
    item = GivenItem(dict(parse_json(body, _ROW.validate_json)))
    if "image" in item.cells:
        inline = _take_inline(item.cells, "image", "picture")
        most = limits.image_bytes
        item.pictures = [parse_picture(one, allow_urls=False, most_bytes=most).data or b"" for one in inline]
    for column in audible:
        if column in item.cells:
            given = item.cells[column]
            inline = _take_inline(item.cells, column, "recording")
            if isinstance(given, str) and not inline:
                item.cells[column] = given
            if inline:
                item.recordings[column] = [parse_recording(one, limits.audio_bytes) for one in inline]
    return item


def _take_inline(cells: dict[str, Any], column: str, noun: str) -> list[str]:
    """The data: URLs in a cell, where only the other sources, in a list, stay; None stands for none."""
    given = cells[column]
    sources = given if isinstance(given, list) else [] if given is None else [given]
    if not all(isinstance(source, str) for source in sources):
        raise ProblemError(422, f"{column}: a {noun} is a data: URL or an http(s) URL")
    is_inline = [source[:5].lower() == "data:" for source in sources]
    cells[column] = [source for source, inline in zip(sources, is_inline, strict=True) if not inline] or None
    return [source for source, inline in zip(sources, is_inline, strict=True) if inline]


def _answer(id: str, written: WrittenItems) -> Response:
    result = next(outcome for outcome, ids in asdict(written).items() if id in ids)
    return JsonAnswer({"id": id, "result": result}, status_code=201 if result == "new" else 200)
