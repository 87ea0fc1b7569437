"""The catalogues of the comparison: honest descriptions, and a split that is the same for every system."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from catalogues.prepared import prepare, split_by_identity
from catalogues.stamps import write_stamps
from model.shape_catalogue import draw, write_catalogue
from peers.clock import Clock
from peers.task import Task

from likewise.catalog.catalog import Catalog
from likewise.errors import UserError


@pytest.fixture
def stamps(tmp_path: Path) -> Path:
    folder = tmp_path / "stamps"
    for number, (place, caption) in enumerate(
        {
            "animals/birds/crow": "A crow.\nde.utf8=Eine Krähe.\n",
            "symbols/00_money/dime": "A dime. It is small!\n",
            "cartoon/silent": "\n",
        }.items()
    ):
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        draw("red", "circle", 10 + number).save(path.with_suffix(".png"))
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    draw("red", "bar").save(folder / "cartoon" / "uncaptioned.png")
    return folder


def test_a_stamp_is_its_caption_and_its_subjects(stamps: Path, tmp_path: Path) -> None:
    table = pl.read_csv(write_stamps(tmp_path / "stamps.csv", stamps))
    assert table.select("title", "description").rows() == [
        ("A crow", "Subject: animals, birds."),
        ("A dime", "It is small! Subject: symbols, money."),
    ]
    assert all(Path(picture).is_file() for picture in table["image_url"])


def test_missing_stamps_name_their_package(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="apt-get install tuxpaint-stamps-default"):
        write_stamps(tmp_path / "stamps.csv", tmp_path / "nothing")


def test_rows_with_the_same_picture_stay_on_one_side(tmp_path: Path) -> None:
    source = pl.read_csv(write_catalogue(tmp_path / "shapes")).select("id", "title", "description", "image_url")
    again = source.with_columns((pl.col("id") + "-again").alias("id"), (pl.col("title") + " again").alias("title"))
    path = tmp_path / "shapes" / "twice.csv"
    pl.concat([source, again]).write_csv(path)
    table = split_by_identity(path, tmp_path / "work")
    pictured = table.filter(pl.col("image_url").is_not_null())
    assert set(table["split"]) == {"train", "val", "test"}
    assert pictured.group_by("image_url").agg(pl.col("split").n_unique())["split"].max() == 1


def test_systems_read_the_split_that_was_written(tmp_path: Path) -> None:
    table = split_by_identity(write_catalogue(tmp_path / "shapes"), tmp_path / "work")
    file = tmp_path / "catalogue.csv"
    table.write_csv(file)
    by_part = {part: table.filter(pl.col("split") == part)["id"].to_list() for part in ("train", "val", "test")}
    for seed in (0, 1):  # the seed is of the training, not of the split
        task = Task(file, tmp_path / f"system-{seed}", Clock(0.0, 1.0), seed, threads=1)
        assert {"train": task.train.ids, "val": task.validation.ids, "test": task.test.ids} == by_part


def test_titles_are_asked_and_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.csv"
    split_by_identity(write_catalogue(tmp_path / "shapes"), tmp_path / "work").write_csv(file)
    task = Task(file, tmp_path / "system", Clock(0.0, 1.0), 0, threads=1)
    assert task.questions.fields == ("description", "image")
    assert task.questions.texts == list(dict.fromkeys(title for title in task.test.texts("title") if title))


def test_grocery_keeps_the_split_of_its_publishers(tmp_path: Path) -> None:
    source = tmp_path / "source"
    path = write_catalogue(source)
    pl.read_csv(path).rename({"part": "split"}).write_csv(source / "products.csv")
    whole = pl.read_csv(prepare("grocery", tmp_path / "whole", source / "products.csv"))
    assert whole["split"].to_list() == pl.read_csv(source / "products.csv")["split"].to_list()[: len(whole)]
    few = pl.read_csv(prepare("grocery", tmp_path / "few", source / "products.csv", most_rows=12))
    assert 10 <= len(few) <= 15
    assert set(few["split"]) == {"train", "val", "test"}
    catalog = Catalog.read(tmp_path / "whole" / "catalogue.csv", cache=tmp_path / "cache")
    assert np.mean([bool(shown) for shown in catalog.pictures]) > 0.8
