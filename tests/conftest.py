"""Shared by all tests: honest skips, a quiet terminal, no network."""

import os

import pytest

REQUIRE_ALL = os.environ.get("LIKEWISE_REQUIRE_ALL") == "1"


def require(condition: object, reason: str) -> None:
    """Skip a test whose ground is missing; with LIKEWISE_REQUIRE_ALL=1 fail instead."""
    if condition:
        return
    if REQUIRE_ALL:
        pytest.fail(f"required by LIKEWISE_REQUIRE_ALL: {reason}")
    pytest.skip(reason)
