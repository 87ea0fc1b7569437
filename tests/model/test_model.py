"""Encoding a catalogue: order, absent fields, repeated values, broken pictures; never more work than needed."""

import numpy as np
import polars as pl
import pytest
import torch
from model.shape_catalogue import catalogue_of, draw

from likewise.catalog.catalog import Catalog
from likewise.config import ImageSettings, ModelSettings
from likewise.errors import UserError
from likewise.model import model as model_module
from likewise.model.cached_features import cache_pictures
from likewise.model.model import Model

FLOAT32 = {"text": "float32", "image": "float32"}  # elsewhere it is timed, and may be bfloat16


@pytest.fixture(scope="module")
def model():
    return Model.create("scratch", "cpu", FLOAT32)


@pytest.fixture
def catalogue(tmp_path):
    """Eight items with every flaw; row 6 is only a picture that cannot be decoded, row 2 repeats row 0's values."""
    rows = [
        {"title": "red circle", "description": "A red circle.", "image_url": draw("red", "circle")},
        {"title": "blue bar", "description": None, "image_url": draw("blue", "bar")},
        {"title": "red circle", "description": "A red circle.", "image_url": draw("red", "circle")},
        {"title": None, "description": None, "image_url": draw("green", "cross")},
        {"title": "a word", "description": None, "image_url": None},
        {"title": None, "description": "only words that describe", "image_url": None},
        {"title": None, "description": None, "image_url": draw("black", "square")},
        {"title": "broken picture", "description": None, "image_url": draw("purple", "bar")},
    ]
    catalogue_of(tmp_path, rows)
    for broken in (6, 7):
        path = tmp_path / f"picture-{broken}.png"
        path.write_bytes(path.read_bytes()[:-40])
    return Catalog.read(tmp_path / "items.csv", cache=tmp_path / "cache")


class CountingRows:
    """Counts the rows that an encoder sees, per call."""

    def __init__(self, model, modality, monkeypatch):
        self.calls = []
        encoder = model.encoder(modality)
        forward = encoder.forward

        def counted(inputs):
            features = forward(inputs)
            self.calls.append(len(features))
            return features

        monkeypatch.setattr(encoder, "forward", counted)
        monkeypatch.setattr(model, "_featurizers", {})  # what was encoded before is forgotten

    @property
    def rows(self):
        return sum(self.calls)


def cosine(ours, theirs):
    return (ours * theirs).sum(axis=-1)


def test_every_item_gets_a_unit_vector_or_nan_in_the_catalogues_order(model, catalogue):
    vectors = model.encode_items(catalogue)
    assert vectors.shape == (8, model.dim) and vectors.dtype == np.float32
    assert np.isnan(vectors[6]).all()
    known = [0, 1, 2, 3, 4, 5, 7]
    assert np.allclose(np.linalg.norm(vectors[known], axis=1), 1, atol=1e-5)
    order = [7, 3, 0, 4, 1, 5, 2, 6]
    again = model.encode_items(catalogue.select(order))
    assert np.allclose(again, vectors[order], atol=1e-5, equal_nan=True)


def test_an_item_with_one_field_is_what_a_query_for_it_would_be(model, catalogue):
    vectors = model.encode_items(catalogue)
    assert np.allclose(vectors[4], model.encode_queries(["a word"])[0], atol=1e-5)  # untrained: one text space
    assert np.allclose(vectors[5], model.encode_queries(["only words that describe"])[0], atol=1e-5)
    assert np.allclose(vectors[3], model.encode_images([draw("green", "cross")])[0], atol=1e-4)


def test_a_broken_picture_leaves_the_item_its_texts_and_is_counted(model, catalogue):
    vectors = model.encode_items(catalogue)
    assert np.allclose(vectors[7], model.encode_queries(["broken picture"])[0], atol=1e-5)
    counted = {cause: problem.count for cause, problem in catalogue.report.problems.items()}
    assert counted["no-field"] == 1
    pictures_lost = [c for c in counted if c not in ("no-field",) and not c.startswith("blank-")]
    assert pictures_lost, f"no cause for the broken pictures in {counted}"


def test_items_through_some_fields_only(model, catalogue):
    titles = model.encode_items(catalogue, fields=["title"])
    assert np.isnan(titles[[3, 5, 6]]).all() and not np.isnan(titles[[0, 1, 2, 4, 7]]).any()
    assert catalogue.report.problems["no-field"].count == 3
    images = model.encode_items(catalogue, fields=["image"])
    assert np.flatnonzero(~np.isnan(images[:, 0])).tolist() == [0, 1, 2, 3]
    both = model.encode_items(catalogue, fields=["image", "title"])  # in any order
    assert np.allclose(both[1], model.encode_items(catalogue)[1], atol=1e-5)
    mean = titles[1] + images[1]
    assert cosine(both[1], mean / np.linalg.norm(mean)) > 0.9999


@pytest.mark.parametrize(
    ("fields", "message"), [(["colour"], "colour.*title, description, image"), ([], "at least one")]
)
def test_wrong_fields_are_one_sentence(model, catalogue, fields, message):
    with pytest.raises(UserError, match=message):
        model.encode_items(catalogue, fields=fields)


def test_rows_without_a_picture_cost_no_vision_pass(model, catalogue, monkeypatch):
    vision = CountingRows(model, "image", monkeypatch)
    model.encode_items(catalogue)
    assert vision.rows == 3  # rows 0 and 2 share one picture, two cannot be decoded, two have none
    vision.calls.clear()
    model.encode_items(catalogue, fields=["title", "description"])
    model.encode_items(catalogue.select([4, 5]))
    assert vision.calls == []


