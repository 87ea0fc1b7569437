"""What a run or a file of weights brings along for its encoders: no code, no pickles, nothing huge, nothing outside."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from encoders.tiny_models import (
    save_bert,
    save_clip,
    save_convnext,
    save_sentence_model,
    save_siglip,
    save_siglip2,
    save_vit,
)

from likewise.encoders.base import Modality
from likewise.encoders.registry import load_encoder, restore_encoder
from likewise.errors import UserError

ENCODERS: dict[str, tuple[Callable[[Path], Path], Modality]] = {
    "bert": (save_bert, "text"),
    "sentences": (lambda folder: save_sentence_model(folder, {"pooling_mode": "mean"}, dense=True), "text"),
    "vit": (save_vit, "image"),
    "convnext": (save_convnext, "image"),
    "clip-text": (save_clip, "text"),
    "clip-image": (save_clip, "image"),
    "siglip-text": (save_siglip, "text"),
    "siglip2-image": (save_siglip2, "image"),
}
EMBEDDED: dict[str, Modality] = {
    "lite-text": "text", "scratch-text": "text", "lite-image": "image", "scratch-image": "image",
}  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of each encoder, as a run holds it."""
    folders = {}
    for name, (save, modality) in ENCODERS.items():
        source = save(tmp_path_factory.mktemp("sources") / name)
        folders[name] = tmp_path_factory.mktemp("saved") / name
        load_encoder(str(source), modality).save(folders[name])
    for name, modality in EMBEDDED.items():
        folders[name] = tmp_path_factory.mktemp("saved") / name
        load_encoder(name, modality).save(folders[name])
    return folders


