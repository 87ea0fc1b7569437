"""Judging hits: saying whether an item answers a query, taking that back, and finding what is still to be judged."""

import io
import logging
from collections.abc import Awaitable
from dataclasses import asdict
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path, Query, Request
from PIL import Image
from starlette.responses import Response

from likewise.errors import UserError
from likewise.serving.api.answers import JsonAnswer, json_body
from likewise.serving.api.judgement_schemas import (
    MOST_LISTED,
    JudgementAnswer,
    JudgementRequest,
    JudgementsAnswer,
    QueriesToJudgeAnswer,
)
from likewise.serving.api.problems import ProblemError, describe_problems
from likewise.serving.api.requests import read_json
from likewise.serving.api.schemas import LONGEST_TEXT
from likewise.serving.judging.judging import Judging
from likewise.serving.judging.store import JudgementStore, StoreFullError
from likewise.serving.query_pictures import parse_picture
from likewise.serving.service import SearchService

T = TypeVar("T")

log = logging.getLogger(__name__)

_SIDE = 768  # pixels of the longer side of a query's picture as it is kept; more than encoders look at
_QUALITY = 90
_MOST_QUERIES = 1_000


def judgement_routes(service: SearchService, judging: Judging) -> APIRouter:
    """The routes for judgements; they answer 403 where nobody may judge."""
    router = APIRouter(prefix="/judgements", tags=["judging"], responses=describe_problems(404, 507))

    def find_store() -> JudgementStore:
        if judging.store is None:
            raise ProblemError(403, "Judging is off here; likewise serve --judge turns it on.")
        return judging.store

    @router.post(
        "",
        summary="Say whether an item answers a query",
        response_model=JudgementAnswer,
        openapi_extra=json_body(JudgementRequest),
    )
    async def add_judgement(request: Request) -> Response:
        store = find_store()
        asked = await read_json(request, JudgementRequest)
        text = " ".join((asked.query.text or "").split()) or None
        if text is None and asked.query.image is None:
            raise ProblemError(422, "query: give the words that were asked for as text, a picture as image, or both")
        await service.run(service.index.item, asked.id)
        picture = await _encode_picture(service, asked.query.image) if asked.query.image is not None else None
        name, count = await _kept(
            service.write(
                store.add,
                text,
                picture,
                asked.id,
                asked.relevance,
                judge=_find_judge(request),
                note=(asked.note or "").strip() or None,
            )
        )
        return JsonAnswer({"judgements": count, "judgement": name})

    @router.get("", summary="The judgements that count, the oldest first", response_model=JudgementsAnswer)
    async def list_judgements(
        query: Annotated[str | None, Query(max_length=LONGEST_TEXT, description="only those of these words")] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_LISTED, description="number of judgements")] = 1_000,
        offset: Annotated[int, Query(ge=0, le=10_000_000, description="number of judgements to skip")] = 0,
    ) -> Response:
        kept = await _kept(service.run(find_store().all))
        if query is not None:
            words = " ".join(query.split())
            kept = [(name, one) for name, one in kept if one.text == words]
        shown = [_describe(name, asdict(one)) for name, one in kept[offset : offset + limit]]
        return JsonAnswer({"judgements": shown, "total": len(kept)})

    @router.get("/queries", summary="Queries that have no judgement yet", response_model=QueriesToJudgeAnswer)
    async def list_queries_to_judge(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=_MOST_QUERIES, description="number of queries")] = 50,
    ) -> Response:
        find_store()
        if request.scope.get("state", {}).get("key_access", "write") != "write":
            raise ProblemError(403, "This key may only read; judging needs a key with write access.")
        found = await _kept(service.run(judging.list_queries, limit))
        queries = [{"text": one.text, "asked": one.count, "last_asked": one.last} for one in found.queries]
        return JsonAnswer({"queries": queries, "judged": found.judged, "total": found.total})

    @router.delete("/{judgement}", summary="Take a judgement back", status_code=204)
    async def remove_judgement(
        judgement: Annotated[str, Path(max_length=100, description="name of the judgement")],
    ) -> Response:
        if not await _kept(service.write(find_store().remove, judgement)):
            raise ProblemError(404, "there is no judgement of this name")
        return Response(status_code=204)

    return router


async def _kept(work: Awaitable[T]) -> T:
    """The result of a call of the store, whose errors are not the client's."""
    try:
        return await work
    except StoreFullError as error:
        raise ProblemError(507, str(error)) from None
    except UserError as error:  # it names a path of the server
        log.warning("judging: %s", error)
        raise ProblemError(507, "the judgements cannot be read or written; the server's log says why") from None


async def _encode_picture(service: SearchService, given: str) -> bytes:
    """The picture of a query as it is kept: small, upright, and without what a camera notes in it."""
    limits = service.limits
    source = parse_picture(given, allow_urls=limits.allow_urls, most_bytes=limits.image_bytes)
    image = await service.open_query_picture(source)
    return await service.run(_encode_small, image)


def _encode_small(image: Image.Image) -> bytes:
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=_QUALITY)
    return encoded.getvalue()


def _find_judge(request: Request) -> str | None:
    name = request.scope.get("state", {}).get("key_name")
    return None if name is None else str(name)


def _describe(name: str, judged: dict[str, Any]) -> dict[str, Any]:
    return {"judgement": name, "query": judged.pop("text"), "id": judged.pop("item"), **judged}
