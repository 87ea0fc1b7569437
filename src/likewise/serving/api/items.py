"""Items: reading one, those like it, its thumbnail, its recordings."""

from os import PathLike
from typing import Annotated
from urllib.parse import unquote

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import FileResponse, Response

from likewise.catalog.images.picture import FoundFile
from likewise.serving.api.answers import JsonAnswer, describe_item
from likewise.serving.api.problems import ProblemError, describe_problems
from likewise.serving.api.requests import build_search, until_client_leaves
from likewise.serving.api.schemas import (
    LONGEST_FILTER,
    LONGEST_ID,
    MOST_HITS,
    MOST_OFFSET,
    ItemAnswer,
    SearchAnswer,
    SearchRequest,
)
from likewise.serving.api.search import describe_hits
from likewise.serving.service import SearchService

# A percent-encoded id keeps its slashes: see `KeepItemIds` in app.py.
ItemId = Annotated[str, Path(min_length=1, max_length=3 * LONGEST_ID, description="id of an item, percent-encoded")]


def item_routes(service: SearchService) -> APIRouter:
    """The routes that read items."""
    router = APIRouter(prefix="/items", tags=["items"], responses=describe_problems(404))

    @router.get("/{id}", summary="One item", response_model=ItemAnswer)
    async def read_item(id: ItemId) -> Response:
        item = await service.run(service.index.item, read_id(id))
        return JsonAnswer({"id": item.id, **describe_item(item)})

    @router.get("/{id}/similar", summary="Items like another one", response_model=SearchAnswer)
    async def find_similar(
        request: Request,
        id: ItemId,
        k: Annotated[int, Query(ge=1, le=MOST_HITS, description="number of hits")] = 10,
        offset: Annotated[int, Query(ge=0, le=MOST_OFFSET, description="number of hits to skip")] = 0,
        where: Annotated[str | None, Query(max_length=LONGEST_FILTER, description="filter")] = None,
    ) -> Response:
        asked = SearchRequest(like=read_id(id), k=k, offset=offset, where=where)
        hits = await until_client_leaves(request, service.search(build_search(asked, service.limits)))
        return JsonAnswer(describe_hits(service, hits, None))

    @router.get(
        "/{id}/thumbnail",
        summary="A small picture of an item (JPEG)",
        response_class=Response,
        responses={200: {"content": {"image/jpeg": {}}}},
    )
    async def read_thumbnail(id: ItemId) -> Response:
        found = await service.run(service.find_thumbnail, read_id(id))
        if found is None:
            raise ProblemError(404, "this item has no picture")
        return _answer_file(*found, "image/jpeg")

    @router.get(
        "/{id}/recording",
        summary="The beginning of an item's recording (WAV)",
        response_class=Response,
        responses={200: {"content": {"audio/wav": {}}}},
    )
    async def read_recording(
        id: ItemId,
        recording: Annotated[
            str | None, Query(max_length=64, description="key of one of its recordings; omit it for the first one")
        ] = None,
    ) -> Response:
        found = await service.run(service.find_recording, read_id(id), recording)
        if found is None:
            raise ProblemError(404, "this item has no such recording" if recording else "this item has no recording")
        return _answer_file(*found, "audio/wav")

    return router


def _answer_file(original: FoundFile, path: PathLike[str], kind: str) -> Response:
    """A file that was made of an item's picture or recording; browsers keep it for a day."""
    headers = {"Cache-Control": "private, max-age=86400", "ETag": f'"{original.key}"'}
    return FileResponse(path, media_type=kind, headers=headers)


def read_id(encoded: str) -> str:
    """The id in a path.

    Raises:
        ProblemError: it is none.
    """
    try:
        id = unquote(encoded, errors="strict")
    except UnicodeDecodeError:
        raise ProblemError(404, "an item's id is UTF-8, percent-encoded") from None
    if not id or len(id) > LONGEST_ID:
        raise ProblemError(404, f"an item's id has 1 to {LONGEST_ID:,} characters")
    return id