@pytest.fixture
def copy(saved: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """Copies one of them, for spoiling."""

    def make(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for file in saved[name].iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        return folder

    return make


def modality_of(name: str) -> Modality:
    return EMBEDDED[name] if name in EMBEDDED else ENCODERS[name][1]


def refusal(folder: Path, name: str) -> str:
    with pytest.raises(UserError) as caught:
        restore_encoder(folder, modality_of(name))
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 600
    return message


@pytest.mark.parametrize("name", [*ENCODERS, *EMBEDDED])
def test_what_encoders_save_is_taken_back(name: str, saved: dict[str, Path]) -> None:
    assert restore_encoder(saved[name], modality_of(name)).modality == modality_of(name)


@pytest.mark.parametrize("name", ["bert", "clip-image"])
def test_code_beside_a_configuration_neither_runs_nor_asks_whether_it_may(name: str, copy, tmp_path: Path) -> None:
    folder = copy(name)
    config = json.loads((folder / "config.json").read_text())
    classes = ("AutoConfig", "AutoModel", "AutoTokenizer", "AutoImageProcessor")
    automatic = {"auto_map": dict.fromkeys(classes, "evil.Evil"), "model_type": "evil"}
    (folder / "config.json").write_text(json.dumps(config | automatic))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    assert str(folder / "evil.py") in refusal(folder, name)
    (tmp_path / "evil.py").write_bytes((folder / "evil.py").read_bytes())
    (folder / "evil.py").unlink()
    restoring = f"""
import likewise.encoders.registry as registry
from pathlib import Path
registry.check_saved_files = lambda folder: None
try: registry.restore_encoder(Path({str(folder)!r}), {modality_of(name)!r})
except registry.UserError as error: print(str(error).count(chr(10)))
"""
    (folder / "evil.py").write_bytes((tmp_path / "evil.py").read_bytes())
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", restoring], input="y\ny\ny\n", capture_output=True, text=True, env=environment
    )
    assert done.stdout == ("0\n" if name == "bert" else ""), done.stderr
    assert not (tmp_path / "ran").exists(), "not even if such files were let in"


@pytest.mark.parametrize("kind", ["evil.py", "evil.PY", "a/evil.pyc", "lib.so", "weights.bin", "x.pkl", "w.pt", "a"])
def test_a_file_of_a_kind_that_encoders_do_not_save_is_named(kind: str, copy) -> None:
    folder = copy("scratch-text")
    (folder / kind).parent.mkdir(exist_ok=True)
    (folder / kind).write_text("")
    assert str(folder / kind) in refusal(folder, "scratch-text")


def test_a_loop_of_links_is_named(copy) -> None:
    folder = copy("scratch-text")
    (folder / "more.json").symlink_to("more.json")
    assert f"{folder / 'more.json'} is no file that an encoder saves" in refusal(folder, "scratch-text")


@pytest.mark.parametrize("target", ["/etc/hostname", "../outside.json", "../outside"])
def test_a_link_that_leads_out_is_named(target: str, copy, tmp_path: Path) -> None:
    folder = copy("scratch-text")
    (tmp_path / "outside.json").write_text("{}")
    (tmp_path / "outside").mkdir()
    (folder / "more.json").symlink_to(target)
    assert f"{folder / 'more.json'} is a link that points outside" in refusal(folder, "scratch-text")


def test_a_pipe_in_place_of_a_file_does_not_hang(copy) -> None:
    folder = copy("scratch-text")
    os.mkfifo(folder / "more.json")
    assert "more.json" in refusal(folder, "scratch-text")


def test_a_configuration_cannot_choose_attention_kernels_from_a_hub(copy) -> None:
    folder = copy("bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"attn_implementation": "evil/kernel"}))
    network = restore_encoder(folder, "text").network
    assert network.config._attn_implementation in ("sdpa", "eager")


DAMAGES: list[Any] = [None, [], "x", -1, 2**40, 1.5, {"a": {"b": []}}]


@pytest.mark.parametrize("name", [*ENCODERS, "scratch-text", "scratch-image"])
def test_any_damage_to_a_description_is_one_sentence_or_does_no_harm(name: str, copy) -> None:
    folder = copy(name)
    whole = json.loads((folder / "encoder.json").read_text())
    refused = 0
    for part, keys in (([], list(whole)), (["description"], list(whole["description"]))):
        for key in keys:
            for damage in [*DAMAGES, ...]:
                spoilt = json.loads(json.dumps(whole))
                at = spoilt
                for step in part:
                    at = at[step]
                if damage is ...:
                    del at[key]
                else:
                    at[key] = damage
                (folder / "encoder.json").write_text(json.dumps(spoilt))
                try:
                    restored = restore_encoder(folder, modality_of(name))
                    restored(restored.example(1))
                except UserError as error:
                    refused += 1
                    assert len(str(error).splitlines()) == 1
    assert refused > 20


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"])
@pytest.mark.parametrize("name", ENCODERS)
def test_any_damage_to_the_files_of_an_encoder_is_one_sentence(name: str, file: str, copy) -> None:
    folder = copy(name)
    if not (folder / file).exists():
        return
    whole = (folder / file).read_text()
    spoilt = ["", "{", "[]", "null", '"x"', "[" * 100_000, whole[: len(whole) // 2], '{"a":' * 100 + "1" + "}" * 100]
    for content in spoilt:
        (folder / file).write_text(content)
        refusal(folder, name)


HUGE = [
    "num_hidden_layers",
    "hidden_size",
    "vocab_size",
    "max_position_embeddings",
    "image_size",
    "num_channels",
    "depths",
]


@pytest.mark.parametrize("name", ["bert", "vit", "convnext", "clip-text", "clip-image", "siglip-text", "siglip2-image"])
def test_a_configuration_beyond_all_models_is_refused_before_anything_is_built(name: str, copy) -> None:
    folder = copy(name)
    config = json.loads((folder / "config.json").read_text())
    for key in [key for key in HUGE if key in config] + ["num_labels"]:
        huge = [10**9] if key == "depths" else 10**9
        (folder / "config.json").write_text(json.dumps(config | {key: huge}))
        message = refusal(folder, name)
        assert "config.json" in message
        assert f"{key} is 1000000000" in message


@pytest.mark.parametrize("key", ["size", "crop_size"])
def test_pictures_are_not_made_huge(key: str, copy) -> None:
    folder = copy("clip-image")
    processor = json.loads((folder / "preprocessor_config.json").read_text())
    for size in (10**9, {"height": 10**5, "width": 10**5}, {"shortest_edge": 10**6}, {"longest_edge": 10**6}):
        (folder / "preprocessor_config.json").write_text(json.dumps(processor | {key: size}))
        assert "preprocessor_config.json" in refusal(folder, "clip-image")
