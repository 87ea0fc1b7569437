"""Hybrid search beside vectors alone and BM25 alone, on groceries with model numbers.

The items are test photos of the Grocery Store Dataset with their titles, each as one variant with a model number of its
own: in a column "mpn", as in the feeds of shops, and for every second product in the title too, where vectors can see
it. The model was trained on other photos of the same products. Three kinds of queries, each in equal parts of the set:

    number        a variant's model number, spelled as people type it; the variant is the answer
    description   a sentence of the product's description without the words of its title; all its variants are answers.
                  The items show title, category and photo, as those of many a shop do, but not the description
    both          what the product is called, and the digits of a variant's model number

Which weights the hybrid search has by default was found on the products with odd numbers; the figures here are of those
with even numbers.
"""

import hashlib
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from measuring import likewise, options, record

_VARIANTS = 12
_SPELLINGS: tuple[Callable[[str], str], ...] = (
    str,
    lambda code: code.lower().replace("-", ""),
    lambda code: code.replace("-", " "),
    str.lower,
)


@dataclass(frozen=True)
class Question:
    """A query and the rows of the items that answer it."""

    kind: str
    text: str
    product: int
    answers: list[int]


def main() -> None:
    parser = options(__doc__.splitlines()[0])
    parser.add_argument("--untrained", action="store_true", help="skip the training")
    parser.add_argument("--odd", action="store_true", help="measure the products that the defaults were found on")
    arguments = parser.parse_args()
    if not (arguments.untrained or arguments.odd):
        record("hybrid", compare(arguments.data))
    else:
        print(compare(arguments.data, trained=not arguments.untrained, odd=arguments.odd))


