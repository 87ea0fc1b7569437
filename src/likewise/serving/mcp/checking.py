"""A first call to a server, as a client makes it."""

import asyncio
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.lowlevel.server import Server

_SECONDS = 30.0


def check_server(server: Server[Any] | str) -> list[str]:
    """List the tools of a server in this process, or at a URL of this machine; returns their names."""
    return asyncio.run(_list_tools(server))


async def _list_tools(server: Server[Any] | str) -> list[str]:
    if not isinstance(server, str):
        async with Client(server, read_timeout_seconds=_SECONDS) as client:
            return [tool.name for tool in (await client.list_tools()).tools]
    async with (
        httpx2.AsyncClient(trust_env=False, timeout=_SECONDS) as http,  # no proxy leads to this machine
        Client(streamable_http_client(server, http_client=http), read_timeout_seconds=_SECONDS) as client,
    ):
        return [tool.name for tool in (await client.list_tools()).tools]
