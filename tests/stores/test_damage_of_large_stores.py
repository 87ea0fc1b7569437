"""Stores that are too large to be verified when they are opened check the rows that they return."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from likewise import checksums
from likewise.catalog.filters import parse_filter
from likewise.errors import UserError
from likewise.retrieval.verification import verify
from likewise.stores.registry import open_store, replace_store
from likewise.stores.schema import Schema

COUNT, DIM = 2_000, 64
IDS = [f"item {row} {'of many ' * 15}" for row in range(COUNT)]
ITEMS = pl.DataFrame({"id": IDS, "price": range(COUNT)})
VECTORS = np.random.default_rng(0).standard_normal((COUNT, DIM)).astype(np.float32)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)
DAMAGED, WHOLE = 1_500, 100  # rows that lie in different blocks


@pytest.fixture(params=["faiss", "faiss?kind=ivf-sq8&target_recall=0.9", "lancedb"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    scheme, _, options = request.param.partition("?")
    uri = f"{scheme}://{tmp_path}/store" + (f"?{options}" if options else "")
    with replace_store(uri, Schema.of(ITEMS, DIM)) as store:
        store.upsert(ITEMS, VECTORS)
    monkeypatch.setattr(checksums, "AT_OPENING", 20_000)
    return uri


def file_with(folder: Path, content: bytes) -> tuple[Path, int]:
    """The largest file in which some bytes stand, and where."""
    files = sorted(folder.rglob("*"), key=lambda path: path.stat().st_size, reverse=True)
    path = next(path for path in files if path.is_file() and content in path.read_bytes())
    return path, path.read_bytes().index(content)


def damage(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_vector_that_was_damaged_is_never_returned(place: str, tmp_path: Path) -> None:
    path, start = file_with(tmp_path, VECTORS[DAMAGED].tobytes())
    damage(path, start + 1)
    store = open_store(place)
    assert [one.ids for one in store.search(VECTORS[WHOLE : WHOLE + 1], 1)] == [[IDS[WHOLE]]]
    for read in (
        lambda: list(store.search(VECTORS[DAMAGED : DAMAGED + 1], 1)),
        lambda: list(store.search(VECTORS[:1], 1, parse_filter(f"price == {DAMAGED}"))),
        lambda: store.fetch([IDS[DAMAGED]], vectors=True),
        lambda: list(store.iterate()),
    ):
        with pytest.raises(UserError, match="damaged"):
            read()
    (part,) = verify(str(tmp_path / "store"))
    assert part.damage is not None and path.name in part.damage


@pytest.mark.parametrize("text", [f'"{IDS[DAMAGED]}", "price"', f"{IDS[DAMAGED]}{IDS[DAMAGED + 1]}"])
def test_fields_and_ids_that_were_damaged_are_never_returned(place: str, text: str, tmp_path: Path) -> None:
    if place.startswith("lancedb"):
        return  # it compresses texts, so that damage to them is an error of its own
    path, start = file_with(tmp_path, text.encode())
    damage(path, start + 3)
    store = open_store(place)
    assert store.fetch([IDS[WHOLE]])[0].fields == {"id": IDS[WHOLE], "price": WHOLE}
    with pytest.raises(UserError, match=f"{path.name} is damaged"):
        store.fetch([IDS[DAMAGED]])
    if path.name == "ids.text":
        with pytest.raises(UserError, match=r"ids\.text is damaged"):
            list(store.search(VECTORS[DAMAGED : DAMAGED + 1], 1))


@pytest.mark.parametrize("scheme", ["faiss", "lancedb"])
def test_field_vectors_that_were_damaged_are_never_returned(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"{scheme}://{tmp_path}/store"
    halves = VECTORS[:, None].astype(np.float16)
    with replace_store(uri, Schema.of(ITEMS, DIM, field_vectors=["title"])) as store:
        store.upsert(ITEMS, VECTORS, halves)
    path, start = file_with(tmp_path, halves[DAMAGED].tobytes())
    damage(path, start + 1)
    with pytest.raises(UserError, match="damaged"):
        open_store(uri)
    monkeypatch.setattr(checksums, "AT_OPENING", 20_000)
    store = open_store(uri)
    assert [one.ids for one in store.search(VECTORS[DAMAGED : DAMAGED + 1], 1)] == [[IDS[DAMAGED]]]
    assert store.fetch([IDS[DAMAGED]], vectors=True)[0].id == IDS[DAMAGED]
    (whole,) = store.fetch([IDS[WHOLE]], field_vectors=True)
    np.testing.assert_allclose(whole.field_vectors["title"], VECTORS[WHOLE], atol=1e-3)
    with pytest.raises(UserError, match="damaged"):
        store.fetch([IDS[DAMAGED]], field_vectors=True)
    (part,) = verify(str(tmp_path / "store"))
    assert part.damage is not None and path.name in part.damage


def test_whole_stores_answer_as_if_they_were_small(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    large = [(one.ids, one.scores.tolist()) for one in open_store(place).search(VECTORS[:50], 10)]
    monkeypatch.setattr(checksums, "AT_OPENING", 2**30)
    assert [(one.ids, one.scores.tolist()) for one in open_store(place).search(VECTORS[:50], 10)] == large
