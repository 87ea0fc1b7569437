"""The package reads in the order in which data flows, and importing it costs little."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "transformers", "faiss", "gradio", "httpx", "matplotlib", "scipy", "polars", "fastapi"}


def test_modules_import_only_from_those_before_them() -> None:
    lint = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run([sys.executable, "-c", lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b[1-9]\d* kept, 0 broken", done.stdout)


@pytest.mark.parametrize(
    "use",
    ["import likewise", "import likewise.cli.app; likewise.cli.app.main(['--help'])"],
    ids=["import likewise", "likewise --help"],
)
def test_a_light_start(use: str) -> None:
    program = (
        f"import sys\ntry:\n    {use}\nexcept SystemExit:\n    pass\n"
        "print('loaded:', *sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "likewise" in loaded
    assert not loaded & HEAVY
