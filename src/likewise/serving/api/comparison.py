"""One query answered by the model, by the same encoders untrained, and by BM25, with how the ranks differ."""

from dataclasses import asdict, replace
from typing import Any, cast

from fastapi import APIRouter, Request
from starlette.responses import Response

from likewise.catalog.filters import OneOf
from likewise.retrieval.candidates import every
from likewise.retrieval.hybrid import Hybrid
from likewise.retrieval.items import Hit, UnknownItemError
from likewise.retrieval.query import Query
from likewise.serving.api.answers import JsonAnswer, describe_item, json_body
from likewise.serving.api.problems import ProblemError, describe_problems
from likewise.serving.api.requests import SEARCH_PART, build_search, note_texts, read_search, until_client_leaves
from likewise.serving.api.schemas import ComparedAnswer, ComparisonAnswer, SearchRequest
from likewise.serving.comparison import Comparison, UntrainedIndex
from likewise.serving.query_pictures import PictureSource
from likewise.serving.service import SearchService

MOST_COMPARED = 50  # hits of each
RANKED = 200  # hits of the model among which those of the others are looked for


def comparison_routes(service: SearchService) -> APIRouter:
    """The routes that compare."""
    router = APIRouter(tags=["search"], responses=describe_problems(404))

    def find() -> Comparison:
        if service.comparison is None:
            raise ProblemError(404, "this server has no model that could be compared")
        return service.comparison

    @router.get("/comparison", summary="Whether the untrained model is ready", response_model=ComparisonAnswer)
    async def read_comparison() -> Response:
        return JsonAnswer(asdict(find().describe()))

    @router.post("/comparison", summary="Let the untrained model see the items", response_model=ComparisonAnswer)
    async def begin_comparison() -> Response:
        return JsonAnswer(asdict(await service.run(find().begin)))

    @router.post(
        "/compare",
        summary="One query answered by the model, untrained encoders and BM25",
        response_model=ComparedAnswer,
        openapi_extra=json_body(SearchRequest, json_part=SEARCH_PART, files=("image", "audio")),
    )
    async def compare(request: Request) -> Response:
        comparison = find()
        asked, uploads = await read_search(request)
        note_texts(request, asked)
        if asked.k > MOST_COMPARED:
            raise ProblemError(422, f"k: at most {MOST_COMPARED} hits are compared")
        query = build_search(asked, service.limits, uploads)
        found = await until_client_leaves(request, _compare(service, query, comparison.find()))
        return JsonAnswer({"systems": found, "comparison": asdict(comparison.describe())})

    return router


async def _compare(service: SearchService, query: Query, untrained: UntrainedIndex | None) -> list[dict[str, Any]]:
    """What each system finds; those that cannot answer the query are left out."""
    sample = None if untrained is None or untrained.sample is None else OneOf("id", untrained.sample)
    plain = Query(
        query.texts,
        query.images,
        query.sounds,
        query.likes,
        query.minus,
        query.image_weight,
        every(query.where, sample),
        k=RANKED,
    )
    trained = await service.search(plain)
    ranks = {hit.id: rank for rank, hit in enumerate(trained, 1)}
    systems = [_describe_system("trained", trained[: query.k], ranks)]
    if untrained is not None:
        hits = await _search_untrained(service, replace(plain, where=query.where, k=query.k), untrained)
        if hits is not None:
            systems.append(_describe_system("untrained", hits, ranks))
    if query.texts:
        words = replace(plain, images=(), sounds=(), likes=(), k=query.k, hybrid=Hybrid(words=1.0, correct=False))
        hits = [hit for hit in await service.search(words) if hit.score > 0]
        systems.append(_describe_system("bm25", hits, ranks))
    return systems


async def _search_untrained(service: SearchService, query: Query, untrained: UntrainedIndex) -> list[Hit] | None:
    """The hits of the untrained model; None where it knows nothing of what is asked for."""
    pictures = await service.decode_pictures([cast(PictureSource, term.value) for term in query.images])
    images = tuple(replace(term, value=picture) for term, picture in zip(query.images, pictures, strict=True))
    if not (query.texts or images or query.likes):
        return None  # it does not hear
    try:
        return list(await service.run(untrained.index.answer, replace(query, images=images, sounds=())))
    except UnknownItemError:
        return None  # an item that is not in the sample


def _describe_system(name: str, hits: list[Hit], ranks: dict[str, int]) -> dict[str, Any]:
    return {
        "system": name,
        "hits": [
            {"id": hit.id, "score": round(hit.score, 6), **describe_item(hit), "trained_rank": ranks.get(hit.id)}
            for hit in hits
        ],
    }
