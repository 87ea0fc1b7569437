"""What a run recorded about its machine is read back, or refused in one sentence."""

import json
from pathlib import Path
from typing import Any

import pytest

from likewise.errors import UserError
from likewise.files import write_record
from likewise.training.resume import ENVIRONMENT, Environment


def test_what_was_recorded_is_read_back(tmp_path: Path) -> None:
    environment = Environment(2, {"text": "float32", "image": "bfloat16"}, "abc")
    environment.write(tmp_path)
    assert Environment.read(tmp_path) == environment
    assert Environment.read(tmp_path / "elsewhere") is None


@pytest.mark.parametrize(
    "content",
    [{"threads": "2"}, {"threads": 1.5}, {"threads": 1, "more": 1}, [], {"threads": 1, "precision": {"x": 1}}],
)
def test_anything_else_is_one_sentence(content: Any, tmp_path: Path) -> None:
    Environment(1).write(tmp_path)
    for text in (json.dumps(content), "[" * 100_000, ""):
        (tmp_path / ENVIRONMENT).write_text(text)
        with pytest.raises(UserError, match=r"environment\.json is damaged; start over with --restart"):
            Environment.read(tmp_path)
    if isinstance(content, dict):
        write_record(tmp_path / ENVIRONMENT, content, 1)
        with pytest.raises(UserError, match=r"environment\.json is damaged; start over with --restart"):
            Environment.read(tmp_path)
