"""A version is there whole or not at all, whatever happens while it is written."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from likewise.retrieval.versions import current_version, new_version

# Writes one version after another; all files of a version hold the same text.
_BUILDER = """
import sys
from pathlib import Path
from likewise.retrieval.versions import new_version
print("ready", flush=True)
for number in range(10_000):
    with new_version(Path(sys.argv[1])) as folder:
        for name in "abc":
            (folder / name).write_text(f"{number}" * 2000)
"""


def write_version(folder: Path, text: str) -> None:
    with new_version(folder) as version:
        (version / "file").write_text(text)


def versions(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()]


def test_the_current_version_and_the_one_before_are_kept(tmp_path: Path) -> None:
    assert current_version(tmp_path) is None
    for number in range(4):
        write_version(tmp_path, str(number))
        assert (current_version(tmp_path) / "file").read_text() == str(number)
    assert sorted((path / "file").read_text() for path in versions(tmp_path)) == ["2", "3"]


def test_a_failed_build_leaves_the_current_version_and_no_rubbish(tmp_path: Path) -> None:
    write_version(tmp_path, "good")
    with pytest.raises(RuntimeError), new_version(tmp_path) as folder:
        (folder / "file").write_text("half")
        raise RuntimeError
    assert (current_version(tmp_path) / "file").read_text() == "good"
    assert len(versions(tmp_path)) == 1


def test_the_old_version_serves_while_the_new_one_is_written(tmp_path: Path) -> None:
    write_version(tmp_path, "old")
    with new_version(tmp_path) as folder:
        (folder / "file").write_text("new")
        assert (current_version(tmp_path) / "file").read_text() == "old"
    assert (current_version(tmp_path) / "file").read_text() == "new"


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_build_killed_at_any_moment_leaves_a_whole_version(tmp_path: Path) -> None:
    write_version(tmp_path, "")
    for name in "abc":
        (current_version(tmp_path) / name).write_text("first")
    for delay in (0.0, 0.013, 0.041, 0.107, 0.23):
        with subprocess.Popen([sys.executable, "-c", _BUILDER, tmp_path], stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"ready\n"
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
        texts = {(current_version(tmp_path) / name).read_text() for name in "abc"}
        assert len(texts) == 1
    assert texts != {"first"}
    write_version(tmp_path, "after")
    assert (current_version(tmp_path) / "file").read_text() == "after"
    assert not list(tmp_path.glob(".building-*")), "what a killed build left is cleared by the next"


def test_builds_at_the_same_time_wait_for_each_other(tmp_path: Path) -> None:
    def build(name: str) -> None:
        for number in range(8):
            with new_version(tmp_path) as folder:
                for file in "abc":
                    (folder / file).write_text(f"{name}{number}")

    threads = [threading.Thread(target=build, args=(name,)) for name in ("x", "y", "z")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({(current_version(tmp_path) / file).read_text() for file in "abc"}) == 1
    assert len(versions(tmp_path)) == 2
