"""The names of ImageNet's classes, as an installed package has them."""

import importlib.util
import json

import pytest

from likewise.encoders.class_names import read_imagenet_names
from likewise.errors import UserError


def test_every_class_has_a_name():
    names = read_imagenet_names()
    assert len(names) == 1000
    assert (names[1], names[281], names[951]) == ("goldfish", "tabby cat", "lemon")


def reversed_names():
    return json.dumps(read_imagenet_names()[::-1])


@pytest.mark.parametrize(
    "content",
    [None, "", "{}", '["tench"]', json.dumps([1] * 1000), reversed_names],
    ids=["none", "empty", "object", "one", "numbers", "reversed"],
)
def test_other_names_and_none_are_refused(tmp_path, monkeypatch, content):
    content = content() if callable(content) else content
    (tmp_path / "__init__.py").touch()
    if content is not None:
        (tmp_path / "media_assets" / "data").mkdir(parents=True)
        (tmp_path / "media_assets" / "data" / "imagenet_labels.json").write_text(content)
    spec = importlib.util.spec_from_file_location("gradio", tmp_path / "__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(UserError, match="pip install --force-reinstall gradio"):
        read_imagenet_names()


def test_without_the_package_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install --force-reinstall gradio"):
        read_imagenet_names()
