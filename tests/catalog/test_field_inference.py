"""`likewise doctor --suggest-config`: the kind of each column, why, and a config that declares them."""

import csv
import random
from pathlib import Path

import polars as pl
import pytest
import yaml
from catalog.product_words import WORDS

from likewise.catalog.field_inference import infer_field_kinds, suggest_config
from likewise.cli.app import app
from likewise.config import TrainConfig
from likewise.errors import UserError
from likewise.parsing import read_yaml

ROWS = 200


def write_catalogue(path: Path) -> Path:
    draw = random.Random(1)
    rows = []
    for row in range(ROWS):
        title = f"{' '.join(draw.sample(WORDS[:14], 4))} {row}"
        rows.append(
            {
                "sku": f"S-{row}",
                "product_name": title,
                "price": f"€ {draw.randrange(5, 90)},{draw.randrange(10)}9" if row % 50 else "on request",
                "brand": draw.choice(["Acme", "Bolt", "Zeta"]),
                "tags": "|".join(draw.sample(WORDS[:14], 2)),
                "released": f"{draw.randrange(1, 28)}.{draw.randrange(1, 13)}.20{draw.randrange(10, 24)}",
                "created_at": f"2024-01-02 10:{row // 60:02}:{row % 60:02}",
                "vegan": draw.choice(["yes", "no"]),
                "stock": draw.randrange(100),
                "weight": draw.choice(["500 g", "1.5 kg", "2 kg"]),
                "zip": f"0{draw.randrange(1000, 1050)}",
                "year": draw.randrange(1990, 2020),
                "link": f"https://shop.example/{row}",
                "note": f"see {title}, {draw.random()}",
                "same": "x",
                "blank": "",
                "model": f"XJ-{row * 7919 % 1000}",
                "sound": f"sounds/{row}.ogg",
                "back": f"back/{row}.jpg",
                "a: b # \u202e\x1b c": draw.choice(["left", "right"]),
            }
        )
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


FIELDS = {
    "title": "text",
    "brand": "category",
    "tags": "tags",
    "released": "date",
    "vegan": "boolean",
    "weight": "number",
    "zip": "category",
    "year": "number",
    "note": "text",
    "sound": "audio",
    "a: b # \u202e\x1b c": "category",
}


def test_the_config_declares_what_describes_items(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_catalogue(tmp_path / "products.csv")
    app(["doctor", str(file), "--suggest-config"], result_action="return_value")
    text = capsys.readouterr().out
    (tmp_path / "fields.yaml").write_text(text, encoding="utf-8")
    assert read_yaml(tmp_path / "fields.yaml") == {"model": {"fields": FIELDS}}
    assert TrainConfig.read(tmp_path / "fields.yaml").model.fields == FIELDS
    for line in (
        "    # price: number  # 98 % of 200 cells are numbers, with €; a price is a filter and no field unless you ask",
        "    brand: category  # 3 different values in 200 cells",
        '    tags: tags  # 14 different tags separated by "|" in 200 cells',
        "    # stock: number  # all 200 cells are numbers; it changes from day to day",
        "    # created_at is no field: it has 200 different values for 200 items, each the time of a single event",
        "    # model is no field: it has 200 different values for 200 items, which are codes and not words",
        "    # sku is no field: it is the column that is used as id",
        "    # link is no field: its cells are addresses",
        "    # back is no field: its cells name pictures",
        "    # blank is no field: all cells are blank",
        "    # same: category  # 1 value in 200 cells; it has one value only",
    ):
        assert f"\n{line}" in text
    assert not set(text) & {"\u202e", "\x1b"}


def test_a_commented_price_can_be_asked_for(tmp_path: Path) -> None:
    text = suggest_config(write_catalogue(tmp_path / "products.csv")).replace("# price:", "price:")
    assert yaml.safe_load(text)["model"]["fields"]["price"] == "number"


def test_the_command_in_the_config_reads_the_same_columns(tmp_path: Path) -> None:
    file = write_catalogue(tmp_path / "my products.csv")
    text = suggest_config(file, {"title": "note"})
    assert f"#   likewise train '{file}' --map title=note --config fields.yaml --output RUN" in text
    assert "note" not in yaml.safe_load(text)["model"]["fields"]


def test_no_usable_row_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("title,price\n,5\n")
    with pytest.raises(UserError, match=r"no row of .*items\.csv can be used"):
        suggest_config(tmp_path / "items.csv")


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([True, False, None, True], "boolean"),
        ([0, 1, 1, 0], "boolean"),
        ([1, 2, 3, 1], "number"),
        ([1.5, 2.25, 1.5, None], "number"),
        ([20240131, 20240229, 20240131, 20231201], "date"),
        ([1_600_000_000, 1_600_000_500, 1_600_000_000, None], "date"),
        (["2024-01-01", "2024-05-01", "2024-01-01", None], "date"),
        (["5", "6 kg", "7", "heavy"], "text"),
        (["5 €", "6,50 €", "7 €", "free"], "number"),
        (["Nice, warm and soft", "Rough, cold", "Warm, red thing", "Other, words"], "text"),
        (["a", "b", "a", "b"], "category"),
        ([["a", "b"], ["b", "c"], ["a", "c"], None], "tags"),
        (['["a", "b"]', '["b", "c"]', '["a"]', '["a", "c"]'], "tags"),
    ],
)
def test_kinds_of_short_columns(cells: list[object], kind: str) -> None:
    titles = ["one", "two", "three", "four"]
    table = pl.DataFrame(
        {"id": titles, "title": titles, "description": [None] * 4, "image": [[]] * 4, "column": cells},
        schema_overrides={"description": pl.String, "image": pl.List(pl.String)},
    )
    assert infer_field_kinds(table)["column"].kind == kind


def test_recordings_of_a_format_that_is_not_read_are_no_field() -> None:
    names = [f"sounds/{row}" for row in range(40)]
    table = pl.DataFrame(
        {
            "id": [str(row) for row in range(40)],
            "title": [f"bell {row}" for row in range(40)],
            "description": [f"of {row} kg" for row in range(40)],
            "wave": [f"{name}.wav" for name in names],
            "phone": [f"{name}.m4a" for name in names],
            "stream": [f"https://shop.example/{name}.aac" for name in names],
        }
    )
    fields = infer_field_kinds(table)
    assert fields["wave"].kind == "audio"
    for column in ("phone", "stream"):
        assert fields[column].kind is None
        assert "a format that is not read" in fields[column].evidence
