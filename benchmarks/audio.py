"""Spoken descriptions as a field and as queries: Tux Paint's stamps, whose captions are spoken in several languages.

Every recording is a row with the English caption and the picture of its stamp. Five folds by caption. Two questions:

* known items: the recordings of a language are held out for the items of a fold; the items' captions, pictures and
  recordings in the other languages train, and so do recordings of other items in this language.
* new items: nothing of the items of a fold trains; their recordings look for their captions and pictures.
"""

import argparse
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from measuring import record

from likewise.catalog.catalog import Catalog, default_cache
from likewise.catalog.tuxpaint import STAMPS, write_tuxpaint
from likewise.config import ModelSettings, TrainConfig
from likewise.evaluation.significance import bootstrap_interval
from likewise.model.model import Model
from likewise.training.train import train

_FIELDS = {"title": "text", "image": "image", "spoken": "audio"}  # without the picture where encoders train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--languages", nargs="+", default=["fr", "es", "ca", "ro", "bg", "ru"])
    parser.add_argument("--folds", type=int, default=5, help="how many of the five to measure")
    parser.add_argument("--questions", nargs="+", default=["known", "new"], choices=["known", "new"])
    parser.add_argument("--regime", default="frozen", choices=["frozen", "full"])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--audio-encoder", default="scratch-audio")
    arguments = parser.parse_args()
    found: dict[str, list[tuple[np.ndarray, float, list[str]]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = list_recordings(folder, arguments.languages)
        for fold in range(arguments.folds):
            held = rows["fold"] == fold
            for question in arguments.questions:
                for language in arguments.languages if question == "known" else [None]:
                    out = held if language is None else held & (rows["language"] == language)
                    place = folder / f"{question}-{fold}-{language}"
                    model, cache = _train(rows.filter(~out), place, arguments)
                    for key, measured in _ask(model, cache, rows, out, question, place).items():
                        found.setdefault(key, []).append(measured)
                        _say(key, found[key])
    record("audio", {"arguments": vars(arguments), "recall@1": {key: _pool(parts) for key, parts in found.items()}})


def list_recordings(folder: Path, languages: list[str]) -> pl.DataFrame:
    """A row for each spoken description: id, item, title (English), image, spoken, language and fold."""
    english = pl.read_csv(write_tuxpaint(folder / "en"))
    tables = []
    for language in languages:
        spoken = [str(STAMPS / f"{item}_desc_{language}.ogg") for item in english["id"]]
        tables.append(english.with_columns(pl.Series("spoken", spoken), pl.lit(language).alias("language")))
    rows = pl.concat(tables).filter(pl.Series([Path(cell).exists() for table in tables for cell in table["spoken"]]))
    folds = [zlib.crc32(title.strip().lower().encode()) % 5 for title in rows["title"]]
    return rows.select(
        pl.concat_str("id", pl.lit("/"), "language").alias("id"),
        *(pl.col("id").alias("item"), "title", "image", "spoken", "language", pl.Series("fold", folds)),
    )


def _train(rows: pl.DataFrame, place: Path, arguments: argparse.Namespace) -> tuple[Model, Path]:
    place.mkdir()
    rows.write_csv(place / "train.csv")
    trains = arguments.regime == "full"
    fields = {name: kind for name, kind in _FIELDS.items() if not (trains and kind == "image")}
    settings = ModelSettings(fields=fields, encoders={"audio": arguments.audio_encoder})
    frozen = {"encoders.text.*": None} if trains else {}
    config = TrainConfig(
        model=settings, regime=arguments.regime, epochs=arguments.epochs, lr_scales=frozen, refit=False, test=0.0
    )
    catalog = Catalog.read(place / "train.csv", cache=default_cache())
    train(catalog, place / "run", config)
    return Model.load(place / "run"), catalog.cache


def _ask(
    model: Model, cache: Path, rows: pl.DataFrame, out: pl.Series, question: str, place: Path
) -> dict[str, tuple[np.ndarray, float, list[str]]]:
    """recall@1 of every held-out recording, what chance would give, and the captions to group by."""
    queries = rows.filter(out)
    known = rows if question == "known" else queries
    languages = queries["language"].unique().to_list()
    others = known.filter(~pl.col("language").is_in(languages)) if question == "known" else known
    heard = others.group_by("item").agg(pl.col("spoken").str.join("|"))
    items = known.unique("item", keep="first", maintain_order=True).drop("spoken").join(heard, "item", how="left")
    items.with_columns(id="item").write_csv(place / "items.csv")
    queries.write_csv(place / "queries.csv")
    catalog = Catalog.read(place / "items.csv", cache=cache)
    asked = Catalog.read(place / "queries.csv", cache=cache)
    vectors = model.encode_items(asked, ["spoken"])
    titles = np.array(catalog.texts("title"))
    measured = {}
    views: dict[str, list[str] | None] = {"item": None} if question == "known" else {}
    views |= {"caption": ["title"], **({"picture": ["image"]} if "image" in model.fields else {})}
    for view, fields in views.items():
        scores = np.nan_to_num(vectors @ model.encode_items(catalog, fields).T, nan=-1.0)
        best = scores.argmax(axis=1)
        for language in languages:
            chosen = np.flatnonzero(np.array(asked.column("language")) == language)
            wanted = [asked.texts("title")[row] for row in chosen]
            hit = np.array([titles[best[row]] == title for row, title in zip(chosen, wanted, strict=True)], float)
            chance = float(np.mean([(titles == title).mean() for title in wanted]))
            measured[f"{question} items, {language} → {view}"] = (hit, chance, list(map(str, wanted)))
    return measured


def _pool(parts: list[tuple[np.ndarray, float, list[str]]]) -> dict[str, Any]:
    hits = np.concatenate([hit for hit, _, _ in parts])
    interval = bootstrap_interval(hits, [title for _, _, titles in parts for title in titles])
    chance = float(np.average([chance for _, chance, _ in parts], weights=[len(hit) for hit, _, _ in parts]))
    return {
        "queries": len(hits),
        "mean": round(interval.mean, 4),
        "95 % interval": [round(interval.low, 4), round(interval.high, 4)],
        "chance": round(chance, 5),
        "times chance": round(interval.mean / chance, 1),
    }


def _say(key: str, parts: list[tuple[np.ndarray, float, list[str]]]) -> None:
    print(key, _pool(parts), flush=True)


if __name__ == "__main__":
    main()
