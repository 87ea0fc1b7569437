"""The files that `Encoder.save` leaves: which kinds there are, and what their numbers may ask for.

A run or a file of weights may come from a stranger. None of these files is code or a pickle, and none makes its reader
build something large: the bounds here are far beyond every known model.
"""

import os
from pathlib import Path, PurePosixPath
from typing import Any

from likewise.config import MOST_PIXELS
from likewise.errors import UserError
from likewise.files import lies_within
from likewise.parsing import MOST_JSON_BYTES, read_json

KINDS = (".json", ".txt", ".model", ".jinja")  # settings, vocabularies, SentencePiece models, chat templates
_MOST_BYTES = 64_000_000  # the largest known tokenizer.json, for 262,144 words, has 33 MB
_VOCABULARIES = ("tokenizer.json", "vocab.json", "added_tokens.json")
_CONFIG, _PROCESSORS = "config.json", ("preprocessor_config.json", "processor_config.json")
_MOST = 2**25  # of any integer in a configuration: words, positions
_MOST_PARTS = 100_000  # of what is counted: layers, heads, classes
_MOST_OF_PICTURES = dict.fromkeys(
    ("size", "crop_size", "pad_size", "height", "width", "shortest_edge", "longest_edge", "max_height", "max_width"),
    MOST_PIXELS,
) | {"patch_size": 64, "max_num_patches": 16_384}
_MOST_SAMPLES = 2**22  # of one recording: 87 seconds at 48 kHz
_MOST_OF_SOUNDS = {
    "sampling_rate": 384_000,
    "max_length": 10_000,
    "max_length_s": 3_600,
    "chunk_length": 3_600,
    "chunk_length_s": 3_600,
    "nb_max_samples": _MOST_SAMPLES,
    "n_samples": _MOST_SAMPLES,
    "nb_max_frames": 100_000,
    "fft_window_size": 2**16,
    "n_fft": 2**16,
    "hop_length": 2**16,
    "feature_size": 4_096,
    "num_mel_bins": 4_096,
    "nb_frequency_bins": 2**16,
}
_LEAST_HOP = 10  # samples between two frames; SpeechT5 has 16 milliseconds
_MOST_CELLS = 2**22  # frames × mel bands, or mel bands × frequencies of their filters
_MOST_SPECTRUM = 2**23  # frames × frequencies
_UNBOUNDED = ("theta",)  # a wavelength, not a size


def is_known_kind(name: str) -> bool:
    """Whether a file of this name is of a kind that encoders save."""
    return PurePosixPath(name).suffix.lower() in KINDS


def check_saved_files(folder: Path) -> None:
    """See that a folder holds only files that `Encoder.save` writes, and no numbers beyond all bounds.

    Raises:
        UserError: a file of another kind (code, a pickle), a link that leads out of the folder, a file that is larger
            than any encoder's, or a configuration that is damaged or asks for something huge.
    """
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in sorted([*folders, *files])):
            if not lies_within(path, folder):
                raise UserError(f"{path} is a link that points outside its folder: put the file itself there")
            if path.is_dir():
                continue
            if not path.is_file() or not is_known_kind(path.name):
                raise UserError(
                    f"{path} is no file that an encoder saves ({', '.join(KINDS)}), and may hold code: remove it, or "
                    "do not use what it came with"
                )
            _check_content(path)


def _check_content(path: Path) -> None:
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise UserError(f"{path} is damaged (it is larger than {_MOST_BYTES / 1e6:,.0f} MB): get it again")
    if path.suffix.lower() != ".json" or path.name in _VOCABULARIES:
        return
    try:
        check_numbers(path.name, read_json(path, MOST_JSON_BYTES))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}): get it again") from None


def check_numbers(name: str, content: Any) -> None:
    """See that a configuration asks for nothing huge.

    Args:
        name: of the file; sizes in a processor's are sides of pictures, or lengths of recordings.

    Raises:
        ValueError: it does; the message names the key.
    """
    if not isinstance(content, dict):
        raise ValueError("it holds no keys and values")
    if name == _CONFIG:
        _check(content, "", pictures=False)
    elif name in _PROCESSORS:
        _check(content, "", pictures=True)


def _check(value: Any, key: str, *, pictures: bool) -> None:
    if isinstance(value, dict):
        for inner, part in value.items():
            _check(part, str(inner), pictures=pictures)
        if pictures and any(name in _MOST_OF_SOUNDS for name in value):
            _check_sounds(value)
    elif isinstance(value, list):
        for part in value:
            _check(part, key, pictures=pictures)
    elif isinstance(value, float) and not (pictures and key in _MOST_OF_PICTURES | _MOST_OF_SOUNDS):
        return  # such as a mean, a threshold or a rate of dropout
    elif isinstance(value, int | float) and not abs(value) <= _most(key, pictures) and not key.endswith(_UNBOUNDED):
        raise ValueError(f"{key[:40]} is {value!r:.40}, and no model goes beyond {_most(key, pictures):,}")


def _check_sounds(extractor: dict[str, Any]) -> None:
    """See that what a feature extractor makes of a recording is not huge, though each number alone may be fair.

    A number that is missing counts as that of CLAP, whose defaults are large.
    """

    def largest(default: float, *names: str) -> float:
        found = [extractor[name] for name in names if isinstance(extractor.get(name), int | float)]
        return max(map(float, found), default=default)

    hop = largest(160, "hop_length")
    if hop < _LEAST_HOP:
        raise ValueError(f"hop_length is {hop:g}, and no model has less than {_LEAST_HOP}")
    samples = largest(48_000, "sampling_rate") * largest(10, "max_length_s", "chunk_length", "chunk_length_s")
    samples = max(samples, largest(0, "nb_max_samples", "n_samples"))
    frames = max(samples / hop, largest(0, "max_length", "nb_max_frames"))
    bands = largest(64, "feature_size", "num_mel_bins")
    frequencies = max(largest(1_024, "fft_window_size", "n_fft") / 2 + 1, largest(0, "nb_frequency_bins"))
    for what, count, most in (
        ("samples of a recording (sampling_rate × seconds)", samples, _MOST_SAMPLES),
        ("cells of a spectrogram (samples ÷ hop_length × mel bands)", frames * bands, _MOST_CELLS),
        ("cells of a spectrum (samples ÷ hop_length × frequencies)", frames * frequencies, _MOST_SPECTRUM),
        ("weights of mel filters (mel bands × frequencies)", bands * frequencies, _MOST_CELLS),
    ):
        if not count <= most:
            raise ValueError(f"it asks for {count:,.0f} {what}, and no model goes beyond {most:,}")


def _most(key: str, pictures: bool) -> int:
    if pictures and key in _MOST_OF_PICTURES:
        return _MOST_OF_PICTURES[key]
    if pictures and key in _MOST_OF_SOUNDS:
        return _MOST_OF_SOUNDS[key]
    counted = "num_" in key or key.startswith(("n_", "depth")) or key.endswith(("layer", "layers", "depths"))
    return _MOST_PARTS if counted else _MOST
