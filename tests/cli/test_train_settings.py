"""A settings file says how the catalogue of a training is read, too, and options override it."""

from pathlib import Path
from typing import Any

import pytest
from cli.commands import run_command

from likewise.catalog.catalog import Catalog

SETTINGS = """
data:
  columns: {title: label, id: number}
  where: price > 1
  max_items: 3
  images: {per_item: 2, timeout: 4, allow_private_hosts: true}
  audio: {max_seconds: 5, retries: 1}
"""
ROWS = "number,label,name,price\n" + "".join(f"n{row},label {row},name {row},{row}\n" for row in range(8))


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command up to the training; the catalogue that would be learned."""
    read: list[Catalog] = []
    monkeypatch.setattr("likewise.training.train.train", lambda catalog, *_, **__: read.append(catalog))
    (tmp_path / "shop.csv").write_text(ROWS, encoding="utf-8")
    (tmp_path / "settings.yaml").write_text(SETTINGS, encoding="utf-8")

    def run(*options: object) -> Catalog:
        config = ("--config", tmp_path / "settings.yaml")
        run_command("train", tmp_path / "shop.csv", "--output", tmp_path / "run", *config, *options)
        return read.pop()

    return run


def test_a_settings_file_says_how_the_catalogue_is_read(read: Any) -> None:
    catalog = read()
    assert len(catalog) == 3
    assert all(title.startswith("label") for title in catalog.texts("title"))
    assert all(price > 1 for price in catalog.column("price"))
    assert (catalog.images.per_item, catalog.images.timeout, catalog.images.allow_private_hosts) == (2, 4.0, True)
    assert (catalog.audio.max_seconds, catalog.audio.retries, catalog.audio.allow_private_hosts) == (5.0, 1, False)


def test_options_override_the_settings_file(read: Any, tmp_path: Path) -> None:
    options = ("--map", "title=name", "--where", "price > 3", "--max-items", "2", "--images-per-item", "1")
    catalog = read(*options, "--image-root", tmp_path, "--retry-failed")
    assert len(catalog) == 2
    assert all(title.startswith("name") for title in catalog.texts("title"))
    assert catalog.ids[0].startswith("n"), "columns that no option names are those of the file"
    assert (catalog.images.per_item, catalog.images.timeout, catalog.images.root) == (1, 4.0, tmp_path)
    assert (catalog.audio.root, catalog.audio.retry_failed, catalog.audio.max_seconds) == (tmp_path, True, 5.0)
    assert catalog.audio.per_item == 8
