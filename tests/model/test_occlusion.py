"""What words and regions of a picture add to a cosine: tiny models, by the model itself as the measure."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from likewise.config import PRESETS
from likewise.encoders.efficientnet import EfficientNetLite0
from likewise.errors import UserError
from likewise.model import occlusion
from likewise.model.model import Model
from likewise.model.occlusion import list_blocks, remove_span

TITLE = "red circle shirt of soft cotton"
SPANS = [(0, 3), (4, 10), (11, 16), (17, 19), (20, 24), (25, 31)]


def unit(seed: int, dim: int = 32) -> np.ndarray:
    vector = np.random.default_rng(seed).standard_normal(dim).astype(np.float32)
    return vector / np.linalg.norm(vector)


@pytest.fixture(scope="module")
def model() -> Model:
    settings = PRESETS["scratch"].model_copy(update={"dim": 32})
    return Model.create(settings, "cpu", precision={"text": "float32", "image": "float32"})


def fuse(model: Model, **vectors: np.ndarray) -> np.ndarray:
    fields = ("title", "description", "image")
    absent = np.full(32, np.nan, np.float32)
    return model.fuse_fields(np.stack([vectors.get(name, absent) for name in fields])[None], fields)[0]


def test_a_word_has_what_the_cosine_loses_without_it(model: Model) -> None:
    query, others = unit(0), {"description": unit(1), "image": unit(2)}
    losses = model.measure_words("title", TITLE, SPANS, query, others)
    texts = [TITLE, *(remove_span(TITLE, *span) for span in SPANS)]
    cosines = [fuse(model, title=title, **others) @ query for title in model.encode_field_texts("title", texts)]
    np.testing.assert_allclose(losses, cosines[0] - np.array(cosines[1:]), atol=1e-5)


def test_the_only_word_of_a_text_has_what_the_field_adds(model: Model) -> None:
    query, others = unit(0), {"image": unit(2)}
    whole = fuse(model, title=model.encode_field_texts("title", ["red"])[0], **others) @ query
    (loss,) = model.measure_words("title", "red", [(0, 3)], query, others)
    assert loss == pytest.approx(whole - others["image"] @ query, abs=1e-5)
    (alone,) = model.measure_words("title", "red", [(0, 3)], query, {})
    assert alone == pytest.approx(model.encode_field_texts("title", ["red"])[0] @ query, abs=1e-5)
    assert model.measure_words("title", "…", [], query, {}).shape == (0,)


def test_words_of_a_long_text_share_the_loss_of_their_neighbours(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(occlusion, "_MOST_TOKENS", 3 * len(SPANS))  # room for three variants
    losses = model.measure_words("title", TITLE, SPANS, unit(0), {})
    assert losses[0] == losses[1] != losses[2] == losses[3] != losses[4] == losses[5]
    pair = model.encode_field_texts("title", [TITLE, "shirt of soft cotton"]) @ unit(0)
    assert 2 * losses[0] == pytest.approx(pair[0] - pair[1], abs=1e-5)


def test_derivatives_follow_true_occlusion_for_a_text_of_many_words() -> None:
    model = Model.create("lite", "cpu", precision={"text": "float32", "image": "float32"}, class_names=False)
    text = (
        "This crisp green apple from the north keeps for weeks, tastes sweet and a little sour, and makes very good "
        "juice for children."
    )
    spans = [(match.start(), match.end()) for match in re.finditer(r"\w+", text)]
    query = model.encode_queries(["sour apple juice"])[0]
    others = {"title": model.encode_field_texts("title", ["Granny Smith"])[0]}
    losses = model.measure_words("description", text, spans, query, others)
    texts = [text, *(remove_span(text, *span) for span in spans)]
    score = occlusion.FieldScore(model.network, "description", query, others)
    cosines = score(torch.from_numpy(model.encode_field_texts("description", texts))).detach().numpy()
    ranks = [np.argsort(np.argsort(values)) for values in (losses, cosines[0] - cosines[1:])]
    assert np.corrcoef(*ranks)[0, 1] > 0.8
    assert {text[slice(*spans[place])] for place in np.argsort(-losses)[:3]} == {"apple", "sour", "juice"}
    assert not any(weight.grad is not None for weight in model.network.parameters())


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 7), (7, 7), (8, 8), (16, 12)])
def test_blocks_cover_every_patch_but_never_all(rows: int, columns: int) -> None:
    blocks = list_blocks(rows, columns)
    assert not blocks.all(axis=(1, 2)).any()
    if rows * columns > 1:
        assert blocks.any(axis=0).all()
        assert len(blocks) <= 144


def test_a_heat_map_peaks_where_the_wanted_thing_is(model: Model) -> None:
    """An untrained network, whose base map reads one feature that only the red patches have."""
    head = model.network.picture_head
    encoder = model.encoder("image")
    picture = Image.new("RGB", (96, 96), (40, 40, 200))
    picture.paste((230, 20, 20), (60, 12, 84, 36))  # patches (1, 5) to (2, 6)
    with torch.no_grad():
        features = encoder(encoder.prepare([picture]))[0]
        red = features.unflatten(0, (8, 8))[1:3, 5:7].mean(dim=(0, 1)) - features.mean(dim=0)
        before = head.base.weight.clone(), head.base.bias.clone()
        head.base.weight.zero_()
        head.base.weight[0, : encoder.width] = red / red.norm()
        head.base.bias.zero_()
        head.base.bias[1] = 1.0
    values = model.measure_patches(picture, np.eye(32, dtype=np.float32)[0], {})
    with torch.no_grad():
        head.base.weight.copy_(before[0])
        head.base.bias.copy_(before[1])
    assert values.shape == (8, 8)
    row, column = np.unravel_index(values.argmax(), values.shape)
    assert row in (1, 2)
    assert column in (5, 6)
    assert values[1:3, 5:7].mean() > 3 * np.abs(values[4:, :4]).mean()


def test_mirrored_pictures_are_seen_on_both_sides(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """The map of a mirror image is the mirrored map."""
    picture = Image.effect_noise((96, 96), 80).convert("RGB")
    monkeypatch.setattr(model.network, "hflip_tta", True)
    values = model.measure_patches(picture, unit(0), {})
    mirrored = model.measure_patches(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), unit(0), {})
    np.testing.assert_allclose(mirrored[:, ::-1], values, atol=1e-5)


def test_lite_sees_some_patches_of_a_picture_in_its_classes_too() -> None:
    encoder = EfficientNetLite0.from_pretrained()
    inputs = encoder.prepare([Image.effect_noise((224, 300), 80).convert("RGB")])
    seen = torch.ones(3, 49, dtype=torch.bool)
    seen[1, :25] = False
    with torch.inference_mode():
        whole, some = encoder(inputs), encoder.forward_seen(inputs, seen)
    torch.testing.assert_close(some[:1], whole, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(some[0], some[2])
    assert (some[1, :2] - some[0, :2]).abs().max() > 1e-4
    torch.testing.assert_close(some[1, 2:], some[0, 2:])
    assert encoder.find_box(300, 200) == (37.5, 0.0, 262.5, 200.0)
    assert encoder.without_classes().forward_seen(inputs, seen).shape == (3, 49, encoder.width)


def test_an_encoder_without_patches_says_so(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model.encoder("image"), "grid", None)
    with pytest.raises(UserError, match="picture encoder scratch-image keeps no patches that a heat map could show"):
        model.measure_patches(Image.new("RGB", (8, 8)), unit(0), {})
