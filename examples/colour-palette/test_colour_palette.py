"""The contract of encoders, on this one."""

import pytest

from likewise.testing.encoders import *
from likewise.testing.encoders import Subject


@pytest.fixture(scope="module")
def subject() -> Subject:
    return Subject("colour-palette", "palette", [("ff0000",), ("0000ff", "ffffff"), ("109010",)])
