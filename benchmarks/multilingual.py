"""Queries in the 14 languages of the package emoji against English titles, and against pictures, without any training.

The catalogue is OpenMoji: every drawing has an English title. It is looked for by the name that Unicode gives it in
another language (CLDR, in the package emoji), among all titles, and among all pictures through the names of ImageNet's
classes. English is asked twice: by the names, which are the titles themselves, and by other English names (aliases) of
those that have one. The preset `multilingual-lite` is compared with `lite`, which knows English only, and with chance.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import emoji
import numpy as np
import torch
from measuring import HERE, record
from numpy.typing import NDArray

from likewise.catalog.catalog import Catalog
from likewise.catalog.samples import write_openmoji
from likewise.evaluation.significance import bootstrap_interval
from likewise.model.cached_features import cache_pictures
from likewise.model.model import Model

PRESETS = ("multilingual-lite", "lite")
ENGLISH, ALIASES = "en", "en, other names"
_PLACES = (1, 10)
_BATCH = 64
_FIVE = ("de", "es", "fr", "it", "pt")  # of whose mean the summary speaks, besides that of all


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--languages", nargs="+", choices=emoji.LANGUAGES, default=emoji.LANGUAGES)
    parser.add_argument("--folder", type=Path, default=HERE / "work" / "openmoji", help="where the catalogue is kept")
    parser.add_argument("--limit", type=int, help="only the first drawings (default: all)")
    arguments = parser.parse_args()
    catalog = Catalog.read(
        write_openmoji(arguments.folder / "openmoji", limit=arguments.limit), cache=arguments.folder / "cache"
    )
    queries = {language: name_in(catalog, language) for language in arguments.languages}
    queries[ALIASES] = list_aliases(catalog)
    figures = {preset: measure_preset(preset, catalog, queries, arguments.folder / "cache") for preset in PRESETS}
    chance = {f"recall@{places}": round(places / len(catalog), 4) for places in _PLACES}
    record("multilingual", {"items": len(catalog), "chance": chance, "presets": figures})


def name_in(catalog: Catalog, language: str) -> list[str]:
    """What every item is called in a language; English names are the titles."""
    if language == ENGLISH:
        return catalog.texts("title")
    emoji.config.load_language(language)
    return [_read_name(emoji.EMOJI_DATA[text].get(language)) for text in catalog.column("emoji")]


def list_aliases(catalog: Catalog) -> list[str]:
    """The first English alias of every item that differs from its title; empty where there is none."""
    found = []
    for text, title in zip(catalog.column("emoji"), catalog.texts("title"), strict=True):
        names = [_read_name(alias) for alias in emoji.EMOJI_DATA[text].get("alias", [])]
        found.append(next((name for name in names if name.lower() != title.lower()), ""))
    return found


def measure_preset(preset: str, catalog: Catalog, queries: dict[str, list[str]], cache: Path) -> dict[str, Any]:
    """By what is looked through (title, picture) and language: recall with its interval, and its share of English."""
    model = Model.create(preset, "cpu", {"text": "float32", "image": "float32"}, cache=cache)
    began = time.perf_counter()
    titles = model.encode_field_texts("title", catalog.texts("title"))
    items = {"title": titles, "picture": encode_pictures(model, catalog)}
    figures: dict[str, Any] = {kind: {} for kind in items}
    named_twice = np.array([bool(alias) for alias in queries[ALIASES]])
    for language, names in queries.items():
        asked = np.flatnonzero([bool(name) for name in names])
        vectors = model.encode_queries([names[row] for row in asked])
        for kind, candidates in items.items():
            ranks = rank(vectors, candidates, asked, catalog.texts("title"))
            wanted = np.array(catalog.texts("title"))[asked]
            figures[kind][language] = summarize(ranks, wanted)
            same = named_twice[asked]  # the items that English is asked by other names for
            figures[kind][language]["items with another English name"] = summarize(ranks[same], wanted[same])
    for by_language in figures.values():
        add_shares(by_language)
    return figures | {"seconds": round(time.perf_counter() - began)}


def encode_pictures(model: Model, catalog: Catalog) -> NDArray[np.float32]:
    """(n, dim) the vectors of all pictures; the features of both presets are the same, and computed once."""
    cached = cache_pictures(model, catalog)
    parts = []
    for first in range(0, len(cached.slots), _BATCH):
        features = torch.from_numpy(cached.features[cached.slots[first : first + _BATCH]]).float()
        with torch.inference_mode():
            parts.append(model.network.tower("image", features).numpy())
    return np.concatenate(parts)


def rank(
    vectors: NDArray[np.float32], candidates: NDArray[np.float32], wanted: NDArray[np.int64], titles: Sequence[str]
) -> NDArray[np.int64]:
    """(q,) how many items with another title are at least as near as the nearest that bears the wanted title."""
    _, groups = np.unique(titles, return_inverse=True)
    ranks = np.empty(len(wanted), np.int64)
    for row, (scores, item) in enumerate(zip(vectors @ candidates.T, wanted, strict=True)):
        own = groups == groups[item]
        ranks[row] = (scores[~own] >= scores[own].max()).sum()
    return ranks


def summarize(ranks: NDArray[np.int64], titles: NDArray[np.str_]) -> dict[str, Any]:
    """Recall with 95 % intervals over titles."""
    found: dict[str, Any] = {"queries": len(ranks)}
    for places in _PLACES:
        interval = bootstrap_interval((ranks < places).astype(float), titles)
        found[f"recall@{places}"] = [round(value, 4) for value in (interval.mean, interval.low, interval.high)]
    return found


def add_shares(by_language: dict[str, dict[str, Any]]) -> None:
    """Add each language's share of the recall@10 in English, and the means of five languages and of all others."""
    if ENGLISH not in by_language:
        return
    base = by_language[ENGLISH]["recall@10"][0]
    for figures in by_language.values():
        figures["share of English"] = round(figures["recall@10"][0] / base, 4) if base else None
    others = [language for language in by_language if language not in (ENGLISH, ALIASES)]
    for name, chosen in (("mean of five", [one for one in others if one in _FIVE]), ("mean of all others", others)):
        if chosen:
            mean = float(np.mean([by_language[language]["recall@10"][0] for language in chosen]))
            by_language[name] = {
                "languages": chosen,
                "recall@10": round(mean, 4),
                "share of English": round(mean / base, 4),
            }


def _read_name(shortcode: str | None) -> str:
    return (shortcode or "").strip(":").replace("_", " ").strip()


if __name__ == "__main__":
    main()
