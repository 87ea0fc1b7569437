"""What is damaged, and what is asked of it afterwards. To add something, add an entry to TARGETS."""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from damage import shop
from model.shape_catalogue import draw
from retrieval.fakes import FakeModel
from training.tiny_config import TINY

from likewise.catalog.catalog import Catalog
from likewise.catalog.images.picture import Picture, PictureError
from likewise.config import ModelSettings
from likewise.encoders import scratch_image, scratch_text
from likewise.errors import UserError
from likewise.evaluation.evaluate import evaluate_run
from likewise.evaluation.task import TaskOptions
from likewise.model.model import Model
from likewise.model.portable import EncodedItems, load_portable, save_portable
from likewise.retrieval.index import Index
from likewise.retrieval.items import Hits, Item
from likewise.training import resume
from likewise.training.features import cache_features
from likewise.training.train import train
from likewise.training.training_state import TrainingState

FLOAT32 = {"text": "float32", "image": "float32"}
SCRATCH = ModelSettings(text_encoder="scratch-text", image_encoder="scratch-image", dim=32)
CONFIG = TINY.model_copy(update={"model": SCRATCH, "epochs": 2, "title_negatives": 8})


@dataclass(frozen=True)
class Operation:
    """Something that a user asks, on files that have just been opened.

    Attributes:
        ask: gets the target's working folder and the damaged copy of what it keeps there.
        writes: it writes into files that are there already.
        slow: it is asked after every fourth damage only.
    """

    ask: Callable[[Path, Path], Any]
    writes: bool = False
    slow: bool = False


@dataclass(frozen=True)
class Target:
    """Files, and the operations that read them.

    Attributes:
        build: fills `pristine` below a working folder; whatever else is needed lies beside it.
        elsewhere: patterns of files that another target has.
        more: see `damages_of`.
    """

    name: str
    build: Callable[[Path], None]
    operations: Mapping[str, Operation]
    elsewhere: Sequence[str] = ()
    more: int = 0


def shrink_encoders() -> None:
    """Make the encoders of the preset scratch so small that opening them takes no time."""
    for module in (scratch_text, scratch_image):
        module.WIDTH, module.DEPTH, module.HEADS = 32, 2, 2
    scratch_text.BUCKETS = 256


# An index, and what is asked of it.

_Opened = Callable[[Path, Path], Any]


def plain_hits(hits: Hits) -> list[Any]:
    return [(hit.id, hit.score, hit.fields, _shown(hit)) for hit in hits]


def _shown(item: Any) -> tuple[str, str] | None:
    return (item.picture.key, item.picture.path.name) if item.picture is not None else None


def _item(item: Item) -> tuple[Any, ...]:
    return item.id, item.fields, _shown(item)


def everything(index: Index, *, own: bool = True) -> list[Any]:
    """All that the store holds, by id: fields and vectors."""
    rows = [
        (id, fields if own else index._bookkeeping.strip(fields), vector)
        for batch in index._handle._current.store.iterate()
        for id, fields, vector in zip(batch.ids, batch.fields, batch.vectors, strict=True)
    ]
    rows.sort(key=lambda row: row[0])
    return [[id for id, *_ in rows], [fields for _, fields, _ in rows], np.stack([vector for *_, vector in rows])]


def _corrected_hits(index: Index, text: str) -> list[Any]:
    hits = index.search(text, k=20, hybrid=True)
    return [plain_hits(hits), hits.did_you_mean]


def _recommended(index: Index) -> list[Any]:
    table = index.recommendations(3).sort("id", "rank")
    return [table["id"].to_list(), table["similar_id"].to_list(), table["score"].to_numpy()]


def index_operations(
    opened: _Opened, *, text: str, like: str, ids: Sequence[str], where: str, own: bool = True
) -> dict[str, Operation]:
    """What users ask of an index; `opened` is a context manager that gives one.

    Args:
        own: compare the columns that are likewise's own, too: false where the index is made afresh each time.
    """

    def asking(ask: Callable[[Index], Any]) -> Operation:
        def run(work: Path, folder: Path) -> Any:
            with opened(work, folder) as index:
                return ask(index)

        return Operation(run)

    return {
        "search": asking(lambda index: plain_hits(index.search(text, k=20))),
        "filtered search": asking(lambda index: plain_hits(index.search(text, k=20, where=where))),
        "hybrid search": asking(lambda index: plain_hits(index.search(text, k=20, hybrid=True))),
        "misspelt search": asking(lambda index: _corrected_hits(index, f"{text} gren conr no1")),
        "similar": asking(lambda index: plain_hits(index.similar(like, k=20))),
        "item": asking(lambda index: [_item(index.item(id)) for id in ids]),
        "count": asking(len),
        "iterate": asking(functools.partial(everything, own=own)),
        "recommend": asking(_recommended),
    }


_WORDS = ("words/*",)  # the same with every engine


