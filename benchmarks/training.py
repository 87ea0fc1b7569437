"""`likewise train` on 2,000 items, from CSV to run folder, beside the bare forward passes of both encoders."""

import shutil
import tempfile
import time
from pathlib import Path

from measuring import likewise, options, record

from likewise.catalog.catalog import Catalog
from likewise.model.model import Model

_ITEMS = 2000
_BATCHES = (16, 32, 64, 128)
_SAMPLE = 256


def main() -> None:
    arguments = options(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = _catalog_with_distinct_texts(arguments.data, folder)
        before = _bare_forward(data, folder)
        command = ("train", data, "--output", folder / "run", "--cache", folder / "cache")
        fresh = likewise(*command)
        shutil.rmtree(folder / "run")
        cached = likewise(*command)
        after = _bare_forward(data, folder)
    bare = (before["seconds"] + after["seconds"]) / 2  # machines change their pace while this runs
    record(
        "training",
        {
            "items": _ITEMS,
            "bare forward": {"before": before, "after": after},
            "train, seconds": round(fresh.seconds, 1),
            "train with cached features, seconds": round(cached.seconds, 1),
            "ratio (at most 2)": round(fresh.seconds / bare, 2),
            "ratio with cached features (at most 0.8)": round(cached.seconds / bare, 2),
        },
    )


def _catalog_with_distinct_texts(data: Path, folder: Path) -> Path:
    """2,000 photos, each with a title and description of its own: texts that repeat would be too easy."""
    import polars as pl

    catalog = Catalog.read(data, max_items=_ITEMS, cache=folder / "cache")
    number = pl.int_range(pl.len()).cast(pl.String)
    table = catalog.table.select(
        "id",
        (pl.col("title") + " no. " + number).alias("title"),
        (pl.col("description") + " Article " + number + ".").alias("description"),
        (pl.lit(str(data.parent.absolute()) + "/") + pl.col("image_url")).alias("image_url"),
    )
    path = folder / "catalogue.csv"
    table.write_csv(path)
    return path


def _bare_forward(data: Path, folder: Path) -> dict[str, float]:
    """Seconds that both encoders need for all titles, descriptions and pictures, at the best batch size of each."""
    catalog = Catalog.read(data, cache=folder / "cache")
    model = Model.create("lite")
    image = model.encoder("image")
    opened = [catalog.open_picture(shown[0], image.minimum_side) for shown in catalog.pictures[:_SAMPLE]]
    texts = sorted(catalog.texts("title")[:_SAMPLE] + catalog.texts("description")[:_SAMPLE], key=len)
    per_picture = min(_seconds(model, "image", opened, size) for size in _BATCHES) / len(opened)
    per_text = min(_seconds(model, "text", texts, size) for size in _BATCHES) / len(texts)
    return {
        "ms a picture": round(per_picture * 1e3, 2),
        "ms a text": round(per_text * 1e3, 2),
        "seconds": round((per_picture + 2 * per_text) * _ITEMS, 1),
    }


def _seconds(model: Model, modality: str, values: list, size: int) -> float:
    featurizer = model.featurizer(modality)
    prepared = [featurizer.encoder.prepare(values[start : start + size]) for start in range(0, len(values), size)]
    best = float("inf")
    for _ in range(2):
        started = time.perf_counter()
        for inputs in prepared:
            featurizer.forward(inputs)
        best = min(best, time.perf_counter() - started)
    return best


if __name__ == "__main__":
    main()
