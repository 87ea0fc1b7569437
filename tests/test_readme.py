"""What the README shows, run as it stands there."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from model.shape_catalogue import draw, write_catalogue

import likewise as lw

README = Path(__file__).parents[1] / "README.md"


def python_block() -> str:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 1
    return blocks[0]


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A folder with products.csv and photo.jpg, as a reader of the README has it."""
    write_catalogue(tmp_path)
    shutil.move(tmp_path / "shapes.csv", tmp_path / "products.csv")
    draw("red", "circle").save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)


def test_the_python_example_runs_with_the_default_preset(shop, monkeypatch):
    monkeypatch.setattr(lw.TrainConfig.model_fields["epochs"], "default", 2)
    lw.TrainConfig.model_rebuild(force=True)
    names: dict[str, object] = {}
    try:
        exec(compile(python_block(), README.name, "exec"), names)
    finally:
        monkeypatch.undo()
        lw.TrainConfig.model_rebuild(force=True)
    model, catalog, index = names["model"], names["catalog"], names["index"]
    assert model.encode_queries(["red shoes"]).shape == (1, 512)
    assert model.encode_items(catalog).shape == (len(catalog), 512)
    hits = index.search("a red circle", k=10)
    assert len(hits) == 10
    assert hits[0].id
    assert -1 <= hits[0].score <= 1
    assert "title" in hits[0].fields


def test_every_command_of_the_readme_exists(capsys):
    from likewise.cli.app import app

    commands = set(re.findall(r"^    likewise (\w+)", README.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert commands
    assert commands <= {name for name in app if not name.startswith("-")}


def test_links_of_the_readme_lead_somewhere():
    targets = re.findall(r"\]\(((?!http)[^)#]+)\)", README.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (README.parent / target).exists()]
    assert not missing
