"""Servers that the tests of stores start end with them."""

from collections.abc import Iterator

import pytest
from stores import postgres, qdrant_server

pytest.register_assert_rewrite("likewise.testing.stores")


@pytest.fixture(scope="session", autouse=True)
def _servers_end() -> Iterator[None]:
    yield
    postgres.stop()
    qdrant_server.stop()
