"""CLIP and SigLIP halves give the embeddings that the whole model gives."""

import json

import pytest
import torch
import transformers
from encoders.tiny_models import TEXTS, least_cosine, pictures, save_clip, save_siglip, save_siglip2

from likewise.encoders.registry import load_encoder, restore_encoder
from likewise.errors import UserError

TEXTS = [*TEXTS, "x", "a cat " * 30]


@pytest.fixture(params=[(save_clip, 24), (save_siglip, 32), (save_siglip2, 32)], ids=["clip", "siglip", "siglip2"])
def dual(request, tmp_path):
    save, width = request.param
    return save(tmp_path / "original"), width


def features_of(folder):
    """(text, image) embeddings, by transformers alone, prepared as the model's documentation says."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    siglip = model.config.model_type != "clip"
    length = model.config.text_config.max_position_embeddings
    padding = "max_length" if siglip else True
    tokens = tokenizer(TEXTS, padding=padding, truncation=True, max_length=length, return_tensors="pt")
    with torch.no_grad():
        texts = model.get_text_features(**tokens)
        images = model.get_image_features(**processor(images=pictures(), return_tensors="pt"))
    return texts.pooler_output, images.pooler_output


def encode(encoder):
    with torch.no_grad():
        return encoder(encoder.prepare(TEXTS if encoder.modality == "text" else pictures()))


def test_both_halves_equal_the_model(dual):
    folder, width = dual
    text, image = load_encoder(str(folder), "text"), load_encoder(str(folder), "image")
    expected_text, expected_image = features_of(folder)
    assert text.width == image.width == width
    assert text.dual and image.dual and image.grid is None and image.minimum_side in (32, None)
    assert least_cosine(encode(text), expected_text) > 0.9999
    assert least_cosine(encode(image), expected_image) > 0.9999
    assert text.count_truncated(TEXTS) >= 1


def test_a_half_holds_no_weights_of_the_other(dual):
    folder, _ = dual
    assert not [key for key in load_encoder(str(folder), "text").state_dict() if "patch" in key]
    assert not [key for key in load_encoder(str(folder), "image").state_dict() if "token" in key]


def test_each_half_is_reopened_without_the_original(dual, tmp_path):
    folder, _ = dual
    halves = {modality: load_encoder(str(folder), modality) for modality in ("text", "image")}
    for modality, encoder in halves.items():
        encoder.save(tmp_path / modality)
    folder.rename(tmp_path / "gone")
    for modality, encoder in halves.items():
        reopened = restore_encoder(tmp_path / modality, modality)
        reopened.load_state_dict(encoder.state_dict())
        assert torch.allclose(encode(reopened), encode(encoder), atol=1e-6)
        assert reopened.fingerprint() == encoder.fingerprint()
        assert reopened.dual


def test_other_models_of_two_modalities_are_named(tmp_path):
    folder = save_clip(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "altclip"}))
    with pytest.raises(UserError, match=r"altclip.*clip, siglip"):
        load_encoder(str(folder), "text")
