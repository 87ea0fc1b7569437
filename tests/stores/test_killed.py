"""SIGKILL at any moment of writing, compacting and replacing: nothing acknowledged is lost, and the store opens."""

import contextlib
import os
import random
import signal
import time
import traceback
from functools import cache
from itertools import count
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from likewise.stores.faiss import collection as faiss
from likewise.stores.schema import Schema
from likewise.stores.search_target import SearchTarget
from likewise.stores.uri import Credentials, parse_location

DIM, STEADY, KILLS, MOST_KILLS = 16, 1_200, 50, 200
ACTIONS = ("upsert", "delete", "compact", "swap")
AIMED = ("upsert", "compact", "swap")  # a deletion is too brief to be hit
NOBODY = Credentials()
SCHEMA = Schema.of(pl.DataFrame({"id": ["x"], "stamp": [1]}), DIM)


@cache
def vector_of(key: int, stamp: int) -> np.ndarray:
    """(DIM,), what belongs to an item after the write of this number."""
    vector = np.random.default_rng([key, stamp]).standard_normal(DIM).astype(np.float32)
    return vector / np.linalg.norm(vector)


def write(store, stamp: int, keys: list[int]) -> None:
    items = pl.DataFrame({"id": [str(key) for key in keys], "stamp": [stamp] * len(keys)})
    store.upsert(items, np.stack([vector_of(key, stamp) for key in keys]))


def fill(place: str, stamp: int, keys: list[int]) -> None:
    location, _ = parse_location(place)
    with faiss.replace_store(location, SCHEMA, NOBODY, SearchTarget(0.8, kind="ivf-sq8")) as store:
        write(store, stamp, keys)


def work(place: str, log: Path, turn: int, first: int, aimed: str) -> None:
    """Write until killed, every other time by the aimed action.

    What is begun and what is done goes into a log that outlives the process.
    """
    chance = random.Random(turn)
    store = faiss.open_store(parse_location(place)[0], NOBODY)
    with log.open("ab", buffering=0) as file:
        for stamp in range(first, first + 10_000):
            keys = sorted(chance.sample(range(STEADY + 300), chance.randint(1, 30)))
            action = aimed if chance.random() < 0.5 else chance.choices(ACTIONS, [6, 3, 2, 1])[0]
            if action == "swap":
                keys = sorted(chance.sample(range(STEADY + 300), STEADY))
            entry = f"{action} {stamp} {','.join(map(str, keys))}"
            file.write(f"begin {entry}\n".encode())
            if action == "upsert":
                write(store, stamp, keys)
            elif action == "delete":
                store.delete([str(key) for key in keys])
            elif action == "compact":
                store.optimise()
            else:
                fill(place, stamp, keys)
                store = faiss.open_store(parse_location(place)[0], NOBODY)
            file.write(f"done {entry}\n".encode())


def after(content: dict[int, int], entry: str) -> dict[int, int]:
    """What a store holds after a write: the stamp of each key."""
    action, stamp, text = entry.split(" ")
    keys = [int(key) for key in text.split(",")]
    if action == "upsert":
        return content | dict.fromkeys(keys, int(stamp))
    if action == "delete":
        return {key: old for key, old in content.items() if key not in set(keys)}
    return dict.fromkeys(keys, int(stamp)) if action == "swap" else content


def stored(place: str) -> dict[int, int]:
    """What the store holds; its vectors are those that were written with it, and can be found."""
    store = faiss.open_store(parse_location(place)[0], NOBODY)
    content = {}
    for batch in store.iterate():
        some = {int(id): fields["stamp"] for id, fields in zip(batch.ids, batch.fields, strict=True)}
        np.testing.assert_allclose(batch.vectors, np.stack([vector_of(*one) for one in some.items()]), atol=1e-5)
        content |= some
    assert store.kind == "ivf-sq8"
    assert store.count() == len(content)
    some = list(content.items())[:: max(1, len(content) // 8)]
    found = store.search(np.stack([vector_of(*one) for one in some]), 1)
    assert sum(one.ids == [str(key)] for one, (key, _) in zip(found, some, strict=True)) >= len(some) - 2
    store.close()
    return content


def kill_during(child: int, action: str, log: Path, chance: random.Random) -> None:
    """Kill the child shortly after it began an action of this kind, or after a second."""
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline and not last_line(log).startswith(f"begin {action} "):
        time.sleep(0.0002)
    time.sleep(chance.choice([0, 0.001, 0.003, 0.03]))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def last_line(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 20_000))
        return file.read().decode().rsplit("\n", 2)[-2] if file.tell() else ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the workers are forks")
def test_nothing_acknowledged_is_lost_at_fifty_kills(tmp_path: Path) -> None:
    place, log = f"faiss://{tmp_path}/store", tmp_path / "log"
    log.touch()
    fill(place, 0, list(range(STEADY)))
    content, chance, seen, killed_during = dict.fromkeys(range(STEADY), 0), random.Random(3), 0, set()
    for turn in count():
        if turn >= KILLS and set(AIMED) <= killed_during:
            break
        assert turn < MOST_KILLS, f"killed only during {killed_during}"
        aimed = AIMED[turn % len(AIMED)]
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                try:
                    work(place, log, turn, 1 + turn * 10_000, aimed)
                except BaseException:
                    (tmp_path / "error").write_text(traceback.format_exc())
            os._exit(1)
        time.sleep(chance.uniform(0.02, 0.1))
        kill_during(child, aimed, log, chance)
        assert not (tmp_path / "error").exists(), (tmp_path / "error").read_text()
        lines = log.read_text().splitlines()
        begun = None
        for line in lines[seen:]:
            state, entry = line.split(" ", 1)
            begun = entry if state == "begin" else None
            if state == "done":
                content = after(content, entry)
        seen = len(lines)
        found = stored(place)
        whole = [content] if begun is None else [content, after(content, begun)]
        assert found in whole, f"kill {turn} during {begun and begun[:40]}: {len(found)} items"
        content = found
        killed_during.add(begun.split(" ")[0] if begun else None)
    assert seen > KILLS, "there was something to lose"
