"""Catalogues and pictures in buckets: only where they are allowed, within limits, without a trace of credentials."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from catalog.picture_files import BAD_FILES, JPEG, PNG, encoded, photo
from catalog.s3_server import ACCESS_KEY, SECRET_KEY, S3Server
from hypothesis import given
from hypothesis import strategies as st

from likewise.catalog.catalog import Catalog
from likewise.catalog.images.buckets import is_bucket_url, join_bucket_url, normalize_bucket_url, open_bucket
from likewise.catalog.images.picture import PictureError
from likewise.config import ImageSettings
from likewise.errors import MissingExtraError, UserError

ALLOWED = ImageSettings(allow_buckets=True)
TABLE = "id,title,image_url\n1,cup,images/cup.png\n2,bag,s3://shop/images/bag.jpg\n3,hat,\n"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    with S3Server() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        open_bucket.cache_clear()
        running.objects = {
            "shop/spring/products.csv": TABLE.encode(),
            "shop/spring/images/cup.png": PNG,
            "shop/images/bag.jpg": JPEG,
        }
        yield running
    open_bucket.cache_clear()


def test_a_catalogue_and_its_pictures_come_from_a_bucket(server: S3Server, tmp_path: Path) -> None:
    catalog = Catalog.read("s3://shop/spring/products.csv", images=ALLOWED, cache=tmp_path)
    assert [[picture.path.read_bytes() for picture in shown] for shown in catalog.pictures] == [[PNG], [JPEG], []]
    assert catalog.settings.file == "s3://shop/spring/products.csv"
    assert (catalog.name, str(catalog.source)) == ("products.csv", "s3://shop/spring/products.csv")
    (tmp_path / "products.csv").write_text(TABLE)
    assert catalog.fingerprint == Catalog.read(tmp_path / "products.csv", cache=tmp_path).fingerprint
    asked = dict(server.asked)
    again = Catalog.read("s3://shop/spring/products.csv", images=ALLOWED, cache=tmp_path)
    assert again.pictures == catalog.pictures
    assert server.asked["shop/spring/images/cup.png"] == asked["shop/spring/images/cup.png"], "it is in the cache"


def test_buckets_have_to_be_allowed(server: S3Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="allow that with --allow-buckets"):
        Catalog.read("s3://shop/spring/products.csv", cache=tmp_path)
    (tmp_path / "products.csv").write_text(TABLE)
    catalog = Catalog.read(tmp_path / "products.csv", cache=tmp_path)
    assert catalog.pictures[1] == ()
    assert catalog.report.as_dict()["problems"]["bucket-not-allowed"] == 1
    assert not server.asked
    allowed = Catalog.read(tmp_path / "products.csv", images=ALLOWED, cache=tmp_path)
    assert allowed.pictures[1], "what was refused is not remembered"


def test_failures_are_counted_by_cause(server: S3Server, tmp_path: Path) -> None:
    bad = {f"bad/{name}": data for name, (data, _) in BAD_FILES.items()}
    server.objects |= {f"shop/{key}": data for key, data in bad.items()}
    server.objects |= {"shop/huge.png": PNG + bytes(40_000), "shop/late.png": encoded(photo(seed=6))}
    server.failures = {"shop/late.png": 2}
    names = [*bad, "huge.png", "nowhere.png", "late.png"]
    rows = "\n".join(f"thing {n},s3://shop/{name}" for n, name in enumerate(names))
    (tmp_path / "products.csv").write_text(
        f"title,image_url\n{rows}\nsecret,s3://private/a.png\nkeyless,s3://shop\nno host,s3://1.2.3.999/a.png\n"
    )
    settings = ImageSettings(allow_buckets=True, max_bytes=30_000)
    catalog = Catalog.read(tmp_path / "products.csv", images=settings, cache=tmp_path)
    assert [row for row, shown in enumerate(catalog.pictures) if shown] == [len(names) - 1]
    problems = catalog.report.as_dict()["problems"]
    assert (problems["no-object"], problems["bucket-refused"], problems["malformed-source"]) == (2, 1, 1)
    for cause in {cause for _, cause in BAD_FILES.values()} | {"too-large"}:
        assert problems[cause] >= 1, cause
    assert server.sent < sum(map(len, server.objects.values())), "no more is read than is allowed"


def test_wrong_credentials_and_missing_files_are_one_sentence(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="there is no such object"):
        Catalog.read("s3://shop/nowhere.csv", images=ALLOWED)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    open_bucket.cache_clear()
    with pytest.raises(UserError, match="may not be read with the credentials of the environment") as error:
        Catalog.read("s3://shop/spring/products.csv", images=ALLOWED)
    assert "wrong" not in str(error.value)


def test_a_bucket_that_refuses_is_given_up_and_asked_again_with_other_credentials(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"images/{number}.png" for number in range(60)]
    server.objects |= {f"shop/{name}": PNG for name in names}
    rows = "\n".join(f"thing {name},s3://shop/{name}" for name in names)
    (tmp_path / "products.csv").write_text(f"title,image_url\n{rows}\n")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    open_bucket.cache_clear()
    refused = Catalog.read(tmp_path / "products.csv", images=ALLOWED, cache=tmp_path)
    assert not any(refused.pictures)
    problems = refused.report.as_dict()["problems"]
    assert problems["bucket-refused"] + problems["host-given-up"] == 60
    assert problems["host-given-up"] > 20
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    open_bucket.cache_clear()
    assert all(Catalog.read(tmp_path / "products.csv", images=ALLOWED, cache=tmp_path).pictures)


def test_an_address_with_credentials_is_refused(server: S3Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="credentials come from the environment") as error:
        Catalog.read(f"s3://{ACCESS_KEY}:hidden@shop/products.csv", images=ALLOWED)
    assert "hidden" not in str(error.value)
    assert ACCESS_KEY not in str(error.value)


def test_nothing_of_the_credentials_is_kept(server: S3Server, tmp_path: Path) -> None:
    catalog = Catalog.read("s3://shop/spring/products.csv", images=ALLOWED, cache=tmp_path)
    assert catalog.pictures[0]
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    kept += json.dumps([catalog.settings.model_dump(mode="json"), catalog.report.as_dict()]).encode()
    assert SECRET_KEY.encode() not in kept
    assert ACCESS_KEY.encode() not in kept


def test_paths_of_a_catalogue_in_a_bucket_stay_in_the_bucket(server: S3Server, tmp_path: Path) -> None:
    (tmp_path / "mine.png").write_bytes(PNG)
    server.objects["other/a.png"] = PNG
    places = [
        "../cup.png",
        "../../../other/a.png",
        str(tmp_path / "mine.png"),
        f"file://{tmp_path}/mine.png",
        "C:\\a.png",
    ]
    server.objects["shop/spring/p.csv"] = "\n".join(
        ["title,image_url", *(f"a{n},{p}" for n, p in enumerate(places))]
    ).encode()
    server.objects["shop/cup.png"] = PNG
    catalog = Catalog.read("s3://shop/spring/p.csv", images=ALLOWED, cache=tmp_path)
    assert [bool(shown) for shown in catalog.pictures] == [True, False, False, False, False]
    problems = catalog.report.as_dict()["problems"]
    assert problems["outside-root"] + problems.get("unknown-scheme", 0) == 4
    assert not server.asked["other/a.png"]


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "obstore.fsspec", None)
    open_bucket.cache_clear()
    with pytest.raises(MissingExtraError, match=r"obstore: pip install 'likewise\[buckets\]'"):
        Catalog.read("s3://shop/products.csv", images=ALLOWED)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("s3://shop/a.png", "s3://shop/a.png"),
        (" S3://shop/a b#c?d.png ", "s3://shop/a b#c?d.png"),
        ("hf://datasets/owner/name/data/a.parquet", "hf://datasets/owner/name/data/a.parquet"),
        ("s3://shop", None),
        ("s3://shop/", None),
        ("s3:///a.png", None),
        ("s3://shop/folder/", None),
        ("s3://shop/../other/a.png", None),
        ("s3://key:secret@shop/a.png", None),
        ("s3://shop:9000/a.png", None),
        ("s3://shop/a.zip::http://169.254.169.254/", None),
        ("simplecache::s3://shop/a.png", None),
        ("s3://shop/a\nb.png", None),
        ("s3://shop/" + "a" * 3000, None),
    ],
)
def test_addresses_in_their_normal_form(text: str, url: str | None) -> None:
    if url is None:
        with pytest.raises(PictureError):
            normalize_bucket_url(text)
    else:
        assert normalize_bucket_url(text) == url


@given(st.text(max_size=60))
def test_any_path_stays_in_its_bucket(path: str) -> None:
    try:
        url = join_bucket_url("s3://shop/spring", path)
    except PictureError:
        return
    assert url.startswith("s3://shop/")
    assert ".." not in url.split("/")
    assert is_bucket_url(url)
