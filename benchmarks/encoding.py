"""Encoding a catalogue from JPEG files beside the bare forward pass, and memory as the catalogue grows."""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from measuring import options, record, run

from likewise.catalog.catalog import Catalog
from likewise.config import ImageSettings
from likewise.model.model import Model

_ITEMS = 1000
_BATCHES = (16, 32, 64)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--child", type=Path, help="internal: encode this catalogue and print the peak memory")
    arguments = parser.parse_args()
    if arguments.child:
        _encode_in_child(arguments.child)
        return
    with tempfile.TemporaryDirectory() as folder:
        speed = _speed(arguments.data, Path(folder))
        memory = {rows: _memory(arguments.data, Path(folder), rows) for rows in (5_000, 50_000)}
    vectors = {rows: rows * 512 * 4 for rows in memory}
    grown = (memory[50_000] - vectors[50_000]) - (memory[5_000] - vectors[5_000])
    record(
        "encoding",
        {
            **speed,
            "peak resident MB": {rows: round(size / 1e6) for rows, size in memory.items()},
            "MB of the vectors themselves": {rows: round(size / 1e6) for rows, size in vectors.items()},
            "growth beyond the vectors, bytes a row": round(grown / 45_000),
        },
    )


def _speed(data: Path, cache: Path) -> dict[str, object]:
    catalog = Catalog.read(data, max_items=_ITEMS, cache=cache)
    pictures = catalog.pictures
    model = Model.create("lite")
    encoder = model.encoder("image")
    inputs = encoder.prepare([catalog.open_picture(shown[0], encoder.minimum_side) for shown in pictures])
    rates: dict[int, float] = {}
    for _ in range(2):  # the better of two rounds, each over all pictures
        for size in _BATCHES:
            started = time.perf_counter()
            for start in range(0, _ITEMS, size):
                model.featurizer("image").forward({"pixels": inputs["pixels"][start : start + size]})
            rates[size] = max(rates.get(size, 0), _ITEMS / (time.perf_counter() - started))
    encoded = []
    for _ in range(2):
        started = time.perf_counter()
        model.encode_items(catalog, fields=["image"])
        encoded.append(_ITEMS / (time.perf_counter() - started))
    best = max(rates, key=lambda size: rates[size])
    return {
        "precision": model.precision["image"],
        "bare forward, pictures a second": {size: round(rate, 1) for size, rate in rates.items()},
        "encode_items from JPEG files, pictures a second": round(max(encoded), 1),
        "ratio (at least 0.85)": round(max(encoded) / rates[best], 3),
    }


def _memory(data: Path, folder: Path, rows: int) -> int:
    """Peak memory of a process that encodes `rows` items; every title and description is its own."""
    source = pl.read_csv(data).with_columns(pl.lit(str(data.parent.absolute()) + "/").alias("root"))
    repeated = pl.concat([source] * (rows // len(source) + 1)).head(rows).with_row_index("n")
    number = pl.col("n").cast(pl.String)
    catalog = repeated.select(
        number.alias("id"),
        (pl.col("title") + " " + number).alias("title"),
        (pl.col("description").str.head(40) + " " + number).alias("description"),
        (pl.col("root") + pl.col("image_url")).alias("image_url"),
    )
    path = folder / f"{rows}.csv"
    catalog.write_csv(path)
    done = run(sys.executable, __file__, "--child", path)
    return int(json.loads(done.output)["memory"])


def _encode_in_child(path: Path) -> None:
    import resource

    catalog = Catalog.read(path, cache=path.parent / "cache", images=ImageSettings())
    model = Model.create("scratch")  # small, so that 50,000 rows take minutes; the pipeline is the same
    vectors = model.encode_items(catalog)
    if np.isnan(vectors).any():
        sys.exit("some items were not encoded")
    print(json.dumps({"memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


if __name__ == "__main__":
    main()
