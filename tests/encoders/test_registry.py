"""Names of encoders, and what a wrong one says."""

import pytest
from encoders.tiny_models import save_bert

from likewise.encoders.registry import load_encoder, restore_encoder
from likewise.errors import UserError


def test_a_misspelt_name_gets_the_nearest_and_the_ways_out():
    with pytest.raises(UserError, match=r"did you mean lite-text\? .*a Hugging Face id .* or a folder"):
        load_encoder("lit-text", "text")


def test_an_encoder_of_the_other_modality_is_refused():
    with pytest.raises(UserError, match="for image, not for text: choose one of lite-text"):
        load_encoder("lite-image", "text")


@pytest.mark.parametrize("name", ["./no/such/folder", "/no/such/folder", "no/such/folder"])
def test_a_missing_folder_is_named(name):
    with pytest.raises(UserError, match="does not exist"):
        load_encoder(name, "text")


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(UserError, match=r"config\.json"):
        load_encoder(str(tmp_path), "text")


def test_an_impossible_id_is_named():
    with pytest.raises(UserError, match="neither"):
        load_encoder("bad name/with spaces", "text")


def test_restoring_checks_the_modality_and_the_folder(tmp_path):
    load_encoder("scratch-text", "text").save(tmp_path / "saved")
    with pytest.raises(UserError, match="for text, not for image"):
        restore_encoder(tmp_path / "saved", "image")
    with pytest.raises(UserError, match="holds no encoder"):
        restore_encoder(tmp_path / "elsewhere", "text")
    (tmp_path / "saved" / "encoder.json").write_text('{"family": "unheard of"}')
    with pytest.raises(UserError, match="holds no encoder"):
        restore_encoder(tmp_path / "saved", "text")


def test_a_relative_folder_works(tmp_path, monkeypatch):
    save_bert(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    assert load_encoder("model", "text").width == load_encoder("./model", "text").width == 32
