"""Spoken descriptions as a field and as queries: Tux Paint's stamps, whose captions are spoken in several languages.

Every recording is a row with the English caption and the picture of its stamp. Rows of one caption stay together. Each
fold asks three questions, and figures are pooled over the folds that were measured:

* known items: of every item, the recording in one language is held out (another language for another item). All other
  recordings train, so the model knows the item, and others spoken in that language. The recording looks for its item.
* new items: nothing of the items of a fold trains. Their recordings look for their captions and their pictures; the
  baseline is ridge regression, in closed form, from the same features of recordings and pictures to captions. What all
  recordings have in common is taken out of its queries, too.
* captions: queries are the captions of the new items, in English and in French; items are seen through their picture
  alone, by a model that has trained without recordings, and through picture and recordings, by one with them.

Recordings are decoded once, to 16 kHz, which is what the encoders of recordings read.
"""

import argparse
import json
import tempfile
import wave
import zlib
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from measuring import record

from likewise.catalog.audio.decode import open_recording
from likewise.catalog.catalog import Catalog, default_cache
from likewise.catalog.tuxpaint import STAMPS, write_tuxpaint
from likewise.config import ModelSettings, TrainConfig
from likewise.evaluation.evaluate import create_untrained
from likewise.evaluation.metrics import unit_rows
from likewise.evaluation.significance import bootstrap_interval
from likewise.model.closed_forms import load_closed_forms
from likewise.model.model import Model
from likewise.training.train import train

_RATE, _SECONDS = 16_000, 8.0
_FOLDS = 5
_SPOKEN = ["fr", "es", "ca", "ro", "bg", "ru"]
Answers = dict[str, tuple[list[float], list[str]]]  # of a fold, by figure: one value and one caption a query


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--languages", nargs="+", default=_SPOKEN)
    parser.add_argument("--folds", type=int, default=_FOLDS, help="how many of the five to measure")
    parser.add_argument("--questions", nargs="+", default=["known", "new", "captions"])
    parser.add_argument("--keep", type=Path, help="folder for the answers of each fold, from where a later run goes on")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--audio-encoder", default="audio-words")
    arguments = parser.parse_args()
    found: dict[str, list[tuple[list[float], list[str]]]] = defaultdict(list)  # by figure, of each fold
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = list_recordings(folder, arguments.languages)
        for fold in range(arguments.folds):
            kept = arguments.keep and arguments.keep / f"fold-{fold}.json"
            if kept and kept.exists():
                answers = json.loads(kept.read_text(encoding="utf-8"))
            else:
                answers = measure_fold(rows, fold, folder / str(fold), arguments)
            if kept:
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps(answers, ensure_ascii=False), encoding="utf-8")
            for key, (values, captions) in answers.items():
                found[key].append((values, captions))
            for key, parts in found.items():
                print(f"after {fold + 1} folds, {key}: {_pool(parts)}", flush=True)
    figures = {key: _pool(parts) for key, parts in found.items()}
    asked = {name: value for name, value in vars(arguments).items() if name != "keep"}
    record("audio", {"arguments": asked, "recall@1": figures})


