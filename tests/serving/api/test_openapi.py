"""The OpenAPI document and the server say the same: requests are made up from the one and sent to the other."""

from collections.abc import Iterator

import polars as pl
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from retrieval.fakes import catalog_of, save_picture
from schemathesis import GenerationMode
from schemathesis.checks import positive_data_acceptance
from serving.api.examples import TITLES, FakeTextModel

from likewise.retrieval.index import Index
from likewise.serving.api.app import create_api
from likewise.serving.judging.judging import Judging
from likewise.serving.judging.store import JudgementStore
from likewise.serving.metrics import Metrics
from likewise.serving.service import Limits, SearchService
from likewise.serving.thumbnails import thumbnails_in

schemathesis.serializer("application/x-ndjson")(lambda context, value: str(value).encode("utf-8", "replace"))
EXAMPLES = 50
# No schema says which columns and items an index has, what a filter is, or that there has to be something to look for.
EXCLUDED = [positive_data_acceptance]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Iterator[schemathesis.BaseSchema]:
    folder = tmp_path_factory.mktemp("described")
    catalog = catalog_of(*TITLES)
    catalog.table = catalog.table.with_columns(
        pl.Series("brand", ["A", "A", "B", "B", "C", None]), pl.Series("price", [1.0, 2.5, 3.0, 20.0, 25.0, 7.0])
    )
    catalog.pictures = [(save_picture(folder / "apple.png", (255, 0, 0)),), *[()] * (len(TITLES) - 1)]
    with Index.build(FakeTextModel(), catalog, folder / "run") as index:
        service = SearchService(
            index,
            FakeTextModel(),
            limits=Limits(image_bytes=100_000, audio_bytes=100_000),
            metrics=Metrics(),
            thumbnails=thumbnails_in(folder / "cache"),
        )
        judging = Judging(JudgementStore(folder / "judgements.jsonl"), None, {"red apple": 3, "blue": 1})
        yield schemathesis.openapi.from_asgi("/openapi.json", create_api(service, judging))
        service.close()


OPERATIONS = [
    *("GET /livez", "GET /readyz", "GET /metrics", "GET /v1/models", "POST /v1/embeddings"),
    *(
        "GET /v1/search",
        "POST /v1/search",
        "POST /v1/search/batch",
        "GET /v1/suggest",
        "GET /v1/facets",
        "GET /v1/columns",
    ),
    *("GET /v1/comparison", "POST /v1/comparison", "POST /v1/compare"),
    *("GET /v1/items/{id}", "GET /v1/items/{id}/similar", "GET /v1/items/{id}/thumbnail"),
    "POST /v1/items/{id}/heatmap",
    "GET /v1/items/{id}/recording",
    *("PUT /v1/items/{id}", "PATCH /v1/items/{id}", "DELETE /v1/items/{id}", "POST /v1/items"),
    *("POST /v1/judgements", "GET /v1/judgements", "GET /v1/judgements/queries", "DELETE /v1/judgements/{judgement}"),
]


def test_every_route_is_described(document: schemathesis.BaseSchema) -> None:
    assert sorted(result.ok().label for result in document.get_all_operations()) == sorted(OPERATIONS)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("label", OPERATIONS)
def test_requests_and_answers_are_as_described(
    document: schemathesis.BaseSchema, label: str, mode: GenerationMode
) -> None:
    """Half of the requests are as the document says, half are not."""
    operation = next(result.ok() for result in document.get_all_operations() if result.ok().label == label)

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES // 2,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def send(case: schemathesis.Case) -> None:
        case.call_and_validate(excluded_checks=EXCLUDED)

    try:
        send()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE  # a route without parameters has no wrong ones
