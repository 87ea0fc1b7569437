"""The guide to audio: its commands and its Python run on a few stamps, and it names every cause."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from catalog.picture_files import encoded as encoded_picture
from catalog.picture_files import photo
from catalog.sound_files import encoded, tone
from cli.commands import run_command

from likewise.catalog import tuxpaint
from likewise.catalog.report import AUDIO_CAUSES, AUDIO_PREFIX, PICTURE_CAUSES
from likewise.progress import quiet

GUIDE = (Path(__file__).parents[2] / "docs" / "audio.md").read_text(encoding="utf-8")
BIRDS = ("hibou", "merle", "poule", "canard", "cygne", "paon", "aigle", "pie", "oie", "coq", "grue", "geai")
QUICK = """
epochs: 1
refit: false
precision: float32
threads: 1
model:
  {text_encoder: scratch-text, image_encoder: scratch-image, dim: 16, fields: {title: text, image: image}}
"""


def write_stamps(folder: Path) -> Path:
    folder.mkdir()
    for number, bird in enumerate(BIRDS):
        (folder / f"{bird}.png").write_bytes(encoded_picture(photo(seed=number), "PNG"))
        (folder / f"{bird}.txt").write_text(f"A bird.\nfr.utf8=Un oiseau : {bird}.\n", encoding="utf-8")
        (folder / f"{bird}_desc_fr.ogg").write_bytes(encoded(tone(0.2, 200 + 50 * number), "OGG"))
    (folder / "coq.ogg").write_bytes(encoded(tone(0.2, 900), "OGG"))
    return folder


def test_the_commands_and_the_example_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tuxpaint, "STAMPS", write_stamps(tmp_path / "stamps"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "question.ogg").write_bytes(encoded(tone(0.2, 400), "OGG"))
    (tmp_path / "other.wav").write_bytes(encoded(tone(0.3, 410)))
    (tmp_path / "quick.yaml").write_text(QUICK)
    block = re.search(r"```console\n(.*?)```", GUIDE, re.DOTALL)
    assert block
    commands = [shlex.split(line) for line in block[1].splitlines() if line.startswith("likewise ")]
    assert [command[1] for command in commands] == ["sample", "train", "index", "search", "search"]
    for _, *command in commands:
        with quiet():
            run_command(*command, *(["--config", "quick.yaml", "--device", "cpu"] if command[0] == "train" else []))
    assert capsys.readouterr().out.count("Un oiseau") >= 10
    names: dict[str, Any] = {}
    for example in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL):
        exec(example, names)
    assert len(names["hits"]) == 10
    (heard,) = names["index"].item("new").recordings["spoken"]
    assert heard.path.read_bytes() == (tmp_path / "other.wav").read_bytes()


def test_every_cause_of_recordings_is_explained() -> None:
    for cause, meaning in AUDIO_CAUSES.items():
        if cause not in PICTURE_CAUSES or cause == "format-not-allowed":
            assert f"| `{AUDIO_PREFIX}{cause}` | {meaning} |" in GUIDE
