"""Files of settings from strangers: whatever fills memory or the stack ends in one sentence, at once."""

import json
import resource
import time
from itertools import pairwise
from pathlib import Path

import pytest

from likewise.config import ModelSettings, TrainConfig
from likewise.errors import UserError
from likewise.parsing import read_json


def refused(path: Path) -> str:
    """What is said about a config file, which takes neither time nor memory."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError) as caught:
        TrainConfig.read(path)
    message = str(caught.value)
    assert time.perf_counter() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000, "kilobytes"
    assert str(path) in message
    assert len(message.splitlines()) == 1
    assert len(message) < 400
    return message


def test_aliases_that_stand_for_billions_of_values_are_refused_before_they_are_followed(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]" for before, name in pairwise("abcdefghi")]
    config.write_text("\n".join(lines))
    assert "anchor or alias in line 1; write the values out instead" in refused(config)
    config.write_text("epochs: 3\nmodel: *nowhere\n")
    assert "anchor or alias in line 2" in refused(config)


def test_deep_nesting_is_one_sentence(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    for text in ("[" * 5_000, "a: " + "{a: " * 5_000, "- " * 5_000):
        config.write_text(text)
        assert "nested more than 50 levels deep" in refused(config)


def test_a_huge_config_is_not_read(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("# " + "x" * 2_000_000)
    assert "larger than 250 KB" in refused(config)
    assert "no plain file" in refused(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["epochs: " + "9" * 5_000, "epochs: [" + "1, " * 5_000 + "1]", "x" * 5_000 + ": 1", "seed: 2001-13-45"],
)
def test_long_values_do_not_make_long_messages(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    refused(tmp_path / "config.yaml")


@pytest.mark.parametrize("setting", [{"dim": 2**40}, {"dim": 0}, {"dim": -8}, {"resolution": 10**9}])
def test_a_network_beyond_all_bounds_is_no_setting(setting: dict[str, int], tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(json.dumps({"model": setting}))
    assert next(iter(setting)) in refused(tmp_path / "config.yaml")


def test_what_settings_write_they_read(tmp_path: Path) -> None:
    shared = {"title": "name"}
    config = TrainConfig.parse(
        {"data": {"columns": shared}, "lr_scales": dict.fromkeys("ab", 0.5), "matryoshka": [64, 32]}
    )
    config.write(tmp_path / "config.yaml")
    assert TrainConfig.read(tmp_path / "config.yaml") == config
    assert ModelSettings(dim=65_536).dim == 65_536


@pytest.mark.parametrize(
    ("content", "reason"),
    [("[" * 100_000, "nested"), ('{"a":' * 60 + "1" + "}" * 60, "nested"), (" " * 2_000, "larger"), ("{", "no JSON")],
)
def test_json_beyond_bounds_is_a_value_error(content: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "some.json").write_text(content)
    with pytest.raises(ValueError, match=reason):
        read_json(tmp_path / "some.json", 1_000 if reason == "larger" else 1_000_000)
