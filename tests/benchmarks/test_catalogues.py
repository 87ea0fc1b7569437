"""The catalogues of the comparison: honest descriptions, and folds that are the same for every system."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from catalogues.prepared import fold_by_identity, prepare
from catalogues.stamps import write_stamps
from catalogues.units import write_units
from model.shape_catalogue import draw, write_catalogue
from peers.clock import Clock
from peers.task import Task

from likewise.catalog.catalog import Catalog
from likewise.catalog.identity import Identity
from likewise.errors import UserError
from likewise.training.split import deal_groups


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


def test_a_unit_is_its_own_name_race_and_paragraph(tmp_path: Path) -> None:
    core = tmp_path / "1.16" / "data" / "core"
    for place in ("units/elves", "images/units"):
        (core / place).mkdir(parents=True)
    draw("green", "circle").save(core / "images" / "units" / "archer.png")
    (core / "units" / "elves" / "Archer.cfg").write_text(
        '[unit_type]\n id=Elvish Archer\n name= _ "Elvish Archer"\n race=elf\n image="units/archer.png~RC(red)"\n'
        ' description= _ "Elves <i>love</i>\n""bows""."\n [attack]\n  name=bow\n  description=_"bow"\n [/attack]\n'
    )
    (core / "units" / "elves" / "Macro.cfg").write_text(
        'id=Fog\nname= _ "Fog"\nimage="{MACRO 1 2}"\ndescription= _ "Fog."\n'
    )
    (core / "units" / "elves" / "Lost.cfg").write_text(
        'id=Lost\nname= _ "Lost"\nimage="units/no.png"\ndescription= _ "x"\n'
    )
    table = pl.read_csv(write_units(tmp_path / "units.csv", tmp_path))
    assert table.rows() == [
        (
            "Elvish Archer",
            "Elvish Archer",
            'Race: elf. Elves love "bows".',
            str(core / "images" / "units" / "archer.png"),
        )
    ]
    with pytest.raises(UserError, match="apt-get install wesnoth"):
        write_units(tmp_path / "none.csv", tmp_path / "nowhere")


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


@pytest.fixture
def doubled(tmp_path: Path) -> Path:
    """Every picture in two rows, whose titles differ."""
    source = pl.read_csv(write_catalogue(tmp_path / "shapes")).select("id", "title", "description", "image_url")
    again = source.with_columns((pl.col("id") + "-again").alias("id"), (pl.col("title") + " again").alias("title"))
    path = tmp_path / "shapes" / "twice.csv"
    pl.concat([source, again]).write_csv(path)
    return path


def test_every_row_is_tested_once(doubled: Path, tmp_path: Path) -> None:
    tables = fold_by_identity(doubled, tmp_path / "work", folds=3)
    tested = [row for table in tables for row in table.filter(pl.col("split") == "test")["id"]]
    assert sorted(tested) == sorted(pl.read_csv(doubled)["id"])
    for table in tables:
        assert len(table) == len(tested)
        assert set(table["split"]) == {"train", "val", "test"}
        outside = table.filter(pl.col("split") != "test")
        assert len(outside.filter(pl.col("split") == "val")) / len(outside) == pytest.approx(0.1, abs=0.03)


def test_no_identity_is_tested_and_learned_from(doubled: Path, tmp_path: Path) -> None:
    for number, table in enumerate(fold_by_identity(doubled, tmp_path / "work", folds=3)):
        table.write_csv(tmp_path / f"fold-{number}.csv")
        component = Identity.read(Catalog.read(tmp_path / f"fold-{number}.csv", cache=tmp_path / "cache")).component
        tested = (table["split"] == "test").to_numpy()
        assert len(np.unique(component)) < 0.6 * len(table)  # doubles are connected, or else this says nothing
        assert not set(component[tested]) & set(component[~tested])
        pictured = table.filter(pl.col("image_url").is_not_null())
        assert pictured.group_by("image_url").agg(pl.col("split").n_unique())["split"].max() == 1


def test_folds_are_equally_large_and_keep_components_whole() -> None:
    component = np.repeat(np.arange(60), np.random.default_rng(0).integers(1, 9, 60))
    fold = deal_groups(component, 5, seed=0)
    sizes = np.bincount(fold)
    assert len(sizes) == 5
    assert np.ptp(sizes) <= 1
    assert all(len(set(fold[component == number])) == 1 for number in range(60))


def test_systems_read_the_split_that_was_written(tmp_path: Path) -> None:
    table = fold_by_identity(write_catalogue(tmp_path / "shapes"), tmp_path / "work")[1]
    file = tmp_path / "catalogue.csv"
    table.write_csv(file)
    by_part = {part: table.filter(pl.col("split") == part)["id"].to_list() for part in ("train", "val", "test")}
    for seed in (0, 1):  # the seed is of the training, not of the split
        task = Task(file, tmp_path / f"system-{seed}", Clock(0.0, 1.0), seed, threads=1)
        assert {"train": task.train.ids, "val": task.validation.ids, "test": task.test.ids} == by_part


def test_titles_are_asked_and_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.csv"
    fold_by_identity(write_catalogue(tmp_path / "shapes"), tmp_path / "work")[0].write_csv(file)
    task = Task(file, tmp_path / "system", Clock(0.0, 1.0), 0, threads=1)
    assert task.questions.fields == ("description", "image")
    assert task.questions.texts == list(dict.fromkeys(title for title in task.test.texts("title") if title))


def test_grocery_keeps_the_split_of_its_publishers(tmp_path: Path) -> None:
    source = tmp_path / "source"
    path = write_catalogue(source)
    pl.read_csv(path).rename({"part": "split"}).write_csv(source / "products.csv")
    (file,) = prepare("grocery", tmp_path / "whole", source / "products.csv")
    whole = pl.read_csv(file)
    assert whole["split"].to_list() == pl.read_csv(source / "products.csv")["split"].to_list()[: len(whole)]
    catalog = Catalog.read(file, cache=tmp_path / "cache")
    assert np.mean([bool(shown) for shown in catalog.pictures]) > 0.8
