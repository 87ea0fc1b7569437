"""What is Qdrant's own: filters in its own engine, servers."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import qdrant_edge
from httpx import Headers
from hypothesis import HealthCheck, given, settings
from qdrant_client import models
from qdrant_client.http.exceptions import UnexpectedResponse
from stores.qdrant_server import QdrantServer
from stores.test_extremes import STRANGE

from likewise.catalog.filters import Compare, Condition, Operator
from likewise.catalog.filters_polars import match_rows
from likewise.errors import UserError
from likewise.stores.conditions import normal_form
from likewise.stores.inputs import prepare_items
from likewise.stores.qdrant import collection as qdrant
from likewise.stores.qdrant import connection as qdrant_connection
from likewise.stores.qdrant.filters import indexed_fields, qdrant_filter
from likewise.stores.registry import open_store, replace_store
from likewise.stores.schema import Schema
from likewise.stores.uri import Credentials, parse_location
from likewise.testing.stores import CONDITIONS, ITEMS, VECTORS

SECRET = "s3cret-api-key"


# --- filters in the engine that servers run --------------------------------------------------------------------------


class Shard:
    """Items in Qdrant's own engine, which its package for small devices brings along, with the indexes of a server."""

    def __init__(self, folder: Path, items: pl.DataFrame, vectors: np.ndarray) -> None:
        self.schema = Schema.of(items, vectors.shape[1])
        shape = qdrant_edge.EdgeVectorParams(size=vectors.shape[1], distance=qdrant_edge.Distance.Dot)
        self.shard = qdrant_edge.EdgeShard.create(str(folder), qdrant_edge.EdgeConfig(vectors=shape))
        for column, kind in self.schema.stored_types.items():
            for field, index in indexed_fields(column, kind).items():
                kind_of_index = getattr(qdrant_edge.PayloadSchemaType, index.value.capitalize())
                self.shard.update(qdrant_edge.UpdateOperation.create_field_index(field, kind_of_index))
        points = qdrant._points(*prepare_items(items, vectors, self.schema))
        points = [qdrant_edge.Point(point.id, point.vector, point.payload) for point in points]
        self.shard.update(qdrant_edge.UpdateOperation.upsert_points(points))

    def count(self, condition: Condition) -> int:
        form = normal_form(condition, self.schema)
        if form is False:
            return 0
        limit = None if form is True else _translated(qdrant_filter(form, self._ties))
        return self.shard.count(qdrant_edge.CountRequest(exact=True, filter=limit))

    def _ties(self, column: str, limit: models.Filter, operator: Operator, text: str) -> list[str]:
        name = next(known.name for known in self.schema.columns if known.stored == column)
        request = qdrant_edge.ScrollRequest(limit=10_000, filter=_translated(limit), with_payload=True)
        points = self.shard.scroll(request)[0]
        cells = [json.loads(point.payload["fields"])[name] for point in points]
        return [
            str(point.id) for point, cell in zip(points, cells, strict=True) if qdrant._COMPARE[operator](cell, text)
        ]


def _translated(condition):
    """The client's filter as the engine's package has it."""
    match condition:
        case models.Filter():
            parts = {name: getattr(condition, name) for name in ("must", "should", "must_not")}
            return qdrant_edge.Filter(**{name: part and list(map(_translated, part)) for name, part in parts.items()})
        case models.IsEmptyCondition():
            return qdrant_edge.IsEmptyCondition(condition.is_empty.key)
        case models.HasIdCondition():
            return qdrant_edge.HasIdCondition(set(condition.has_id))
        case models.FieldCondition(match=None):
            return qdrant_edge.FieldCondition(
                condition.key, range=qdrant_edge.RangeFloat(**condition.range.model_dump())
            )
        case models.FieldCondition(match=models.MatchValue()):
            return qdrant_edge.FieldCondition(condition.key, match=qdrant_edge.MatchValue(condition.match.value))
        case models.FieldCondition():
            return qdrant_edge.FieldCondition(condition.key, match=qdrant_edge.MatchAny(condition.match.any))
    raise AssertionError(condition)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shard:
    return Shard(tmp_path_factory.mktemp("shop"), ITEMS, VECTORS)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(condition=CONDITIONS.filter(lambda condition: "sold" not in str(condition)))
def test_any_filter_means_the_same_in_qdrants_own_engine(shop: Shard, condition: Condition) -> None:
    """But for "sold": the package's Python side takes true for the number 1."""
    assert shop.count(condition) == match_rows(ITEMS, condition).sum()


