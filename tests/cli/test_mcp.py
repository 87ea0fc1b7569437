"""`likewise mcp` as a command: its check, and its mistakes."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli.commands import run_command
from conftest import require_library
from retrieval.shop_catalogue import write_shop, write_untrained_run

from likewise.cli.app import app, main

require_library("mcp_types")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    run = write_untrained_run(folder / "run")
    run_command("index", run, "--data", write_shop(folder), "--cache", folder / "cache")
    return run


@pytest.mark.parametrize("options", [[], ["--http", "--port", "0"]], ids=["stdio", "http"])
def test_a_check_lists_the_tools(run: Path, options: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    run_command("mcp", run, "--check", *options)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines()[-1].endswith(": search, similar, item, facets")


def refusal(*arguments: object, capfd: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        main(["mcp", *map(str, arguments)])
    assert end.value.code == 2
    out, err = capfd.readouterr()
    assert out == ""
    [line] = err.splitlines()
    return line


def test_a_public_address_is_refused(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "for this machine only" in refusal(run, "--http", "--host", "0.0.0.0", capfd=capfd)


def test_a_missing_run_is_one_sentence(tmp_path: Path) -> None:
    """Also on standard input and output, of which a client reads the second."""
    command = [sys.executable, "-m", "likewise.cli", "mcp", str(tmp_path / "none")]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("likewise: ")


def test_a_missing_library_is_one_sentence(
    run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mcp_types", None)
    line = refusal(run, capfd=capfd)
    assert line == "likewise: this needs the library mcp: pip install 'likewise[mcp]'"


def test_the_documented_configurations_are_of_this_command() -> None:
    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
    section = page.partition("\n## MCP\n")[2]
    started, reached = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", section, flags=re.DOTALL))
    started = started["mcpServers"]["products"]
    command, bound, _ = app.parse_args(started["args"], print_error=False, exit_on_error=False)
    assert (started["command"], command.__name__, bound.arguments["run"]) == (
        "likewise",
        "mcp",
        Path(started["args"][1]),
    )
    assert reached["mcpServers"]["products"]["url"] == "http://127.0.0.1:8001/mcp"
