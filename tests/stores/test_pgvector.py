"""What is PostgreSQL's own: its index, databases that will not do, roles, and what happens while contents change."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores import postgres
from stores.clustered import COUNT, check_later_writes, check_neighbours, check_rare_matches, fill_clustered

from likewise.catalog.filters import Compare
from likewise.errors import MissingExtraError, UserError
from likewise.stores.pgvector import collection as collections
from likewise.stores.pgvector.filters import escape, unescape
from likewise.stores.registry import open_store, replace_store
from likewise.stores.schema import Schema
from likewise.stores.uri import Credentials, parse_location


@pytest.fixture
def place(tmp_path: Path) -> str:
    return postgres.new_place(tmp_path)


@pytest.fixture
def indexed(place: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, np.ndarray]:
    monkeypatch.setattr(collections, "INDEX_FROM", 1_000)
    return place, fill_clustered(place)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _items(*ids: str) -> tuple[pl.DataFrame, np.ndarray]:
    return pl.DataFrame({"id": list(ids)}), np.eye(len(ids), 4, dtype=np.float32)


def _filled(place: str, *ids: str, **about: str) -> None:
    items, vectors = _items(*ids)
    with replace_store(place, Schema.of(items, 4, about)) as store:
        store.upsert(items, vectors)


@contextmanager
def _sql(uri: str = "") -> Iterator:
    """A connection of the server's superuser."""
    import psycopg

    with psycopg.connect(uri or postgres.server(), autocommit=True) as connection:
        yield connection


def _tables(place: str) -> list[str]:
    """The contents of a collection that the database holds."""
    collection = parse_location(place)[0].collection
    with _sql() as connection:
        found = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND starts_with(relname, %s)", (collection,)
        )
        return [name for (name,) in found]


def _content(place: str, connection) -> str:
    """The table of the content in use."""
    collection = parse_location(place)[0].collection
    known = "SELECT table_name FROM likewise_versions WHERE collection = %s AND state = 'in use'"
    return str(connection.execute(known, (collection,)).fetchone()[0])


# --- the index -------------------------------------------------------------------------------------------------------


def test_the_index_finds_the_neighbours_with_their_exact_scores(indexed: tuple[str, np.ndarray]) -> None:
    place, vectors = indexed
    store = open_store(place)
    check_neighbours(store, vectors)
    store.close()


def _index_scans(place: str) -> int:
    """How often the index in use has been asked, by connections that are closed."""
    with _sql() as connection:
        table = _content(place, connection)
        scans = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = %s"
        return int(connection.execute(scans, (f"{table}_vectors",)).fetchone()[0])


def _eventually_scanned(place: str, before: int) -> int:
    """How often the index has been asked since, once PostgreSQL has counted it."""
    deadline = time.monotonic() + 5
    while (scans := _index_scans(place)) <= before and time.monotonic() < deadline:
        time.sleep(0.05)
    return scans - before


@pytest.mark.parametrize(
    ("condition", "k", "through_the_index"),
    [
        (None, 10, True),
        (Compare("group", "<", 150), 10, True),
        (Compare("group", "==", 7), 10, False),
        (None, COUNT, False),
    ],
    ids=["alone", "with a wide filter", "not with a narrow one", "not for all items"],
)
def test_searches_go_through_the_index_where_that_is_quicker(
    indexed: tuple[str, np.ndarray], condition: Compare | None, k: int, through_the_index: bool
) -> None:
    place, vectors = indexed
    before = _index_scans(place)
    store = open_store(place)
    expected = min(k, COUNT if condition is None else store.count(condition))
    assert [len(found.ids) for found in store.search(vectors[:5], k, condition)] == [expected] * 5
    store.close()
    if through_the_index:
        assert _eventually_scanned(place, before) == 5
    else:
        time.sleep(0.2)
        assert _index_scans(place) == before


def test_with_the_index_a_rare_match_is_found_from_anywhere(indexed: tuple[str, np.ndarray]) -> None:
    place, vectors = indexed
    store = open_store(place)
    check_rare_matches(store, vectors[:100])
    (everything,) = store.search(vectors[:1], COUNT)
    assert len(everything.ids) == COUNT
    store.close()


def test_what_the_graph_is_left_without_finding_is_found(
    indexed: tuple[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the estimate of how many match is wrong: the graph is asked, and left after one step."""
    monkeypatch.setattr(collections, "_STEP_COSTS", 0)
    place, vectors = indexed
    before = _index_scans(place)
    store = open_store(f"{place}&options=-c hnsw.max_scan_tuples=1")
    check_rare_matches(store, vectors[:5])
    store.close()
    assert _eventually_scanned(place, before) == 5


def test_items_written_after_the_index_are_found_and_deleted_ones_are_not(indexed: tuple[str, np.ndarray]) -> None:
    place, vectors = indexed
    store = open_store(place)
    check_later_writes(store, vectors)
    store.close()


def test_a_store_that_has_grown_is_indexed_when_it_is_optimised(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collections, "INDEX_FROM", 1_000)
    _filled(place, "a")
    store, other = open_store(place), open_store(place)
    items = pl.DataFrame({"id": [str(row) for row in range(1_000)]})
    store.upsert(items, np.random.default_rng(0).standard_normal((1_000, 4)))
    threads = [threading.Thread(target=one.optimise) for one in (store, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with _sql() as connection:
        table = _content(place, connection)
        assert connection.execute("SELECT to_regclass(%s)::text", (f"{table}_vectors",)).fetchone() == (
            f"{table}_vectors",
        )
    assert store.count() == other.count() == 1_001
    store.close()
    other.close()


@pytest.mark.parametrize(("dim", "has_index"), [(2_500, True), (4_500, False)])
def test_long_vectors_are_indexed_as_far_as_pgvector_can(
    place: str, monkeypatch: pytest.MonkeyPatch, dim: int, has_index: bool
) -> None:
    monkeypatch.setattr(collections, "INDEX_FROM", 50)
    vectors = _unit(np.random.default_rng(0).standard_normal((60, dim)))
    items = pl.DataFrame({"id": [str(row) for row in range(60)]})
    with replace_store(place, Schema.of(items, dim)) as store:
        store.upsert(items, vectors)
    with _sql() as connection:
        known = connection.execute("SELECT to_regclass(%s)", (f"{_content(place, connection)}_vectors",)).fetchone()
    assert (known != (None,)) == has_index
    store = open_store(place)
    assert [found.ids for found in store.search(vectors, 1)] == [[str(row)] for row in range(60)]
    store.close()


def test_vectors_that_pgvector_cannot_hold_are_refused(place: str) -> None:
    with pytest.raises(UserError, match="at most 16,000 dimensions"), replace_store(place, Schema(16_001)):
        pass


# --- databases that will not do --------------------------------------------------------------------------------------


@contextmanager
def _database(*statements: str, options: str = "") -> Iterator[str]:
    """The URI of a collection in a database of its own."""
    name = f"other_{uuid4().hex[:12]}"
    with _sql() as connection:
        connection.execute(f"CREATE DATABASE {name} {options}")
    uri = postgres.server().replace("/postgres?", f"/{name}?")
    try:
        with _sql(uri) as connection:
            for statement in statements:
                connection.execute(statement)
        yield f"{uri}&collection=things"
    finally:
        with _sql() as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


_OLDER = "UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'"
_LATIN = "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"


@pytest.mark.parametrize(
    ("statements", "options", "sentence"),
    [
        ([], "", "lacks pgvector: run CREATE EXTENSION vector"),
        (
            ["CREATE EXTENSION vector", _OLDER],
            "",
            "pgvector 0.7.4, but 0.8 is needed: run ALTER EXTENSION vector UPDATE",
        ),
        (["CREATE EXTENSION vector"], _LATIN, "encoded in LATIN1: make one with UTF8"),
    ],
)
def test_a_database_that_will_not_do_is_one_sentence(statements: list[str], options: str, sentence: str) -> None:
    with _database(*statements, options=options) as place:
        with pytest.raises(UserError, match=sentence):
            open_store(place)
        with pytest.raises(UserError, match=sentence), replace_store(place, Schema(4)):
            pass


def test_pgvector_may_be_installed_in_any_schema() -> None:
    with _database('CREATE SCHEMA "my extensions"', 'CREATE EXTENSION vector SCHEMA "my extensions"') as place:
        _filled(place, "a", "b")
        store = open_store(place)
        assert store.search(np.eye(1, 4), 1)[0].ids == ["a"]
        store.close()


def test_a_missing_library_is_named(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'likewise\[pgvector\]'"):
        open_store(place)


# --- reaching it, and being let in -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("postgresql://{account}127.0.0.1:{port}/shop", "cannot be reached.*Connection refused"),
        ("postgres://{account}127.0.0.1:{port}/shop", "cannot be reached.*Connection refused"),
        ("postgresql://{account}/shop?host=/no/such/folder", "cannot be reached.*No such file"),
        ("postgresql://{account}127.0.0.1:{port}/shop?sslmod=require", "has no option 'sslmod'; did you mean sslmode"),
    ],
)
def test_an_address_without_a_server_is_one_sentence_at_once(uri: str, sentence: str, unused_tcp_port: int) -> None:
    started = time.monotonic()
    with pytest.raises(UserError, match=sentence) as raised:
        open_store(uri.format(account="someone:hunter2@", port=unused_tcp_port))
    assert time.monotonic() - started < 5
    assert "hunter2" not in _all_that_is_told(raised.value)
    assert "\n" not in str(raised.value)


@pytest.fixture
def unused_tcp_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _all_that_is_told(error: BaseException | None) -> str:
    """An error's text, and that of all that it came from."""
    return "" if error is None else f"{error!r} {_all_that_is_told(error.__cause__ or error.__context__)}"


@pytest.fixture
def guarded(place: str) -> Iterator[str]:
    """A place that a role of its own owns, which has to give its password."""
    role = f"role_{uuid4().hex[:8]}"
    with _sql() as connection:
        rules = Path(connection.execute("SHOW hba_file").fetchone()[0])
        before = rules.read_text()
        rules.write_text(f"local all {role} scram-sha-256\n{before}")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'hunter2'")
        connection.execute(f"CREATE SCHEMA {role} AUTHORIZATION {role}")
        yield place.replace("postgres:@", f"{role}@")
        connection.execute(f"DROP OWNED BY {role}")
        connection.execute(f"DROP ROLE {role}")
        rules.write_text(before)
        connection.execute("SELECT pg_reload_conf()")


def test_a_password_comes_from_anywhere_and_is_told_to_nobody(guarded: str) -> None:
    right, wrong = Credentials(password="hunter2"), Credentials(password="correct horse")
    items, vectors = _items("a")
    with replace_store(guarded, Schema.of(items, 4), right) as store:
        store.upsert(items, vectors)
    for store in (
        open_store(guarded, right),
        open_store(guarded, Credentials(token="hunter2")),
        open_store(guarded.replace("@", ":hunter2@")),
        open_store(f"{guarded}&password=hunter2"),
    ):
        assert store.count() == 1
        store.close()
    with pytest.raises(UserError, match=r"cannot be reached.*password authentication failed") as raised:
        open_store(guarded, wrong)
    assert "correct horse" not in _all_that_is_told(raised.value)


def test_who_may_only_read_can_search_and_is_told_so_when_writing(place: str) -> None:
    _filled(place, "a", "b")
    role = f"reader_{uuid4().hex[:8]}"
    with _sql() as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN")
        connection.execute(f"GRANT pg_read_all_data TO {role}")
    store = open_store(place.replace("postgres:@", f"{role}@"))
    assert store.search(np.eye(1, 4), 1)[0].ids == ["a"]
    assert store.count() == len(store.fetch(["a", "b"])) == 2
    for write in (lambda: store.upsert(*_items("c")), lambda: store.delete(["a"])):
        with pytest.raises(UserError, match="refuses: permission denied"):
            write()
    with (
        pytest.raises(UserError, match="refuses: permission denied"),
        replace_store(place.replace("postgres:@", f"{role}@"), Schema(4)),
    ):
        pass
    store.close()
    with _sql() as connection:
        connection.execute(f"DROP ROLE {role}")


def test_connections_that_the_server_has_closed_are_made_anew(place: str) -> None:
    _filled(place, "a", "b")
    store = open_store(f"{place}&application_name={place[-12:]}")
    assert store.count() == 2
    with _sql() as connection:
        ended = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE application_name = %s"
        assert connection.execute(ended, (place[-12:],)).fetchone()[0] >= 1
    assert store.search(np.eye(1, 4), 1)[0].ids == ["a"]
    store.upsert(*_items("c"))
    assert store.count() == 3
    store.close()
    with _sql() as connection:
        left = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", (place[-12:],))
        assert left.fetchone() == (0,), "closing leaves no connection"
    with pytest.raises(UserError, match="is closed"):
        store.count()


# --- contents --------------------------------------------------------------------------------------------------------


def test_what_is_not_in_use_is_removed(place: str) -> None:
    for about in ("first", "second"):
        _filled(place, "a", about=about)
        assert len(_tables(place)) == 1
    with pytest.raises(RuntimeError), replace_store(place, Schema(4)):
        assert len(_tables(place)) == 2
        raise RuntimeError
    assert len(_tables(place)) == 1
    program = (
        "import os, sys; from likewise.stores.registry import replace_store, Schema\n"
        "with replace_store(sys.argv[1], Schema(4)): os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", program, place], check=True)
    assert len(_tables(place)) == 2, "left by a process that died"
    assert open_store(place).schema.about == {"about": "second"}
    _filled(place, "a", about="third")
    assert len(_tables(place)) == 1


def test_a_damaged_store_says_so(place: str) -> None:
    _filled(place, "a")
    store, damaged = open_store(place), pytest.raises(UserError, match="is missing or damaged: build it again")
    with _sql() as connection:
        connection.execute(f"DROP TABLE {_content(place, connection)}")
    for use in (store.count, lambda: store.upsert(*_items("b")), lambda: next(store.iterate())):
        with damaged:
            use()
    store.close()
    collection = parse_location(place)[0].collection
    with _sql() as connection:
        connection.execute("UPDATE likewise_versions SET schema = '{}' WHERE collection = %s", (collection,))
    with damaged:
        open_store(place)
    _filled(place, "c")
    assert open_store(place).count() == 1


def test_a_table_that_likewise_did_not_make_is_never_touched(place: str) -> None:
    collection = parse_location(place)[0].collection
    known = "INSERT INTO likewise_versions VALUES (%s, 'x', %s, '{}', %s)"
    _filled(place, "a")
    with _sql() as connection:
        connection.execute("DROP TABLE IF EXISTS invoices; CREATE TABLE invoices (sum int)")
        for name in ("invoices", "x; DROP TABLE invoices", f"{collection}_0123456789ab; DROP TABLE invoices"):
            connection.execute(known, (name, collection, "replaced"))
    _filled(place, "a")
    with _sql() as connection:
        connection.execute("SELECT sum FROM invoices")
        assert len(_tables(place)) == 1
        connection.execute("DELETE FROM likewise_versions WHERE collection = %s", (collection,))
        connection.execute(known, ("invoices", collection, "in use"))
    with pytest.raises(UserError, match="names a table that likewise did not make"):
        open_store(place)
    _filled(place, "b")
    assert open_store(place).count() == 1
    with _sql() as connection:
        connection.execute("DROP TABLE invoices")


def test_a_walk_goes_on_in_what_it_began_with(place: str) -> None:
    ids = [f"old {row}" for row in range(100)]
    with replace_store(place, Schema(4)) as store:
        store.upsert(pl.DataFrame({"id": ids}), np.ones((100, 4)))
    store = open_store(place)
    walk = store.iterate(batch=10)
    seen = next(walk).ids
    _filled(place, "new")
    for batch in walk:
        seen += batch.ids
    assert sorted(seen) == sorted(ids)
    abandoned = store.iterate(batch=10)
    next(abandoned)
    abandoned.close()
    _filled(place, "newer")
    assert [id for batch in store.iterate() for id in batch.ids] == ["newer"]
    assert len(_tables(place)) == 1
    store.close()


def test_those_who_build_at_the_same_time_wait_for_each_other(place: str) -> None:
    entered, order = threading.Event(), list[str]()

    def second() -> None:
        entered.wait()
        with replace_store(place, Schema(4, about={"by": "second"})):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with replace_store(place, Schema(4, about={"by": "first"})) as store:
        entered.set()
        time.sleep(0.5)
        store.upsert(*_items("a"))
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert open_store(place).schema.about == {"by": "second"}


def test_no_acknowledged_write_is_lost_to_a_switch(place: str) -> None:
    """A write either is in what is in use, or that was put in use after it."""
    _filled(place, "always", turn="before")
    writer, stop = open_store(place), threading.Event()
    lost: list[str] = []

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            before = open_store(place).schema.about
            writer.upsert(*_items(f"item {number}"))
            found, after = open_store(place).fetch([f"item {number}"]), open_store(place).schema.about
            if found == [None] and before == after:
                lost.append(f"item {number}")

    thread = threading.Thread(target=write)
    thread.start()
    for turn in range(12):
        _filled(place, "always", turn=str(turn))
    stop.set()
    thread.join()
    assert not lost
    writer.close()


def test_writers_in_any_order_do_not_wait_for_each_other_in_a_circle(place: str) -> None:
    ids = [f"item {row}" for row in range(300)]
    with replace_store(place, Schema(4)) as store:
        store.upsert(pl.DataFrame({"id": ids}), np.ones((300, 4)))
    store, errors = open_store(place), list[Exception]()

    def write(seed: int) -> None:
        random = np.random.default_rng(seed)
        try:
            for _ in range(15):
                mixed = random.permutation(ids).tolist()
                store.upsert(pl.DataFrame({"id": mixed}), np.ones((300, 4)))
                store.delete(mixed[: len(mixed) // 2])
        except Exception as error:  # whatever it is, the test shows it
            errors.append(error)

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    store.close()


_characters = st.sampled_from(["\x00", "\x01", "\x02", "a", "é", "\U0001f97e"])


@given(st.text(_characters, max_size=6), st.text(_characters, max_size=6))
def test_texts_that_postgresql_cannot_hold_keep_their_order_and_come_back(one: str, other: str) -> None:
    assert "\x00" not in escape(one)
    assert unescape(escape(one)) == one
    assert (escape(one) < escape(other)) == (one < other)
