"""Recordings as a field of items and as queries: trained, indexed, and searched in Python, by command and by HTTP."""

import asyncio
import base64
import io
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from catalog.sound_files import RATE, encoded, tone
from cli.commands import run_command
from starlette.testclient import TestClient

from likewise.catalog.audio.decode import Sound, decode_bytes
from likewise.catalog.catalog import Catalog
from likewise.config import ModelSettings, TrainConfig
from likewise.errors import UserError
from likewise.model.model import Model
from likewise.progress import quiet
from likewise.retrieval.index import Index
from likewise.serving.api.app import create_api
from likewise.serving.lanes import DeadlinePassed
from likewise.serving.query_pictures import PictureSource
from likewise.serving.recordings import previews_in
from likewise.serving.service import Limits, SearchService
from likewise.training.train import train

PITCHES = [round(150 * 1.4**step) for step in range(8)]
NAMES = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"]
FIELDS = {"title": "text", "spoken": "audio"}
MODEL = ModelSettings(text_encoder="scratch-text", image_encoder="scratch-image", dim=32, fields=FIELDS)
TINY = TrainConfig(
    model=MODEL, epochs=1, precision="float32", device="cpu", threads=1, refit=False, validation=0.15, test=0.15
)


def bell(hertz: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=round(0.3 * RATE)).astype(np.float32)
    return tone(0.3, hertz) + 0.01 * noise


def write_bells(folder: Path) -> Path:
    """Bells of eight pitches, five of each; the last has a text for a recording, and one has none."""
    rows = []
    for number, (name, hertz) in enumerate(zip(NAMES, PITCHES, strict=True)):
        for copy in range(5):
            file = f"{name}-{copy}.ogg"
            (folder / file).write_bytes(encoded(bell(hertz, seed=5 * number + copy), "OGG"))
            rows.append({"id": f"{name}-{copy}", "title": f"{name} bell {copy}", "spoken": file})
    (folder / "text.ogg").write_text("a bell")
    rows[-1]["spoken"], rows[-2]["spoken"] = "text.ogg", ""
    rows[0]["spoken"] = "alpha-0.ogg|alpha-1.ogg"
    pl.DataFrame(rows).write_csv(folder / "bells.csv")
    return folder / "bells.csv"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bells")
    with quiet():
        catalog = Catalog.read(write_bells(folder), cache=folder / "cache")
        train(catalog, folder / "run", TINY)
        Index.build(Model.load(folder / "run", "cpu"), catalog, folder / "run").close()
    assert catalog.report.problems["audio-not-audio"].count == 1
    return folder / "run"


@pytest.fixture(scope="module")
def index(run: Path) -> Iterator[Index]:
    with quiet(), Index.open(run, Model.load(run, "cpu")) as opened:
        yield opened


def heard(hertz: float = PITCHES[3], seed: int = 99) -> bytes:
    return encoded(bell(hertz, seed), "WAV")


def count_bells(ids: list[str], name: str = "delta") -> int:
    return sum(found.startswith(name) for found in ids)


def test_items_have_the_field_where_their_recording_can_be_used(run: Path) -> None:
    with quiet():
        catalog = Catalog.read(run.parent / "bells.csv", cache=run.parent / "cache")
        seen = Model.load(run, "cpu").encode_fields(catalog)
    presence = seen.presence[:, seen.fields.index("spoken")]
    assert presence.tolist() == [True] * 38 + [False, False]
    assert [len(found) for found in catalog.recordings("spoken")[:2]] == [2, 1]


def test_a_new_recording_finds_bells_that_sound_like_it(index: Index, tmp_path: Path) -> None:
    (tmp_path / "new.wav").write_bytes(heard())
    sources = [tmp_path / "new.wav", io.BytesIO(heard()), Sound(bell(PITCHES[3], 99), RATE)]
    found = [[hit.id for hit in index.search(audio=source, k=5)] for source in sources]
    assert found[0] == found[1] == found[2]
    assert count_bells(found[0]) >= 3


