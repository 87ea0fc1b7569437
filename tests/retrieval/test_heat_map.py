"""Heat maps of items' pictures: over the whole picture, scaled, drawn."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from cli.commands import run_command
from PIL import Image
from retrieval.shop_catalogue import write_shop, write_untrained_run

from likewise.catalog.catalog import Catalog
from likewise.catalog.images.picture import PictureError
from likewise.errors import UserError
from likewise.model.model import Model
from likewise.retrieval.heat_map import HeatMap, measure_heat_map
from likewise.retrieval.index import Index


class WindowModel:
    """Sees the middle half of a picture as 2 × 2 patches, of which the first adds most."""

    def measure_patches(self, picture: Image.Image, query: np.ndarray, others: object) -> np.ndarray:
        return np.array([[0.2, 0.1], [-0.1, 0.0]], np.float32)

    def find_picture_box(self, width: int, height: int) -> tuple[float, float, float, float]:
        return width / 4, 0.0, 3 * width / 4, float(height)


def test_values_lie_over_the_whole_picture() -> None:
    found = measure_heat_map(WindowModel(), Image.new("RGB", (80, 40)), np.ones(2), {})
    np.testing.assert_allclose(found.values, [[0, 1.0, 0.5, 0], [0, -0.5, 0.0, 0]], atol=1e-6)
    assert found.to_json() == {
        "rows": 2,
        "columns": 4,
        "values": [[0.0, 1.0, 0.5, 0.0], [0.0, -0.5, 0.0, 0.0]],
        "width": 80,
        "height": 40,
    }


def test_what_adds_is_red_and_what_takes_is_blue() -> None:
    drawn = np.asarray(
        HeatMap(np.array([[1.0, -1.0]], np.float32), Image.new("RGB", (60, 30), (90, 90, 90))).draw(), int
    )
    assert drawn.shape == (30, 60, 3)
    assert drawn[15, 3, 0] > drawn[15, 3, 2] + 50
    assert drawn[15, 56, 2] > drawn[15, 56, 0] + 50


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    table = pl.read_csv(write_shop(folder))
    table.with_columns(pl.when(pl.col("id") != "sku-1029").then("image_url").alias("image_url")).write_csv(
        folder / "products.csv"
    )
    write_untrained_run(folder / "run")
    return folder


@pytest.fixture(scope="module")
def index(shop: Path) -> Index:
    catalog = Catalog.read(shop / "products.csv", cache=shop / "cache")
    return Index.build(Model.load(shop / "run", "cpu"), catalog, shop / "run")


def test_the_regions_of_an_items_picture(index: Index) -> None:
    found = index.explain_picture("sku-1003", "red circle", minus="square", like="sku-1004")
    assert found.values.shape == (8, 8)
    assert np.abs(found.values).max() == pytest.approx(1.0)
    assert (found.width, found.height) == found.picture.size
    other = index.explain_picture("sku-1003", "blue square")
    assert not np.allclose(found.values, other.values, atol=0.05)


def test_without_field_vectors_the_picture_counts_alone(shop: Path, index: Index) -> None:
    catalog = Catalog.read(shop / "products.csv", cache=shop / "cache")
    with Index.build(index.model, catalog, field_vectors=False) as bare:
        assert bare.explain_picture("sku-1003", "red circle").values.shape == (8, 8)


def test_what_has_no_heat_map_says_why(shop: Path, index: Index) -> None:
    with pytest.raises(UserError, match="the index has no item 'nobody'"):
        index.explain_picture("nobody", "red")
    with pytest.raises(UserError, match="the item 'sku-1029' has no picture"):
        index.explain_picture("sku-1029", "red")
    with pytest.raises(UserError, match="nothing to search for"):
        index.explain_picture("sku-1003")
    picture = index.item("sku-1005").picture.path
    before = picture.read_bytes()
    picture.write_bytes(index.item("sku-1006").picture.path.read_bytes())
    with pytest.raises(PictureError, match="changed"):
        index.explain_picture("sku-1005", "red")
    picture.write_bytes(before)


def test_the_command_line_writes_an_overlay(shop: Path, index: Index, capsys: pytest.CaptureFixture[str]) -> None:
    target = shop / "heat.png"
    run_command("search", str(shop / "run"), "red circle", "-k", "3", "--heatmap", str(target))
    assert "red adds to the score" in capsys.readouterr().err
    with Image.open(target) as drawn:
        assert drawn.format == "PNG"
        assert len(drawn.getcolors(100_000)) > 50
