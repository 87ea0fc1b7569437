"""The command that serves an index to assistants."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likewise.cli.options import (
    CatalogOptions,
    Device,
    KeyFile,
    Run,
    StoreUri,
    Switch,
    read_credentials,
    read_keys,
    require_run,
)
from likewise.errors import MissingExtraError
from likewise.progress import say

if TYPE_CHECKING:
    from mcp.server.lowlevel.server import Server


def mcp(
    run: Run,
    /,
    *,
    http: Switch = False,
    host: str = "127.0.0.1",
    port: int = 8001,
    keys: KeyFile = None,
    check: Switch = False,
    store: StoreUri = None,
    device: Device = "auto",
    cache: Path | None = None,
) -> None:
    """Serve a run's index to assistants as an MCP server, on standard input and output or over HTTP.

    Example: likewise mcp runs/products

    Parameters
    ----------
    http
        Serve over streamable HTTP instead of standard input and output.
    host
        Address to listen on, with --http; one that other machines reach needs keys.
    port
        Port to listen on, with --http.
    check
        Start, list the tools once, and exit.
    cache
        Folder for downloads and thumbnails.
    """
    _require_library()
    require_run(run)
    from likewise.serving.mcp.checking import check_server
    from likewise.serving.mcp.http import serve_http, serving_http
    from likewise.serving.mcp.stdio import claim_standard_streams, serve_stdio

    known = read_keys(keys) if http and not check else None
    streams = None if http or check else claim_standard_streams()  # before anything can print
    with _opened(run, store, device, cache) as server:
        if streams is not None:
            serve_stdio(server, streams)
        elif not check:
            serve_http(server, host, port, known)
        elif http:
            with serving_http(server, host, port) as url:
                say(f"The tools on {url}: {', '.join(check_server(url))}")
        else:
            say(f"The tools: {', '.join(check_server(server))}")


def _require_library() -> None:
    try:
        import mcp_types  # noqa: F401 - version 1 of the library lacks it
        from mcp import Client  # noqa: F401
    except ImportError:
        raise MissingExtraError("mcp", "mcp") from None


@contextmanager
def _opened(run: Path, store: str | None, device: Device, cache: Path | None) -> Iterator["Server[Any]"]:
    """The server of a run's index, which is closed at the end of the block."""
    from likewise.catalog.catalog import default_cache
    from likewise.model.model import Model
    from likewise.retrieval.index import Index
    from likewise.serving.mcp.server import build_server
    from likewise.serving.mcp.tools import IndexTools
    from likewise.serving.thumbnails import thumbnails_in

    folder = CatalogOptions(cache=cache).find_cache() or default_cache()
    with Index.open(run, Model.load(run, device), store=store, credentials=read_credentials()) as index:
        yield build_server(IndexTools(index, thumbnails_in(folder)))
