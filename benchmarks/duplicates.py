"""Duplicates: a catalogue that lists every item three times with small changes, trained with identities and without.

OpenMoji, each emoji three times: another wording of its title, its picture cropped and in another light. A column says
which listings are the same thing. The plain loss treats two listings of one thing as negatives, the more of them the
larger the batch. Both runs are asked for all listings of the things that no training has seen.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from measuring import likewise, record
from PIL import Image

from likewise.training.augmentation import augment

_WORDINGS = ("{}", "{}, new", "Set of 2: {}")
_BATCH_SIZES = (128, 1024)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        likewise("sample", "openmoji", folder / "openmoji")
        listings = _listings(folder / "openmoji" / "openmoji.csv", folder)
        compared = {f"batches of {size}": _compare(listings, folder, size) for size in _BATCH_SIZES}
    record("duplicates", {"plain and identity-aware, and their paired difference": compared})


def _compare(listings: Path, folder: Path, batch_size: int) -> Any:
    """What `likewise compare` says of a plain and an identity-aware training that differ in nothing else."""
    runs = []
    for name, identity in (("plain", "none"), ("aware", "column:product")):
        run = folder / f"{name}-{batch_size}"
        settings = {"identity": identity, "split": "part", "batch_size": batch_size}
        run.with_suffix(".yaml").write_text(json.dumps(settings), encoding="utf-8")
        command = ("train", listings, "--output", run, "--config", run.with_suffix(".yaml"))
        likewise(*command, "--cache", folder / "cache")
        runs.append(run)
    compared = likewise(
        *("compare", *runs, "--data", listings, "--where", 'part == "test"', "--queries", "column:title"),
        *("--relevance", "product", "--json", "--cache", folder / "cache"),
    )
    return json.loads(compared.output)


def _listings(catalogue: Path, folder: Path) -> Path:
    """The catalogue three times; all listings of a thing lie in one part."""
    table = pl.read_csv(catalogue)
    rng = np.random.default_rng(0)
    parts = rng.choice(["train", "val", "test"], len(table), p=[0.8, 0.1, 0.1])
    rows = []
    (folder / "pictures").mkdir()
    for number, row in enumerate(table.iter_rows(named=True)):
        with Image.open(catalogue.parent / row["image_url"]) as opened:
            picture = Image.new("RGB", opened.size, "white")
            picture.paste(opened, mask=opened.getchannel("A") if opened.mode == "RGBA" else None)
        for copy, wording in enumerate(_WORDINGS):
            path = folder / "pictures" / f"{number}-{copy}.png"
            (augment(picture, rng) if copy else picture).save(path)
            listing = {"id": f"{row['id']}-{copy}", "title": wording.format(row["title"]), "image_url": str(path)}
            rows.append(listing | {"description": row["description"], "product": row["id"], "part": parts[number]})
    path = folder / "listings.csv"
    pl.DataFrame(rows).write_csv(path)
    return path


if __name__ == "__main__":
    main()
