"""Heat maps: what the regions of an item's picture add to the score of a query."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from likewise.serving.api.answers import JsonAnswer, json_body
from likewise.serving.api.items import ItemId, read_id
from likewise.serving.api.problems import ProblemError, describe_problems
from likewise.serving.api.requests import build_search, note_texts, read_json, until_client_leaves
from likewise.serving.api.schemas import HeatMapAnswer, HeatMapRequest, SearchRequest
from likewise.serving.service import SearchService


def heat_map_routes(service: SearchService) -> APIRouter:
    """The route that measures heat maps."""
    router = APIRouter(prefix="/items", tags=["items"], responses=describe_problems(404))

    @router.post(
        "/{id}/heatmap",
        summary="What each region of an item's picture adds to the cosine with a query",
        response_model=HeatMapAnswer,
        openapi_extra=json_body(HeatMapRequest),
    )
    async def measure_heat_map(request: Request, id: ItemId) -> Response:
        asked = await read_json(request, HeatMapRequest)
        search = SearchRequest.model_validate(asked.model_dump(exclude={"picture"}))
        note_texts(request, search)
        query, named = build_search(search, service.limits), read_id(id)
        found = await until_client_leaves(request, service.measure_heat_map(named, query, asked.picture))
        if found is None:
            raise ProblemError(404, "this item has no such picture: search again")
        return JsonAnswer(found.to_json())

    return router
