"""The example package of docs/extending.md: installed from its folder, proven, trained and searched."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from likewise.encoders.modalities import ModalityReader, find_reader
from likewise.encoders.registry import load_encoder
from likewise.errors import UserError
from likewise.model.model import Model

ROOT = Path(__file__).parents[2]
EXAMPLE, GUIDE = ROOT / "examples" / "colour-palette", ROOT / "docs" / "extending.md"
COLOURS = {"red": "#dd1111", "blue": "#1133cc", "green": "#119911", "yellow": "#ffdd00"}
THINGS = ("shirt", "hat", "mug", "lamp", "bag")
CONTRACT_TESTS = 12
SETTINGS = """
epochs: 1
threads: 1
precision: float32
device: cpu
model: {text_encoder: scratch-text, image_encoder: scratch-image, dim: 32}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the example is installed, built from its sources."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(EXAMPLE, folder / "source")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", "--no-index"]
    command = [*pip, "--no-build-isolation", "--target", str(folder / "installed"), str(folder / "source")]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2_000:]
    return folder / "installed"


COMMANDS = """
import json, sys
from likewise.cli.app import main

for line in json.loads(sys.argv[1]):
    try:
        main(line)
    except SystemExit as end:
        assert not end.code, line
    print("\\0")
"""


def run(site: Path, folder: Path, *command: str) -> str:
    """The output of a Python program that sees the installed example."""
    path = os.pathsep.join(map(str, [site, *(place for place in sys.path if place)]))
    environment = os.environ | {"PYTHONPATH": path, "XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run([sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-3_000:] + ended.stderr[-3_000:]
    return ended.stdout


def test_the_guide_shows_the_package_as_it_is() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    assert re.findall(r"```python\n(.*?)```", text, re.DOTALL) == [
        (EXAMPLE / name).read_text(encoding="utf-8") for name in ("colour_palette.py", "test_colour_palette.py")
    ]
    (declared,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert declared.strip() in (EXAMPLE / "pyproject.toml").read_text(encoding="utf-8")


def test_the_example_passes_the_contract_test(site: Path, tmp_path: Path) -> None:
    shutil.copy(EXAMPLE / "test_colour_palette.py", tmp_path)
    said = run(
        site, tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "test_colour_palette.py"
    )
    assert int(re.search(r"(\d+) passed", said)[1]) >= CONTRACT_TESTS


def test_the_commands_of_the_guide_train_and_search_colours(site: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    names = [list(COLOURS)[number] for number in noise.integers(0, len(COLOURS), 80)]
    pl.DataFrame(
        {
            "id": [f"item-{row}" for row in range(80)],
            "title": [f"{THINGS[row % 5]} {row}" for row in range(80)],
            "description": [f"A {THINGS[row % 5]} for every day." for row in range(80)],
            "colours": [None if row % 10 == 0 else COLOURS[name] for row, name in enumerate(names)],
        }
    ).write_csv(tmp_path / "products.csv")
    (tmp_path / "quick.yaml").write_text(SETTINGS)
    (block,) = re.findall(r"```console\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    pip, *lines = map(shlex.split, block.splitlines())
    assert pip == ["pip", "install", "./examples/colour-palette"]
    further = {"train": ["--config", "quick.yaml"], "search": ["--json"], "evaluate": ["--json"]}
    commands = [[*line[1:], *further.get(line[1], [])] for line in lines]
    output = run(site, tmp_path, "-c", COMMANDS, json.dumps(commands)).split("\0")
    said = dict(zip([line[1] for line in lines], output[:-1], strict=True))
    assert len(json.loads(said["search"])) == 10
    views = {part["view"] for part in json.loads(said["evaluate"])["ablations"]}
    assert {"only-colours", "only-description"} <= views  # of two fields, omitting one is the other alone
    with pytest.raises(UserError, match="declared as palette, which is no kind of field: install the package"):
        Model.load(tmp_path / "runs" / "colours", "cpu")


def test_a_package_that_does_not_work_is_one_sentence_and_harms_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "broken-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    entries = "[likewise.modalities]\nbroken = no_such_module:READER\nother = json:loads\n"
    (installed / "entry_points.txt").write_text(f"{entries}[likewise.encoders]\nbad = pathlib:Path\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match=r"likewise.modalities broken cannot be loaded .*No module named"):
        find_reader("broken", "column")
    with pytest.raises(UserError, match="must be a ModalityReader, and is a function"):
        find_reader("other", "column")
    with pytest.raises(UserError, match="bad must be an Encoder whose family is bad"):
        load_encoder("bad", "other")
    assert isinstance(find_reader("number", "price"), ModalityReader)
