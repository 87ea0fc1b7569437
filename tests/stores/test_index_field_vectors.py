"""What an index keeps of single fields, in every store: built, updated in place, and built again by an update."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from retrieval.shop_catalogue import write_shop, write_untrained_run
from stores.engines import ENGINES, Engine

from likewise.catalog.catalog import Catalog
from likewise.errors import UserError
from likewise.model.model import Model
from likewise.retrieval import ingest
from likewise.retrieval.index import Index


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model.load(write_untrained_run(tmp_path_factory.mktemp("run")))


def change_shop(table: Path) -> None:
    """A shirt gets another title, one loses its description, one its picture, and one is new."""
    rows = pl.read_csv(table)
    rows = rows.with_columns(
        pl.when(pl.col("id") == "sku-1003").then(pl.lit("woollen hat")).otherwise("title").alias("title"),
        pl.when(pl.col("id") == "sku-1004").then(None).otherwise("description").alias("description"),
        pl.when(pl.col("id") == "sku-1005").then(None).otherwise("image_url").alias("image_url"),
    )
    pl.concat([rows, rows[:1].with_columns(pl.lit("new").alias("id"))]).write_csv(table)


def check_fields(index: Index, model: Model, catalog: Catalog) -> None:
    """Every item has the vectors of its fields, and of no others, as the model's towers make them."""
    towers = model.encode_fields(catalog)
    assert towers.presence.any(axis=0).all(), "every field is tested"
    for row, id in enumerate(catalog.ids):
        kept = index.field_vectors(id)
        assert list(kept) == [field for field, there in zip(towers.fields, towers.presence[row], strict=True) if there]
        for field, vector in kept.items():
            assert np.abs(vector - towers.field(field)[row]).max() < 1e-3


@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.name)
@pytest.mark.parametrize("way", ["in place", "by a new store"])
def test_an_index_keeps_the_vector_of_every_field(tmp_path, model, engine: Engine, way: str, monkeypatch) -> None:
    if way == "by a new store":
        monkeypatch.setattr(ingest, "_FEW", -1)
        monkeypatch.setattr(ingest, "_SMALL_SHARE", 0.0)
    table = write_shop(tmp_path)
    with Index.build(model, Catalog.read(table), tmp_path / "run", store=engine.new_place(tmp_path)) as index:
        check_fields(index, model, Catalog.read(table))
        assert index.metadata.field_vector_bytes == 30 * 3 * 32 * 2
        change_shop(table)
        changes = index.update(Catalog.read(table))
        assert (len(changes.new), len(changes.changed)) == (1, 3)
        check_fields(index, model, Catalog.read(table))


def test_an_index_without_field_vectors_says_so(tmp_path: Path, model: Model) -> None:
    table = write_shop(tmp_path)
    with Index.build(model, Catalog.read(table), tmp_path / "run", field_vectors=False) as index:
        assert index.metadata.field_vector_bytes == 0
        change_shop(table)
        index.update(Catalog.read(table))
        assert len(index) == 31
        with pytest.raises(UserError, match="--no-field-vectors"):
            index.field_vectors("sku-1003")


def test_a_truncated_index_keeps_truncated_field_vectors(tmp_path: Path, model: Model) -> None:
    catalog = Catalog.read(write_shop(tmp_path))
    with Index.build(model, catalog, tmp_path / "run", dim=8) as index:
        kept = index.field_vectors("sku-1003")
    towers = model.encode_fields(catalog)
    for field, vector in kept.items():
        expected = towers.field(field)[3, :8]
        assert np.abs(vector - expected / np.linalg.norm(expected)).max() < 1e-3
