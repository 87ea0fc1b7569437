"""Features of encoders that train: of opened values, in the model's precision, and of files that vanish."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from likewise.catalog.catalog import Catalog
from likewise.config import ModelSettings
from likewise.encoders import modalities, registry
from likewise.encoders.base import Encoder
from likewise.encoders.feature_cache import FeatureCache
from likewise.encoders.modalities import ModalityReader, UnusableValueError
from likewise.errors import UserError
from likewise.model.model import Model
from likewise.training.features import LiveFeatures, cache_features
from likewise.training.views import RowTexts

PAGES = [f"{colour} {thing}" for colour in ("red", "blue", "green") for thing in ("hat", "mug", "lamp")]
PRECISION = {"text": "float32", "image": "float32", "page": "float32"}
SETTINGS = ModelSettings(
    text_encoder="scratch-text", image_encoder="scratch-image", dim=32, fields={"title": "text", "file": "page"}
)


class PageEncoder(Encoder):
    """Length and number of words of a file's text; the text encoder reads its words."""

    family = "pages"
    reads_words = True
    prepared_batch = 2

    def __init__(self) -> None:
        super().__init__(name="pages", modality="page", width=4)
        self.linear = nn.Linear(2, 4)
        self.in_autocast: list[bool] = []
        self.eval()

    def description(self) -> dict[str, object]:
        return {}

    def words(self, value: str) -> tuple[str, ...]:
        return tuple(value.split())

    def prepare(self, values, prompt=None) -> dict[str, Tensor]:
        return {"counts": torch.tensor([[len(value), value.count(" ")] for value in values], dtype=torch.float32)}

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        self.in_autocast.append(torch.is_autocast_enabled("cpu"))
        return self.linear(inputs["counts"]).float()

    def example(self, count: int) -> dict[str, Tensor]:
        return self.prepare(["a page"] * count)


def open_page(catalog: Catalog, name: str) -> str:
    try:
        return (catalog.source.parent / name).read_text()
    except OSError:
        raise UnusableValueError("page-missing") from None


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    """Nine pages as an installed package would have them read, and a picture of the first item."""
    reader = ModalityReader(
        lambda catalog, column: [(name,) for name in catalog.column(column)], "pages", open_page, lambda name: name
    )
    monkeypatch.setitem(modalities.READERS, "page", reader)
    monkeypatch.setitem(registry._KNOWN, "pages", registry.KnownEncoder("pages", "page", lambda seed: PageEncoder()))
    for number, text in enumerate(PAGES):
        (tmp_path / f"{number}.txt").write_text(text)
    Image.new("RGB", (40, 40), "red").save(tmp_path / "red.png")
    rows = [
        {
            "id": f"p{number}",
            "title": f"page {number}",
            "file": f"{number}.txt",
            "image_url": None if number else "red.png",
        }
        for number in range(len(PAGES))
    ]
    pl.DataFrame(rows).write_csv(tmp_path / "pages.csv")
    return Catalog.read(tmp_path / "pages.csv", cache=tmp_path / "cache")


def live_features(model: Model, catalog: Catalog) -> tuple[RowTexts, LiveFeatures]:
    texts = RowTexts.collect(catalog, model.fields, 0, kinds=model.network.kinds)
    return texts, LiveFeatures(model, catalog, texts.texts, all_values=texts.values)


def test_words_are_those_of_the_opened_value_from_encoder_and_cache(catalog, monkeypatch) -> None:
    model = Model.create(SETTINGS, "cpu", PRECISION)
    texts, live = live_features(model, catalog)
    added: list[int] = []
    add = FeatureCache.add
    monkeypatch.setattr(FeatureCache, "add", lambda self, keys, rows: (added.append(len(keys)), add(self, keys, rows)))
    everything = np.arange(len(PAGES))
    with torch.no_grad():
        expected = live.values("file", everything)
        said = torch.stack([model.featurizer("text").texts(page.split()).mean(dim=0) for page in PAGES])
        torch.testing.assert_close(expected[:, 4:], said, rtol=1e-3, atol=1e-3)
        for _ in range(2):  # computed, then read
            cached = cache_features(model, catalog, texts.texts, values=texts.values).values("file", everything)
            torch.testing.assert_close(cached, expected, rtol=1e-2, atol=1e-2)
    assert len(PAGES) in added, "batches of 2 are added to the cache together"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_values_are_encoded_in_the_models_precision(catalog, precision: str) -> None:
    model = Model.create(SETTINGS, "cpu", PRECISION | {"page": precision})
    encoder = model.encoder("page")
    encoder.in_autocast.clear()
    live_features(model, catalog)[1].values("file", np.array([0, 1]))
    assert encoder.in_autocast == [precision == "bfloat16"]


def test_a_file_that_vanishes_during_training_is_one_sentence(catalog, tmp_path: Path) -> None:
    model = Model.create(SETTINGS, "cpu", PRECISION)
    _, live = live_features(model, catalog)
    assert live.pictures(np.array([0])).isfinite().all()
    (tmp_path / "3.txt").unlink()
    with pytest.raises(UserError, match=r'a value of the field "file" can no longer be opened, .*3.txt: page-missing'):
        live.values("file", np.array([2, 3]))
    (tmp_path / "red.png").unlink()
    with pytest.raises(UserError, match=r"the picture of item 'p0' can no longer be opened"):
        live.pictures(np.array([0]))
