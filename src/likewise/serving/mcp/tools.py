"""The tools of an index: what an assistant can ask, and how it is answered."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Unpack

from mcp_types import CallToolResult, Tool, ToolAnnotations

from likewise.errors import UserError
from likewise.retrieval.column_values import IndexSummary, ValueCounts
from likewise.retrieval.items import Hits, Item
from likewise.retrieval.metadata import IndexMetadata
from likewise.retrieval.query import QueryParameters
from likewise.serving.mcp.arguments import (
    Arguments,
    FacetsArguments,
    ItemArguments,
    SearchArguments,
    SimilarArguments,
    decode_picture,
    parse_arguments,
)
from likewise.serving.mcp.descriptions import describe_catalog, describe_filters
from likewise.serving.mcp.results import (
    NOTE,
    FacetsResult,
    ItemResult,
    Result,
    SearchResult,
    Thumbnails,
    show_counts,
    show_error,
    show_hits,
    show_item,
)

_READ_ONLY = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)

log = logging.getLogger(__name__)


class Searchable(Protocol):
    """The parts of an index that the tools use."""

    def __len__(self) -> int: ...

    @property
    def metadata(self) -> IndexMetadata: ...

    def search(self, text: str | None = None, **parameters: Unpack[QueryParameters]) -> Hits: ...

    def similar(self, id: str, k: int = 10, *, where: str | None = None) -> Hits: ...

    def item(self, id: str) -> Item: ...

    def count_values(self, columns: list[str], *, where: str | None = None) -> ValueCounts: ...

    def summarize(self) -> IndexSummary: ...


@dataclass(frozen=True)
class _Kind:
    """What a tool takes, gives and does."""

    title: str
    about: str
    arguments: type[Arguments]
    result: type[Result]
    answer: Callable[[Any], CallToolResult]
    filters: bool = False


class IndexTools:
    """The tools of one index; all of them only read. Safe to use from several threads.

    Args:
        index: an Index, or anything that searches like one.
        thumbnails: item → small picture. No other file is ever read for a caller.
    """

    def __init__(self, index: Searchable, thumbnails: Thumbnails = lambda item: None) -> None:
        self._index = index
        self._thumbnails = thumbnails
        self._describing = threading.Lock()
        self._described: tuple[tuple[str, int], list[Tool]] | None = None
        self._kinds = {
            "search": _Kind(
                "Search the catalogue",
                "Find items by what they mean and look like: by words, a picture, items to resemble, or a combination "
                "of these. Give at least one of query, picture and like.",
                SearchArguments,
                SearchResult,
                self._search,
                filters=True,
            ),
            "similar": _Kind(
                "Find similar items",
                "Find the items most similar to one item, which is not among them.",
                SimilarArguments,
                SearchResult,
                self._similar,
                filters=True,
            ),
            "item": _Kind(
                "Show an item", "Show all columns of one item, and its picture.", ItemArguments, ItemResult, self._item
            ),
            "facets": _Kind(
                "Count values",
                "Count how many items have each value of some columns, over the whole catalogue or the items that "
                "meet a filter; at most 50,000 items are counted.",
                FacetsArguments,
                FacetsResult,
                self._facets,
                filters=True,
            ),
        }

    @property
    def names(self) -> list[str]:
        """The names of the tools."""
        return list(self._kinds)

    def list_tools(self) -> list[Tool]:
        """The tools with descriptions of what the index holds now."""
        with self._describing:
            content = (self._index.metadata.build, len(self._index))
            if self._described is None or self._described[0] != content:
                self._described = (content, self._describe())
            return self._described[1]

    def call_tool(self, name: str, arguments: Mapping[str, Any] | None) -> CallToolResult:
        """Answer a call; whatever goes wrong is one sentence for the caller.

        Raises:
            KeyError: there is no such tool.
        """
        kind = self._kinds[name]
        try:
            return kind.answer(parse_arguments(kind.arguments, arguments))
        except UserError as error:
            return show_error(error)
        except Exception:
            log.exception("the tool %s failed", name)
            return show_error(f"the tool {name} failed; the terminal or log of this server says why")

    def _describe(self) -> list[Tool]:
        summary = self._index.summarize()
        catalog, filters = describe_catalog(summary), describe_filters(summary)
        return [
            Tool(
                name=name,
                title=kind.title,
                description="\n\n".join([kind.about, *([filters, catalog] if kind.filters else []), NOTE]),
                input_schema=kind.arguments.model_json_schema(),
                output_schema=kind.result.model_json_schema(mode="serialization"),
                annotations=_READ_ONLY,
            )
            for name, kind in self._kinds.items()
        ]

    def _search(self, given: SearchArguments) -> CallToolResult:
        if not ((given.query or "").strip() or given.picture is not None or given.like):
            raise UserError("nothing to search for: give at least one of query, picture and like")
        hits = self._index.search(
            given.query,
            image=decode_picture(given.picture) if given.picture is not None else None,
            image_weight=given.picture_weight,
            like=list(given.like or []),
            minus=list(given.minus or []),
            where=_parse_where(given.where),
            hybrid=given.hybrid,
            k=given.k,
            offset=given.offset,
            min_score=given.min_score,
            group_by=given.group_by,
            facet=given.facets or (),
        )
        return show_hits(hits, given.thumbnails, self._thumbnails)

    def _similar(self, given: SimilarArguments) -> CallToolResult:
        hits = self._index.similar(given.id, given.k, where=_parse_where(given.where))
        return show_hits(hits, given.thumbnails, self._thumbnails)

    def _item(self, given: ItemArguments) -> CallToolResult:
        return show_item(self._index.item(given.id), self._thumbnails)

    def _facets(self, given: FacetsArguments) -> CallToolResult:
        counts = self._index.count_values(given.columns, where=_parse_where(given.where))
        return show_counts(counts, given.most_values)


def _parse_where(where: str | None) -> str | None:
    """A blank filter is none, as assistants fill in every argument."""
    return where if where is not None and where.strip() else None
