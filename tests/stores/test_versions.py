"""A version is there whole or not at all, whatever happens while it is written."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from likewise.checksums import IndexManifest
from likewise.errors import UserError
from likewise.files import DamageError
from likewise.stores.versions import current_version, new_version, remove_versions

# Writes one version after another; all files of a version hold the same text.
_BUILDER = """
import sys
from pathlib import Path
from likewise.stores.versions import new_version
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


@pytest.mark.parametrize(
    "name", [".git", "20260131T120000-3f9a2c4", "20260131T120000-3f9a2c41.bak", "cat.jpg", "notes"]
)
def test_a_folder_of_something_else_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "HEAD").write_text("mine")
    with pytest.raises(UserError, match=f"holds {name} and is no index of likewise"), new_version(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / "HEAD").read_text() == "mine"


def test_what_came_to_lie_beside_versions_stays(tmp_path: Path) -> None:
    write_version(tmp_path, "0")
    linked = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    linked.mkdir()
    (linked / "file").write_text("mine")
    (tmp_path / "20000101T000000-00000000").symlink_to(linked)
    for name in (".git", "photos", ".building-site", "20260131T120000-3f9a2c41x"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("mine")
    for number in range(1, 4):
        write_version(tmp_path, str(number))
    assert (current_version(tmp_path) / "file").read_text() == "3"
    for folder in (*(tmp_path / name for name in (".git", "photos", ".building-site")), linked):
        assert (folder / "file").read_text() == "mine"
    remove_versions(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".building-site",
        ".git",
        "20000101T000000-00000000",
        "20260131T120000-3f9a2c41x",
        "photos",
    ]


@pytest.mark.parametrize("damage", ["", "..", "/etc", "20260131T120000-3f9a2c4g", "\xff", None])
def test_a_damaged_name_of_the_current_version_is_damage(tmp_path: Path, damage: str | None) -> None:
    write_version(tmp_path, "0")
    if damage is None:
        (tmp_path / "current").unlink()
    else:
        (tmp_path / "current").write_text(damage, encoding="latin-1")
    with pytest.raises(DamageError):
        current_version(tmp_path)
    write_version(tmp_path, "1")
    assert (current_version(tmp_path) / "file").read_text() == "1"


def test_a_version_has_a_manifest_of_its_files_but_those_that_change(tmp_path: Path) -> None:
    with new_version(tmp_path, unlisted=["log"]) as version:
        (version / "sub").mkdir()
        for name in ("log", "file", "sub/file"):
            (version / name).write_text(name)
    assert IndexManifest(current_version(tmp_path)).names == ["file", "sub/file"]
