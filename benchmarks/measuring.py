"""What the benchmarks share: where the data is, where results go, how a child process is timed."""

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
GROCERY = HERE.parent.parent / "shared" / "data" / "grocery" / "products.csv"


def options(about: str) -> argparse.ArgumentParser:
    """A parser with --data."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--data", type=Path, default=GROCERY, help="products.csv of the Grocery Store Dataset")
    return parser


def record(name: str, figures: dict[str, Any]) -> None:
    """Print the figures and keep them under benchmarks/results/."""
    import torch

    figures = {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        **figures,
    }
    text = json.dumps(figures, indent=2, ensure_ascii=False)
    print(text)
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def kept(name: str) -> dict[str, Any]:
    """The figures that an earlier run has kept under benchmarks/results/; empty where there are none."""
    file = HERE / "results" / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


@dataclass(frozen=True)
class Child:
    """How long a process took (wall and processor seconds), and its largest resident memory (bytes)."""

    seconds: float
    processor_seconds: float
    memory: int
    output: str


def run(*command: str | Path) -> Child:
    """Run a process to its end; its own error ends the benchmark."""
    started, before = time.perf_counter(), _processor_seconds()
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return Child(seconds, _processor_seconds() - before, memory, done.stdout)


def _processor_seconds() -> float:
    """Of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def likewise(*arguments: str | Path) -> Child:
    """Run a likewise command in a process of its own."""
    return run(sys.executable, "-m", "likewise.cli", *arguments)


def _processor() -> str:
    flags = ""
    try:
        content = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        flags = " ".join(flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f" {flag} " in content)
    except OSError:
        pass
    return f"{platform.machine()} {flags}".strip()
