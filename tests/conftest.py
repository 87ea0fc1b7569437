"""Shared by all tests: honest skips, a quiet terminal, no network."""

import os

import pytest

# Threads that spin while they wait for each other take the cores from those that work, on a machine that is not idle.
# It is read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

REQUIRE_ALL = os.environ.get("LIKEWISE_REQUIRE_ALL") == "1"


def require(condition: object, reason: str) -> None:
    """Skip a test whose ground is missing; with LIKEWISE_REQUIRE_ALL=1 fail instead."""
    if condition:
        return
    if REQUIRE_ALL:
        pytest.fail(f"required by LIKEWISE_REQUIRE_ALL: {reason}")
    pytest.skip(reason)
