"""A server in this process, over an index of a few items."""

from collections.abc import Iterator

import polars as pl
import pytest
from retrieval.fakes import FakeModel, catalog_of, save_picture
from serving.api.examples import TITLES, FakeTextModel
from starlette.testclient import TestClient

from likewise.retrieval.index import Index
from likewise.serving.api.app import create_api
from likewise.serving.service import Limits, SearchService
from likewise.serving.thumbnails import thumbnails_in


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    folder = tmp_path_factory.mktemp("catalogue")
    catalog = catalog_of(*TITLES)
    catalog.table = catalog.table.with_columns(
        pl.Series("price", [1.0, 2.5, 3.0, 20.0, 25.0, 7.0]), pl.Series("brand", ["A", "A", "B", "B", "C", None])
    )
    catalog.pictures = [(save_picture(folder / "apple.png", (255, 0, 0)),), *[()] * (len(TITLES) - 1)]
    with Index.build(FakeModel(), catalog) as built:
        yield built


@pytest.fixture(scope="module")
def service(index: Index, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SearchService]:
    model = FakeTextModel()
    service = SearchService(
        index,
        model,
        limits=Limits(image_bytes=100_000, audio_bytes=100_000),
        thumbnails=thumbnails_in(tmp_path_factory.mktemp("cache")),
    )
    yield service
    service.close()


@pytest.fixture(scope="module")
def client(service: SearchService) -> Iterator[TestClient]:
    with TestClient(create_api(service), raise_server_exceptions=False) as client:
        yield client
