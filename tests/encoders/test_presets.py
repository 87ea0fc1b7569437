"""Every preset on tiny models of the same classes with their real tokenizers and processors; licences are kept."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from encoders.packed_bert import save_packed_bert
from encoders.tiny_models import TEXTS, pictures, save_clip, save_dinov2, save_e5, save_sentence_model, save_siglip
from hypothesis import given
from hypothesis import strategies as st

from likewise.config import PRESETS, find_preset
from likewise.encoders import clip, hub, packaged, registry, text, vision
from likewise.encoders.hub import read_licence
from likewise.encoders.registry import load_encoder
from likewise.errors import UserError
from likewise.evaluation.results import describe_encoders
from likewise.model.model import Model
from likewise.progress import console

MODELS: dict[str, tuple[Callable[[Path], Path], str | None]] = {
    "intfloat/multilingual-e5-small": (save_e5, "mit"),
    "facebook/dinov2-small": (save_dinov2, "apache-2.0"),
    "multilingual-lite-text": (save_packed_bert, "mit"),
    "openai/clip-vit-base-patch32": (save_clip, None),
    "google/siglip2-base-patch16-256": (save_siglip, "apache-2.0"),
    "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2": (
        lambda folder: save_sentence_model(folder, {"pooling_mode_mean_tokens": True}),
        "apache-2.0",
    ),
}
FLOAT32 = {"text": "float32", "image": "float32"}


@pytest.fixture
def downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache in which tiny models lie under the names that presets give."""
    folders: dict[str, Path] = {}
    find = hub.model_folder

    def model_folder(name: str) -> Path:
        if name not in MODELS:
            return find(name)
        if name not in folders:
            save, licence = MODELS[name]
            folders[name] = save(tmp_path / name)
            if licence is not None:
                (folders[name] / "README.md").write_text(f"---\nlanguage: en\nlicense: {licence}\n---\n# A model\n")
        return folders[name]

    for module in (hub, clip, text, vision):
        monkeypatch.setattr(module, "model_folder", model_folder)
    packed = SimpleNamespace(locate=lambda: save_packed_bert(tmp_path / "packed"), licence="mit")
    monkeypatch.setattr(packaged, "MULTILINGUAL_E5", packed)
    registry._tell_licence.cache_clear()


@pytest.mark.parametrize("preset", [name for name in PRESETS if name not in ("lite", "scratch")])
def test_a_preset_encodes_and_its_run_keeps_the_licences(
    preset: str, downloaded: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    console.file = None
    settings = find_preset(preset)
    model = Model.create(preset, "cpu", FLOAT32)
    printed = " ".join(capsys.readouterr().err.split())
    licences = {}
    for modality, name in (("text", settings.text_encoder), ("image", settings.image_encoder)):
        licences[modality] = MODELS[name][1] if name in MODELS else "apache-2.0"
        if name in MODELS:
            says = f"have the licence {licences[modality]}" if licences[modality] else "name no licence"
            assert printed.count(f"The weights of {name} {says}") == 1
    model.save(tmp_path / "run")
    again = Model.load(tmp_path / "run", "cpu")
    assert {note.modality: note.licence for note in describe_encoders(again)} == licences
    words, seen = again.encode_queries(TEXTS), again.encode_images(pictures())
    np.testing.assert_allclose(np.linalg.norm(words, axis=1), 1, rtol=1e-5)
    assert words.shape == seen.shape == (4, model.dim)
    np.testing.assert_allclose(words, model.encode_queries(TEXTS), atol=1e-6)
    assert again.fingerprint == model.fingerprint


def test_e5_reads_queries_and_passages_as_its_card_asks(downloaded: None) -> None:
    encoder = load_encoder("intfloat/multilingual-e5-small", "text")
    assert (encoder.prompt("query"), encoder.prompt(None)) == ("query: ", "passage: ")

    def embed(words: list[str], prompt: str | None) -> torch.Tensor:
        with torch.no_grad():
            return encoder(encoder.prepare(words, prompt))

    query, item = embed(TEXTS, "query"), embed(TEXTS, None)
    assert not torch.allclose(query, item, atol=1e-3)
    plain = encoder.tokenizer([f"query: {one}" for one in TEXTS])
    with torch.no_grad():
        torch.testing.assert_close(query, encoder(plain), atol=1e-5, rtol=1e-4)


def test_an_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(UserError, match="did you mean siglip2"):
        find_preset("siglip")
    with pytest.raises(UserError, match="presets are lite, multilingual-lite, scratch"):
        find_preset("x" * 30)


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        ("---\r\ntags: [a]\r\nlicense: 'apache-2.0'\r\n---\r\ntext", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: gemma\n---\n", "gemma"),
        ("---\nlicense: other\n---\n", None),
        ("---\ntags: [a]\n---\nlicense: mit\n", None),
        ("# A model\nlicense: mit\n", None),
        ("---\nlicense: <script>alert(1)</script>\n---\n", None),
        ("---\nlicense: [mit, other]\n---\n", None),
        ("", None),
    ],
)
def test_the_licence_is_read_from_the_card(card: str, licence: str | None, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(card.encode())
    assert read_licence(tmp_path) == licence


@given(st.binary(max_size=200))
def test_any_card_can_be_read(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("card")
    (folder / "README.md").write_bytes(b"---\nlicense: " + data)
    licence = read_licence(folder)
    assert licence is None or (licence.isprintable() and len(licence) < 100)


def test_a_licence_in_a_run_is_checked(downloaded: None, tmp_path: Path) -> None:
    encoder = load_encoder("facebook/dinov2-small", "image")
    encoder.save(tmp_path / "encoder")
    file = tmp_path / "encoder" / "encoder.json"
    file.write_text(file.read_text().replace('"apache-2.0"', '"' + "x" * 101 + '"'))
    with pytest.raises(UserError, match="holds no encoder"):
        registry.restore_encoder(tmp_path / "encoder", "image")
