"""What the columns of the index hold: kinds, ranges and frequent values, and how a filter can name them."""

import asyncio
from time import monotonic
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from likewise.retrieval.column_values import ColumnSummary, IndexSummary
from likewise.retrieval.filter_columns import FilterColumn, read_filter_columns
from likewise.serving.api.answers import JsonAnswer
from likewise.serving.api.schemas import ColumnsAnswer
from likewise.serving.service import SearchService

MOST_VALUES = 100  # of a column, the most frequent
_SECONDS_KEPT = 600.0


def column_routes(service: SearchService) -> APIRouter:
    """The route that describes the columns."""
    router = APIRouter(tags=["search"])
    known = KnownColumns(service)

    @router.get("/columns", summary="What the columns hold, for filters", response_model=ColumnsAnswer)
    async def list_columns() -> Response:
        return JsonAnswer(await known.read())

    return router


class KnownColumns:
    """The columns of an index as they were read last; read again after a new build, and every ten minutes."""

    def __init__(self, service: SearchService) -> None:
        self._service = service
        self._reading = asyncio.Lock()
        self._known: tuple[str, float, dict[str, Any]] | None = None  # build, when, answer

    async def read(self) -> dict[str, Any]:
        """The columns as JSON holds them."""
        async with self._reading:
            build = self._service.index.metadata.build
            known = self._known
            if known is not None and known[0] == build and monotonic() - known[1] < _SECONDS_KEPT:
                return known[2]
            answer = describe_columns(await self._service.read_columns(self._service.index.summarize))
            self._known = build, monotonic(), answer
            return answer


def describe_columns(summary: IndexSummary) -> dict[str, Any]:
    """The columns of an index as JSON holds them."""
    filters = {column.name: column for column in read_filter_columns(summary)}
    return {
        "columns": [_describe_column(column, filters.get(column.column.name)) for column in summary.columns],
        "items": summary.items,
        "counted": summary.summarized,
    }


def _describe_column(summary: ColumnSummary, filter: FilterColumn | None) -> dict[str, Any]:
    values: list[dict[str, Any]] = []
    if filter is not None and filter.kind in ("category", "boolean"):
        values = [{"value": value, "count": count} for value, count in summary.counts.most_common(MOST_VALUES)]
    return {
        "name": summary.column.name,
        "kind": summary.column.kind,
        "filter": None if filter is None else filter.kind,
        "filled": summary.filled,
        "least": summary.least,
        "greatest": summary.greatest,
        "distinct": None if summary.too_varied else len(summary.counts),
        "values": values,
    }
