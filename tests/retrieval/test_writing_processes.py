"""Several processes write into one run, are killed, and search: nothing that was acknowledged is lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from retrieval.fakes import FakeModel, catalog_of

from likewise.retrieval import words
from likewise.retrieval.index import Index

_WRITER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from retrieval.fakes import FakeModel
from likewise.retrieval import words
from likewise.retrieval.index import Index
words._MANY_RECENT = 20  # words are written to the disk again and again
name, count = sys.argv[3], int(sys.argv[4])
index = Index.open(Path(sys.argv[1]), FakeModel(dim=512))
index.search("thing", hybrid=True)
print("ready", flush=True)
sys.stdin.readline()
for turn in range(count):
    index.upsert([{"id": f"{name}-{turn}", "title": f"hat w{name}x{turn}", "size": turn}])
    print(f"upsert {turn}", flush=True)
    if turn % 4 == 3:
        index.patch(f"{name}-{turn - 1}", {"title": f"cap w{name}x{turn - 1}"})
        index.delete([f"{name}-{turn - 3}"])
        print(f"delete {turn - 3}", flush=True)
print(f"end {time.time()}", flush=True)
"""


def start(run: Path, name: str, count: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", _WRITER, str(run), str(Path(__file__).parents[1]), name, str(count)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def go(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.flush()


def check(index: Index, name: str, alive: set[int]) -> None:
    for turn in sorted(alive):
        assert index.item(f"{name}-{turn}").fields["size"] == turn
    for turn in sorted(alive)[:: max(1, len(alive) // 6)]:
        word = f"w{name}x{turn}"
        assert f"{name}-{turn}" in [hit.id for hit in index.search(word, k=8)]
        assert index.search(word, k=1, hybrid=True)[0].id == f"{name}-{turn}"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    Index.build(FakeModel(dim=512), catalog_of("thing", "other thing", size=[0, 1]), tmp_path / "run").close()
    return tmp_path / "run"


def test_processes_write_at_the_same_time_while_others_search(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_MANY_RECENT", 30)
    follower = Index.open(run, FakeModel(dim=512))
    follower.search("thing", hybrid=True)
    writers = {name: start(run, name, 40) for name in ("a", "b")}
    for process in writers.values():
        go(process)
    while any(process.poll() is None for process in writers.values()):
        follower.search("hat", hybrid=True, k=5)
        time.sleep(0.02)
    for process in writers.values():
        assert process.returncode == 0
        process.communicate()
    time.sleep(0.5)
    alive = {turn for turn in range(40) if turn % 4 != 0}
    for opened in (follower, Index.open(run, FakeModel(dim=512))):
        assert len(opened) == 2 + 2 * len(alive)
        for name in writers:
            check(opened, name, alive)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_what_a_killed_writer_was_told_to_be_written_is_there(run: Path) -> None:
    for turn, delay in enumerate((0.03, 0.11, 0.25, 0.5)):
        name = f"k{turn}"
        with start(run, name, 10_000) as process:
            go(process)
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            said = process.stdout.read().decode().splitlines()
        alive: set[int] = set()
        for line in said:
            action, number = line.split()
            alive = alive | {int(number)} if action == "upsert" else alive - {int(number)}
        about_to_go = {max(alive) // 4 * 4} if alive else set()  # the next deletion may have been on its way
        check(Index.open(run, FakeModel(dim=512)), name, alive - about_to_go)
    assert alive
