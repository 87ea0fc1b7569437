"""Thresholds are calibrated on rows that a training has not seen, also where a log of queries covers others alone."""

import polars as pl
import pytest
from training.test_typed_fields import TINY, write_shop

from likewise.catalog.catalog import Catalog
from likewise.retrieval.thresholds import Thresholds
from likewise.training.train import train


@pytest.mark.parametrize("logged", ["all", "train"])
def test_there_is_a_rule_for_words_whatever_rows_have_logged_queries(tmp_path, logged):
    rows = pl.read_csv(write_shop(tmp_path / "shop.csv", rows=360), infer_schema=False).with_row_index()
    part = pl.when(pl.col("index") % 3 == 0).then(pl.lit("val")).otherwise(pl.lit("train")).alias("part")
    asked = pl.lit("something like a ") + pl.col("title")
    shown = pl.lit(True) if logged == "all" else pl.col("part") == "train"
    rows.with_columns(part).with_columns(pl.when(shown).then(asked).alias("query")).drop("index").write_csv(
        tmp_path / "shop.csv"
    )
    config = TINY.model_copy(update={"split": "part", "refit": False})
    run = train(Catalog.read(tmp_path / "shop.csv", cache=tmp_path / "cache"), tmp_path / "run", config)
    rule = Thresholds.read(run.path).rules["words"]
    if logged == "all":
        assert rule.queries == 60, "the logged ones of the rows that choose the checkpoint"
    else:
        assert rule.queries > 60, "titles and single words, as nothing is logged for these rows"
