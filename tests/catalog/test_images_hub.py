"""Catalogues and pictures in repositories of Hugging Face, read by the hub's own client."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from catalog.hub_server import TOKEN, HubServer
from catalog.picture_files import PNG, encoded, photo
from huggingface_hub import HfFileSystem, constants

from likewise.catalog.catalog import Catalog
from likewise.catalog.images.buckets import open_bucket
from likewise.config import ImageSettings
from likewise.errors import UserError

ALLOWED = ImageSettings(allow_buckets=True, max_bytes=30_000)
SHOP = "datasets/owner/shop"
LARGE = encoded(photo(seed=1))
TABLE = (
    "id,title,image_url\n1,cup,images/cup one.png\n2,bag,images/bag.png\n3,hat,\n4,pen,images/pen.png\n"
    "5,jar,images/jar.png\n6,box,hf://datasets/private/shop/box.png\n7,tin,hf://datasets/gated/shop/tin.png\n"
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as running:
        running.files = {
            f"{SHOP}/spring/products.csv": TABLE.encode(),
            f"{SHOP}/spring/images/cup one.png": PNG,
            f"{SHOP}/spring/images/bag.png": LARGE,
            f"{SHOP}/spring/images/jar.png": PNG + bytes(200_000),
            "datasets/private/shop/box.png": PNG,
            "datasets/gated/shop/tin.png": PNG,
        }
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, running.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nowhere")
        open_bucket.cache_clear()
        HfFileSystem.clear_instance_cache()
        yield running
    HfFileSystem.clear_instance_cache()
    open_bucket.cache_clear()


def test_a_catalogue_and_its_pictures_come_from_a_repository(server: HubServer, tmp_path: Path) -> None:
    assert len(LARGE) > 1_000, "it lies on the other host"
    catalog = Catalog.read(f"hf://{SHOP}/spring/products.csv", images=ALLOWED, cache=tmp_path)
    assert [[picture.path.read_bytes() for picture in shown] for shown in catalog.pictures[:2]] == [[PNG], [LARGE]]
    assert not any(catalog.pictures[2:])
    problems = catalog.report.as_dict()["problems"]
    assert (problems["no-object"], problems["bucket-refused"], problems["too-large"]) == (2, 1, 1)
    (tmp_path / "products.csv").write_text(TABLE)
    assert catalog.fingerprint == Catalog.read(tmp_path / "products.csv", cache=tmp_path).fingerprint


def test_each_picture_is_one_request(server: HubServer, tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(20)]
    server.files |= {f"{SHOP}/{name}": PNG for name in names}
    server.files[f"{SHOP}/all.csv"] = "\n".join(
        ["title,image_url", *(f"a{n},{name}" for n, name in enumerate(names))]
    ).encode()
    catalog = Catalog.read(f"hf://{SHOP}/all.csv", images=ALLOWED, cache=tmp_path)
    assert all(catalog.pictures)
    assert all(server.asked[f"/{SHOP}/resolve/main/{name}"] == 1 for name in names)
    assert not any("tree" in path or "paths-info" in path for path in server.asked), "no folder is listed"
    assert server.asked.total() <= 20 + 20 + 3, "one for each picture, here and where it lies"


def test_the_token_opens_private_repositories_and_reaches_no_other_host(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    catalog = Catalog.read(f"hf://{SHOP}/spring/products.csv", images=ALLOWED, cache=tmp_path)
    assert [bool(shown) for shown in catalog.pictures] == [True, True, False, False, False, True, True]
    assert server.seen_by_cdn and set(server.seen_by_cdn) == {None}
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert TOKEN.encode() not in kept


def test_what_is_missing_is_one_sentence(server: HubServer) -> None:
    with pytest.raises(UserError, match="there is no such object"):
        Catalog.read(f"hf://{SHOP}/nowhere.csv", images=ALLOWED)
    with pytest.raises(UserError, match="there is no such object"):
        Catalog.read(f"hf://{SHOP}@old/spring/products.csv", images=ALLOWED)
    for repository in ("owner/nothing", "private/shop"):
        with pytest.raises(UserError, match=r"no such repository, or the token of the environment \(HF_TOKEN\)"):
            Catalog.read(f"hf://datasets/{repository}/a.csv", images=ALLOWED)
    with pytest.raises(UserError, match="may not be read with the credentials of the environment"):
        Catalog.read("hf://datasets/gated/shop/tin.png", images=ALLOWED)


def test_the_endpoint_and_the_token_come_from_the_environment(server: HubServer, tmp_path: Path) -> None:
    server.files["datasets/private/shop/a.csv"] = b"title\ncup\n"
    program = (
        "from likewise.catalog.catalog import Catalog\nfrom likewise.config import ImageSettings\n"
        "catalog = Catalog.read('hf://datasets/private/shop/a.csv', images=ImageSettings(allow_buckets=True))\n"
        "print(catalog.texts('title'))"
    )
    environment = os.environ | {"HF_ENDPOINT": server.url, "HF_TOKEN": TOKEN, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=100)
    assert done.stdout == "['cup']\n", done.stderr