def test_repeated_texts_are_encoded_once(model, catalogue, monkeypatch):
    texts = CountingRows(model, "text", monkeypatch)
    model.encode_items(catalogue)
    assert texts.rows == len({"red circle", "A red circle.", "blue bar", "a word", "only words …", "broken picture"})
    model.encode_items(catalogue)
    assert texts.rows == 6
    assert model.encode_queries(["red circle"] * 5).shape == (5, model.dim)
    assert texts.rows == 7  # queries may carry a prompt of their own


def test_texts_are_encoded_in_an_order_that_no_process_changes(model, monkeypatch):
    """The order of a set does change, and with it which texts are padded together: the last bits would differ."""
    encoder, seen = model.encoder("text"), []
    prepare = encoder.prepare
    monkeypatch.setattr(encoder, "prepare", lambda batch, **rest: seen.extend(batch) or prepare(batch, **rest))
    monkeypatch.setattr("likewise.model.featurizer._WORKERS", 1)
    texts = [f"{letter} word {number}" for letter in "qwertyuiop" for number in range(10)] + ["short"]
    model.featurizer("text").texts(texts, prompt="order")
    assert seen == sorted(texts, key=lambda text: (len(text), text))


def test_the_bounds_of_windows_and_batches_do_not_matter(model, catalogue, monkeypatch):
    whole = model.encode_items(catalogue)
    monkeypatch.setattr(model_module, "_WINDOW", 3)
    monkeypatch.setattr(model_module, "_QUERY_BATCH", 2)
    monkeypatch.setattr("likewise.model.featurizer._TEXT_BATCH", 2)
    monkeypatch.setattr("likewise.model.featurizer._PICTURE_BATCH", {"cpu": 2, "mps": 2, "cuda": 2})
    monkeypatch.setattr("likewise.model.featurizer._REMEMBERED_TEXTS", 1)
    monkeypatch.setattr(model, "_featurizers", {})
    assert np.allclose(model.encode_items(catalogue), whole, atol=1e-5, equal_nan=True)
    queries = ["a", "red bar", "a longer text about nothing", "red bar", "b"]
    in_parts = model.encode_queries(queries)
    assert np.allclose(in_parts, np.concatenate([model.encode_queries([query]) for query in queries]), atol=1e-5)


def test_several_pictures_of_an_item_are_averaged(model, tmp_path):
    for name in ("red", "blue"):
        draw(name, "square").save(tmp_path / f"{name}.png")
    sources = ['["red.png", "blue.png"]', "red.png", '["red.png", "red.png"]']
    pl.DataFrame({"title": ["t"] * 3, "image_url": sources}).write_csv(tmp_path / "items.csv")
    catalogue = Catalog.read(tmp_path / "items.csv", images=ImageSettings(per_item=2), cache=tmp_path / "cache")
    both, red, twice = model.encode_items(catalogue, fields=["image"])
    expected = model.encode_images([draw("red", "square"), draw("blue", "square")]).sum(axis=0)
    assert cosine(both, expected / np.linalg.norm(expected)) > 0.9999
    assert cosine(red, twice) > 0.9999


def test_cached_pictures_are_not_encoded_again(model, catalogue, monkeypatch):
    fresh = model.encode_items(catalogue)
    vision = CountingRows(model, "image", monkeypatch)
    slots = cache_pictures(model, catalogue).slots
    assert vision.rows == 3
    assert (slots >= 0).tolist() == [True, True, True, True, False, False, False, False]
    assert slots[0] == slots[2]
    vision.calls.clear()
    again = model.encode_items(catalogue)
    assert vision.calls == []
    assert cosine(again[[0, 1, 3]], fresh[[0, 1, 3]]).min() > 0.999
    assert np.isnan(again[6]).all()
    cache_pictures(model, catalogue)
    assert vision.calls == []


def test_nothing_to_encode_gives_no_rows(model):
    assert model.encode_queries([]).shape == (0, model.dim)
    assert model.encode_images([]).shape == (0, model.dim)


def test_encoding_leaves_no_gradients_and_no_training_mode(model, catalogue):
    model.encode_items(catalogue)
    assert not model.network.training
    assert all(weight.grad is None for weight in model.network.parameters())
    before = model.fingerprint
    model.encode_queries(["x"])
    assert model.fingerprint == before


def test_an_unknown_preset_names_the_presets():
    with pytest.raises(UserError, match=r"unknown preset 'large'.*lite, scratch"):
        Model.create("large")


def test_a_kind_of_field_that_nobody_brings_is_refused():
    fields = {"title": "text", "smell": "smell"}
    with pytest.raises(
        UserError, match=r'"smell" is declared as smell, which is no kind of field: install .* or choose one of text, '
    ):
        Model.create(ModelSettings(text_encoder="scratch-text", image_encoder="scratch-image", fields=fields), "cpu")


def test_the_seed_decides_the_weights_and_the_callers_random_state_does_not():
    torch.manual_seed(1)
    first = Model.create("scratch", "cpu", FLOAT32, seed=3)
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)
    torch.manual_seed(2)
    assert Model.create("scratch", "cpu", FLOAT32, seed=3).fingerprint == first.fingerprint
    assert Model.create("scratch", "cpu", FLOAT32, seed=4).fingerprint != first.fingerprint
