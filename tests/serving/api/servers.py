"""A real server for the tests of hostile clients: the whole application over an index of a few items."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from retrieval.fakes import FakeModel, catalog_of, save_picture
from serving.api.examples import TITLES, FakeTextModel

from likewise.retrieval.index import Index
from likewise.serving.api.server import Protection, build_app
from likewise.serving.http_server import serving_app
from likewise.serving.judging.judging import JudgingSettings, opening_judging
from likewise.serving.listening import listen
from likewise.serving.metrics import Metrics
from likewise.serving.service import Limits, SearchService
from likewise.serving.thumbnails import thumbnails_in


@contextmanager
def serving_fruit(
    folder: Path,
    protection: Protection | None = None,
    *,
    model: FakeModel | None = None,
    judging: JudgingSettings | None = None,
    **limits: Any,
) -> Iterator[str]:
    """Serve an index of fruit and shirts while the block runs; yields the address."""
    catalog = catalog_of(*TITLES)
    catalog.table = catalog.table.with_columns(
        pl.Series("image", [None] * len(TITLES), pl.List(pl.String)),
        pl.Series("price", [1.0, 2.5, 3.0, 20.0, 25.0, 7.0]),
    )
    catalog.pictures = [(save_picture(folder / "apple.png", (255, 0, 0)),), *[()] * (len(TITLES) - 1)]
    model = model or FakeTextModel()
    with Index.build(model, catalog, folder / "run") as index:
        service = SearchService(
            index, model, limits=Limits(**limits), metrics=Metrics(), thumbnails=thumbnails_in(folder / "cache")
        )
        try:
            with (
                listen("127.0.0.1", 0) as listener,
                opening_judging(judging) as opened,
                serving_app(build_app(service, None, protection or Protection(), opened), listener) as url,
            ):
                yield url
        finally:
            service.close()
