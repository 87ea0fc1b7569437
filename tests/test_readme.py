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


def rows(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]


def test_the_figures_beside_peers_are_those_of_the_benchmark():
    readme = rows(README.read_text(encoding="utf-8").partition("## How good is it?")[2])
    results = (README.parent / "benchmarks" / "results" / "quality.md").read_text(encoding="utf-8")
    systems = readme[0][1:]
    catalogues = {"groceries": "grocery", "emoji": "openmoji", "stamps": "stamps"}
    compared = 0
    for name, *figures in readme[2:]:
        catalogue, _, seen_by = name.partition(" (")[0].partition(", ")
        if catalogue not in catalogues:
            break
        heading, _, *measured = rows(results.partition(f"## {catalogues[catalogue]}\n")[2].partition("\n## ")[0])
        column = next(place for place, cell in enumerate(heading) if cell.startswith(seen_by))
        by_system = {row[0]: row[column] for row in measured}
        for system, figure in zip(systems, figures, strict=True):
            value, _, mark = figure.partition(" ")
            assert by_system[system].startswith(value), (name, system)
            shown = by_system[system].rpartition(" ")[2]
            assert mark == (shown if shown in "=▼" else ""), (name, system)
            compared += 1
    assert compared == 9 * 6


def test_links_of_the_readme_lead_somewhere():
    targets = re.findall(r"\]\(((?!http)[^)#]+)\)", README.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (README.parent / target).exists()]
    assert not missing
