"""The package reads in the order in which data flows, and importing it costs little."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "transformers", "faiss", "gradio", "httpx", "matplotlib", "scipy", "polars", "fastapi"}


def test_modules_import_only_from_those_before_them() -> None:
    lint = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run([sys.executable, "-c", lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    contracts = (ROOT / "pyproject.toml").read_text().count("[[tool.importlinter.contracts]]")
    assert f"{contracts} kept, 0 broken" in done.stdout


@pytest.mark.parametrize(
    ("use", "heavy"),
    [
        ("import likewise", HEAVY),
        ("import likewise.cli.app; likewise.cli.app.main(['--help'])", HEAVY),
        ("import likewise.retrieval.index", {"torch", "transformers", "gradio", "matplotlib"}),
    ],
    ids=["import likewise", "likewise --help", "the index"],
)
def test_a_light_start(use: str, heavy: set[str]) -> None:
    program = (
        f"import sys\ntry:\n    {use}\nexcept SystemExit:\n    pass\n"
        "print('loaded:', *sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "likewise" in loaded
    assert not loaded & heavy


COMMANDS_OF_A_RUN = (
    "search {} red",
    "serve {}",
    "demo {}",
    "mcp {}",
    "index {} --data x.csv",
    "evaluate {} --data x.csv",
)
COMMANDS_OF_A_RUN += ("encode {} --data x.csv --output x.parquet", "recommend {} --output x.parquet")


def test_a_mistyped_run_is_refused_before_torch_is_loaded(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom likewise.cli.app import main\n"
        "for command in sys.argv[1:]:\n    try:\n        main(command.split())\n    except SystemExit:\n        pass\n"
        "print('torch' in sys.modules)"
    )
    commands = [command.format(tmp_path / "none") for command in COMMANDS_OF_A_RUN]
    done = subprocess.run([sys.executable, "-c", program, *commands], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    said = done.stderr.splitlines()
    assert len(said) == len(commands) and all("has no model" in line for line in said)


def imports_of_ours(path: Path, modules: set[str]) -> set[str]:
    """The modules of likewise that a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names & modules


def test_no_modules_import_each_other_even_inside_functions() -> None:
    source = ROOT / "src"
    paths = {
        ".".join(path.relative_to(source).with_suffix("").parts): path
        for path in source.rglob("*.py")
        if path.name != "__init__.py"
    }
    assert len(paths) > 100
    graph = {name: imports_of_ours(path, set(paths)) - {name} for name, path in paths.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle
