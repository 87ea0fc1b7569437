"""URIs of stores: what they may hold, what a run may write down of them, and where credentials may go."""

import pytest

from likewise.errors import UserError
from likewise.stores.options import _ENGINES
from likewise.stores.pgvector.connection import _settings as settings_of_postgresql
from likewise.stores.uri import Credentials, Location, parse_location

SECRET = "hunter2"
HOSTS = ["milvus://{}:19530/db", "qdrant://{}:6333", "postgresql://{}/shop", "postgres://{}/shop", "mongodb://{}/shop"]


@pytest.mark.parametrize("uri", [*HOSTS, "mongodb+srv://{}/shop"])
def test_a_user_and_a_password_before_the_host_are_read_and_never_shown(uri: str) -> None:
    location, credentials = parse_location(uri.format(f"me:{SECRET}%40@db.example"))
    assert (credentials.user, credentials.password) == ("me", f"{SECRET}@")
    assert "me" not in str(location).replace("example", "")
    assert SECRET not in f"{location} {location!r} {credentials!r}"


@pytest.mark.parametrize(
    ("uri", "name", "part"),
    [
        ("postgresql://db/shop", "password", "password"),
        ("postgresql://db/shop", "user", "user"),
        ("qdrant://db", "api_key", "token"),
        ("qdrant://db", "Api-Key", "token"),
        ("milvus://db", "token", "token"),
        ("milvus://db", "password", "password"),
    ],
)
def test_credentials_among_the_options_are_read_and_never_shown(uri: str, name: str, part: str) -> None:
    location, credentials = parse_location(f"{uri}?{name}={SECRET}")
    assert getattr(credentials, part) == SECRET
    assert SECRET not in f"{location} {location!r}"


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        *[("postgresql://db/shop", name) for name in _ENGINES["postgresql"].private],
        *[("mongodb://db/shop", name) for name in _ENGINES["mongodb"].private],
    ],
)
def test_private_options_reach_the_engine_and_are_never_shown(uri: str, name: str) -> None:
    location, credentials = parse_location(f"{uri}?{name}={SECRET}")
    assert location.private == ((name, SECRET),)
    assert credentials == Credentials(), "the password of a key is not ours"
    assert SECRET not in f"{location} {location!r}"


@pytest.mark.parametrize("uri", [*(uri.format("db") for uri in HOSTS), "faiss:index", "lancedb:items"])
@pytest.mark.parametrize("name", ["sslkee", "hostaddr", "secret", "AWS_SECRET", "collection ", "tls_key"])
def test_an_option_that_is_not_listed_is_an_error_that_names_those_that_are(uri: str, name: str) -> None:
    with pytest.raises(UserError, match=r"has no option .*(options are|it has no options)") as raised:
        parse_location(f"{uri}?{name}={SECRET}")
    assert SECRET not in str(raised.value)


def test_an_unknown_option_comes_with_the_nearest_one() -> None:
    with pytest.raises(UserError, match="did you mean sslmode"):
        parse_location("postgresql://db/shop?sslmod=require")
    with pytest.raises(UserError, match="for the faiss store, not for milvus"):
        parse_location("milvus://db?target_recall=0.9")


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://good/shop?host=evil",
        "postgresql:///shop?host=good&host=evil",
        "postgresql:///shop?host=good&HOST=evil",
        "qdrant://good\\@evil",
        "qdrant://evil good",
        "qdrant://good#@evil",
        "qdrant://[::1",
    ],
)
def test_a_uri_that_two_readers_could_read_differently_is_refused(uri: str) -> None:
    try:
        location, _ = parse_location(uri)
    except UserError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert [host for host, _ in location.hosts] == ["evil"], "then all read it as this"


@pytest.mark.parametrize(
    ("hosts", "uri", "allowed"),
    [
        (("db.example",), "qdrant://db.example:6333", True),
        (("DB.example.",), "qdrant://db.EXAMPLE:6333", True),
        (("db.example:6333",), "qdrant://db.example", True),
        (("db.example:6334",), "qdrant://db.example", False),
        (("db.example:5432",), "postgresql://db.example/shop?port=5432", True),
        (("db.example:5432",), "postgresql:///shop?host=db.example&port=5433", False),
        (("db.example",), "postgresql:///shop?host=db.example,evil.example", False),
        (("a", "b"), "mongodb://a:27017,b/shop", True),
        (("a",), "mongodb://a,b/shop", False),
        (("db.example",), "qdrant://db.example.evil.example", False),
        (("db.example",), "postgresql://db%2Eexample/shop", True),
        (("db.example",), "postgresql://evil%2Eexample/shop", False),
        (("[::1]:6333",), "qdrant://[::1]:6333", True),
        (("/run/postgresql",), "postgresql:///shop?host=/run/postgresql", True),
        ((), "qdrant://localhost", False),
        ((), "postgresql:///shop", True),
    ],
)
def test_credentials_may_go_to_the_hosts_that_are_named_for_them(
    hosts: tuple[str, ...], uri: str, allowed: bool
) -> None:
    assert Credentials(password=SECRET, hosts=hosts).allowed_at(parse_location(uri)[0]) is allowed


def test_the_environment_names_hosts_with_commas() -> None:
    environment = {"LIKEWISE_STORE_PASSWORD": SECRET, "LIKEWISE_STORE_HOST": "a.example, b.example:5432"}
    assert Credentials.read(environment) == Credentials(password=SECRET, hosts=("a.example", "b.example:5432"))
    assert Credentials.read({}).hosts == ()


@pytest.mark.parametrize(
    ("uri", "mode"),
    [
        ("postgresql://db.example/shop", "require"),
        ("postgresql:///shop?host=db.example", "require"),
        ("postgresql://127.0.0.1,db.example/shop", "require"),
        ("postgresql://db.example/shop?sslmode=disable", "disable"),
        ("postgresql://db.example/shop?sslmode=verify-full", "verify-full"),
        ("postgresql://localhost/shop", None),
        ("postgresql://127.0.0.1:5433/shop", None),
        ("postgresql://[::1]/shop", None),
        ("postgresql:///shop", None),
        ("postgresql:///shop?host=/run/postgresql", None),
    ],
)
def test_postgresql_elsewhere_is_spoken_to_over_tls_unless_the_uri_says_otherwise(
    uri: str, mode: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PGSSLMODE", "PGHOST"):
        monkeypatch.delenv(name, raising=False)
    assert settings_of_postgresql(parse_location(uri)[0], Credentials()).get("sslmode") == mode


def test_credentials_that_are_withheld_are_not_found_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", SECRET)
    settings = settings_of_postgresql(Location("postgresql", "db.example", "/shop"), Credentials(withheld=True))
    assert settings["require_auth"] == "none"
    assert settings["password"] == ""
