"""Vision encoders: grid, prefix and pooled embedding are the model's own."""

import pytest
import torch
import transformers
from encoders.tiny_models import (
    least_cosine,
    pictures,
    save_bert,
    save_convnext,
    save_dinov2,
    save_resnet,
    save_siglip,
    save_swin,
    save_vit,
)

from likewise.encoders.registry import load_encoder, restore_encoder
from likewise.encoders.vision import find_processed_box
from likewise.errors import UserError


def output_of(folder, **options):
    """Last hidden states and pooled output, by transformers alone."""
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    model = transformers.AutoModel.from_pretrained(folder, **options).eval()
    with torch.no_grad():
        return model(**processor(images=pictures(), return_tensors="pt"))


def encode(encoder):
    with torch.no_grad():
        return encoder(encoder.prepare(pictures()))


def test_vit_gives_cls_and_patches(tmp_path):
    encoder = load_encoder(str(save_vit(tmp_path)), "image")
    theirs = output_of(tmp_path, add_pooling_layer=False).last_hidden_state
    assert (encoder.grid, encoder.prefix, encoder.feature_shape, encoder.minimum_side) == ((4, 4), 1, (17, 32), 32)
    assert torch.allclose(encode(encoder), theirs, atol=1e-5)
    assert torch.equal(encoder.pool(theirs), theirs[:, 0])


def test_dinov2_pools_by_its_normed_cls_token(tmp_path):
    encoder = load_encoder(str(save_dinov2(tmp_path)), "image")
    theirs = output_of(tmp_path)
    features = encode(encoder)
    assert (encoder.grid, encoder.prefix, encoder.minimum_side) == ((2, 2), 1, 36)
    assert torch.allclose(features, theirs.last_hidden_state, atol=1e-5)
    assert least_cosine(encoder.pool(features), theirs.pooler_output) > 0.9999


def test_register_tokens_are_dropped(tmp_path):
    encoder = load_encoder(str(save_dinov2(tmp_path, registers=True)), "image")
    theirs = output_of(tmp_path).last_hidden_state
    assert theirs.shape[1] == 1 + 3 + 4
    assert encoder.feature_shape == (5, 32)
    assert torch.allclose(encode(encoder), theirs[:, [0, 4, 5, 6, 7]], atol=1e-5)


def test_convnext_gives_its_last_map_as_a_grid(tmp_path):
    encoder = load_encoder(str(save_convnext(tmp_path)), "image")
    theirs = output_of(tmp_path)
    features = encode(encoder)
    assert (encoder.grid, encoder.prefix) == ((2, 2), 0)
    assert torch.allclose(features, theirs.last_hidden_state.flatten(2).transpose(1, 2), atol=1e-5)
    assert least_cosine(encoder.pool(features), theirs.pooler_output) > 0.9999


@pytest.mark.parametrize(("save", "grid"), [(save_resnet, (2, 2)), (save_swin, (8, 8))])
def test_grids_without_a_cls_token_are_pooled_by_the_mean(tmp_path, save, grid):
    encoder = load_encoder(str(save(tmp_path)), "image")
    features = encode(encoder)
    assert (encoder.grid, encoder.prefix) == (grid, 0)
    assert least_cosine(encoder.pool(features), output_of(tmp_path).pooler_output.flatten(1)) > 0.9999


def test_batch_statistics_stay_as_stored(tmp_path):
    encoder = load_encoder(str(save_resnet(tmp_path)), "image").train()
    before = encoder.fingerprint()
    encoder(encoder.prepare(pictures()))
    assert encoder.fingerprint() == before


def test_a_model_that_hides_patches_at_random_is_refused(tmp_path):
    save_vit(tmp_path)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    config = transformers.ViTMAEConfig(image_size=32, patch_size=8, **sizes)
    transformers.ViTMAEModel(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="is not deterministic"):
        load_encoder(str(tmp_path), "image")


def test_an_attention_pool_is_kept_as_the_feature(tmp_path):
    folder = save_siglip(tmp_path / "whole")
    half = transformers.SiglipVisionModel.from_pretrained(folder)
    half.save_pretrained(tmp_path / "half")
    transformers.SiglipImageProcessorPil.from_pretrained(folder).save_pretrained(tmp_path / "half")
    encoder = load_encoder(str(tmp_path / "half"), "image")
    assert (encoder.grid, encoder.feature_shape) == (None, (32,))
    assert least_cosine(encoder.pool(encode(encoder)), output_of(tmp_path / "half").pooler_output) > 0.9999


@pytest.mark.parametrize("save", [save_vit, save_dinov2, save_convnext])
def test_reopened_without_the_original(tmp_path, save):
    encoder = load_encoder(str(save(tmp_path / "original")), "image")
    encoder.save(tmp_path / "saved")
    (tmp_path / "original").rename(tmp_path / "gone")
    reopened = restore_encoder(tmp_path / "saved", "image")
    reopened.load_state_dict(encoder.state_dict())
    assert torch.allclose(encode(reopened), encode(encoder), atol=1e-6)
    assert reopened.fingerprint() == encoder.fingerprint()


def test_a_text_model_is_no_image_encoder(tmp_path):
    with pytest.raises(UserError, match="preprocessor_config"):
        load_encoder(str(save_bert(tmp_path)), "image")


def test_pictures_without_a_fixed_size_are_refused(tmp_path):
    save_dinov2(tmp_path)
    free = transformers.BitImageProcessorPil(size={"shortest_edge": 28}, do_center_crop=False)
    free.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="to a fixed size"):
        load_encoder(str(tmp_path), "image")


@pytest.mark.parametrize(
    ("size", "crop", "picture", "box"),
    [
        ({"height": 32, "width": 32}, None, (90, 60), (0, 0, 90, 60)),
        ({"shortest_edge": 36}, 28, (72, 108), (8, 26, 64, 82)),
        ({"shortest_edge": 36}, 28, (300, 100), (111, 11, 189, 89)),
    ],
)
def test_the_part_of_a_picture_that_the_grid_covers(
    size: dict, crop: int | None, picture: tuple[int, int], box: tuple[int, ...]
) -> None:
    """Whatever the processor does: its size, its crop."""
    settings = {} if crop is None else {"do_center_crop": True, "crop_size": {"height": crop, "width": crop}}
    kind = transformers.ViTImageProcessorPil if crop is None else transformers.BitImageProcessorPil
    assert find_processed_box(kind(size=size, **settings), *picture) == pytest.approx(box, abs=2.5)


def test_a_vit_shows_a_heat_map_of_its_patches(tmp_path) -> None:
    encoder = load_encoder(str(save_vit(tmp_path)), "image")
    inputs = encoder.prepare(pictures()[:1])
    with torch.inference_mode():
        whole = encoder(inputs)
        seen = encoder.forward_seen(inputs, torch.ones(3, 16, dtype=torch.bool))
    assert seen.shape == (3, 17, 32)
    torch.testing.assert_close(seen[2], whole[0])
    assert encoder.find_box(80, 40) == pytest.approx((0, 0, 80, 40), abs=1.0)