def test_queries_lack_what_all_recordings_have_in_common(run: Path) -> None:
    model, sounds = Model.load(run, "cpu"), [decode_bytes(heard(pitch), 15.0) for pitch in PITCHES[:3]]
    [centre] = model.network.recording_centres.numpy().copy()
    assert 0.1 < np.linalg.norm(centre) < 1
    queries = model.encode_audio(sounds)
    model.network.recording_centres.zero_()
    plain = model.encode_audio(sounds)
    own = plain - centre
    assert queries == pytest.approx(own / np.linalg.norm(own, axis=1, keepdims=True), abs=1e-5)
    model.network.recording_centres[0] = torch.from_numpy(plain[1])
    again = model.encode_audio(sounds)
    assert again[1] == pytest.approx(plain[1], abs=1e-5), "one that says nothing else is asked for as it is"
    assert np.linalg.norm(again, axis=1) == pytest.approx(1, abs=1e-5)


def test_recordings_are_mixed_with_words(index: Index) -> None:
    alone = index.search("alpha", k=5)
    words_only = index.search("alpha", audio=io.BytesIO(heard()), image_weight=0.0, k=5)
    assert [hit.id for hit in words_only] == [hit.id for hit in alone]
    sound_only = index.search("alpha", audio=io.BytesIO(heard()), image_weight=1.0, k=5)
    assert count_bells([hit.id for hit in sound_only]) >= 3


def test_what_is_no_recording_is_one_sentence(index: Index, tmp_path: Path) -> None:
    (tmp_path / "text.ogg").write_text("a bell")
    with pytest.raises(UserError, match=r"the recording .*text\.ogg is not a recording"):
        index.search(audio=str(tmp_path / "text.ogg"))
    with pytest.raises(UserError, match="the recording is not a recording"):
        index.search(audio=io.BytesIO(b"a bell"))
    with pytest.raises(UserError, match="give words, a picture or both, a recording, or an item"):
        index.search()


def test_a_model_without_the_field_says_what_to_do() -> None:
    model = Model.create(
        ModelSettings(text_encoder="scratch-text", image_encoder="scratch-image", dim=8),
        "cpu",
        {"text": "float32", "image": "float32"},
    )
    with pytest.raises(UserError, match="has no field of recordings: train it with --field COLUMN=audio"):
        model.encode_audio([Sound(tone(), RATE)])


def test_the_command_searches_by_a_file(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "new.wav").write_bytes(heard())
    run_command("search", run, "--audio", tmp_path / "new.wav", "-k", "5", "--json")
    assert count_bells([hit["id"] for hit in json.loads(capsys.readouterr().out)]) >= 3


@pytest.fixture(scope="module")
def client(index: Index) -> Iterator[TestClient]:
    service = SearchService(index, limits=Limits(audio_bytes=50_000))
    with TestClient(create_api(service), raise_server_exceptions=False) as client:
        yield client
    service.close()


def test_the_api_takes_base64_and_files(client: TestClient, index: Index) -> None:
    expected = [hit.id for hit in index.search(audio=io.BytesIO(heard()), k=5)]
    text = base64.b64encode(heard()).decode()
    for audio in (text, f"data:audio/wav;base64,{text}", [{"audio": text, "weight": 2.0}]):
        answer = client.post("/v1/search", json={"audio": audio, "k": 5})
        assert answer.status_code == 200, answer.text
        assert [hit["id"] for hit in answer.json()["hits"]] == expected
    form = {"query": (None, '{"k": 5}', "application/json"), "audio": ("a.wav", heard(), "audio/wav")}
    assert [hit["id"] for hit in client.post("/v1/search", files=form).json()["hits"]] == expected


@pytest.mark.parametrize(
    ("audio", "status", "sentence"),
    [
        ("bm8=", 422, "the recording is not a recording"),
        ("*", 422, "a recording is base64, or a data: URL"),
        ("https://shop.example/a.ogg", 422, "not fetched from URLs"),
        (base64.b64encode(bytes(60_000)).decode(), 422, "at most 50,000 bytes"),
    ],
)
def test_the_api_refuses_what_is_no_recording(client: TestClient, audio: str, status: int, sentence: str) -> None:
    answer = client.post("/v1/search", json={"audio": audio})
    assert (answer.status_code, sentence in answer.json()["detail"]) == (status, True), answer.text


def test_no_recording_or_picture_is_decoded_behind_the_deadline(index: Index) -> None:
    service, passed = SearchService(index), time.monotonic()
    with pytest.raises(DeadlinePassed):
        asyncio.run(service.encode_recordings([b"no recording"], passed))
    with pytest.raises(DeadlinePassed):
        asyncio.run(service.encode_pictures([PictureSource(b"no picture")], passed))
    service.close()


