"""Metrics: worker processes count into files of one folder, which all of them read."""

from pathlib import Path

import pytest

from likewise.serving.metrics import MULTIPROCESS_FOLDER, Metrics


def test_a_worker_starts_while_another_one_is_creating_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is empty for a moment, and both used to start at once."""
    (tmp_path / "counter_4711.db").touch()
    monkeypatch.setenv(MULTIPROCESS_FOLDER, str(tmp_path))
    Metrics()