def _index_target(name: str, store: str, count: int, elsewhere: Sequence[str] = ()) -> Target:
    @contextmanager
    def opened(work: Path, folder: Path) -> Any:
        index = Index.open(folder, FakeModel())
        try:
            yield index
        finally:
            index.close()

    def update(work: Path, folder: Path) -> Any:
        with opened(work, folder) as index:
            index.update(shop.catalogue(count, shop.UPDATES + 1, work / "pictures"))
            return [everything(index, own=False), plain_hits(index.search("red lamp mended2", k=10, hybrid=True))]

    operations = index_operations(
        opened,
        text="blue lamp of glass no12 mended1",
        like=f"item-{count // 4}",
        ids=["item-0", f"item-{count // 4 + 1}", f"item-{count}", f"item-{count - 1}"],
        where="price < 30 and brand is not null",
    )
    build = functools.partial(_build_index, store=store, count=count)
    return Target(name, build, {**operations, "update": Operation(update, writes=True, slow=True)}, elsewhere, more=4)


def _build_index(work: Path, store: str, count: int) -> None:
    shop.write_index(work, work / "pristine", store, count)


# A run folder: everything but the index and the words, which the targets above have.


def _shapes(work: Path, cache: Path | None = None) -> Catalog:
    from model.shape_catalogue import write_catalogue

    if not (work / "shapes" / "shapes.csv").exists():
        write_catalogue(work / "shapes")
    return Catalog.read(work / "shapes" / "shapes.csv", cache=cache or work / "cache", max_items=36)


def _build_run(work: Path) -> None:
    catalog, run = _shapes(work), work / "pristine"
    train(catalog, run, CONFIG)
    Index.build(Model.load(run, "cpu"), catalog, run)


@contextmanager
def _opened_run(work: Path, run: Path) -> Any:
    index = Index.open(run, Model.load(run, "cpu"))
    try:
        yield index
    finally:
        index.close()


def _model_of_run(work: Path, run: Path) -> Any:
    return _told_of(Model.load(run, "cpu"))


def _told_of(model: Model) -> list[Any]:
    texts = ["a large red circle", "small blue cross", "Printed by hand."]
    pictures = [draw("red", "circle"), draw("blue", "cross", 12)]
    vectors = [model.encode_queries(texts), model.encode_images(pictures)]
    return [model.fingerprint, model.fields, model.precision, *vectors]


def _encoded_items(work: Path, run: Path) -> Any:
    return Model.load(run, "cpu").encode_items(_shapes(work))


def _evaluated(work: Path, run: Path) -> Any:
    model = Model.load(run, "cpu")
    return evaluate_run(run, model, TaskOptions(_shapes(work), model.fields).build()).as_dict()


def _trained_again(work: Path, run: Path) -> Any:
    """A finished run is returned as it is; where it is not finished any more, it comes to the same end."""
    metrics = train(_shapes(work), run, CONFIG).metrics.model_dump(mode="json")
    return [metrics["comparison"], metrics["threshold"], Model.load(run, "cpu").fingerprint]


RUN = Target(
    "run",
    _build_run,
    {
        "load and encode": Operation(_model_of_run),
        "encode the items": Operation(_encoded_items),
        "evaluate": Operation(_evaluated, slow=True),
        "train again": Operation(_trained_again, writes=True, slow=True),
        **index_operations(_opened_run, text="large red circle", like="s4", ids=["s4", "s8"], where='part == "train"'),
    },
    elsewhere=("index/*", "words/*"),
)


# A training that was stopped: what it says of its state, and where it ends.


class _StoppedError(BaseException):
    """The training ends here for now."""


def _build_stopped_run(work: Path) -> None:
    write, written = TrainingState.write, []

    def stop_at_last(state: TrainingState, run: Path) -> None:
        write(state, run)
        written.append(state.step)
        if state.stage == 1:
            raise _StoppedError

    TrainingState.write = stop_at_last
    try:
        train(_shapes(work), work / "pristine", CONFIG)
    except _StoppedError:
        return
    finally:
        TrainingState.write = write
    raise AssertionError("the training was not stopped")


def _resumed(work: Path, run: Path) -> Any:
    """What the training would go on from."""
    environment = resume.open_run(run, CONFIG.model_copy(update={"data": _shapes(work).settings}), _shapes(work))
    state = TrainingState.read(run, Model.create(SCRATCH, "cpu", FLOAT32).device)
    if state is None:
        raise UserError("there is nothing to go on from, so that the training begins afresh")
    return [vars(environment), _plain(vars(state))]


def _finished(work: Path, run: Path) -> Any:
    metrics = train(_shapes(work), run, CONFIG).metrics.model_dump(mode="json")
    history = [{**epoch, "seconds": 0, "minutes": 0} for epoch in metrics["history"]]
    return [metrics["comparison"], history, Model.load(run, "cpu").fingerprint]


def _plain(value: Any) -> Any:
    if hasattr(value, "numpy"):
        return value.detach().numpy()
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


STATE = Target(
    "training state",
    _build_stopped_run,
    {"read the state": Operation(_resumed, writes=True), "train on": Operation(_finished, writes=True, slow=True)},
    more=8,
)