def test_an_uploaded_recording_has_bounds(client: TestClient) -> None:
    answer = client.post("/v1/search", files={"audio": ("a.wav", bytes(60_000), "audio/wav")})
    assert answer.status_code == 422 and "at most 50,000 bytes" in answer.json()["detail"]


@pytest.mark.parametrize("source", ["/etc/passwd", "file:///etc/passwd", "s3://shop/a.ogg", "other.ogg"])
def test_items_written_singly_read_no_local_files(index: Index, source: str) -> None:
    with pytest.raises(UserError, match=r"'new': the recording .* is no http.* upload the recording instead"):
        index.upsert([{"id": "new", "title": "a new bell", "spoken": source}])
    with pytest.raises(UserError, match="recordings are not fetched from addresses here"):
        index.upsert([{"id": "new", "title": "a new bell", "spoken": "https://shop.example/a.ogg"}])
    with pytest.raises(UserError, match="address"):
        index.upsert([{"id": "new", "title": "a new bell", "spoken": "http://127.0.0.1/a.ogg"}], allow_urls=True)


@pytest.fixture
def updatable(run: Path, tmp_path: Path) -> Iterator[tuple[Index, Path]]:
    """An index of its own over a copy of the bells, and their table."""
    shutil.copytree(run.parent, tmp_path / "bells", ignore=shutil.ignore_patterns("run", "cache"))
    table = tmp_path / "bells" / "bells.csv"
    with quiet():
        catalog = Catalog.read(table, cache=tmp_path / "cache")
        built = Index.build(Model.load(run, "cpu"), catalog, tmp_path / "index")
    yield built, table
    built.close()


def update(index: Index, table: Path, cache: Path) -> list[str]:
    with quiet():
        catalog = Catalog.read(table, cache=cache)
        return [catalog.ids[row] for row in index.update(catalog).changed]


def test_an_update_reads_the_recordings_of_items_that_were_written_singly(
    updatable: tuple[Index, Path], tmp_path: Path
) -> None:
    index, table = updatable
    index.upsert([{"id": "delta-1", "title": "delta bell 1"}])
    assert index.item("delta-1").recordings == {}
    assert update(index, table, tmp_path / "cache") == ["delta-1"]
    assert list(index.item("delta-1").recordings) == ["spoken"]
    assert update(index, table, tmp_path / "cache") == []


def test_an_update_notices_a_recording_with_other_sounds_under_the_same_name(
    updatable: tuple[Index, Path], tmp_path: Path
) -> None:
    index, table = updatable
    (table.parent / "delta-1.ogg").write_bytes(encoded(bell(1_700, seed=77), "OGG"))
    assert update(index, table, tmp_path / "cache") == ["delta-1"]


def test_a_patch_of_the_column_of_recordings_changes_what_the_model_sees(
    updatable: tuple[Index, Path], tmp_path: Path
) -> None:
    index, table = updatable
    known = index.item("delta-1").recordings
    assert index.patch("delta-1", {"title": "delta bell 1"}).unchanged == ("delta-1",)
    assert index.patch("delta-1", {"title": "delta bell, dented"}).changed == ("delta-1",)
    assert index.item("delta-1").recordings == known
    assert index.patch("delta-1", {}, recordings={"spoken": [heard()]}).changed == ("delta-1",)
    assert index.item("delta-1").recordings != known
    assert index.patch("delta-1", {"spoken": None}).changed == ("delta-1",)
    assert index.item("delta-1").recordings == {}
    assert update(index, table, tmp_path / "cache") == ["delta-1"]


def test_a_recording_that_comes_with_an_item_is_heard_kept_and_found(
    updatable: tuple[Index, Path], tmp_path: Path
) -> None:
    index, table = updatable
    written = index.upsert([{"id": "own"}], recordings={"own": {"spoken": [heard(seed=98)]}})
    assert written.new == ("own",)
    (recording,) = index.item("own").recordings["spoken"]
    assert recording.path.parent.name == "recordings" and recording.path.read_bytes() == heard(seed=98)
    assert "own" in [hit.id for hit in index.search(audio=io.BytesIO(heard(seed=98)), k=8)]
    assert index.upsert([{"id": "own"}], recordings={"own": {"spoken": [heard(seed=98)]}}).unchanged == ("own",)
    update(index, table, tmp_path / "cache")
    assert index.item("own").recordings == {"spoken": (recording,)}


