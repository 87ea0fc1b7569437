"""The one-file checkpoint: what goes in comes out, and a file from a stranger does no harm."""

import errno
import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from likewise.catalog.images.picture import Picture
from likewise.config import ModelSettings
from likewise.errors import UserError
from likewise.model.model import Model
from likewise.model.portable import EncodedItems, load_portable, save_portable

FLOAT32 = {"text": "float32", "image": "float32"}


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.create("scratch", "cpu", precision=FLOAT32)


@pytest.fixture(scope="module")
def items(model: Model, tmp_path_factory: pytest.TempPathFactory) -> EncodedItems:
    """Three items: one with a picture, one whose picture is gone, one that has nothing to encode."""
    folder = tmp_path_factory.mktemp("pictures")
    Image.new("RGB", (640, 400), (200, 30, 30)).save(folder / "red.png")
    key = hashlib.sha256((folder / "red.png").read_bytes()).hexdigest()
    vectors = model.encode_queries(["a red thing", "a lost thing", "nothing"])
    vectors[2] = np.nan
    table = pl.DataFrame(
        {"id": ["x", "y", "z"], "title": ["red", None, "z"], "price": [1.5, None, 3.0], "tags": [["a"], [], None]}
    )
    pictures = [Picture(key, folder / "red.png"), Picture("0" * 64, folder / "lost.png"), None]
    return EncodedItems(vectors, table, pictures)


@pytest.fixture
def saved(model: Model, items: EncodedItems, tmp_path: Path) -> Path:
    save_portable(tmp_path / "weights.pt", model, items, cache=tmp_path / "cache")
    return tmp_path / "weights.pt"


def test_what_goes_in_comes_out(model: Model, items: EncodedItems, saved: Path, tmp_path: Path) -> None:
    again, found = load_portable(saved, tmp_path / "unpacked", "cpu")
    assert again.fingerprint == model.fingerprint
    np.testing.assert_array_equal(again.encode_queries(["red"]), model.encode_queries(["red"]))
    np.testing.assert_array_equal(found.vectors, items.vectors)
    assert found.table.equals(items.table)
    assert [picture is not None for picture in found.pictures] == [True, False, False]
    assert found.pictures[0] is not None
    with Image.open(found.pictures[0].path) as thumbnail:
        assert thumbnail.size == (320, 200)
    assert found.pictures[0].path.is_relative_to(tmp_path / "unpacked")


def test_what_is_no_picture_is_no_thumbnail(saved: Path, tmp_path: Path) -> None:
    content = torch.load(saved, weights_only=True)
    (key,) = content["thumbnails"]
    content["thumbnails"][key] = torch.frombuffer(bytearray(b"<script>alert(1)</script>"), dtype=torch.uint8)
    torch.save(content, saved)
    _, found = load_portable(saved, tmp_path / "unpacked", "cpu")
    assert list(found.pictures) == [None, None, None]
    assert not list((tmp_path / "unpacked").rglob("*.jpg"))


def test_items_with_the_same_id_are_not_saved(model: Model, items: EncodedItems, tmp_path: Path) -> None:
    twice = EncodedItems(items.vectors, items.table.with_columns(id=pl.Series(["x", "y", "x"])), items.pictures)
    with pytest.raises(UserError, match="id 'x' occurs more than once"):
        save_portable(tmp_path / "weights.pt", model, twice, cache=tmp_path / "cache")
    assert not (tmp_path / "weights.pt").exists()


