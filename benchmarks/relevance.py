"""Relevance weights: a click log over grocery photos, trained with its weights and without, judged on other photos.

The log is made up, the photos are real. Every product's name is searched for. Photos of the product itself are clicked
often, others of its kind (other apples) now and then, and any photo once in a while by mistake. Both runs see the same
log of query, id and number of clicks; one of them is not told the numbers. They are asked the same queries over the
photos of the test split, graded 3 for the product and 1 for its kind.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from measuring import likewise, options, record

_OFTEN, _NOW_AND_THEN = 8.0, 0.7  # clicks of a photo, on average
_SEEN_BESIDE = 0.5  # share of the kind's other photos that are clicked at all
_MISTAKES = 0.5  # by the number of the product's own photos


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    table = pl.read_csv(arguments.data).with_columns(
        (pl.lit(str(arguments.data.parent.absolute()) + "/") + pl.col("image_url")).alias("image_url")
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = folder / "photos.csv"
        # photos alone: with words on the items, searching would be too easy
        table.select("id", pl.lit(None, pl.String).alias("title"), "image_url", "split").write_csv(photos)
        clicks = _clicks(table.filter(pl.col("split") != "test"), np.random.default_rng(arguments.seed))
        judged = _judged(table.filter(pl.col("split") == "test"))
        judged.write_csv(folder / "judged.csv")
        for run, log in (("weighted", clicks), ("unweighted", clicks.drop("weight"))):
            log.write_csv(folder / f"{run}.csv")
            settings = {"split": "split", "queries": str(folder / f"{run}.csv"), "seed": arguments.seed, "epochs": 30}
            (folder / f"{run}.yaml").write_text(json.dumps(settings), encoding="utf-8")
            command = ("train", photos, "--output", folder / run, "--config", folder / f"{run}.yaml")
            likewise(*command, "--cache", folder / "cache")
        compared = likewise(
            *("compare", folder / "unweighted", folder / "weighted", "--data", photos, "--where", 'split == "test"'),
            *("--queries", folder / "judged.csv", "--json", "--cache", folder / "cache"),
        )
        result = json.loads(compared.output)
    record(
        "relevance",
        {
            "entries of the log": len(clicks),
            "queries": judged["query"].n_unique(),
            "unweighted and weighted, and their paired difference": result,
        },
    )


def _clicks(photos: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Columns query, id, weight."""
    rows = []
    ids, titles, kinds = (photos[name].to_numpy() for name in ("id", "title", "category"))
    for title in dict.fromkeys(titles.tolist()):
        own = np.flatnonzero(titles == title)
        beside = np.flatnonzero((kinds == kinds[own[0]]) & (titles != title))
        beside = beside[rng.random(len(beside)) < _SEEN_BESIDE]
        mistakes = rng.choice(len(ids), round(_MISTAKES * len(own)), replace=False)
        found = {int(row): 1 for row in mistakes}
        found |= {int(row): 1 + int(rng.poisson(_NOW_AND_THEN)) for row in beside}
        found |= {int(row): 1 + int(rng.poisson(_OFTEN)) for row in own}
        rows += [(title, ids[row], clicks) for row, clicks in found.items()]
    return pl.DataFrame(rows, schema=["query", "id", "weight"], orient="row")


def _judged(photos: pl.DataFrame) -> pl.DataFrame:
    """Columns query, id, relevance: 3 for the product, 1 for others of its kind."""
    queries = photos.select(pl.col("title").alias("query"), pl.col("category").alias("kind")).unique(
        maintain_order=True
    )
    pairs = queries.join(photos.select("id", "title", "category"), left_on="kind", right_on="category")
    graded = pl.when(pl.col("query") == pl.col("title")).then(3).otherwise(1).alias("relevance")
    return pairs.select("query", "id", graded)


if __name__ == "__main__":
    main()
