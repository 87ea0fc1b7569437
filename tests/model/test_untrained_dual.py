"""An untrained model over a CLIP or SigLIP folder is that CLIP or SigLIP, so the first search needs no training."""

import pytest
import torch
import transformers
from encoders.tiny_models import least_cosine, pictures, save_bert, save_clip, save_siglip, save_vit
from model.shape_catalogue import catalogue_of

from likewise.config import ModelSettings
from likewise.encoders.registry import load_encoder
from likewise.model.model import Model

TEXTS = ["red shoes", "a photo of the cat", "warm jacket", "kitten"]
FLOAT32 = {"text": "float32", "image": "float32"}  # elsewhere it is timed, and may be bfloat16


@pytest.fixture(scope="module", params=[save_clip, save_siglip], ids=["clip", "siglip"])
def backbone(request, tmp_path_factory):
    """(model, catalogue, the texts' embeddings, the pictures') with the embeddings made by transformers alone."""
    folder = request.param(tmp_path_factory.mktemp("dual"))
    original = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    padding = True if original.config.model_type == "clip" else "max_length"
    length = original.config.text_config.max_position_embeddings
    tokens = tokenizer(TEXTS, padding=padding, truncation=True, max_length=length, return_tensors="pt")
    with torch.no_grad():
        texts = original.get_text_features(**tokens).pooler_output
        images = original.get_image_features(**processor(images=pictures(), return_tensors="pt")).pooler_output
    name = str(folder)
    model = Model.create(ModelSettings(text_encoder=name, image_encoder=name, dim="auto"), "cpu", FLOAT32)
    rows = [
        {"title": text, "description": text[::-1], "image_url": picture}
        for text, picture in zip(TEXTS, pictures(), strict=True)
    ]
    return model, catalogue_of(tmp_path_factory.mktemp("items"), rows), texts, images


def agreement(vectors, expected):
    assert vectors.dtype == "float32"
    return least_cosine(torch.from_numpy(vectors), expected)


def test_queries_equal_the_backbone(backbone):
    model, _, texts, _ = backbone
    assert agreement(model.encode_queries(TEXTS), texts) >= 0.9999


def test_items_seen_through_their_title_equal_the_backbone(backbone):
    model, catalogue, texts, _ = backbone
    assert agreement(model.encode_items(catalogue, fields=["title"]), texts) >= 0.9999


def test_items_seen_through_their_picture_equal_the_backbone(backbone):
    model, catalogue, _, images = backbone
    assert agreement(model.encode_items(catalogue, fields=["image"]), images) >= 0.9999


def test_picture_queries_equal_the_backbone(backbone):
    model, _, _, images = backbone
    assert agreement(model.encode_images(pictures()), images) >= 0.9999


def test_texts_and_pictures_share_the_backbones_space(backbone):
    model, _, texts, images = backbone
    ours = torch.from_numpy(model.encode_queries(TEXTS) @ model.encode_images(pictures()).T)
    assert model.network.aligned
    assert torch.allclose(ours, torch.cosine_similarity(texts[:, None], images[None], dim=-1), atol=1e-4)


def test_the_untrained_text_space_is_the_encoders_own_in_any_wider_space(tmp_path):
    text, image = str(save_bert(tmp_path / "bert")), str(save_vit(tmp_path / "vit"))
    model = Model.create(ModelSettings(text_encoder=text, image_encoder=image, dim=64), "cpu", FLOAT32)
    encoder = load_encoder(text, "text")
    with torch.no_grad():
        own = torch.nn.functional.normalize(encoder(encoder.prepare(TEXTS)), dim=-1)
    ours = model.encode_queries(TEXTS)
    assert ours.shape == (4, 64) and not model.network.aligned
    assert torch.allclose(torch.from_numpy(ours @ ours.T), own @ own.T, atol=1e-4)
