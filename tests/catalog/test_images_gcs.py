"""Catalogues and pictures in Google Cloud Storage, read by the library that speaks its protocol."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from catalog.gcs_server import ACCOUNT, GCSServer
from catalog.picture_files import JPEG, PNG
from cryptography.hazmat.primitives.asymmetric import rsa

from likewise.catalog.catalog import Catalog
from likewise.catalog.images.buckets import open_bucket
from likewise.config import ImageSettings
from likewise.errors import UserError

ALLOWED = ImageSettings(allow_buckets=True, max_bytes=30_000)
TABLE = (
    "id,title,image_url\n1,cup,images/cup one.png\n2,bag,gs://other/bag.jpg\n3,hat,\n4,pen,images/pen.png\n"
    "5,box,gs://private/box.png\n6,jar,images/jar.png\n7,lid,images/lid.png\n"
)


@pytest.fixture(scope="module")
def running() -> Iterator[GCSServer]:
    with GCSServer() as server:
        server.objects = {
            "shop/spring/products.csv": TABLE.encode(),
            "shop/spring/images/cup one.png": PNG,
            "shop/spring/images/jar.png": PNG + bytes(40_000),
            "shop/spring/images/lid.png": b"",
            "other/bag.jpg": JPEG,
            "private/box.png": PNG,
            "public/open.csv": b"title,image_url\ncup,\n",
        }
        yield server


@pytest.fixture
def server(running: GCSServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[GCSServer]:
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", running.build_account())
    running.asked.clear()
    running.sent = 0
    open_bucket.cache_clear()
    yield running
    open_bucket.cache_clear()


def test_a_catalogue_and_its_pictures_come_from_a_bucket(server: GCSServer, tmp_path: Path) -> None:
    catalog = Catalog.read("gs://shop/spring/products.csv", images=ALLOWED, cache=tmp_path)
    assert [[picture.path.read_bytes() for picture in shown] for shown in catalog.pictures[:2]] == [[PNG], [JPEG]]
    assert not any(catalog.pictures[2:])
    problems = catalog.report.as_dict()["problems"]
    assert (problems["no-object"], problems["bucket-refused"], problems["too-large"]) == (1, 1, 1)
    assert problems["empty-file"] == 1
    assert server.sent < 30_000 + len(TABLE) + len(PNG) + len(JPEG) + 100, "no more is read than is allowed"
    (tmp_path / "products.csv").write_text(TABLE)
    assert catalog.fingerprint == Catalog.read(tmp_path / "products.csv", cache=tmp_path).fingerprint
    asked = server.asked["other/bag.jpg"]
    again = Catalog.read("gs://shop/spring/products.csv", images=ALLOWED, cache=tmp_path)
    assert again.pictures == catalog.pictures
    assert server.asked["other/bag.jpg"] == asked == 1, "it is in the cache"


def test_a_token_that_another_key_has_signed_is_one_sentence(
    server: GCSServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = server.build_account(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", other)
    open_bucket.cache_clear()
    with pytest.raises(UserError, match="may not be read with the credentials of the environment") as error:
        Catalog.read("gs://shop/spring/products.csv", images=ALLOWED)
    assert "PRIVATE KEY" not in str(error.value)
    with pytest.raises(UserError, match="there is no such object"):
        Catalog.read("gs://public/nowhere.csv", images=ALLOWED)


def test_a_public_bucket_needs_no_account(server: GCSServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_SERVICE_ACCOUNT_KEY")
    monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("GOOGLE_BASE_URL", f"http://127.0.0.1:{server.port}")
    open_bucket.cache_clear()
    assert Catalog.read("gs://public/open.csv", images=ALLOWED).texts("title") == ["cup"]


def test_the_account_may_be_a_file(server: GCSServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_SERVICE_ACCOUNT_KEY")
    (tmp_path / "account.json").write_text(server.build_account())
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
    monkeypatch.setenv("GOOGLE_BASE_URL", f"http://127.0.0.1:{server.port}")
    open_bucket.cache_clear()
    assert len(Catalog.read("gs://shop/spring/products.csv", images=ALLOWED, cache=tmp_path)) == 7


def test_nothing_of_the_account_is_kept(server: GCSServer, tmp_path: Path) -> None:
    catalog = Catalog.read("gs://shop/spring/products.csv", images=ALLOWED, cache=tmp_path)
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    kept += json.dumps([catalog.settings.model_dump(mode="json"), catalog.report.as_dict()]).encode()
    assert ACCOUNT.encode() not in kept
    assert b"PRIVATE KEY" not in kept
