"""Shared by the tests of the commands."""

import pytest
from conftest import one_torch_thread


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    with one_torch_thread():
        yield