# The one file that train.py leaves.


def _build_portable(work: Path) -> None:
    catalog = _shapes(work)
    model = Model.create(SCRATCH, "cpu", FLOAT32)
    shown = [pictures[0] if pictures else None for pictures in catalog.pictures]
    vectors = model.encode_items(catalog)
    (work / "pristine").mkdir()
    target = work / "pristine" / "model_weights.pt"
    save_portable(target, model, EncodedItems(vectors, catalog.table, shown), cache=catalog.cache)


@contextmanager
def _opened_portable(work: Path, folder: Path) -> Any:
    with TemporaryDirectory(prefix="unpacked-", dir=work) as unpacked:
        model, items = load_portable(folder / "model_weights.pt", Path(unpacked), "cpu")
        index = Index.from_vectors(model, items.vectors, items.table, pictures=items.pictures)
        try:
            yield index
        finally:
            index.close()


def _loaded(work: Path, folder: Path) -> Any:
    with TemporaryDirectory(prefix="unpacked-", dir=work) as unpacked:
        model, items = load_portable(folder / "model_weights.pt", Path(unpacked), "cpu")
        shown = [picture and picture.path.read_bytes() for picture in items.pictures]
        return [_told_of(model), items.vectors, items.table.to_dicts(), shown]


PORTABLE = Target(
    "model_weights.pt",
    _build_portable,
    {
        "load": Operation(_loaded),
        **index_operations(
            _opened_portable, text="large red circle", like="s4", ids=["s4", "s8"], where='part == "train"', own=False
        ),
    },
    more=24,
)


# What a catalogue's cache folder keeps: features of texts and pictures, copies of pictures, thumbnails.


@functools.cache
def _model() -> Model:
    return Model.create(SCRATCH, "cpu", FLOAT32)


def pictured(work: Path, cache: Path) -> Catalog:
    """Half of the pictures are files, half stand in the catalogue itself and are kept in the cache."""
    import base64

    import polars as pl

    _shapes(work)
    target = work / "shapes" / "inline.csv"
    if not target.exists():
        table = pl.read_csv(work / "shapes" / "shapes.csv")
        cells = [
            f"data:image/png;base64,{base64.b64encode((work / 'shapes' / name).read_bytes()).decode()}"
            if name and number % 2
            else name
            for number, name in enumerate(table["image_url"])
        ]
        table.with_columns(image_url=pl.Series(cells, dtype=pl.String))[:12].write_csv(target)
    return Catalog.read(target, cache=cache)


def _texts(catalog: Catalog) -> list[str]:
    return [text for text in itertools.chain(catalog.texts("title"), catalog.texts("description")) if text is not None]


def _build_cache(work: Path) -> None:
    catalog = pictured(work, work / "pristine")
    cache_features(_model(), catalog, _texts(catalog))
    thumbnails_seen(work, work / "pristine")


def _encoded_again(work: Path, cache: Path) -> Any:
    catalog = pictured(work, cache)
    return [_model().encode_items(catalog), [problem.count for problem in catalog.report.problems.values()]]


def _features(work: Path, cache: Path) -> Any:
    catalog = pictured(work, cache)
    cached = cache_features(_model(), catalog, _texts(catalog))
    rows = np.flatnonzero(cached.pictured(len(catalog)))
    texts = {name: table.numpy().astype(np.float16) for name, table in cached.text_tables.items()}
    return [texts, rows, cached.pictures(rows).numpy().astype(np.float16)]


def _of_every_picture(work: Path, cache: Path, look: Callable[[Catalog, Picture], Any]) -> Any:
    catalog = pictured(work, cache)
    seen = []
    for picture in (picture for shown in catalog.pictures for picture in shown):
        try:
            seen.append((picture.key, look(catalog, picture)))
        except PictureError as error:
            seen.append((picture.key, error.cause))
    return seen


def pictures_seen(work: Path, cache: Path) -> Any:
    return _of_every_picture(work, cache, lambda catalog, picture: np.asarray(catalog.open_picture(picture)))


def thumbnails_seen(work: Path, cache: Path) -> Any:
    return _of_every_picture(work, cache, lambda catalog, picture: catalog.make_thumbnail(picture).read_bytes())


CACHE = Target(
    "cache",
    _build_cache,
    {
        "encode again": Operation(_encoded_again, writes=True),
        "features to train on": Operation(_features, writes=True),
        "pictures": Operation(pictures_seen, writes=True),
        "thumbnails": Operation(thumbnails_seen, writes=True),
    },
)

TARGETS = {
    target.name: target
    for target in (
        _index_target("faiss flat", "faiss:index", 240),
        _index_target("faiss ivf-sq8", "faiss:index?kind=ivf-sq8", 520, elsewhere=_WORDS),
        _index_target("lancedb", "lancedb:items", 64, elsewhere=_WORDS),
        RUN,
        STATE,
        PORTABLE,
        CACHE,
    )
}
