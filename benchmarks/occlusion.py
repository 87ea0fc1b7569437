"""Words and heat maps: what they cost, and whether they follow what hiding words and regions really does.

python benchmarks/occlusion.py [--run RUN] [--quick]

Times are those of an index of 100,000 items with the texts of clustered.py, whose hits are explained by the model of
the run; words are encoded by its text encoder, pictures by its picture encoder. The rest is measured on the Grocery
Store Dataset, with a run of `likewise train products.csv --split split`, which is trained here unless --run names it:

* the rank correlation of the words' shares with those of encoding each text again without the word, in single
  precision, for query–item pairs; beside it, the correlation that masking pooled token states reaches;
* deletion: the fifth of the patches with the largest values greyed in a photo, against as many at random; the score is
  the cosine of the photo's title with the photo;
* collages of two photos side by side, asked for the title of one: whether the largest value lies in its half.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from clustered import DIM, Clustered, Products
from explanation import FusingModel, build_index
from measuring import GROCERY, likewise, record
from PIL import Image

from likewise.catalog.text import find_word_spans
from likewise.model.model import Model
from likewise.model.occlusion import FieldScore, remove_span
from likewise.retrieval.index import Index
from likewise.retrieval.query import build_query

_QUERIES_OF_AN_ITEM = 5
_GREY = (128, 128, 128)
_HIDDEN = 0.2  # share of the patches
_DRAWS = 2  # of random patches for each photo
_HALF = 224  # pixels, of each photo of a collage


class ExplainingModel(FusingModel):
    """The fusion of the benchmark's items, and for all else a trained model."""

    def __init__(self, model: Model) -> None:
        super().__init__(model, Clustered(0).queries(1))
        self._model = model
        self.prose_fields = model.prose_fields

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """As the model does it."""
        return self._model.encode_queries(texts)

    def measure_words(
        self, field: str, text: str, spans: list, query: np.ndarray, others: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """As the model does it."""
        return self._model.measure_words(field, text, spans, query, others)

    def measure_patches(self, picture: Image.Image, query: np.ndarray, others: Mapping[str, np.ndarray]) -> np.ndarray:
        """As the model does it."""
        return self._model.measure_patches(picture, query, others)

    def find_picture_box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """As the model does it."""
        return self._model.find_picture_box(width, height)


def measure_times(model: Model, items: int, searches: int, photos: Sequence[Path]) -> dict[str, Any]:
    """Milliseconds of explaining words, for each hit, and of a heat map: elapsed, and of all processors together."""
    titles = Products(0).frame(0, searches + 2)["title"].to_list()
    with build_index(items, ExplainingModel(model)) as index:
        words: list[tuple[float, float]] = []
        for number, title in enumerate(titles):
            text = " ".join(title.split()[:4])
            fields = _time(lambda text=text: index.search(text, k=10, explain=True))
            whole = _time(lambda text=text: index.search(text, k=10, explain="words"))
            if number >= 2:
                words.append(tuple((whole[part] - fields[part]) / 10 for part in range(2)))
        maps = [_time_heat_map(index, Image.open(photo).convert("RGB")) for photo in photos][2:]
    return {
        "items": items,
        "words, ms a hit": _describe_times(words),
        "heat map, ms": _describe_times(maps),
    }


def _time_heat_map(index: Index, photo: Image.Image) -> tuple[float, float]:
    photo.thumbnail((320, 320))
    return _time(lambda: index.measure_heat_map("item-0000001", photo, build_query("soft cotton blend")))


def _time(run: Callable[[], object]) -> tuple[float, float]:
    """The quickest of two: milliseconds that passed, and those of all processors."""
    took = []
    for _ in range(2):
        started, busy = time.perf_counter(), time.process_time()
        run()
        took.append((1000 * (time.perf_counter() - started), 1000 * (time.process_time() - busy)))
    return min(pair[0] for pair in took), min(pair[1] for pair in took)


def _describe_times(pairs: Sequence[tuple[float, float]]) -> dict[str, dict[str, float]]:
    columns = {"elapsed": [pair[0] for pair in pairs], "processors": [pair[1] for pair in pairs]}
    return {
        name: {"p50": round(float(np.percentile(values, 50)), 1), "p90": round(float(np.percentile(values, 90)), 1)}
        for name, values in columns.items()
    }


def measure_words(model: Model, table: pl.DataFrame, items: int) -> dict[str, Any]:
    """Rank correlations of words' shares with leaving the words out, over pairs of a query and an item."""
    generator = np.random.default_rng(0)
    exact = Model(model.network, model.settings, model.device, {"text": "float32", "image": "float32"})
    products = table.unique(["title", "description"], maintain_order=True).sample(items, seed=0, shuffle=True)
    figures: dict[str, list[float]] = {"whole items": [], "descriptions": [], "descriptions, pooled states masked": []}
    for row in products.iter_rows(named=True):
        texts = {"title": row["title"], "description": row["description"]}
        spans = {name: find_word_spans(text, 256) for name, text in texts.items()}
        vectors = {
            name: exact.encode_field_texts(name, [text, *(remove_span(text, *span) for span in spans[name])])
            for name, text in texts.items()
        }
        for query in model.encode_queries(_ask(row, table, generator)):
            ours, true = [], []
            for name, text in texts.items():
                others = {other: vectors[other][0] for other in texts if other != name}
                ours.append(model.measure_words(name, text, spans[name], query, others))
                score = FieldScore(model.network, name, query, others)
                cosines = score(torch.from_numpy(vectors[name])).detach().numpy()
                blank = [not remove_span(text, *span) for span in spans[name]]
                cosines[1:][blank] = score.without_field()
                true.append(cosines[0] - cosines[1:])
                if name == "description":
                    pooled = _mask_pooled(exact, text, spans[name], score)
            figures["whole items"].append(_correlate(np.concatenate(ours), np.concatenate(true)))
            figures["descriptions"].append(_correlate(ours[1], true[1]))
            figures["descriptions, pooled states masked"].append(_correlate(pooled, true[1]))
    return {"pairs": len(figures["descriptions"])} | {name: _describe(values) for name, values in figures.items()}


def _ask(row: Mapping[str, Any], table: pl.DataFrame, generator: np.random.Generator) -> list[str]:
    """Five queries that find an item, or one near to it: its title, category and words, and titles of others."""
    words = row["description"].split()
    start = int(generator.integers(max(1, len(words) - 3)))
    akin = table.filter(pl.col("category") == row["category"])["title"].to_list()
    others = table["title"].to_list()
    drawn = [one[int(generator.integers(len(one)))] for one in (akin, others)]
    return [row["title"], row["category"], " ".join(words[start : start + 3]), *drawn]


def _mask_pooled(model: Model, text: str, spans: Sequence[tuple[int, int]], score: FieldScore) -> np.ndarray:
    """Shares by pooling the states of the whole text again, without those of each word."""
    from likewise.encoders.weighted_text import find_tokens

    encoder: Any = model.encoder("text")
    inputs = encoder.prepare([text], prompt="document")
    tokens = find_tokens(encoder, text, spans, "document")
    assert tokens is not None
    with torch.inference_mode():
        states = encoder.network(**inputs).last_hidden_state.expand(len(spans) + 1, -1, -1)
        seen = torch.cat([torch.ones(1, tokens.shape[1]), 1.0 - tokens.float()])
        cosines = score(model.network.tower("description", encoder.head(states, seen))).numpy()
    return cosines[0] - cosines[1:]


def measure_deletion(model: Model, table: pl.DataFrame, photos: int) -> dict[str, Any]:
    """How far the cosine of a photo with its title falls when the most important patches are greyed, or random ones."""
    generator = np.random.default_rng(1)
    chosen, at_random = [], []
    for row in table.sample(photos, seed=1, shuffle=True).iter_rows(named=True):
        photo = Image.open(row["path"]).convert("RGB")
        query = model.encode_queries([row["title"]])[0]
        values = model.measure_patches(photo, query, {})
        count = round(_HIDDEN * values.size)
        hidden = [np.argsort(-values.ravel())[:count]]
        hidden += [generator.choice(values.size, count, replace=False) for _ in range(_DRAWS)]
        cosines = (
            model.encode_images([photo, *(_hide(model, photo, places, values.shape) for places in hidden)]) @ query
        )
        chosen.append(float(cosines[0] - cosines[1]))
        at_random.append(float(cosines[0] - cosines[2:].mean()))
    ratios = []
    for _ in range(2_000):
        drawn = generator.integers(len(chosen), size=len(chosen))
        ratios.append(np.mean(np.array(chosen)[drawn]) / np.mean(np.array(at_random)[drawn]))
    return {
        "photos": len(chosen),
        "fall, most important": round(float(np.mean(chosen)), 4),
        "fall, random": round(float(np.mean(at_random)), 4),
        "ratio": round(float(np.mean(chosen) / np.mean(at_random)), 2),
        "95 % interval": [round(float(np.percentile(ratios, end)), 2) for end in (2.5, 97.5)],
    }


def _hide(model: Model, photo: Image.Image, places: np.ndarray, grid: tuple[int, ...]) -> Image.Image:
    left, top, right, bottom = model.find_picture_box(*photo.size)
    width, height = (right - left) / grid[1], (bottom - top) / grid[0]
    changed = photo.copy()
    for row, column in (divmod(int(place), grid[1]) for place in places):
        x, y = left + column * width, top + row * height
        changed.paste(_GREY, (round(x), round(y), round(x + width), round(y + height)))
    return changed


def measure_collages(model: Model, table: pl.DataFrame, collages: int) -> dict[str, Any]:
    """How often the largest value lies in the half of the photo that was asked for."""
    right, asked = 0, 0
    rows = table.sample(2 * collages, seed=2, shuffle=True).to_dicts()
    for pair in zip(rows[::2], rows[1::2], strict=True):
        if pair[0]["title"] == pair[1]["title"]:
            continue
        collage = Image.new("RGB", (2 * _HALF, _HALF))
        for place, row in enumerate(pair):
            collage.paste(Image.open(row["path"]).convert("RGB").resize((_HALF, _HALF)), (place * _HALF, 0))
        for place, query in enumerate(model.encode_queries([row["title"] for row in pair])):
            values = model.measure_patches(collage, query, {})
            column = int(values.argmax()) % values.shape[1] + 0.5
            right += (column > values.shape[1] / 2) == bool(place) and column != values.shape[1] / 2
            asked += 1
    low, high = _interval_of_share(right, asked)
    return {"asked": asked, "in the right half": round(right / asked, 3), "95 % interval": [low, high]}


def _interval_of_share(hits: int, count: int) -> tuple[float, float]:
    """Wilson's interval."""
    share, z = hits / count, 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    reach = z / (1 + z * z / count) * (share * (1 - share) / count + z * z / (4 * count**2)) ** 0.5
    return round(middle - reach, 3), round(middle + reach, 3)


def _correlate(first: np.ndarray, second: np.ndarray) -> float:
    ranks = [np.argsort(np.argsort(values)) for values in (first, second)]
    return float(np.corrcoef(*ranks)[0, 1])


def _describe(values: Sequence[float]) -> dict[str, float]:
    spread = 1.96 * np.std(values) / len(values) ** 0.5
    return {
        "mean": round(float(np.mean(values)), 3),
        "±": round(float(spread), 3),
        "lowest tenth below": round(float(np.percentile(values, 10)), 3),
    }


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=GROCERY, help="products.csv of the Grocery Store Dataset")
    parser.add_argument("--run", type=Path, help="a run that was trained on its official split")
    parser.add_argument("--quick", action="store_true", help="few items, pairs and photos")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = arguments.run
        if run is None:
            run = Path(folder) / "run"
            likewise("train", arguments.data, "--output", run, "--split", "split")
        model = Model.load(run)
    assert model.dim == DIM
    model.pack_texts()  # as a server does
    table = pl.read_csv(arguments.data).with_columns(path=pl.lit(f"{arguments.data.parent}/") + pl.col("image_url"))
    test = table.filter(pl.col("split") == "test")
    few = arguments.quick
    photos = [Path(path) for path in test["path"].gather_every(len(test) // (6 if few else 22))]
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "words": lambda: measure_words(model, table, 4 if few else 200 // _QUERIES_OF_AN_ITEM),
        "deletion": lambda: measure_deletion(model, test, 6 if few else 150),
        "collages": lambda: measure_collages(model, test, 6 if few else 100),
        "times": lambda: measure_times(model, 2_000 if few else 100_000, 2 if few else 10, photos),
    }
    figures: dict[str, Any] = {}
    for name, measure in parts.items():  # kept one by one, as the whole takes minutes
        figures[name] = measure()
        record("occlusion", figures)


if __name__ == "__main__":
    _main()
