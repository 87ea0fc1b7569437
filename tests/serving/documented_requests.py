"""What the pages show over HTTP (curl, Python), run as it stands there against a `likewise serve` of the tests."""

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import require

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Over HTTP")[2].partition("\n## ")[0]
ADDRESS = "http://127.0.0.1:8000"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.DOTALL | re.M)


def curls(page: str) -> list[str]:
    return [line for block in blocks(page, "bash") for line in block.splitlines() if line.startswith("curl ")]


def at(address: str, example: str) -> str:
    """An example that asks the server of these tests."""
    assert ADDRESS in example
    return example.replace(ADDRESS, address)


def run_curl(command: str, address: str, folder: Path) -> str:
    """What a curl command of a page prints in this folder."""
    require(shutil.which("curl"), "the guide's commands need curl")
    require(shutil.which("bash"), "the guide's commands need bash")
    line = at(address, command).replace("curl ", "curl --silent --show-error --noproxy '*' ", 1)
    done = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_python(example: str, address: str, names: dict[str, object]) -> str:
    """What a Python example of a page prints; `names` are those of the examples before, and get its own."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(at(address, example), "example", "exec"), names)
    return printed.getvalue()


@contextmanager
def served_run(run: str, folder: Path, *options: str) -> Iterator[str]:
    """The address of `likewise serve`, in a process of its own that SIGTERM ends at the end."""
    code = "import sys; from likewise.cli.app import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "serve", run, "--port", "0", *options]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "src"),
        "LIKEWISE_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as server:
        try:
            said = []
            assert server.stderr is not None
            for line in server.stderr:
                said.append(line)
                if "Serving the API on" in line:
                    break
            found = re.search(r"http://127\.0\.0\.1:\d+", "".join(said[-1:]))
            assert found, "".join(said)
            yield found[0]
            server.send_signal(signal.SIGTERM)
            assert server.wait(timeout=60) == 0
        finally:
            server.kill()