def test_a_full_disk_leaves_the_old_file(
    model: Model, items: EncodedItems, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def fill_up(content: object, file: Any) -> None:
        file.write(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", fill_up)
    with pytest.raises(UserError, match=r"cannot write .*weights.pt: No space left on device"):
        save_portable(saved, model, items, cache=saved.parent / "cache")
    assert saved.read_bytes() == before
    assert sorted(path.name for path in saved.parent.iterdir()) == ["cache", "weights.pt"]


def _outside(content: dict[str, Any]) -> None:
    content["encoders"]["text/../../../outside"] = torch.zeros(1, dtype=torch.uint8)


def _absolute(content: dict[str, Any]) -> None:
    content["encoders"]["/outside"] = torch.zeros(1, dtype=torch.uint8)


def _key_is_a_path(content: dict[str, Any]) -> None:
    content["thumbnails"]["../outside"] = torch.zeros(1, dtype=torch.uint8)


def _code(content: dict[str, Any]) -> None:
    content["encoders"]["text/outside.py"] = torch.zeros(1, dtype=torch.uint8)


def _pickle(content: dict[str, Any]) -> None:
    content["encoders"]["text/pytorch_model.bin"] = torch.zeros(1, dtype=torch.uint8)


def _weights_without_memory(content: dict[str, Any]) -> None:
    name = "heads.title.base.examples"
    content["weights"] |= {name: torch.zeros(1).expand(2**40, 1), "heads.title.base.weight": torch.zeros(512, 1)}


def _settings_of_a_giant(content: dict[str, Any]) -> None:
    content["settings"]["dim"] = 65_536


def _settings_beyond_all(content: dict[str, Any]) -> None:
    content["settings"]["dim"] = 2**40


def _vectors_of_another_model(content: dict[str, Any]) -> None:
    content["vectors"] = torch.zeros(3, 7)


def _one_id_twice(content: dict[str, Any]) -> None:
    content["ids"] = ["x", "x", "z"]


def _weight_missing(content: dict[str, Any]) -> None:
    content["weights"].popitem()


def _tokenizer_missing(content: dict[str, Any]) -> None:
    content["encoders"].clear()


def _metadata_damaged(content: dict[str, Any]) -> None:
    content["metadata"] = content["metadata"][:20].clone()


def _metadata_with_ids(content: dict[str, Any]) -> None:
    file = io.BytesIO()
    pl.DataFrame({"id": ["x", "y", "z"], "title": ["a", "b", "c"]}).write_parquet(file)
    content["metadata"] = torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)


def _half_a_character(content: dict[str, Any]) -> None:
    content["titles"] = ["\ud800", None, None]


def _later_version(content: dict[str, Any]) -> None:
    content["likewise"] = 2


def _foreign(content: dict[str, Any]) -> None:
    del content["likewise"]


@pytest.mark.parametrize(
    "tamper",
    [
        _outside,
        _absolute,
        _key_is_a_path,
        _code,
        _pickle,
        _weights_without_memory,
        _settings_of_a_giant,
        _settings_beyond_all,
        _vectors_of_another_model,
        _one_id_twice,
        _weight_missing,
        _tokenizer_missing,
        _metadata_damaged,
        _metadata_with_ids,
        _half_a_character,
        _later_version,
        _foreign,
    ],
)
def test_a_tampered_file_is_one_sentence_and_writes_nothing(
    tamper: Callable[[dict[str, Any]], None], saved: Path, tmp_path: Path
) -> None:
    content = torch.load(saved, weights_only=True)
    tamper(content)
    torch.save(content, saved)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    with pytest.raises(UserError) as caught:
        load_portable(saved, tmp_path / "deep" / "er" / "unpacked", "cpu")
    assert len(str(caught.value).splitlines()) == 1
    assert "weights.pt" in str(caught.value) or "train" in str(caught.value)
    assert not list(tmp_path.rglob("outside*"))
    assert not Path("/outside").exists()


def test_the_precision_of_every_shared_encoder_is_needed(items: EncodedItems, tmp_path: Path) -> None:
    settings = ModelSettings(
        text_encoder="scratch-text",
        image_encoder="scratch-image",
        dim=32,
        fields={"title": "text", "sound": "audio"},
        encoders={"audio": "scratch-audio"},
    )
    model = Model.create(settings, "cpu", FLOAT32)
    few = EncodedItems(items.vectors[:, :32].copy(), items.table, items.pictures)
    save_portable(tmp_path / "weights.pt", model, few, cache=tmp_path / "cache")
    content = torch.load(tmp_path / "weights.pt", weights_only=True)
    assert content["precision"].keys() == {"text", "image", "audio"}
    del content["precision"]["audio"]
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"weights.pt is damaged \(the precision of the audio encoder is missing\)"):
        load_portable(tmp_path / "weights.pt", tmp_path / "unpacked", "cpu")


def test_a_file_of_a_newer_version_says_so(saved: Path, tmp_path: Path) -> None:
    content = torch.load(saved, weights_only=True)
    _later_version(content)
    torch.save(content, saved)
    with pytest.raises(UserError, match="newer version of likewise: update likewise"):
        load_portable(saved, tmp_path / "unpacked", "cpu")


def test_a_flipped_bit_of_a_vector_is_noticed(saved: Path, tmp_path: Path) -> None:
    vectors = torch.load(saved, weights_only=True)["vectors"].numpy().tobytes()
    content = bytearray(saved.read_bytes())
    content[content.index(vectors) + 5] ^= 1
    saved.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        load_portable(saved, tmp_path / "unpacked", "cpu")


class _Opens:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("code ran",))


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"PK\x03\x04 no more", b"\x80\x02"])
def test_a_file_of_something_else_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"weights.pt is damaged, or not a file of weights"):
        load_portable(tmp_path / "weights.pt", tmp_path / "unpacked")


def test_code_in_a_file_does_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"likewise": _Opens()}, tmp_path / "weights.pt")
    with pytest.raises(UserError, match="damaged"):
        load_portable(tmp_path / "weights.pt", tmp_path / "unpacked")
    assert capsys.readouterr().out == ""


def test_code_among_the_files_of_an_encoder_is_named(saved: Path, tmp_path: Path) -> None:
    content = torch.load(saved, weights_only=True)
    _code(content)
    torch.save(content, saved)
    with pytest.raises(UserError, match=r"'text/outside\.py'"):
        load_portable(saved, tmp_path / "unpacked", "cpu")


def test_a_missing_file_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no .*weights.pt yet: make it with python train.py"):
        load_portable(tmp_path / "weights.pt", tmp_path / "unpacked")
