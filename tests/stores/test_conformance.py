"""The conformance suite, run on each of our engines."""

import pytest
from stores.engines import ENGINES

from likewise.testing.stores import *  # noqa: F403 - the tests
from likewise.testing.stores import Engine


@pytest.fixture(scope="module", params=ENGINES, ids=[engine.name for engine in ENGINES])
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param
