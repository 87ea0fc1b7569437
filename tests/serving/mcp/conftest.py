"""An indexed run for the tests of the MCP server, which are skipped where the library is missing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import one_torch_thread, require_library
from retrieval.shop_catalogue import write_indexed_run

require_library("mcp_types")


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    with one_torch_thread():
        yield


@pytest.fixture(scope="package")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over the shop of 30 shirts."""
    return write_indexed_run(tmp_path_factory.mktemp("shop"))
