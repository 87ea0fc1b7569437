"""Shared by all tests: honest skips, processes side by side that do not fight over the cores, no network."""

import importlib.util
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

# Threads that spin while they wait for each other take the cores from those that work, on a machine that is not idle.
# It is read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# UMAP's functions take a minute to compile, and seconds to run uncompiled on what the tests draw.
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")

REQUIRE_ALL = os.environ.get("LIKEWISE_REQUIRE_ALL") == "1"
_THREADS = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
    *("POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "LANCE_CPU_THREADS"),
)

# A killed process loses nothing that it has written; a power cut would, and no test makes one. Some tests spent most of
# their time waiting for the disk.
os.fsync = lambda descriptor: None

if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    share = max(1, len(os.sched_getaffinity(0)) // workers if hasattr(os, "sched_getaffinity") else 1)
    for variable in _THREADS:  # read when the libraries are imported, which is later, and by child processes
        os.environ.setdefault(variable, str(share))


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """`-n logical` runs one file, or a test of one, without workers: starting them takes longer than most files."""
    return 0 if _is_one_file(config.args) else None


def _is_one_file(arguments: Sequence[str]) -> bool:
    return len(arguments) == 1 and Path(arguments[0].partition("::")[0]).is_file()


@contextmanager
def shared_folder(factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """A folder that all processes of a test run share; one at a time is in the block, so what is made is made once."""
    base = factory.getbasetemp().parent if workers else factory.getbasetemp()
    (base / name).mkdir(exist_ok=True)
    with FileLock(base / f"{name}.lock"):
        yield base / name


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Threads that wait for each other make tiny matrices slow, most of all on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def require(condition: object, reason: str) -> None:
    """Skip a test, or a file of them, whose ground is missing; with LIKEWISE_REQUIRE_ALL=1 fail instead."""
    if condition:
        return
    if REQUIRE_ALL:
        pytest.fail(f"required by LIKEWISE_REQUIRE_ALL: {reason}")
    pytest.skip(reason, allow_module_level=True)


def require_library(name: str) -> None:
    """Skip a test, or a file of them, that needs a library which is not installed; see `require`."""
    require(importlib.util.find_spec(name), f"{name} is not installed")
