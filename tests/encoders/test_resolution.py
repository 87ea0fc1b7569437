"""Image encoders at another resolution than they have learned at."""

import pytest
import torch
import transformers
from encoders.tiny_models import (
    pictures,
    save_clip,
    save_convnext,
    save_dinov2,
    save_siglip,
    save_siglip2,
    save_swin,
    save_vit,
)

from likewise.encoders.registry import load_encoder, restore_encoder
from likewise.errors import UserError


def encode(encoder):
    with torch.no_grad():
        return encoder(encoder.prepare(pictures()))


@pytest.mark.parametrize(
    ("save", "side", "grid"),
    [
        (save_vit, 48, (6, 6)),
        (save_vit, 24, (3, 3)),
        (save_dinov2, 56, (4, 4)),
        (save_convnext, 128, (4, 4)),
        (save_swin, 128, (16, 16)),
    ],
)
def test_hugging_faces_encoders_see_more_or_fewer_patches(tmp_path, save, side, grid):
    usual = load_encoder(str(save(tmp_path / "model")), "image")
    encoder = load_encoder(str(tmp_path / "model"), "image", resolution=side)
    assert encoder.grid == grid and encoder.width == usual.width
    assert encode(encoder).shape == (4, *encoder.feature_shape)
    assert encoder.fingerprint() != usual.fingerprint()
    assert encoder.minimum_side >= side


def test_a_vit_places_its_positions_as_transformers_does(tmp_path):
    encoder = load_encoder(str(save_vit(tmp_path)), "image", resolution=48)
    processor = transformers.ViTImageProcessorPil(size={"height": 48, "width": 48})
    model = transformers.AutoModel.from_pretrained(tmp_path, add_pooling_layer=False).eval()
    with torch.no_grad():
        inputs = processor(images=pictures(), return_tensors="pt")
        theirs = model(**inputs, interpolate_pos_encoding=True).last_hidden_state
    assert torch.allclose(encode(encoder), theirs, atol=1e-5)


def test_what_is_cropped_off_keeps_its_share(tmp_path):
    encoder = load_encoder(str(save_dinov2(tmp_path)), "image", resolution=56)
    assert (encoder.preparation.size["shortest_edge"], encoder.preparation.crop_size["height"]) == (72, 56)


@pytest.mark.parametrize("save", [save_clip, save_siglip])
def test_dual_encoders_keep_their_space(tmp_path, save):
    folder = str(save(tmp_path))
    usual, larger = load_encoder(folder, "image"), load_encoder(folder, "image", resolution=64)
    assert larger.feature_shape == usual.feature_shape and larger.dual
    inputs = larger.prepare(pictures())
    assert inputs["pixel_values"].shape[2:] == (64, 64)
    assert torch.isfinite(encode(larger)).all()


@pytest.mark.parametrize(("name", "side", "grid"), [("lite-image", 288, (9, 9)), ("scratch-image", 144, (12, 12))])
def test_the_embedded_encoders_see_more_patches(name, side, grid):
    encoder, usual = load_encoder(name, "image", resolution=side), load_encoder(name, "image")
    assert (encoder.grid, encoder.minimum_side) == (grid, side)
    features = encode(encoder)
    assert features.shape == (4, encoder.prefix + grid[0] * grid[1], usual.width)
    alike = torch.cosine_similarity(encoder.pool(features), usual.pool(encode(usual)))
    assert alike.min() > 0.7  # the same weights look at the same pictures


@pytest.mark.parametrize(("name", "side"), [("lite-image", 256), ("scratch-image", 48), ("vit", 48), ("dual", 64)])
def test_reopened_and_cut_at_its_resolution(tmp_path, name, side):
    folders = {"vit": save_vit, "dual": save_clip}
    source = str(folders[name](tmp_path / "original")) if name in folders else name
    encoder = load_encoder(source, "image", resolution=side)
    encoder.save(tmp_path / "saved")
    reopened = restore_encoder(tmp_path / "saved", "image")
    reopened.load_state_dict(encoder.state_dict())
    assert reopened.fingerprint() == encoder.fingerprint()
    whole = encode(encoder)
    assert torch.allclose(encode(reopened), whole, atol=1e-4)
    with torch.no_grad():
        above = reopened.forward_from(reopened.forward_to(reopened.prepare(pictures()), 1), 1)
    assert torch.allclose(above, whole, atol=1e-3)
    assert reopened.activation(1).shape[-1] > 0


def test_the_usual_resolution_is_the_usual_encoder():
    encoder = load_encoder("lite-image", "image", resolution=224)
    assert encoder.fingerprint() == load_encoder("lite-image", "image").fingerprint()


def test_impossible_resolutions_are_named(tmp_path):
    with pytest.raises(UserError, match="lite-image takes pictures whose side is a multiple of 32 pixels, not 250"):
        load_encoder("lite-image", "image", resolution=250)
    with pytest.raises(UserError, match="scratch-image takes pictures whose side is a multiple of 12 pixels, not 100"):
        load_encoder("scratch-image", "image", resolution=100)
    with pytest.raises(UserError, match="cannot process pictures of 2 pixels"):
        load_encoder(str(save_vit(tmp_path / "vit")), "image", resolution=2)
    with pytest.raises(UserError, match="cannot process pictures of 2 pixels"):
        load_encoder(str(save_clip(tmp_path / "clip")), "image", resolution=2)
    with pytest.raises(UserError, match="cannot process pictures of 64 pixels"):
        load_encoder(str(save_siglip2(tmp_path / "free")), "image", resolution=64)  # pictures of any shape
    with pytest.raises(UserError, match="lite-text has one input size only: omit resolution"):
        load_encoder("lite-text", "text", resolution=256)
