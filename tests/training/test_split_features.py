"""Training behind a cut reads what the whole encoder would have computed."""

import re

import numpy as np
import pytest
import torch
from encoders.tiny_models import save_vit
from hypothesis import given
from hypothesis import strategies as st

from likewise.config import ModelSettings
from likewise.encoders.activation import Activation
from likewise.errors import UserError
from likewise.model.cached_features import cache_pictures
from likewise.model.model import Model
from likewise.training.features import LiveFeatures, cache_features, random_holes
from likewise.training.split_features import PartialFeatures, cut_pictures, random_window

FLOAT32 = {"text": "float32", "image": "float32"}
TEXTS = ["a red cat", "warm jacket with green and blue shirts and the red shoes of a car", "", "kitten", "shoes"]


def model_of(image="scratch-image"):
    return Model.create(ModelSettings(text_encoder="scratch-text", image_encoder=image, dim=64), "cpu", FLOAT32, seed=1)


@pytest.fixture(scope="module")
def model():
    return model_of()


@pytest.fixture
def vit(tmp_path):
    return model_of(image=str(save_vit(tmp_path / "vit")))


def rows_with_picture(catalog):
    return np.flatnonzero(cache_pictures(model_of(), catalog).slots >= 0)


@pytest.mark.parametrize("cut", [0, 2, 3])
def test_whole_pictures_are_those_of_the_whole_encoder(model, shapes, cut):
    rows = rows_with_picture(shapes)[:9]
    mirror = np.arange(9) % 3 == 0
    behind, live = cut_pictures(model, shapes, cut), LiveFeatures(model, shapes, [])
    with torch.no_grad():
        expected, mirrored = live.pictures(rows), live.pictures(rows, mirror)
        assert torch.allclose(behind.pictures(rows), expected, atol=0.02)
        assert torch.allclose(behind.pictures(rows, mirror), mirrored, atol=0.02)
        assert torch.allclose(
            behind.pictures(rows, ~np.zeros(9, bool)), live.pictures(rows, np.ones(9, bool)), atol=0.02
        )
    assert not torch.allclose(expected, mirrored, atol=0.1)


def test_many_pictures_are_evaluated_in_parts(model, shapes):
    rows = np.tile(rows_with_picture(shapes), 3)
    behind = cut_pictures(model, shapes, 2)
    with torch.no_grad():
        parts = behind.pictures(rows)
    assert torch.allclose(behind.pictures(rows), parts, atol=1e-5) and len(rows) > 128
    assert behind.pictures(rows[:0]).shape == (0, 64, 192)


def test_without_mirror_images_on_disk_none_is_mirrored(model, shapes):
    rows = rows_with_picture(shapes)[:4]
    plain = cut_pictures(model, shapes, 1, mirror=False)
    assert torch.equal(plain.pictures(rows, np.ones(4, bool)), plain.pictures(rows))


def test_rectangles_stand_in_for_crops(model, shapes):
    rows = rows_with_picture(shapes)[:6]
    behind = cut_pictures(model, shapes, 2)
    rng = np.random.default_rng(3)
    seen = {behind.pictures(rows, rng.random(6) < 0.5, rng).shape for _ in range(12)}
    assert len(seen) > 4 and all(shape[0] == 6 and 9 <= shape[1] <= 64 for shape in seen)
    behind.smallest = 1.0
    assert torch.equal(behind.pictures(rows, None, rng), behind.pictures(rows))


def test_the_same_random_numbers_give_the_same_rectangles(vit, shapes):
    rows = rows_with_picture(shapes)[:6]
    behind = cut_pictures(vit, shapes, 1)
    mirror = np.array([True, False] * 3)
    first, again = (behind.pictures(rows, mirror, np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(first, again)


def test_gradients_reach_what_lies_behind_the_cut_and_nothing_else(vit, shapes):
    encoder = vit.encoder("image")
    trained = encoder.train_above(1)
    behind = cut_pictures(vit, shapes, 1)
    behind.pictures(rows_with_picture(shapes)[:5], None, np.random.default_rng(0)).square().sum().backward()
    assert {name for name, weight in encoder.named_parameters() if weight.grad is not None} == set(trained)
    assert all(name.startswith(("network.layers.1.", "network.layernorm.")) for name in trained)


def test_the_size_on_disk_is_said_before(shapes, tmp_path, monkeypatch, capsys):
    from likewise.model import cached_features

    monkeypatch.setattr(cached_features, "_WORTH_SAYING", 1000)
    model = model_of(image=str(save_vit(tmp_path / "other")))
    with torch.no_grad():
        model.encoder("image").network.layernorm.weight.mul_(2)
    cache_pictures(model, shapes, 1, mirror=True)
    cache = model.feature_cache("image", shapes.cache, 1, mirror=True)
    written = sum(path.stat().st_size for path in cache.folder.iterdir() if path.name != "lock")
    assert 0 < written - cache.bytes_needed(len(cache)) < 100, "the rest is a header"
    said = capsys.readouterr().err
    assert re.search(r"Caching activations before block 1 of the mirror images of \d+ pictures: 0 MB in ", said)


def test_a_cut_that_is_not_there_is_one_sentence(model, shapes):
    with pytest.raises(UserError, match="scratch-image has 4 blocks: cut it at 0 to 3, not 9"):
        cut_pictures(model, shapes, 9)


def test_frozen_texts_beside_cut_pictures(model, shapes):
    frozen = cache_features(model, shapes, TEXTS)
    features = PartialFeatures(frozen, cut_pictures(model, shapes, 3))
    rows = rows_with_picture(shapes)[:3]
    assert torch.equal(features.texts(np.array([2]), "query"), frozen.texts(np.array([2]), "query"))
    assert features.pictures(rows).requires_grad and features.pictures(rows).shape == (3, 64, 192)


@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 30), st.sampled_from([1, 2, 4]), st.floats(0.01, 1))
def test_windows_lie_in_the_grid_and_on_its_steps(seed, rows, columns, step, smallest):
    grid = (rows * step, columns * step)
    activation = Activation((*grid, 3), grid, step=step)
    window = random_window(activation, 7, smallest, np.random.default_rng(seed))
    for side, offsets, size in zip(grid, (window.tops, window.lefts), window.size, strict=True):
        assert step <= size <= side and size % step == 0
        assert (offsets >= 0).all() and (offsets + size <= side).all() and (offsets % step == 0).all()


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 9), st.sampled_from([0, 1]), st.floats(0, 1))
def test_holes_leave_something_to_see(seed, count, patches, prefix, dropout):
    seen = random_holes(count, prefix + patches, prefix, dropout, np.random.default_rng(seed))
    assert seen.shape == (count, prefix + patches) and seen.dtype == torch.bool
    assert seen[:, :prefix].all() and seen[:, prefix:].any(dim=1).all()
