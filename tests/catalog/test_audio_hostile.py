"""Sounds as hostile shops serve them: each is a recording or one named cause, within bounds of time and memory."""

import io
import struct
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.signal  # noqa: F401 - its import would count as time
from catalog.picture_files import PNG
from catalog.sound_files import RATE, encoded, ogg_page, pack_bits, tone, vorbis_claiming, vorbis_stream, wav
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.catalog.audio.decode import check_recording, decode_bytes
from likewise.catalog.audio.recording import AudioError
from likewise.catalog.audio.resolve import resolve_recordings
from likewise.catalog.report import AUDIO_CAUSES, AUDIO_PREFIX, Report
from likewise.config import AudioSettings
from likewise.progress import quiet

ANY = "any"  # a recording or not, as the decoder's version likes
LIMITS = AudioSettings(max_bytes=2_000_000, max_seconds=60)

WAV, FLAC = encoded(tone()), encoded(tone(), "FLAC")
OGG, OPUS = encoded(tone(), "OGG", "VORBIS"), encoded(tone(), "OGG", "OPUS")
MP3 = encoded(tone(), "MP3", "MPEG_LAYER_III")


def ogg_of_hours(hours: int) -> bytes:
    """A Vorbis file whose last page says that it lasts for hours."""
    last = OGG.rindex(b"OggS")
    segments = OGG[last + 27 : last + 27 + OGG[last + 26]]
    content = OGG[last + 27 + len(segments) :]
    number = struct.unpack_from("<I", OGG, last + 18)[0]
    serial = struct.unpack_from("<I", OGG, last + 14)[0]
    position = hours * 3_600 * RATE
    return OGG[:last] + ogg_page(content, serial=serial, number=number, flags=4, position=position, segments=segments)


def flac_claiming(samples: int) -> bytes:
    packed = int.from_bytes(FLAC[18:26], "big") >> 36 << 36 | samples
    return FLAC[:18] + packed.to_bytes(8, "big") + FLAC[26:]


def endless_lengths(size: int) -> bytes:
    """A codebook of so many bytes whose entries are listed by their lengths, of which none has any."""
    book = [(0, 8), (0x564342, 24), (1, 16), (2, 24), (1, 1), (0, 5)]
    return pack_bits("".join(f"{value:0{width}b}"[::-1] for value, width in book)) + bytes(size)