def compare(data: Path, *, trained: bool = True, odd: bool = False) -> dict[str, object]:
    """Train, index, ask: the figures of all systems."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        items, questions = catalogue_and_questions(data)
        items.write_csv(folder / "items.csv")
        chosen = [question for question in questions if question.product % 2 == odd]
        run = _trained(data, folder) if trained else _untrained(folder)
        likewise("index", run, "--data", folder / "items.csv", "--cache", folder / "cache")
        return measure(run, items, chosen)


def catalogue_and_questions(data: Path) -> tuple[pl.DataFrame, list[Question]]:
    """Items with model numbers, and what is asked of them; the same every time."""
    root = str(data.parent.absolute()) + "/"
    photos = pl.read_csv(data).filter(pl.col("split") == "test")
    rows: list[dict[str, str]] = []
    questions: list[Question] = []
    for product, (title,) in enumerate(photos.select("title").unique(maintain_order=True).iter_rows()):
        shown = photos.filter(pl.col("title") == title).head(_VARIANTS)
        mine = range(len(rows), len(rows) + len(shown))
        codes = _model_numbers(title, len(shown))
        for photo, code in zip(shown.iter_rows(named=True), codes, strict=True):
            rows.append(
                {
                    "id": f"G{len(rows):05d}",
                    "title": f"{title} {code}" if product // 2 % 2 else title,
                    "mpn": code,
                    "image_url": root + photo["image_url"],
                    "category": photo["category"],
                }
            )
        for number in range(3):
            place = _number(title, f"asked {number}") % len(codes)
            spelled = _SPELLINGS[(product // 2 + number) % len(_SPELLINGS)](codes[place])
            questions.append(Question("number", spelled, product, [mine[place]]))
            place = _number(title, f"both {number}") % len(codes)
            digits = re.search(r"\d+", codes[place])[0]
            questions.append(Question("both", f"{title.lower()} {digits}", product, [mine[place]]))
        for sentence in _sentences(shown["description"][0])[:3]:
            questions.append(Question("description", _without(sentence, title), product, list(mine)))
    return pl.DataFrame(rows), questions


def measure(run: Path, items: pl.DataFrame, questions: list[Question]) -> dict[str, object]:
    """nDCG@10 and recall@1 of each system on each kind of query, and the differences with paired intervals."""
    import likewise as lw
    from likewise.evaluation.metrics import per_query_metrics
    from likewise.evaluation.significance import bootstrap_interval, verdict
    from likewise.retrieval.hybrid import Hybrid

    index = lw.Index.open(run, lw.Model.load(run))
    place = {id: row for row, id in enumerate(items["id"])}

    def by_index(hybrid: bool | Hybrid) -> np.ndarray:
        scores = np.full((len(questions), len(items)), -1.0)
        for row, question in enumerate(questions):
            for hit in index.search(question.text, hybrid=hybrid, k=len(items)):
                scores[row, place[hit.id]] = hit.score
        return scores

    texts = [" ".join(filter(None, row)) for row in items.select("id", "title", "mpn", "category").iter_rows()]
    asked = [question.text for question in questions]
    systems = {
        "hybrid": by_index(True),
        "hybrid by ranks": by_index(Hybrid("ranks")),
        "vectors alone": by_index(False),
        "words alone": by_index(Hybrid(words=1.0)),
        "BM25 (bm25s, plain words)": _bm25s_scores(asked, texts),
    }
    answers = [question.answers for question in questions]
    metrics = {name: per_query_metrics(scores, answers) for name, scores in systems.items()}
    kinds = np.array([question.kind for question in questions])
    weights = {kind: 1.0 / (kinds == kind).sum() for kind in dict.fromkeys(kinds.tolist())}
    figures: dict[str, object] = {
        "items": len(items),
        "queries": {kind: int((kinds == kind).sum()) for kind in weights},
    }
    products = np.array([question.product for question in questions])
    for metric in ("ndcg@10", "recall@1"):
        table: dict[str, object] = {}
        for name in systems:
            table[name] = {kind: round(float(metrics[name][metric][kinds == kind].mean()), 3) for kind in weights}
            table[name] |= {"all, each kind a third": round(float(np.mean(list(table[name].values()))), 3)}
        # A kind with few queries counts as much as one with many, so each query is weighed by its kind.
        weight = np.array([weights[kind] for kind in kinds]) * len(kinds) / len(weights)
        for baseline in list(systems)[2:]:
            gain = (metrics["hybrid"][metric] - metrics[baseline][metric]) * weight
            interval = bootstrap_interval(gain, products)
            table[f"hybrid - {baseline}"] = {
                "difference": round(interval.mean, 3),
                "95 % interval": [round(interval.low, 3), round(interval.high, 3)],
                "verdict": verdict(interval),
            }
        figures[metric] = table
    return figures


def _bm25s_scores(queries: list[str], texts: list[str]) -> np.ndarray:
    """(queries, texts) float32: plain words scored by the package bm25s, with its own parameters."""
    import bm25s

    from likewise.catalog.text import split_words

    vocabulary: dict[str, int] = {}
    documents = [[vocabulary.setdefault(word, len(vocabulary)) for word in split_words(text)] for text in texts]
    index = bm25s.BM25(method="lucene", backend="numpy")
    index.index((documents, dict(vocabulary)), show_progress=False)
    scores = np.zeros((len(queries), len(texts)), np.float32)
    for row, query in enumerate(queries):
        known = [vocabulary[word] for word in split_words(query) if word in vocabulary]
        if known:
            scores[row] = index.get_scores_from_ids(known)
    return scores


def _trained(data: Path, folder: Path) -> Path:
    likewise("train", data, "--output", folder / "run", "--split", "split", "--cache", folder / "cache")
    return folder / "run"


def _untrained(folder: Path) -> Path:
    from likewise.model.model import Model

    Model.create("lite").save(folder / "run")
    return folder / "run"


def _model_numbers(title: str, count: int) -> list[str]:
    """Numbers as makers give them: the initials of the line, digits that lie close together, now and then a letter."""
    initials = "".join(word[0] for word in title.split()).upper()
    initials = (initials + title.replace(" ", "").upper()[1:])[: max(2, min(3, len(initials)))]
    first = 1000 + 10 * (_number(title, "series") % 850)
    numbers = [first + 5 * variant for variant in range(count)]
    endings = ["", "", "A", "XL"]
    return [f"{initials}-{number}{endings[_number(title, str(number)) % 4]}" for number in numbers]


def _number(title: str, what: str) -> int:
    return int(hashlib.sha256(f"{title} {what}".encode()).hexdigest()[:12], 16)


def _without(text: str, title: str) -> str:
    """A text without the words of a title, in singular and plural."""
    named = {word.lower().rstrip("s") for word in re.findall(r"\w+", title)}
    return " ".join(word for word in text.split() if re.sub(r"\W", "", word).lower().rstrip("s") not in named)


def _sentences(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+", text) if part.strip()]


if __name__ == "__main__":
    main()
