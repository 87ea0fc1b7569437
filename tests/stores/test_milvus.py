"""What is Milvus's own: keys of texts, graphs, limits of a request, servers."""

import logging
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from milvus_lite.adapter.grpc.server import start_server_in_thread
from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException
from stores.clustered import COUNT, check_neighbours, check_rare_matches, fill_clustered

from likewise.catalog.filters import And, Compare, IsNull, Not, OneOf, Or
from likewise.errors import UserError
from likewise.stores.milvus import collection as milvus
from likewise.stores.milvus import connection as milvus_connection
from likewise.stores.milvus.filters import LONGEST_KEY, LONGEST_TEXT, expression, key_text, text_key
from likewise.stores.registry import open_store, replace_store
from likewise.stores.schema import Schema
from likewise.stores.uri import Credentials, parse_location

SECRET = "s3cret-Pa55word"


# --- texts and filters -----------------------------------------------------------------------------------------------


@given(st.text(), st.text())
def test_keys_give_texts_back_and_sort_as_texts_do(one: str, other: str) -> None:
    assert key_text(text_key(one)) == one
    assert (text_key(one) < text_key(other)) == (one < other)
    assert (text_key(one) == text_key(other)) == (one == other)
    assert set(text_key(one)) <= set("-_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


def test_keys_of_long_texts_fit_differ_and_sort_among_shorter_ones() -> None:
    edge = "x" * LONGEST_TEXT
    texts = ["", edge[:-1], edge, edge + "a", edge + "b", edge + "é" * 90_000]
    keys = [text_key(text) for text in texts]
    assert len(set(keys)) == len(texts)
    assert max(map(len, keys)) <= LONGEST_KEY
    assert keys[:3] == sorted(keys[:3])
    assert all(keys[2] < key < text_key("y") for key in keys[3:])


def test_conditions_become_milvus_filters() -> None:
    assert expression(Compare("c1", "<=", -2.5)) == "c1 <= -2.5"
    assert expression(Compare("c1", "!=", 7)) == "(c1 is not null and c1 != 7)"
    assert expression(Compare("c2", "==", True)) == "c2 == true"
    assert expression(Not(IsNull("c2"))) == "c2 is not null"
    assert expression(Not(OneOf("id", ("a", "b")))) == f'id not in ["{text_key("a")}", "{text_key("b")}"]'
    both = And((Or((IsNull("c1"), Compare("c1", ">", 1e300))), Not(OneOf("c3", (1, 2)))))
    assert expression(both) == "((c1 is null) or (c1 > 1e+300)) and ((c3 is not null and c3 not in [1, 2]))"


def test_the_order_of_a_text_longer_than_keys_tell_is_refused() -> None:
    text = "x" * (LONGEST_TEXT + 1)
    assert text_key(text) in expression(Compare("c0", "==", text))
    with pytest.raises(UserError, match="48,000 bytes"):
        expression(Compare("c0", "<", text))


# --- graphs and limits, on Milvus Lite -------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> str:
    return f"milvus://{tmp_path}/store.db"


@pytest.fixture
def many(place: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, np.ndarray]:
    """A store with the indexes that a server would have."""
    monkeypatch.setattr(milvus_connection.Connection, "indexed", True)
    return place, fill_clustered(place)


def test_the_graph_finds_the_neighbours_with_their_exact_scores(many: tuple[str, np.ndarray]) -> None:
    place, vectors = many
    store = open_store(place)
    check_neighbours(store, vectors)
    store.close()


def test_with_the_graph_a_rare_match_is_found_from_anywhere(many: tuple[str, np.ndarray]) -> None:
    place, vectors = many
    store = open_store(place)
    check_rare_matches(store, vectors[:40])
    (everything,) = store.search(vectors[:1], COUNT + 1)
    assert len(everything.ids) == COUNT
    store.upsert(pl.DataFrame({"id": ["new", "7"]}), -vectors[:2])
    store.delete(["8"])
    assert [found.ids for found in store.search(-vectors[:2], 1)] == [["new"], ["7"]]
    assert "8" not in store.search(vectors[8:9], COUNT)[0].ids
    store.close()


def test_more_hits_than_milvus_gives_are_found_here(
    many: tuple[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, vectors = many
    monkeypatch.setattr(milvus, "_MOST_HITS", 5)
    store = open_store(place)
    for query, found in zip(vectors[:3], store.search(vectors[:3], 400, Compare("group", "<", 100)), strict=True):
        rows = np.flatnonzero(np.arange(COUNT) % 200 < 100)
        expected = rows[np.argsort(-(vectors[rows] @ query))[:400]]
        np.testing.assert_allclose(found.scores, vectors[expected] @ query, atol=1e-5)
        assert len(set(found.ids) & {str(row) for row in expected}) >= 399
    store.close()


def test_what_is_too_large_for_a_request_goes_in_several(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(milvus, "_BYTES_AT_ONCE", 2_000)
    monkeypatch.setattr(milvus, "_HITS_AT_ONCE", 6)
    monkeypatch.setattr(milvus, "_IDS_AT_ONCE", 7)
    monkeypatch.setattr(milvus, "_ROWS_AT_ONCE", 9)
    items = pl.DataFrame({"id": [f"item {row}" for row in range(40)], "text": ["x" * 300] * 40})
    with replace_store(place, Schema.of(items, 40)) as store:
        store.upsert(items, np.eye(40))
    store = open_store(place)
    assert store.count() == 40
    assert [found.ids[0] for found in store.search(np.eye(40), 2)] == items["id"].to_list()
    assert [record.id for record in store.fetch(items["id"].to_list())] == items["id"].to_list()
    assert sorted(len(batch.ids) for batch in store.iterate()) == [4, 9, 9, 9, 9]
    assert store.delete(items["id"][:30].to_list()) == 30
    store.close()


def test_ids_longer_than_milvus_holds_are_refused_and_nothing_is_written(place: str) -> None:
    with replace_store(place, Schema(2)) as store:
        store.upsert(pl.DataFrame({"id": ["ü" * (LONGEST_TEXT // 2)]}), np.eye(1, 2))
        with pytest.raises(UserError, match="at most 48,000 bytes"):
            store.upsert(pl.DataFrame({"id": ["short", "x" * (LONGEST_TEXT + 1)]}), np.eye(2))
        assert store.count() == 1
        assert store.fetch(["x" * (LONGEST_TEXT + 1)]) == [None]
        assert store.delete(["x" * (LONGEST_TEXT + 1)]) == 0


def test_a_damaged_store_says_so(place: str, tmp_path: Path) -> None:
    with replace_store(place, Schema(2)) as store:
        store.upsert(pl.DataFrame({"id": ["a"]}), np.eye(1, 2))
    (collection,) = (tmp_path / "store.db" / "collections").iterdir()
    (collection / "schema.json").write_text("{")
    with pytest.raises(UserError, match=r"store\.db cannot be read or written"):
        open_store(place)
    shutil.rmtree(collection)
    with pytest.raises(UserError, match=r"store\.db cannot be read or written"):
        open_store(place)
    with replace_store(place, Schema(2)):
        pass
    assert open_store(place).count() == 0


# --- servers ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """A Milvus Lite that is reached as any other server is, over the network."""
    running, database, port = start_server_in_thread(str(tmp_path / "data"), host="127.0.0.1")
    yield f"milvus://127.0.0.1:{port}", port
    running.stop(grace=0).wait()
    database.close()


def test_a_server_holds_stores_by_name_and_replaces_them(server: tuple[str, int]) -> None:
    uri, port = server
    items = pl.DataFrame({"id": ["a", "b", "c"], "price": [1.0, 2.0, None]})
    for place, rows in ((f"{uri}?collection=one", 3), (f"{uri}?collection=two", 2), (f"{uri}?collection=one", 1)):
        with replace_store(place, Schema.of(items, 4)) as store:
            store.upsert(items[:rows], np.eye(rows, 4))
    one, two = open_store(f"{uri}?collection=one"), open_store(f"{uri}?collection=two")
    assert (one.count(), two.count()) == (1, 2)
    assert two.search(np.eye(1, 4), 5, Compare("price", ">", 1))[0].ids == ["b"]
    one.close()
    two.close()
    client = MilvusClient(f"http://127.0.0.1:{port}")
    assert len(client.list_collections()) == 2, "what was replaced is gone"
    client.create_collection("theirs", dimension=4)
    with (
        pytest.raises(UserError, match=r"likewise did not make.*collection=NAME"),
        replace_store(f"{uri}?collection=theirs", Schema(4)),
    ):
        pass
    with pytest.raises(UserError, match="no store"):
        open_store(f"{uri}?collection=theirs")
    assert "theirs" in client.list_collections()
    client.close()


def test_a_server_that_does_not_answer_is_one_sentence_without_secrets(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(milvus_connection, "CONNECTING", 0.5)
    caplog.set_level(logging.DEBUG)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = f"milvus://me:{SECRET}@127.0.0.1:{probe.getsockname()[1]}/shop"
    for uri, credentials in ((place, Credentials()), (place, Credentials(token=f"token-{SECRET}"))):
        for use in (open_store, lambda *where: replace_store(where[0], Schema(2), where[1]).__enter__()):
            with pytest.raises(UserError, match=r"Milvus at milvus://127.0.0.1:\d+/shop does not answer") as raised:
                use(uri, credentials)
            assert SECRET not in str(raised.value)
    output = capfd.readouterr()
    assert SECRET not in output.out + output.err + caplog.text
    assert "Traceback" not in output.out + output.err


def test_refusals_become_sentences_without_secrets(server: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    uri, _ = server
    host = uri.removeprefix("milvus://")
    with pytest.raises(UserError, match=r"Milvus at .*/nowhere refuses: .*nowhere"):
        open_store(f"milvus://me:{SECRET}@{host}/nowhere")
    connection = milvus_connection.connect(parse_location(uri)[0], Credentials("me", SECRET), create=False)
    with pytest.raises(UserError, match="refuses: no password … here") as raised, connection.explain_errors():
        raise MilvusException(1, f"no\npassword {SECRET} here")
    assert SECRET not in str(raised.value)
    with (
        pytest.raises(UserError, match="does not accept the credentials: set LIKEWISE_STORE_USER"),
        connection.explain_errors(),
    ):
        raise MilvusException(1400, "auth check failure, please check api key is correct")
    connection.close()


def test_an_address_that_makes_no_sense_is_one_sentence() -> None:
    with pytest.raises(UserError, match="names no Milvus server"):
        open_store("milvus://host:port")