def test_strange_texts_and_huge_integers_compare_exactly_in_qdrants_own_engine(tmp_path: Path) -> None:
    texts = [*STRANGE, "twelve bytes", "twelve bytes and more", "twelve bytes and less", "twelve byte", "ü" * 3_001]
    huge = [2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**62), -(2**53) - 1, -(2**53), -(2**53) + 1, -1, 0, None]
    floats = [0.1 + 0.2, 0.3, 1e-300, -1.7e308, 5e-324, -0.0, None]
    rows = len(texts)
    items = pl.DataFrame(
        {
            "id": texts,
            "text": texts[::-1],
            "whole": [huge[row % len(huge)] for row in range(rows)],
            "float": [floats[row % len(floats)] for row in range(rows)],
        }
    )
    shard = Shard(tmp_path, items, np.eye(rows))
    for column, values in (("id", texts), ("text", texts), ("whole", huge[:-1]), ("float", floats[:-1])):
        for value in values:
            for operator in ("==", "!=", "<", "<=", ">", ">="):
                condition = Compare(column, operator, value)
                assert shard.count(condition) == match_rows(items, condition).sum(), f"{condition!s:.80}"


# --- servers ---------------------------------------------------------------------------------------------------------

KEY = Credentials(token=SECRET)


@pytest.fixture
def server() -> Iterator[QdrantServer]:
    running = QdrantServer(key=SECRET)
    yield running
    running.stop()


def test_a_folder_is_no_qdrant_server_and_the_sentence_says_what_keeps_one(tmp_path: Path) -> None:
    for place in ("qdrant:items", f"qdrant://{tmp_path}/items"):
        for use in (open_store, lambda place: replace_store(place, Schema(2)).__enter__()):
            with pytest.raises(UserError, match=r"names no server.*qdrant://host:6333.* use faiss:path$"):
                use(place)
    assert not any(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_a_server_holds_stores_by_name_with_indexes_and_replaces_them(server: QdrantServer) -> None:
    running, uri = server, server.uri
    items = pl.DataFrame(
        {"id": ["a", "b", "c"], "price": [1.0, 2.0, None], "stock": [1, 2, 3], "new": [True, None, False]}
    )
    for place, rows in ((f"{uri}?collection=one", 3), (f"{uri}?collection=two", 2), (f"{uri}?collection=one", 1)):
        with replace_store(place, Schema.of(items, 4), KEY) as store:
            store.upsert(items[:rows], np.eye(rows, 4))
    one, two = open_store(f"{uri}?collection=one", KEY), open_store(f"{uri}?collection=two", KEY)
    assert (one.count(), two.count()) == (1, 2)
    assert two.search(np.eye(1, 4), 5, Compare("price", ">", 1))[0].ids == ["b"]
    assert one.schema.about == {}
    names = [collection.name for collection in running.client.get_collections().collections]
    assert len(names) == 2, "what was replaced is gone"
    assert running.indexes[names[0]] == {
        "id": "keyword", "id_1": "integer", "id_2": "integer", "c0": "float",
        "c1": "integer", "c1_1": "integer", "c1_2": "integer", "c2": "bool",
    }  # fmt: skip
    running.client.create_collection("theirs", vectors_config=models.VectorParams(size=4, distance=models.Distance.DOT))
    with (
        pytest.raises(UserError, match=r"likewise did not make.*collection=NAME"),
        replace_store(f"{uri}?collection=theirs", Schema(4), KEY),
    ):
        pass
    with pytest.raises(UserError, match="no store"):
        open_store(f"{uri}?collection=theirs", KEY)
    alias = models.CreateAlias(collection_name="theirs", alias_name="three")
    running.client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    with pytest.raises(UserError, match=r"not made by likewise, or by a Qdrant before 1\.16"):
        open_store(f"{uri}?collection=three", KEY)
    one.close()
    two.close()


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_refusals_of_a_server_are_sentences_without_secrets(server: QdrantServer) -> None:
    uri = server.uri
    for credentials in (Credentials(), Credentials(password=f"not {SECRET}")):
        with pytest.raises(UserError, match=r"does not accept the API key: set LIKEWISE_STORE_TOKEN$"):
            open_store(uri, credentials)
    connection = qdrant_connection.connect(parse_location(uri)[0], Credentials(password=SECRET))
    with (
        pytest.raises(UserError, match=r"refuses: Collection nowhere not found; 3 of 9 are written$"),
        connection.explain_errors(after="3 of 9 are written"),
    ):
        connection.client.count("nowhere")
    with pytest.raises(UserError, match=r"refuses: .*… is a bad name") as raised, connection.explain_errors():
        raise UnexpectedResponse(502, "Bad Gateway", f"<html>{SECRET} is a bad name".encode(), Headers())
    assert SECRET not in str(raised.value)
    connection.close()


def test_a_server_that_does_not_answer_is_one_sentence_without_secrets(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        uri = f"qdrant://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(UserError, match=r"Qdrant at qdrant://127.0.0.1:\d+ does not answer"):
        open_store(uri)
    with pytest.warns(UserWarning, match="insecure connection"), pytest.raises(UserError) as raised:
        open_store(f"{uri}?api_key={SECRET}")
    with pytest.raises(UserError, match="does not answer"), replace_store(uri, Schema(2)):
        pass
    output = capfd.readouterr()
    assert SECRET not in str(raised.value) + output.out + output.err
