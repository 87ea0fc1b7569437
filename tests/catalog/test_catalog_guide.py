"""The guide says what is true."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import polars as pl
import pytest
from catalog.gcs_server import GCSServer
from catalog.hub_server import HubServer
from catalog.picture_files import JPEG, PNG
from catalog.s3_server import S3Server
from huggingface_hub import HfFileSystem, constants

from likewise.catalog.catalog import Catalog
from likewise.catalog.filters import parse_filter
from likewise.catalog.images.buckets import open_bucket
from likewise.catalog.report import CONSEQUENCES
from likewise.cli.options import CatalogOptions
from likewise.config import ImageSettings

GUIDE = (Path(__file__).parents[2] / "docs" / "catalog.md").read_text(encoding="utf-8")


def test_every_filter_of_the_guide_parses() -> None:
    block = re.search(r"\n\n```\n(.*?)```", GUIDE, re.DOTALL)
    assert block
    filters = block[1].strip().splitlines()
    assert len(filters) >= 5
    for text in filters:
        assert parse_filter(str(parse_filter(text))) == parse_filter(text)


def test_every_cause_is_explained_in_the_guide() -> None:
    for cause, consequence in CONSEQUENCES.items():
        assert f"| `{cause}` | {consequence} |" in GUIDE


PRODUCTS = "product_name,price,stock,split\nRed shoes,$5,3,test\nBlue hat,$50,1,test\nGreen bag,$7,,test\n"
EXAMPLES = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with products.csv and an album, and buckets."""
    (tmp_path / "products.csv").write_text(PRODUCTS)
    pl.read_csv(tmp_path / "products.csv").write_parquet(tmp_path / "products.parquet")
    (tmp_path / "album" / "holiday-2021").mkdir(parents=True)
    (tmp_path / "album" / "holiday-2021" / "IMG_beach.jpg").write_bytes(JPEG)
    (tmp_path / "album" / "sea").mkdir()
    (tmp_path / "album" / "sea" / "boat.png").write_bytes(PNG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache" / "datasets")
    datasets.disable_progress_bars()
    with S3Server() as server, GCSServer() as google, HubServer() as hub:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        files = {"products.csv": b"id,title,image_url\n1,cup,images/cup.png\n", "images/cup.png": PNG}
        server.objects = google.objects = {f"shop/spring/{name}": data for name, data in files.items()}
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", google.build_account())
        hub.files = {f"datasets/owner/name/data/{name}": data for name, data in files.items()}
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        HfFileSystem.clear_instance_cache()
        open_bucket.cache_clear()
        yield tmp_path
        open_bucket.cache_clear()


@pytest.mark.parametrize(
    ("says", "items"),
    [
        ("where=", 1),
        ('"album")', 2),
        ("pandas", 3),
        ("polars", 2),
        ("duckdb", 2),
        ("pyarrow", 3),
        ("load_dataset", 2),
        ("s3://", 1),
        ("gs://", 1),
        ("hf://", 1),
    ],
)
def test_an_example_of_the_guide_runs(says: str, items: int, shop: Path) -> None:
    (example,) = [example for example in EXAMPLES if says in example]
    names: dict[str, Any] = {"Catalog": Catalog, "ImageSettings": ImageSettings}
    exec(example, names)
    catalog = names["catalog"]
    assert len(catalog) == items
    assert all(catalog.pictures) or "image" not in catalog.fields


def test_every_example_of_the_guide_is_run() -> None:
    assert len(EXAMPLES) == 10


def test_commands_read_buckets_where_they_are_allowed(shop: Path) -> None:
    catalog = CatalogOptions(allow_buckets=True).read("s3://shop/spring/products.csv")
    assert [len(shown) for shown in catalog.pictures] == [1]
    assert any("--allow-buckets" in command for command in re.findall(r"^    likewise (.*)$", GUIDE, re.M))
