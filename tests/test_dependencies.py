"""The dependencies as they are declared: bounds that leave out known advisories, and the versions that were tested."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PINNED = re.compile(r"([A-Za-z0-9._-]+)==([0-9][A-Za-z0-9.]*)")


def lines_of(name: str) -> list[str]:
    return [line for text in (ROOT / name).read_text().splitlines() if (line := text.split("#")[0].strip())]


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def tested() -> dict[str, str]:
    """The version of each package in constraints.txt."""
    pins = [PINNED.fullmatch(line) for line in lines_of("constraints.txt")]
    assert all(pins), "a line that is no NAME==VERSION"
    return {normalized(pin[1]): pin[2] for pin in pins if pin}


def test_tested_versions_are_within_the_bounds(tested: dict[str, str]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    declared = [*lines_of("requirements.txt"), *(line for lines in extras.values() for line in lines)]
    for requirement in map(Requirement, declared):
        name = normalized(requirement.name)
        if name != "datasets":  # of the benchmarks alone
            assert name in tested, requirement
            assert requirement.specifier.contains(tested[name]), requirement


@pytest.mark.parametrize(
    ("name", "vulnerable"),
    [("gradio", "6.19.0"), ("Pillow", "12.1.1"), ("starlette", "0.49.0"), ("filelock", "3.20.2")],
)
def test_versions_with_known_advisories_are_left_out(name: str, vulnerable: str) -> None:
    [requirement] = [found for line in lines_of("requirements.txt") if (found := Requirement(line)).name == name]
    assert not requirement.specifier.contains(vulnerable)


@pytest.mark.skipif(shutil.which("make") is None, reason="this system has no make")
def test_an_audit_without_its_tool_is_one_sentence(tmp_path: Path) -> None:
    command = [shutil.which("make"), "--silent", "audit", f"BIN={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr.startswith("pip-audit is not installed: pipx install pip-audit, or ")
