"""Commands that write, and what is asked before and after. To add one, add an entry to SCENARIOS."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
from damage import shop, targets
from model.shape_catalogue import write_catalogue
from retrieval.fakes import FakeModel

from likewise.catalog.catalog import Catalog
from likewise.cli.app import app
from likewise.encoders.feature_cache import FeatureCache
from likewise.errors import UserError
from likewise.evaluation.results import RunMetrics
from likewise.model.model import Model
from likewise.model.portable import EncodedItems, load_portable, save_portable
from likewise.retrieval.index import Index
from likewise.training.train import train

Ask = Callable[[Path, Path], Any]


@dataclass(frozen=True)
class Scenario:
    """A command whose writes fail one after the other.

    Attributes:
        prepare: fills `before` below a working folder; whatever else is needed lies beside it.
        command: gets the working folder and a copy of `before`, and changes that.
        answers: what is asked of it, each with the same two folders.
        apart: answers may become new one by one; otherwise all are as before, or all are new.
        several: it makes several writes, each of them whole, so that some may be done; the same command does the rest.
        most: faults that are tried, of all that there are.
    """

    name: str
    prepare: Callable[[Path], None]
    command: Callable[[Path, Path], None]
    answers: Mapping[str, Ask]
    apart: bool = False
    several: bool = False
    most: int = 64


# Indexes.


def _catalogue(work: Path, count: int, updates: int) -> Any:
    return shop.catalogue(count, updates, work / "pictures")


def _index_answers(text: str = "red lamp of oak no12 mended1") -> dict[str, Ask]:
    def asking(ask: Callable[[Index], Any]) -> Ask:
        def run(work: Path, folder: Path) -> Any:
            index = Index.open(folder, FakeModel())
            try:
                return ask(index)
            finally:
                index.close()

        return run

    return {
        "everything": asking(lambda index: targets.everything(index, own=False)),
        "search": asking(lambda index: targets.plain_hits(index.search(text, k=10))),
        "hybrid search": asking(lambda index: targets.plain_hits(index.search(text, k=10, hybrid=True))),
    }


def _prepare_index(work: Path, store: str, count: int) -> None:
    shop.write_index(work, work / "before", store, count)


def _build(work: Path, folder: Path, store: str, count: int) -> None:
    Index.build(FakeModel(), _catalogue(work, count, shop.UPDATES + 1), folder, store=store).close()


def _update(work: Path, folder: Path, count: int) -> None:
    index = Index.open(folder, FakeModel())
    index.update(_catalogue(work, count, shop.UPDATES + 1))
    index.close()


def _compact(work: Path, folder: Path) -> None:
    index = Index.open(folder, FakeModel())
    index._handle._current.store.optimise()
    index.close()


def _index_scenarios(engine: str, store: str, count: int, most: int = 80) -> list[Scenario]:
    prepare = functools.partial(_prepare_index, store=store, count=count)
    build = functools.partial(_build, store=store, count=count)
    update = functools.partial(_update, count=count)
    answers = _index_answers()
    return [
        Scenario(f"index ({engine})", prepare, build, answers, most=most),
        Scenario(f"index --update ({engine})", prepare, update, answers, several=True, most=most),
        Scenario(f"compaction ({engine})", prepare, _compact, answers, most=most),
    ]


def _prepare_lost_words(work: Path) -> None:
    shop.write_index(work, work / "before", "faiss:index", 64)
    for notes in (work / "before" / "words").glob("*/current"):
        notes.unlink()


def _search_words(work: Path, folder: Path) -> None:
    index = Index.open(folder, FakeModel())
    index.search("red lamp", hybrid=True)
    index.close()


# Runs.


def _shapes(work: Path, cache: Path, count: int = 24) -> Catalog:
    if not (work / "shapes" / "shapes.csv").exists():
        write_catalogue(work / "shapes")
    return Catalog.read(work / "shapes" / "shapes.csv", cache=cache, max_items=count)


def _prepare_nothing(work: Path) -> None:
    (work / "before").mkdir()
    _shapes(work, work / "cache")


def _train(work: Path, folder: Path) -> None:
    train(_shapes(work, folder / "cache"), folder / "run", targets.CONFIG.model_copy(update={"epochs": 1}))


def _trained_model(work: Path, folder: Path) -> Any:
    return Model.load(folder / "run", "cpu").fingerprint


def _figures(work: Path, folder: Path) -> Any:
    metrics = RunMetrics.read(folder / "run").model_dump(mode="json")
    return [metrics["comparison"], metrics["threshold"]]


@functools.cache
def _model(seed: int) -> Model:
    return Model.create(targets.SCRATCH, "cpu", targets.FLOAT32, seed=seed)


def _encoded(work: Path, seed: int) -> tuple[Model, EncodedItems, Path]:
    model, catalog = _model(seed), _shapes(work, work / "cache")
    shown = [pictures[0] if pictures else None for pictures in catalog.pictures]
    return model, EncodedItems(model.encode_items(catalog), catalog.table, shown), catalog.cache


def _prepare_portable(work: Path) -> None:
    (work / "before").mkdir()
    model, items, cache = _encoded(work, seed=0)
    save_portable(work / "before" / "model_weights.pt", model, items, cache=cache)


def _save_portable(work: Path, folder: Path) -> None:
    model, items, cache = _encoded(work, seed=1)
    save_portable(folder / "model_weights.pt", model, items, cache=cache)


def _portable(work: Path, folder: Path) -> Any:
    unpacked = work / f"unpacked-{folder.name}"
    model, items = load_portable(folder / "model_weights.pt", unpacked, "cpu")
    return [model.fingerprint, items.vectors, items.table.to_dicts()]


# Files for other tools.


def _prepare_vectors(work: Path) -> None:
    _prepare_nothing(work)
    model = _model(0)
    model.save(work / "run")
    pl.DataFrame({"id": ["old"], "vector": [[1.0]]}).write_parquet(work / "before" / "vectors.parquet")


def _encode(work: Path, folder: Path) -> None:
    arguments = ["encode", work / "run", "--data", work / "shapes" / "shapes.csv", "--device", "cpu"]
    arguments += ["--output", folder / "vectors.parquet", "--cache", folder / "cache"]
    try:
        app([str(argument) for argument in arguments], exit_on_error=False, print_error=False)
    except SystemExit as end:
        if end.code:
            raise


def _vectors(work: Path, folder: Path) -> Any:
    table = pl.read_parquet(folder / "vectors.parquet")
    return [table["id"].to_list(), table["vector"].to_list()]


# Caches.

_SHAPE = (3, 5)


def _cache(folder: Path) -> FeatureCache:
    return FeatureCache(
        folder,
        SimpleNamespace(fingerprint=lambda: "a" * 64, feature_shape=_SHAPE, name="tiny"),  # type: ignore[arg-type]
    )


def _rows(first: int, last: int) -> tuple[list[str], np.ndarray]:
    rows = np.stack([np.full(_SHAPE, number, np.float16) for number in range(first, last)])
    return [f"key {number}" for number in range(first, last)], rows


def _prepare_features(work: Path) -> None:
    (work / "before").mkdir()
    _cache(work / "before").add(*_rows(0, 20))


def _add_features(work: Path, folder: Path) -> None:
    _cache(folder).add(*_rows(10, 60))
    _cache(folder).add(*_rows(55, 70))


def _old_features(work: Path, folder: Path) -> Any:
    return _cache(folder).gather(_rows(0, 20)[0])


def _new_features(work: Path, folder: Path) -> Any:
    """Those that are there must be right; after an error some may be missing."""
    cache = _cache(folder)
    keys, rows = _rows(20, 70)
    missing = set(cache.missing(keys))
    kept = [place for place, key in enumerate(keys) if key not in missing]
    if not np.array_equal(cache.gather([keys[place] for place in kept]), rows[kept]):
        return "features of something else"
    if kept and missing:
        raise UserError("some of them are there, and right")
    if missing:
        raise UserError("none of them is there")
    return "all of them are there, and right"


def _look_at_pictures(work: Path, folder: Path) -> None:
    catalog = targets.pictured(work, folder)
    for shown in catalog.pictures:
        for picture in shown:
            catalog.make_thumbnail(picture)


def _prepare_pictures(work: Path) -> None:
    (work / "before").mkdir()
    targets.pictured(work, work / "cache")


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        *_index_scenarios("faiss", "faiss:index", 64),
        *_index_scenarios("faiss ivf-sq8", "faiss:index?kind=ivf-sq8", 504, most=40)[::2],
        *_index_scenarios("lancedb", "lancedb:items", 64),
        Scenario("words written again", _prepare_lost_words, _search_words, _index_answers()),
        Scenario(
            "train", _prepare_nothing, _train, {"model": _trained_model, "figures": _figures}, apart=True, most=40
        ),
        Scenario("save_portable", _prepare_portable, _save_portable, {"file": _portable}),
        Scenario("encode", _prepare_vectors, _encode, {"vectors": _vectors}),
        Scenario(
            "feature cache", _prepare_features, _add_features, {"old": _old_features, "new": _new_features}, apart=True
        ),
        Scenario(
            "picture cache",
            _prepare_pictures,
            _look_at_pictures,
            {"pictures": targets.pictures_seen, "thumbnails": targets.thumbnails_seen},
            apart=True,
        ),
    )
}
