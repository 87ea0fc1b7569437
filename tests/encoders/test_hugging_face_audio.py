"""Hugging Face audio encoders: what their own classes say, whatever the batch, and the same after saving."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import transformers
from encoders.tiny_audio_models import SAVE
from encoders.tiny_models import least_cosine, save_bert

from likewise.catalog.audio.decode import Sound
from likewise.catalog.catalog import Catalog
from likewise.config import ModelSettings
from likewise.encoders.registry import load_encoder, restore_encoder
from likewise.encoders.saved_files import check_numbers, check_saved_files
from likewise.errors import UserError
from likewise.evaluation.results import describe_encoders
from likewise.model.model import Model


def sound(seconds: float, rate: int = 16_000, seed: int = 0) -> Sound:
    noise = np.random.default_rng(seed).normal(size=round(seconds * rate)).astype(np.float32)
    return Sound(0.1 * np.convolve(noise, np.ones(8) / 8, "same").astype(np.float32), rate)


FLOAT32 = {"text": "float32", "image": "float32", "audio": "float32"}
SOUNDS = [sound(0.4), sound(1.3, seed=1), sound(0.7, 44_100, seed=2)]


@pytest.fixture(scope="module", params=SAVE)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return request.param, SAVE[request.param](tmp_path_factory.mktemp(request.param))


def encode(encoder, sounds):
    with torch.inference_mode():
        return encoder(encoder.prepare(sounds))


def test_features_do_not_depend_on_the_batch(model) -> None:
    encoder = load_encoder(str(model[1]), "audio")
    together = encode(encoder, SOUNDS)
    assert together.shape == (3, encoder.width)
    assert together.std(dim=0).max() > 1e-4
    for one, row in zip(SOUNDS, together, strict=True):
        assert least_cosine(encode(encoder, [one]), row[None]) > 0.9999


def test_a_saved_encoder_comes_back(model, tmp_path: Path) -> None:
    encoder = load_encoder(str(model[1]), "audio")
    encoder.save(tmp_path / "audio")
    restored = restore_encoder(tmp_path / "audio", "audio")
    restored.load_state_dict(encoder.state_dict())
    assert restored.fingerprint() == encoder.fingerprint()
    assert torch.equal(encode(restored, SOUNDS), encode(encoder, SOUNDS))


def test_the_published_recipe_gives_the_same_features(model) -> None:
    name, folder = model
    encoder = load_encoder(str(folder), "audio")
    rate = encoder.description()["rate"]
    samples = SOUNDS[1].resample(rate)[: int(rate * encoder.description()["seconds"])]
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    with torch.inference_mode():
        if name.startswith("clap"):
            inputs = extractor(samples, sampling_rate=rate, return_tensors="pt")
            whole = transformers.ClapModel.from_pretrained(folder).eval()
            expected = whole.get_audio_features(
                input_features=inputs["input_features"], is_longer=torch.tensor([[False]])
            )
            expected = getattr(expected, "pooler_output", expected)
            ours = torch.nn.functional.normalize(encode(encoder, [SOUNDS[1]]), dim=-1)
            expected = torch.nn.functional.normalize(expected, dim=-1)
        else:
            inputs = extractor(samples, sampling_rate=rate, return_tensors="pt")
            output = transformers.AutoModel.from_pretrained(folder).eval()(**inputs)
            expected = output.pooler_output if name == "ast" else output.last_hidden_state.mean(dim=1)
            ours = encode(encoder, [SOUNDS[1]])
    assert torch.allclose(ours, expected, atol=1e-4)


def test_a_single_sample_has_finite_features(model) -> None:
    encoder = load_encoder(str(model[1]), "audio")
    assert torch.isfinite(encode(encoder, [Sound(np.zeros(1, np.float32), 8_000), sound(0.01)])).all()


def test_the_licence_is_kept_and_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = SAVE["hubert-base"](tmp_path / "hubert")
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    fields = {"title": "text", "sound": "audio", "price": "number"}
    settings = ModelSettings(
        text_encoder="scratch-text",
        image_encoder="scratch-image",
        dim=32,
        fields=fields,
        encoders={"audio": str(folder)},
    )
    pl.DataFrame({"id": ["a"], "title": ["x"], "price": [1.0]}).write_csv(tmp_path / "items.csv")
    catalog = Catalog.read(tmp_path / "items.csv", cache=tmp_path / "cache")
    model = Model.create(settings, "cpu", FLOAT32, catalog=catalog)
    assert f"The weights of {folder} have the licence cc-by-nc-4.0" in "".join(capsys.readouterr())
    model.save(tmp_path / "run")
    notes = describe_encoders(Model.load(tmp_path / "run", "cpu"))
    assert [note.modality for note in notes] == ["text", "image", "audio"], "none that was fitted here"
    assert (notes[2].name, notes[2].licence) == (str(folder), "cc-by-nc-4.0")


@pytest.mark.parametrize(
    ("encoders", "said"),
    [
        ({"adio": "x"}, "encoders names an encoder for adio, but no field is of that kind: did you mean audio"),
        ({"number": "number"}, "declare one with --field COLUMN=number, or omit the entry"),
    ],
)
def test_an_encoder_for_no_field_is_refused(encoders: dict[str, str], said: str) -> None:
    settings = ModelSettings(text_encoder="scratch-text", fields={"title": "text", "s": "audio"}, encoders=encoders)
    with pytest.raises(UserError, match=said):
        Model.create(settings, "cpu", FLOAT32)


def test_a_text_model_is_no_audio_encoder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not for audio"):
        load_encoder(str(save_bert(tmp_path)), "audio")


def test_a_translator_from_speech_is_refused(tmp_path: Path) -> None:
    config = transformers.Speech2TextConfig(
        vocab_size=20,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        input_feat_per_channel=16,
        conv_channels=16,
    )
    transformers.Speech2TextModel(config).save_pretrained(tmp_path)
    transformers.ASTFeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="translator from speech"):
        load_encoder(str(tmp_path), "audio")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hop_length": 1, "max_length_s": 3_600, "sampling_rate": 384_000}, "hop_length is 1"),
        ({"max_length_s": 3_600, "sampling_rate": 384_000}, "asks for 1,382,400,000 samples of a recording"),
        ({"max_length_s": 1e9}, "max_length_s is 1000000000.0"),
        ({"max_length_s": float("nan")}, "max_length_s is nan"),
        ({"hop_length": 0}, "hop_length is 0"),
        ({"hop_length": 10, "max_length_s": 80}, "cells of a spectrogram"),
        ({"hop_length": 20, "fft_window_size": 4_096}, "cells of a spectrum"),
        ({"feature_size": 4_096, "fft_window_size": 2**16, "max_length_s": 0.1}, "weights of mel filters"),
    ],
)
def test_numbers_that_multiply_to_something_huge_are_refused(tmp_path: Path, changes: dict, said: str) -> None:
    load_encoder(str(SAVE["clap"](tmp_path / "model")), "audio").save(tmp_path / "audio")
    path = tmp_path / "audio" / "preprocessor_config.json"
    content = json.loads(path.read_text())
    del content["nb_max_samples"]
    check_saved_files(tmp_path / "audio")
    path.write_text(json.dumps(content | changes))
    with pytest.raises(UserError, match=f"preprocessor_config.json is damaged .*{said}"):
        restore_encoder(tmp_path / "audio", "audio")


def test_extractors_as_they_are_published_are_within_the_bounds() -> None:
    for name in ("AST", "Clap", "SeamlessM4T", "SpeechT5", "Wav2Vec2", "Whisper", "UnivNet"):
        extractor = getattr(transformers, f"{name}FeatureExtractor")()
        check_numbers("preprocessor_config.json", json.loads(extractor.to_json_string()))


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("encoder.json", "rate", 2**40),
        ("encoder.json", "seconds", 1e9),
        ("encoder.json", "pooling", "code"),
        ("encoder.json", "width", 7),
        ("encoder.json", "lengths", "own"),
        ("preprocessor_config.json", "max_length", 2**24),
        ("preprocessor_config.json", "num_mel_bins", 10**6),
        ("preprocessor_config.json", "sampling_rate", 8_000),
    ],
)
def test_a_tampered_description_is_one_sentence(tmp_path: Path, file: str, key: str, value: object) -> None:
    load_encoder(str(SAVE["ast"](tmp_path / "model")), "audio").save(tmp_path / "audio")
    path = tmp_path / "audio" / file
    content = json.loads(path.read_text())
    (content["description"] if file == "encoder.json" else content)[key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="damaged"):
        restore_encoder(tmp_path / "audio", "audio")