def test_an_update_that_builds_anew_keeps_the_recordings_of_single_items(
    updatable: tuple[Index, Path], tmp_path: Path
) -> None:
    index, table = updatable
    index.upsert([{"id": "own", "title": "own"}], recordings={"own": {"spoken": [heard()]}})
    rows = pl.read_csv(table).with_columns(pl.lit("brass").alias("metal"))
    rows.write_csv(table)
    update(index, table, tmp_path / "cache")
    assert index.item("own").fields["metal"] is None
    assert [one.path.name for one in index.item("own").recordings["spoken"]]


@pytest.mark.parametrize(
    ("recordings", "sentence"),
    [
        ({"new": {"spoken": [b"a bell"]}}, "item 'new': the recording is not a recording"),
        (
            {"new": {"colour": [b"a bell"]}},
            r'recordings for "colour", which is no column of recordings that .* those are spoken',
        ),
        ({"other": {"spoken": [b"a bell"]}}, "recordings for 'other', but no item of this id"),
        ({"new": {"spoken": [encoded(tone(0.1, 500))] * 9}}, "it may have 8 recordings"),
    ],
)
def test_recordings_that_cannot_be_written_are_one_sentence(
    index: Index, recordings: dict[str, dict[str, list[bytes]]], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        index.upsert([{"id": "new", "title": "a new bell"}], recordings=recordings)
    with pytest.raises(UserError, match="no item"):
        index.item("new")


def as_url(data: bytes) -> str:
    return f"data:audio/wav;base64,{base64.b64encode(data).decode()}"


def test_the_api_writes_items_with_recordings_and_plays_them(updatable: tuple[Index, Path], tmp_path: Path) -> None:
    service = SearchService(updatable[0], previews=previews_in(tmp_path / "cache"))
    with TestClient(create_api(service), raise_server_exceptions=False) as client:
        answer = client.put("/v1/items/a%2Fb", json={"title": "bell", "spoken": as_url(heard())})
        assert answer.status_code == 201, answer.text
        path = client.get("/v1/items/a%2Fb").json()["recording"]
        played = client.get(path)
        assert (played.status_code, played.headers["content-type"]) == (200, "audio/wav")
        assert decode_bytes(played.content).samples.size == 0.3 * RATE
        assert client.get(path, headers={"Range": "bytes=0-99"}).status_code == 206
        (hit, *_) = client.post("/v1/search", json={"audio": as_url(heard()), "k": 8}).json()["hits"]
        assert client.get(hit["recording"]).content[:4] == b"RIFF"
        assert client.patch("/v1/items/a%2Fb", json={"title": "other bell"}).json()["result"] == "changed"
        assert client.get("/v1/items/a%2Fb").json()["recording"] == path
        form = {"item": (None, "{}", "application/json"), "audio": ("b.wav", heard(seed=3), "audio/wav")}
        assert client.patch("/v1/items/a%2Fb", files=form).json()["result"] == "changed"
        assert client.get("/v1/items/a%2Fb").json()["recording"] != path
        assert client.get(path).status_code == 404
        lines = json.dumps({"id": "c", "title": "bell", "spoken": [as_url(heard()), as_url(heard(seed=5))]})
        answer = client.post("/v1/items", content=lines, headers={"Content-Type": "application/x-ndjson"})
        assert answer.json()["new"] == 1
        assert len(updatable[0].item("c").recordings["spoken"]) == 2
        assert client.patch("/v1/items/c", json={"spoken": None}).json()["result"] == "changed"
        assert client.get("/v1/items/c").json()["recording"] is None
        assert client.get("/v1/items/c/recording").status_code == 404
        for spoken in ("/etc/passwd", "https://shop.example/a.ogg", as_url(b"a bell"), "data:audio/wav,", [5]):
            answer = client.put("/v1/items/d", json={"title": "bell", "spoken": spoken})
            assert answer.status_code == 422 and "recording" in answer.json()["detail"], answer.text
        assert client.get("/v1/items/d").status_code == 404
    service.close()