def list_recordings(folder: Path, languages: list[str]) -> pl.DataFrame:
    """A row for each spoken description: id, item, title (English), french, image, spoken, language, fold and part."""
    english = pl.read_csv(write_tuxpaint(folder / "en"))
    french = pl.read_csv(write_tuxpaint(folder / "fr", language="fr")).select("id", pl.col("title").alias("french"))
    tables = [english.join(french, "id").with_columns(pl.lit(language).alias("language")) for language in languages]
    rows = pl.concat(tables)
    spoken = [STAMPS / f"{item}_desc_{language}.ogg" for item, language in rows.select("id", "language").iter_rows()]
    rows = rows.with_columns(pl.Series("spoken", [str(path) for path in spoken]))
    rows = rows.filter(pl.Series([path.exists() for path in spoken]))
    (folder / "decoded").mkdir()
    decoded = [_decode(Path(path), folder / "decoded" / f"{number}.wav") for number, path in enumerate(rows["spoken"])]
    hashes = [zlib.crc32(title.strip().lower().encode()) for title in rows["title"]]
    return rows.select(
        pl.concat_str("id", pl.lit("/"), "language").alias("id"),
        *(pl.col("id").alias("item"), "title", "french", "image", pl.Series("spoken", decoded), "language"),
        pl.Series("fold", [value % _FOLDS for value in hashes]),
        pl.Series("part", [value // _FOLDS % len(languages) for value in hashes]),
    )


def _decode(path: Path, to: Path) -> str:
    samples = open_recording(path, _SECONDS).resample(_RATE)
    with wave.open(str(to), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_RATE)
        file.writeframes((np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes())
    return str(to)


def measure_fold(rows: pl.DataFrame, fold: int, folder: Path, arguments: argparse.Namespace) -> Answers:
    """Train and ask."""
    folder.mkdir()
    found: Answers = {}
    numbers = {language: number for number, language in enumerate(arguments.languages)}
    turn = (rows["part"] + fold) % len(numbers) == rows["language"].replace_strict(numbers)
    if "known" in arguments.questions:
        model = _train(rows.filter(~turn), folder / "known", arguments)
        _ask_known(model, rows.filter(turn), rows.filter(~turn), folder / "known", found)
    new = rows["fold"] == fold
    if {"new", "captions"} & set(arguments.questions):
        model = _train(rows.filter(~new), folder / "new", arguments)
        if "new" in arguments.questions:
            _ask_new(model, rows.filter(new), rows.filter(~new), folder / "new", found)
        if "captions" in arguments.questions:
            silent = _train(rows.filter(~new), folder / "silent", arguments, audio=False)
            _ask_captions(model, silent, rows.filter(new), folder / "new", found)
    return found


def _train(rows: pl.DataFrame, place: Path, arguments: argparse.Namespace, audio: bool = True) -> Model:
    place.mkdir()
    rows.write_csv(place / "train.csv")
    fields = {"title": "text", "image": "image", **({"spoken": "audio"} if audio else {})}
    settings = ModelSettings(fields=fields, encoders={"audio": arguments.audio_encoder} if audio else {})
    config = TrainConfig(model=settings, epochs=arguments.epochs, refit=False, test=0.0)
    train(Catalog.read(place / "train.csv", cache=default_cache()), place / "run", config)
    return Model.load(place / "run")


def _ask_known(model: Model, held: pl.DataFrame, known: pl.DataFrame, place: Path, found: Answers) -> None:
    items = _read_items(known, place / "items.csv")
    asked = _read(held, place / "held.csv")
    hits = _find(_listen(model, asked), model.encode_items(items), asked, items)
    titles = np.array(items.texts("title"))
    chance = np.array([(titles == title).mean() for title in asked.texts("title")])
    _add(found, "known items, {} → item", asked, {"": hits, ", chance": chance})
    found["known items, all → item, less 10 × chance"] = ((hits - 10 * chance).tolist(), _captions(asked))


def _ask_new(model: Model, held: pl.DataFrame, known: pl.DataFrame, place: Path, found: Answers) -> None:
    trained = _read(known, place / "known.csv")
    items, asked = _read_items(held, place / "items.csv"), _read(held, place / "held.csv")
    titles = np.array(items.texts("title"))
    chance = np.array([(titles == title).mean() for title in asked.texts("title")])
    heard = _listen(model, asked)
    for view, field in (("caption", "title"), ("picture", "image")):
        untrained = create_untrained(model)
        hits = {"": _find(heard, model.encode_items(items, [field]), asked, items)}
        forms = load_closed_forms(place / "run", untrained.network)
        for name in ("ridge", "kernel ridge", "start"):
            with untrained.network.with_base_maps(forms[name]):
                common = untrained.encode_items(trained, ["spoken"]).mean(axis=0)
                queries = unit_rows(untrained.encode_items(asked, ["spoken"]) - common)
                candidates = untrained.encode_items(items, [field])
                hits[f", {name}"] = _find(queries, candidates, asked, items)
        hits |= {", chance": chance, ", less chance": hits[""] - chance, ", less ridge": hits[""] - hits[", ridge"]}
        _add(found, f"new items, {{}} → {view}", asked, hits)


def _ask_captions(model: Model, silent: Model, held: pl.DataFrame, place: Path, found: Answers) -> None:
    items = _read_items(held, place / "items.csv")
    seen = silent.encode_items(items, ["image"]), model.encode_items(items, ["image", "spoken"])
    for language, column in (("en", "title"), ("fr", "french")):
        texts = [text or "" for text in items.texts(column)]
        hits = [
            _find(one.encode_queries(texts), vectors, items, items)
            for one, vectors in zip((silent, model), seen, strict=True)
        ]
        named = {"": hits[0], " + recordings": hits[1], " + recordings, difference": hits[1] - hits[0]}
        for name, values in named.items():
            found[f"captions, {language} → picture{name}"] = (values.tolist(), _captions(items))


def _read_items(rows: pl.DataFrame, path: Path) -> Catalog:
    """One row for each item, with all its recordings."""
    heard = rows.group_by("item").agg(pl.col("spoken").str.join("|"))
    items = rows.unique("item", keep="first", maintain_order=True).drop("spoken").join(heard, "item", how="left")
    return _read(items.with_columns(id="item"), path)


def _read(rows: pl.DataFrame, path: Path) -> Catalog:
    rows.write_csv(path)
    return Catalog.read(path, cache=default_cache())


def _listen(model: Model, asked: Catalog) -> np.ndarray:
    """(rows, dim) recordings as queries, as `Index.search(audio=…)` encodes them."""
    return model.encode_audio([asked.open_recording(found[0]) for found in asked.recordings("spoken")])


def _find(queries: np.ndarray, candidates: np.ndarray, asked: Catalog, items: Catalog) -> np.ndarray:
    """(queries,) 1.0 where the best candidate has the query's caption."""
    best = np.nan_to_num(queries @ candidates.T, nan=-1.0).argmax(axis=1)
    titles = items.texts("title")
    return np.array([titles[row] == title for row, title in zip(best, asked.texts("title"), strict=True)], float)


def _captions(catalog: Catalog) -> list[str]:
    return [str(title) for title in catalog.texts("title")]


def _add(found: Answers, key: str, asked: Catalog, values: dict[str, np.ndarray]) -> None:
    """Add some figures of each query, for all languages and for each."""
    languages, captions = np.array(asked.column("language")), np.array(_captions(asked))
    for language in ("all", *dict.fromkeys(languages.tolist())):
        chosen = np.flatnonzero(languages == language) if language != "all" else np.arange(len(asked))
        for name, figures in values.items():
            found[key.format(language) + name] = (figures[chosen].tolist(), captions[chosen].tolist())


def _pool(parts: list[tuple[list[float], list[str]]]) -> dict[str, Any]:
    values = np.concatenate([np.array(figures) for figures, _ in parts])
    interval = bootstrap_interval(values, [caption for _, captions in parts for caption in captions])
    bounds = [round(interval.low, 4), round(interval.high, 4)]
    return {"queries": len(values), "folds": len(parts), "mean": round(interval.mean, 4), "95 % interval": bounds}


if __name__ == "__main__":
    main()
