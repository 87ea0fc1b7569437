"""Control of the C library's stand-in that lets writes fail; see shim.c."""

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")


class Mode(IntEnum):
    """What happens at the n-th change below a folder."""

    COUNT = 1
    FULL = 2
    BROKEN = 3
    SHORT = 4

    @property
    def words(self) -> str:
        """As a person says it."""
        return {"FULL": "no space from", "BROKEN": "an input/output error at", "SHORT": "a short write at"}[self.name]


@dataclass
class Report:
    """What was seen while faults were armed.

    Attributes:
        count: the changes below the folder.
        data: those of them that write data, which `Mode.SHORT` counts.
        what: the call that failed, and its path below the folder; empty where none did.
    """

    count: int = 0
    data: int = 0
    what: str = ""


def compile_shim(target: Path) -> None:
    """Build the shared library for LD_PRELOAD."""
    compiler = shutil.which("cc")
    assert compiler is not None
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", target, SOURCE, "-ldl"], check=True)


@contextmanager
def armed(folder: Path, mode: Mode, number: int) -> Iterator[Report]:
    """Let changes below a folder fail inside the block; the report is filled in at its end."""
    library = ctypes.CDLL(None)
    library.fault_arm.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_long]
    library.fault_disarm.restype = ctypes.c_long
    library.fault_data.restype = ctypes.c_long
    library.fault_what.restype = ctypes.c_char_p
    report = Report()
    library.fault_arm(str(folder).encode(), int(mode), number)
    try:
        yield report
    finally:
        report.count = library.fault_disarm()
        report.data = library.fault_data()
        report.what = library.fault_what().decode(errors="replace")