def damaged(data: bytes, seed: int = 3, share: float = 0.02) -> bytes:
    noise = np.random.default_rng(seed)
    changed = np.frombuffer(data, np.uint8).copy()
    at = noise.integers(len(data) // 4, len(data), int(share * len(data)))
    changed[at] = noise.integers(0, 256, len(at))
    return changed.tobytes()


def interleaved() -> bytes:
    """Two streams side by side, as a video has them."""
    return ogg_page(b"\x01vorbis" + bytes(23), flags=2) + ogg_page(b"\x80theora" + bytes(30), serial=2, flags=2)


def floats(value: float) -> bytes:
    samples = tone()
    samples[4_000] = value
    return encoded(samples, "WAV", "FLOAT")


HOSTILE: dict[str, tuple[Callable[[], bytes], str | None]] = {
    "nothing": (lambda: b"", "empty-file"),
    "text": (lambda: b"a bell that rings\n" * 50, "not-audio"),
    "a web page": (lambda: b"<!doctype html><html>404</html>", "not-audio"),
    "a picture": (lambda: PNG, "not-audio"),
    "zeros": (lambda: bytes(10_000), "not-audio"),
    "an AIFF": (lambda: encoded(tone(), "AIFF"), "format-not-allowed"),
    "a film": (lambda: b"\0\0\0\x18ftypisom" + bytes(500), "format-not-allowed"),
    "a video in Ogg": (interleaved, "format-not-allowed"),
    "a WAV with a rare codec": (lambda: encoded(tone(), "WAV", "MS_ADPCM"), "format-not-allowed"),
    "a WAV that claims a codec of 16 bits": (lambda: wav(bytes(999), kind=7), "format-not-allowed"),
    "no samples": (lambda: wav(b""), "no-samples"),
    "a single sample": (lambda: wav(b"\1\0"), "too-short"),
    "half a sample": (lambda: wav(b"\1"), "no-samples"),
    "96 channels": (lambda: wav(bytes(96 * 2 * RATE), channels=96), "too-many-channels"),
    "65,535 channels": (lambda: wav(bytes(300_000), channels=65_535), "too-many-channels"),
    "no channel": (lambda: wav(bytes(3_200), channels=0), "broken"),
    "a rate of 0": (lambda: wav(bytes(3_200), rate=0), "sample-rate"),
    "a rate of 4 GHz": (lambda: wav(bytes(3_200), rate=2**32 - 1), "sample-rate"),
    "a prime rate": (lambda: wav(bytes(200_000), rate=99_991), None),
    "eight hours of Vorbis": (lambda: ogg_of_hours(8), "too-many-seconds"),
    "eight million years": (lambda: ogg_of_hours(2**36), "too-many-seconds"),
    "eight hours of FLAC": (lambda: flac_claiming(8 * 3_600 * RATE), "too-many-seconds"),
    "two minutes of silence": (lambda: wav(bytes(2 * 4_000 * 120), rate=4_000), "too-many-seconds"),
    "a FLAC of unknown length": (lambda: flac_claiming(0), None),
    "NaN": (lambda: floats(float("nan")), "not-finite"),
    "infinity": (lambda: floats(float("inf")), "not-finite"),
    "1e30": (lambda: floats(1e30), None),
    "a WAV cut off": (lambda: WAV[: len(WAV) // 2], "truncated"),
    "a WAV cut in its header": (lambda: WAV[:30], "truncated"),
    "a WAV of a stream": (lambda: wav(WAV[44:], size=0xFFFFFFFF), None),
    "a WAV of 4 GB": (lambda: wav(WAV[44:], size=0x7FFFFFFE), "truncated"),
    "an Ogg cut off": (lambda: OGG[: len(OGG) - 100], "truncated"),
    "an Ogg cut in its header": (lambda: OGG[:2_000], "truncated"),
    "an Opus cut off": (lambda: OPUS[: len(OPUS) - 10], "truncated"),
    "an MP3 cut off": (lambda: MP3[: len(MP3) // 2], "truncated"),
    "a FLAC cut in its header": (lambda: FLAC[:40], "truncated"),
    "a FLAC cut off": (lambda: FLAC[: len(FLAC) // 2], ANY),
    "an Ogg between whose pages others lie": (lambda: OGG.replace(b"OggS", b"OggX", 3)[:1] + OGG[1:5_000], ANY),
    "a damaged Ogg": (lambda: damaged(OGG), ANY),
    "a damaged FLAC": (lambda: damaged(FLAC), ANY),
    "a damaged MP3": (lambda: damaged(MP3), ANY),
    "tags of 200 MB": (lambda: b"ID3\4\0\0" + bytes([0x60, 0, 0, 0]) + MP3, "truncated"),
    "tags before another format": (lambda: b"ID3\4\0\0" + bytes([0, 0, 0, 4]) + b"abcd" + WAV, "not-audio"),
    "an MP3 behind tags": (lambda: b"ID3\4\0\0" + bytes([0, 0, 0, 4]) + b"abcd" + MP3, None),
    "codebooks of a million entries": (lambda: vorbis_claiming(2**20, 16), "broken"),
    "codebooks that unfold to gigabytes": (lambda: vorbis_claiming(2**15, 512), "broken"),
    "an Ogg of one header": (lambda: ogg_page(b"\x01vorbis" + bytes(23), flags=2), "broken"),
    "an Ogg of nothing": (lambda: ogg_page(b"", flags=2), "broken"),
    "codebooks whose lengths never end": (lambda: vorbis_stream(endless_lengths(60_000)), "broken"),
    "codebooks larger than any": (lambda: vorbis_stream(endless_lengths(110_000)), "broken"),
    "an Ogg of tiny pages": (lambda: ogg_page(b"head", flags=2) + ogg_page(b"", segments=b"") * 2_000, "broken"),
    "an MP3 that is longer than it may be": (lambda: MP3 * 125, "too-many-seconds"),
    "almost a minute of silence": (lambda: wav(bytes(2 * 59 * RATE)), None),
}


def outcome(read: Callable[[], object]) -> str | None:
    """The cause why a file is no recording; None: it is one."""
    try:
        read()
    except AudioError as error:
        assert str(error).startswith("the ")
        return error.cause
    return None


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_a_recording_or_one_cause(name: str) -> None:
    make, cause = HOSTILE[name]
    data = make()
    started = time.process_time()
    checked = outcome(lambda: check_recording(io.BytesIO(data), LIMITS))
    decoded = outcome(lambda: decode_bytes(data, limits=LIMITS).resample(RATE))
    assert time.process_time() - started < 2
    assert decoded == cause or (cause == ANY and decoded in (None, *AUDIO_CAUSES))
    assert checked in (None, decoded)  # a check decodes the first half second only


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All hostile files, with names that say nothing."""
    folder = tmp_path_factory.mktemp("hostile")
    for row, (make, _) in enumerate(HOSTILE.values()):
        (folder / f"{row}.ogg").write_bytes(make())
    return folder


def test_every_hostile_file_is_counted_by_its_cause(files: Path, tmp_path: Path) -> None:
    report = Report()
    sources = [[f"{row}.ogg"] for row in range(len(HOSTILE))]
    with quiet():
        found = resolve_recordings(
            sources, base=files, settings=LIMITS, cache=tmp_path, report=report, names=list(HOSTILE)
        )
    expected = Counter(cause for _, cause in HOSTILE.values() if cause not in (None, ANY))
    counted = Counter({cause.removeprefix(AUDIO_PREFIX): one.count for cause, one in report.problems.items()})
    assert all(cause.startswith(AUDIO_PREFIX) for cause in report.problems)
    assert not expected - counted
    assert (counted - expected).total() <= sum(cause == ANY for _, cause in HOSTILE.values())
    for (name, (_, cause)), recordings in zip(HOSTILE.items(), found, strict=True):
        assert cause == ANY or bool(recordings) == (cause is None), name
    assert any("the recording holds samples that are not finite numbers" in line for line in report.lines())


_MEASURE = """
import resource, sys
from pathlib import Path
import soundfile, scipy.signal
from likewise.catalog.audio.decode import AudioError, AudioSettings, open_recording
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1 << 20 if sys.platform == "darwin" else 1024)
before = peak()
for path in sorted(Path(sys.argv[1]).glob("*.ogg")):
    try:
        open_recording(path, 10.0, limits=AudioSettings(max_bytes=2_000_000)).resample(16_000)
    except AudioError:
        pass
print(peak() - before)
"""


def test_hostile_files_take_no_more_memory_than_allowed_recordings(files: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _MEASURE, str(files)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 60  # MB; the largest file has 1.9 MB, and 10 seconds of it are decoded


@pytest.mark.parametrize("form", ["WAV", "FLAC"])
def test_a_check_holds_a_file_no_more_than_twice(form: str) -> None:
    noise = np.random.default_rng(0).normal(size=(3_000_000,)).astype(np.float32) / 8
    file = io.BytesIO(encoded(noise, form, "PCM_16"))
    size = len(file.getvalue())
    check_recording(io.BytesIO(WAV))  # imports what it needs
    tracemalloc.start()
    try:
        check_recording(file)
        assert tracemalloc.get_traced_memory()[1] < 2.2 * size
    finally:
        tracemalloc.stop()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_change_of_a_few_bytes_is_a_recording_or_a_cause(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([WAV, FLAC, OGG, OPUS, MP3]))
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, min(len(whole), 4_000) - 1))] = data.draw(st.integers(0, 255))
    assert outcome(lambda: decode_bytes(bytes(changed), limits=LIMITS)) in (None, *AUDIO_CAUSES)
