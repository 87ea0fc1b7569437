"""Searching: one query, several at once, items like another, completions."""

import asyncio
from dataclasses import asdict
from functools import partial
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from likewise.errors import UserError
from likewise.retrieval.items import Hit, Hits
from likewise.serving.api.answers import JsonAnswer, describe_index, describe_item, json_body
from likewise.serving.api.problems import find_problem
from likewise.serving.api.requests import (
    NO_UPLOADS,
    SEARCH_PART,
    Uploads,
    build_search,
    note_plain_text,
    note_texts,
    read_json,
    read_search,
    until_client_leaves,
)
from likewise.serving.api.schemas import (
    LONGEST_FILTER,
    LONGEST_TEXT,
    MOST_HITS,
    MOST_OFFSET,
    BatchAnswer,
    BatchRequest,
    ColumnName,
    FacetsAnswer,
    SearchAnswer,
    SearchRequest,
    SuggestAnswer,
    WeightedText,
)
from likewise.serving.problems import describe_problem
from likewise.serving.service import SearchService

MOST_SUGGESTIONS = 50


def search_routes(service: SearchService) -> APIRouter:
    """The routes that answer queries."""
    router = APIRouter(tags=["search"])

    async def answer(asked: SearchRequest, uploads: Uploads = NO_UPLOADS) -> dict[str, Any]:
        suggestion = None
        if asked.parse_query or asked.suggest_filter:
            suggestion = await service.suggest_filter(_read_single_text(asked), wait=asked.parse_query)
        if suggestion is not None and asked.parse_query:
            changes = {"text": _replace_text(asked.text, suggestion.text), "where": suggestion.join(asked.where)}
            hits = await service.search(build_search(asked.model_copy(update=changes), service.limits, uploads))
        else:
            hits = await service.search(build_search(asked, service.limits, uploads))
        found = describe_hits(service, hits, asked.fields)
        if suggestion is not None:
            found["suggested_filter"] = asdict(suggestion) | {"applied": asked.parse_query}
        return found

    @router.post(
        "/search",
        summary="Search by words, pictures, items, or several of these",
        response_model=SearchAnswer,
        openapi_extra=json_body(SearchRequest, json_part=SEARCH_PART, files=("image", "audio")),
    )
    async def search(request: Request) -> Response:
        asked, uploads = await read_search(request)
        note_texts(request, asked)
        note_plain_text(request, asked, uploads)
        return JsonAnswer(await until_client_leaves(request, answer(asked, uploads)))

    @router.get("/search", summary="Search by words", response_model=SearchAnswer)
    async def search_by_words(
        request: Request,
        q: Annotated[str, Query(min_length=1, max_length=LONGEST_TEXT, description="words", examples=["red shirt"])],
        k: Annotated[int, Query(ge=1, le=MOST_HITS, description="number of hits")] = 10,
        offset: Annotated[int, Query(ge=0, le=MOST_OFFSET, description="number of hits to skip")] = 0,
        where: Annotated[str | None, Query(max_length=LONGEST_FILTER, description="filter")] = None,
        hybrid: Annotated[bool, Query(description="also search by keyword (BM25)")] = False,
        parse_query: Annotated[bool, Query(description="apply the filter that the words suggest")] = False,
        suggest_filter: Annotated[bool, Query(description="name the filter that the words suggest")] = False,
    ) -> Response:
        asked = SearchRequest(
            text=q,
            k=k,
            offset=offset,
            where=where,
            hybrid=hybrid,
            parse_query=parse_query,
            suggest_filter=suggest_filter,
        )
        note_texts(request, asked)
        note_plain_text(request, asked)
        return JsonAnswer(await until_client_leaves(request, answer(asked)))

    @router.post(
        "/search/batch",
        summary="Several searches at once",
        response_model=BatchAnswer,
        openapi_extra=json_body(BatchRequest),
    )
    async def search_batch(request: Request) -> Response:
        asked = await read_json(request, BatchRequest)
        note_texts(request, *asked.searches)

        async def answers() -> list[Any]:
            return await asyncio.gather(*map(answer, asked.searches), return_exceptions=True)

        with service.measuring("batch"):
            found = await until_client_leaves(request, answers())
        return JsonAnswer({"answers": [_or_problem(one, request.url.path) for one in found]})

    @router.get("/suggest", summary="Titles that complete what was typed", response_model=SuggestAnswer)
    async def suggest(
        q: Annotated[str, Query(min_length=1, max_length=200, description="what was typed so far", examples=["red"])],
        k: Annotated[int, Query(ge=1, le=MOST_SUGGESTIONS, description="number of suggestions")] = 8,
    ) -> Response:
        return JsonAnswer({"suggestions": await service.run(service.suggestions.complete, q, k)})

    @router.get("/facets", summary="How many items have which values", response_model=FacetsAnswer)
    async def count_facets(
        columns: Annotated[
            list[ColumnName],
            Query(min_length=1, max_length=20, description="columns (repeatable)", examples=[["brand"]]),
        ],
        where: Annotated[str | None, Query(max_length=LONGEST_FILTER, description="filter")] = None,
        most: Annotated[int, Query(ge=1, le=1_000, description="values of a column, the most frequent")] = 100,
    ) -> Response:
        counts = await service.run(partial(service.index.count_values, columns, where=where))
        facets = {column: _list_counts(dict(islice(values.items(), most))) for column, values in counts.columns.items()}
        return JsonAnswer({"facets": facets, "items": counts.items, "counted": counts.counted})

    return router


def describe_hits(service: SearchService, hits: Hits, fields: list[str] | None) -> dict[str, Any]:
    """The answer to a search, as JSON holds it."""
    shown = None if fields is None else set(fields)
    return {
        "hits": [_describe_hit(hit, shown) for hit in hits],
        "facets": {column: _list_counts(counts) for column, counts in hits.facets.items()},
        "did_you_mean": [asdict(correction) for correction in hits.did_you_mean],
        "threshold": None if hits.threshold is None else hits.threshold.to_json(),
        "suggested_filter": None,
        "took_ms": {stage: round(seconds * 1000, 3) for stage, seconds in hits.took.items()},
        "index": describe_index(service.index),
    }


def _read_single_text(asked: SearchRequest) -> str:
    """The words from which a filter is read.

    Raises:
        UserError: there are none, or several texts.
    """
    match asked.text:
        case str(text) | [str(text)] | WeightedText(text=text) | [WeightedText(text=text)]:
            return text
    raise UserError("parse_query and suggest_filter read one text: give a single one as text, or leave them out")


def _replace_text(given: Any, text: str) -> Any:
    """A single text, which may have a weight or be in a list, with other words."""
    if isinstance(given, list):
        return [_replace_text(one, text) for one in given]
    return given.model_copy(update={"text": text}) if isinstance(given, WeightedText) else text


def _list_counts(counts: dict[Any, int]) -> list[dict[str, Any]]:
    return [{"value": value, "count": count} for value, count in counts.items()]


def _describe_hit(hit: Hit, shown: set[str] | None) -> dict[str, Any]:
    item = describe_item(hit)
    if shown is not None:
        item["fields"] = {name: value for name, value in item["fields"].items() if name in shown}
    if hit.explanation is not None:
        item["explanation"] = hit.explanation.to_json()
    return {"id": hit.id, "score": round(hit.score, 6), "likely": hit.likely, **item}


def _or_problem(found: Any, path: str) -> Any:
    if not isinstance(found, BaseException):
        return found
    problem = find_problem(found) if isinstance(found, Exception) else None
    if problem is None:
        raise found
    return describe_problem(path, problem.status, problem.detail).model_dump()
