"""The protocol's side of the tools: listing and calling them, one search at a time."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any, TypeVar

from mcp import MCPError
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
)

from likewise.serving.mcp.results import NOTE, show_error
from likewise.serving.mcp.tools import IndexTools

MOST_WAITING = 64  # calls
LONGEST_MESSAGE = 8_000_000  # bytes: a picture of 5 MB as base64, and a query

T = TypeVar("T")


def build_server(tools: IndexTools, title: str = "likewise") -> Server[Any]:
    """An MCP server that lists and calls tools; how it is reached is the matter of stdio.py and http.py."""
    queue = _Queue()

    async def list_tools(context: ServerRequestContext[Any], params: PaginatedRequestParams | None) -> ListToolsResult:
        try:
            return ListToolsResult(tools=await queue.run(tools.list_tools))
        except _QueueFullError as error:
            raise MCPError(INTERNAL_ERROR, str(error)) from None

    async def call_tool(context: ServerRequestContext[Any], params: CallToolRequestParams) -> CallToolResult:
        if params.name not in tools.names:
            raise MCPError(INVALID_PARAMS, f"there is no tool of this name; use one of {', '.join(tools.names)}")
        try:
            return await queue.run(lambda: tools.call_tool(params.name, params.arguments))
        except _QueueFullError as error:
            return show_error(str(error))

    return Server(
        "likewise",
        version=version("likewise"),
        title=title,
        instructions=f"Search a catalogue by words, pictures and similar items. {NOTE}",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


class _QueueFullError(Exception):
    """More calls wait than the server keeps."""


class _Queue:
    """Work of threads, one piece at a time, since an encoder already uses every core; what was cancelled is skipped."""

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(1, "likewise-mcp")
        self._waiting = 0

    async def run(self, work: Callable[[], T]) -> T:
        if self._waiting >= MOST_WAITING:
            raise _QueueFullError(f"{MOST_WAITING} calls already wait for an answer; try again in a moment")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, work)
        finally:
            self._waiting -= 1
