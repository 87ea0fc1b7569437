"""Misspelt queries in hybrid search: how much of the recall stays, and what it costs to correct a word.

python benchmarks/typos.py [--items 100000] [--queries 1000] [--skip-recall]

Recall: the items are OpenMoji's, seen through their titles and descriptions by the untrained preset lite. A query is
an item's title in small letters, and its answers are the items with this title. Then one letter of one of its words
of at least four letters is left out, put in, replaced or swapped with its neighbour, by chance. Recall@10 is measured
for the clean queries, for the misspelt ones, for these without correction, and for these by vectors alone; the share
that stays has a 95 % interval (paired bootstrap over queries).

Cost: as many items as one likes, each with eight words from a vocabulary of invented ones, whose frequencies follow
Zipf's law, and a code of its own. Measured are the correction of one misspelt word, the look at a word that is known, a
query by three characters of a code and by a whole one, and what the vocabulary adds to the files and to the time of
writing them; all in processor time, with one thread.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from measuring import record

from likewise.retrieval.hybrid import Hybrid
from likewise.retrieval.lexical.bm25 import BM25Index, Stamp
from likewise.retrieval.lexical.writer import LexicalIndex
from likewise.retrieval.spelling import correct_text
from likewise.stores.versions import current_version

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_LEAST_LETTERS = 4
_VOCABULARY = 100_000
_WORDS_PER_ITEM = 8
_REPEATS = 500


def misspell(text: str, chance: random.Random) -> str | None:
    """A text with one edit in one of its words; None where all of them are short or have other signs than letters."""
    words = text.split(" ")
    long = [place for place, word in enumerate(words) if len(word) >= _LEAST_LETTERS and word.isalpha()]
    if not long:
        return None
    place = chance.choice(long)
    words[place] = _edit(words[place], chance)
    return " ".join(words)


def _edit(word: str, chance: random.Random) -> str:
    while True:
        at, letter = chance.randrange(len(word)), chance.choice(_LETTERS)
        edited = chance.choice(
            [
                word[:at] + word[at + 1 :],
                word[:at] + letter + word[at:],
                word[:at] + letter + word[at + 1 :],
                word[:at] + word[at + 1 : at + 2] + word[at] + word[at + 2 :],
            ]
        )
        if edited != word:
            return edited


def measure_recall(count: int, folder: Path) -> dict[str, object]:
    """Recall@10 of clean and of misspelt queries."""
    import likewise as lw
    from likewise.catalog.samples import write_openmoji

    catalog = lw.Catalog.read(write_openmoji(folder / "openmoji"), cache=folder / "cache")
    model = lw.Model.create("lite")
    vectors = model.encode_items(catalog, ["title", "description"])
    index = lw.Index.from_vectors(model, vectors, catalog.table)
    chance = random.Random(0)
    titles = sorted({title.lower() for title in catalog.table["title"] if title})
    asked = [(title, typo) for title in titles if (typo := misspell(title, chance)) is not None]
    asked = sorted(chance.sample(asked, min(count, len(asked))))
    answers: dict[str, set[str]] = {}
    for id, title in catalog.table.select("id", "title").iter_rows():
        answers.setdefault((title or "").lower(), set()).add(id)

    def recall(queries: Sequence[str], hybrid: bool | Hybrid) -> np.ndarray:
        found = [{hit.id for hit in index.search(query, hybrid=hybrid, k=10)} for query in queries]
        return np.array(
            [
                len(ids & answers[title]) / min(10, len(answers[title]))
                for (title, _), ids in zip(asked, found, strict=True)
            ]
        )

    clean, misspelt = [title for title, _ in asked], [typo for _, typo in asked]
    by_system = {
        "clean, hybrid": recall(clean, True),
        "misspelt, hybrid": recall(misspelt, True),
        "misspelt, hybrid without correction": recall(misspelt, Hybrid(correct=False)),
        "clean, vectors alone": recall(clean, False),
        "misspelt, vectors alone": recall(misspelt, False),
    }
    corrections = [index.search(query, hybrid=True, k=1).did_you_mean for query in misspelt]
    silent = [index.search(query, hybrid=True, k=1).did_you_mean for query in clean]
    outcomes = {
        "corrected to the clean query": sum(
            bool(c) and c[0].searched == t for c, t in zip(corrections, clean, strict=True)
        ),
        "corrected to something else": sum(
            bool(c) and c[0].searched != t for c, t in zip(corrections, clean, strict=True)
        ),
        "taken as it is": sum(not c for c in corrections),
        "clean queries that were changed": sum(map(bool, silent)),
    }
    return {
        "items": len(catalog),
        "queries": len(asked),
        "recall@10": {name: round(float(values.mean()), 4) for name, values in by_system.items()},
        "share of clean recall that stays": {
            name: _interval(by_system[f"misspelt, {name}"], by_system["clean, hybrid"])
            for name in ("hybrid", "hybrid without correction", "vectors alone")
        },
        "outcomes": outcomes,
    }


def _interval(values: np.ndarray, clean: np.ndarray) -> dict[str, object]:
    draws = np.random.default_rng(0).integers(len(values), size=(2_000, len(values)))
    ratios = values[draws].mean(axis=1) / clean[draws].mean(axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    share = float(values.mean() / clean.mean())
    return {"share": round(share, 4), "95 % interval": [round(float(low), 4), round(float(high), 4)]}


def measure_cost(items: int, folder: Path) -> dict[str, object]:
    """Milliseconds and megabytes of the words of many items."""
    chance, generator = random.Random(1), np.random.default_rng(1)
    vocabulary = _invent_words(_VOCABULARY, chance)
    shares = 1 / np.arange(1, len(vocabulary) + 1)
    chosen = generator.choice(len(vocabulary), (items, _WORDS_PER_ITEM), p=shares / shares.sum())
    codes = [
        f"{chance.choice('KMTX')}{chance.choice('BDS')}-{number % 1000:03d}-{number:07d}" for number in range(items)
    ]
    rows = [
        {"title": " ".join(vocabulary[place] for place in places), "mpn": code}
        for places, code in zip(chosen.tolist(), codes, strict=True)
    ]
    index = LexicalIndex(folder / "words")
    started = time.process_time()
    with index.update() as draft:
        for first in range(0, items, 10_000):
            draft.add([str(row) for row in range(first, min(first + 10_000, items))], rows[first : first + 10_000])
        draft.stamp = Stamp("benchmark", 1)
    seconds = time.process_time() - started
    words = LexicalIndex(folder / "words").current()
    known = [vocabulary[place] for place in chosen[:_REPEATS, 0].tolist()]
    misspelt = [typo for word in known if (typo := _edit(word, chance)) and not words.count_items(typo)]
    (vocabulary_of_part,) = [part.postings.vocabulary for part in words.parts]
    started = time.process_time()
    type(vocabulary_of_part).build(vocabulary_of_part.terms.to_list(), lambda tokens: np.ones(len(tokens)))
    built = time.process_time() - started
    files = list(current_version(folder / "words").iterdir())
    added = [file for file in files if file.suffix == ".terms" or ".keys." in file.name or ".entries." in file.name]
    return {
        "items": items,
        "different words": len({word for places in chosen.tolist() for word in places}),
        "terms": len(vocabulary_of_part.terms),
        "correct a misspelt word, ms": _time(misspelt, lambda word: correct_text(word, words, _is_never_meant)),
        "look at a known word, ms": _time(known, lambda word: correct_text(word, words, _is_never_meant)),
        "match a known word, ms": _time(known, lambda word: words.match([(word, 1.0)])),
        "match three digits of codes, ms": _time(
            [code[3:6] for code in codes[:_REPEATS]], lambda part: words.match([(part, 1.0)])
        ),
        "match a whole code, ms": _time(codes[:_REPEATS], lambda code: words.match([(code, 1.0)])),
        "corrected": f"{sum(_is_corrected(word, words) for word in misspelt)} of {len(misspelt)}",
        "write all words, s": round(seconds, 2),
        "of that the vocabulary, s": round(built, 2),
        "files, MB": round(sum(file.stat().st_size for file in files) / 1e6, 1),
        "of that the vocabulary, MB": round(sum(file.stat().st_size for file in added) / 1e6, 1),
    }


def _is_never_meant(word: str) -> bool:
    return False


def _is_corrected(word: str, words: BM25Index) -> bool:
    return words.suggest(word) is not None


def _invent_words(count: int, chance: random.Random) -> list[str]:
    """Words of two to four syllables, different from each other."""
    syllables = [
        first + vowel + last for first in "bdfgklmnprstvz" for vowel in "aeiou" for last in ("", "n", "r", "s", "t")
    ]
    words: dict[str, None] = {}
    while len(words) < count:
        words["".join(chance.choices(syllables, k=chance.randint(2, 4)))] = None
    return list(words)


def _time(values: Sequence[str], call: Callable[[str], object]) -> dict[str, float]:
    """In processor time, which other programs do not lengthen."""
    took = []
    for value in values:
        started = time.process_time()
        call(value)
        took.append(1000 * (time.process_time() - started))
    return {
        name: round(float(np.percentile(took, share)), 3) for name, share in (("p50", 50), ("p99", 99), ("max", 100))
    }


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--skip-recall", action="store_true", help="measure the cost alone, and keep no results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cost = measure_cost(arguments.items, Path(folder))
        if arguments.skip_recall:
            print(cost)
        else:
            record("typos", {"recall": measure_recall(arguments.queries, Path(folder)), "cost": cost})


if __name__ == "__main__":
    _main()
