"""A run over the shop that needs no training, and the two ways in which an update is written."""

from pathlib import Path

import pytest
from retrieval.shop_catalogue import write_shop, write_untrained_run

from likewise.catalog.catalog import Catalog
from likewise.model.model import Model
from likewise.retrieval import ingest
from likewise.retrieval.index import Index


@pytest.fixture(scope="module")
def shop_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder without an index, in the folder of the shop; for one file of tests, which may write into it."""
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder)
    return write_untrained_run(folder / "run")


@pytest.fixture(scope="module")
def shop_model(shop_run: Path) -> Model:
    return Model.load(shop_run, "cpu")


@pytest.fixture(scope="module")
def shop_catalog(shop_run: Path) -> Catalog:
    return Catalog.read(shop_run.parent / "products.csv", cache=shop_run.parent / "cache")


@pytest.fixture(scope="module")
def shop_index(shop_model: Model, shop_catalog: Catalog) -> Index:
    """In memory."""
    return Index.build(shop_model, shop_catalog)


@pytest.fixture(params=["in place", "by a new store"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways in which an update can be written."""
    if request.param == "by a new store":
        monkeypatch.setattr(ingest, "_FEW", -1)
        monkeypatch.setattr(ingest, "_SMALL_SHARE", 0.0)
    return request.param
