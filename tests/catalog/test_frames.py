"""Tables in memory: the same cells give the same items, whichever library holds them."""

import gc
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest
from catalog.picture_files import BAD_FILES, JPEG, PNG, encoded, photo
from catalog.sound_files import encoded as encoded_sound
from catalog.sound_files import tone

from likewise.catalog.catalog import Catalog
from likewise.errors import UserError

ROWS = {
    "sku": ["a-1", "007", None, "d", "e"],
    "product_name": ["red shoes", "<b>Caf\u00e9</b> cup", " bag ", None, "hat"],
    "description": ["soft", "null", None, "", "of straw"],
    "image_url": ["a.png", '["b.png", "c.png"]', None, "https://example.org/d.png", None],
    "price": [1.5, 2.0, None, 4.0, 5.25],
    "stock": [3, 2, 1, 0, 7],
    "new": [True, False, True, True, False],
}
COLUMNS = {"title": "product_name", "id": "sku"}
TABLE = pl.DataFrame(ROWS)
WAYS: dict[str, Callable[[], Any]] = {
    "polars": lambda: TABLE,
    "polars, lazy": lambda: TABLE.lazy(),
    "pandas": lambda: pd.DataFrame(ROWS),
    "pandas, with objects": lambda: pd.DataFrame(ROWS, dtype=object),
    "pandas, with types of its own": lambda: pd.DataFrame(ROWS).convert_dtypes(),
    "pandas, with an index": lambda: pd.DataFrame(ROWS).set_index("sku"),
    "arrow": lambda: TABLE.to_arrow(),
    "arrow, in parts": lambda: TABLE.to_arrow().to_reader(max_chunksize=2),
    "duckdb": lambda: duckdb.from_arrow(TABLE.to_arrow()),
    "duckdb, a query": lambda: duckdb.from_arrow(TABLE.to_arrow()).filter("stock >= 0"),
    "hugging face": lambda: datasets.Dataset.from_pandas(pd.DataFrame(ROWS)),
    "hugging face, chosen": lambda: datasets.Dataset.from_dict(ROWS).select([0, 1, 2, 3, 4]),
}


@pytest.fixture(autouse=True)
def quiet() -> None:
    datasets.disable_progress_bars()


@pytest.fixture
def written(tmp_path: Path) -> Catalog:
    TABLE.write_csv(tmp_path / "products.csv")
    return Catalog.read(tmp_path / "products.csv", columns=COLUMNS, cache=tmp_path)


@pytest.mark.parametrize("way", WAYS)
def test_the_same_content_has_the_same_fingerprint(way: str, written: Catalog, tmp_path: Path) -> None:
    catalog = Catalog.read(WAYS[way](), columns=COLUMNS, cache=tmp_path)
    assert catalog.fingerprint == written.fingerprint
    assert catalog.ids == ["a-1", "007", "3", "d", "e"]
    assert catalog.column("price") == written.column("price")
    assert catalog.column("stock") == [3, 2, 1, 0, 7]
    assert catalog.column("new") == written.column("new")
    assert catalog.report.as_dict()["problems"] == written.report.as_dict()["problems"]
    assert len(catalog.where("price < 3 and new == true")) == 1


def test_files_and_tables_have_the_same_fingerprint(written: Catalog, tmp_path: Path) -> None:
    TABLE.write_parquet(tmp_path / "products.parquet")
    TABLE.write_ndjson(tmp_path / "products.jsonl")
    for name in ("products.parquet", "products.jsonl"):
        assert Catalog.read(tmp_path / name, columns=COLUMNS, cache=tmp_path).fingerprint == written.fingerprint


def test_integers_with_blanks_stay_integers_in_pandas(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("id,title,year\n7,cup,1999\n8,bag,\n,hat,2001\n")
    frame = pd.read_csv(tmp_path / "items.csv")
    assert frame["id"].dtype == float
    catalog = Catalog.read(frame, cache=tmp_path)
    assert catalog.ids == ["7", "8", "3"]
    assert catalog.fingerprint == Catalog.read(tmp_path / "items.csv", cache=tmp_path).fingerprint


def test_odd_cells_of_pandas(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "title": ["cup", "bag", "hat"],
            "day": pd.to_datetime(["2024-05-01", None, "2024-05-03"]),
            "kind": pd.Categorical(["a", None, "b"]),
            "size": [np.float32(1.5), None, np.int64(2)],
            "tags": [["x", "y"], None, np.array([1, 2])],
            "big": [2**70, 1, None],
            "price": [1.0, np.nan, np.inf],
            3: [1, 2, 3],
        }
    )
    catalog = Catalog.read(frame, cache=tmp_path)
    assert catalog.column("day") == ["2024-05-01 00:00:00", None, "2024-05-03 00:00:00"]
    assert catalog.column("kind") == ["a", None, "b"]
    assert catalog.column("size") == [1.5, None, 2.0]
    assert catalog.column("tags") == ['["x", "y"]', None, "[1, 2]"]
    assert catalog.column("big")[0] == str(2**70)
    assert catalog.column("3") == [1, 2, 3]
    assert str(catalog) == "Catalog('DataFrame', 3 items, fields title)"
    assert catalog.settings.file is None


def as_hugging_face(data: list[bytes | None]) -> datasets.Dataset:
    rows = {"image": [None if cell is None else {"bytes": cell, "path": None} for cell in data], "label": [0, 1, -1]}
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    return datasets.Dataset.from_dict(rows, features=datasets.Features(features))


def as_parquet(data: list[bytes | None], folder: Path) -> Path:
    dataset = datasets.Dataset.from_dict({"image": data, "label": ["cat", "dog", None]})
    dataset.cast_column("image", datasets.Image()).to_parquet(folder / "pictures.parquet")
    return folder / "pictures.parquet"


PICTURES: dict[str, Callable[[list[bytes | None], Path], Any]] = {
    "hugging face": lambda data, folder: as_hugging_face(data),
    "hugging face, a file": as_parquet,
    "polars": lambda data, folder: pl.DataFrame({"image": data, "label": ["cat", "dog", None]}),
    "polars, lists": lambda data, folder: pl.DataFrame(
        {"image": [None if cell is None else [cell] for cell in data], "label": ["cat", "dog", None]}
    ),
    "pandas": lambda data, folder: pd.DataFrame({"image": data, "label": ["cat", "dog", None]}),
    "pandas, as hugging face": lambda data, folder: (
        as_hugging_face(data).to_pandas().assign(label=["cat", "dog", None])
    ),
    "duckdb": lambda data, folder: duckdb.read_parquet(str(as_parquet(data, folder))),
}


@pytest.mark.parametrize("way", PICTURES)
def test_pictures_in_cells_are_found_by_their_bytes(way: str, tmp_path: Path) -> None:
    other = encoded(photo(seed=9))
    catalog = Catalog.read(PICTURES[way]([PNG, JPEG, other], tmp_path), cache=tmp_path / "cache")
    gc.collect()
    assert catalog.texts("title") == ["cat", "dog", None]
    assert [shown[0].path.read_bytes() for shown in catalog.pictures] == [PNG, JPEG, other]
    assert catalog.open_picture(catalog.pictures[1][0]).size == (200, 160)
    again = Catalog.read(PICTURES["polars"]([PNG, JPEG, other], tmp_path), cache=tmp_path / "elsewhere")
    assert again.fingerprint == catalog.fingerprint
    assert Catalog.read(PICTURES[way]([PNG, other, JPEG], tmp_path), cache=tmp_path).fingerprint != catalog.fingerprint


def test_pictures_in_cells_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    bad = [data for data, _ in BAD_FILES.values() if data]
    cells = [*bad, b"", None, PNG]
    table = pl.DataFrame({"picture": cells, "title": [f"thing {number}" for number in range(len(cells))]})
    catalog = Catalog.read(table, cache=tmp_path)
    assert [bool(shown) for shown in catalog.pictures] == [False] * (len(cells) - 1) + [True]
    problems = catalog.report.as_dict()["problems"]
    for _, cause in BAD_FILES.values():
        assert problems[cause] >= 1


def test_a_source_is_only_what_came_with_the_table(tmp_path: Path) -> None:
    catalog = Catalog.read(pl.DataFrame({"image": [PNG], "title": ["a"]}), cache=tmp_path)
    source = catalog.column("image")[0][0]
    assert catalog.pictures[0]
    stranger = Catalog.read(pl.DataFrame({"image": [source], "title": ["a"]}), cache=tmp_path)
    assert stranger.pictures == [()]
    assert stranger.report.as_dict()["problems"]["unknown-scheme"] == 1


def test_a_data_set_of_paths_is_read_from_the_files(tmp_path: Path) -> None:
    (tmp_path / "a, b|c.png").write_bytes(PNG)
    dataset = datasets.Dataset.from_dict({"image": [str(tmp_path / "a, b|c.png")], "label": ["cat"]})
    catalog = Catalog.read(dataset.cast_column("image", datasets.Image()), cache=tmp_path / "cache")
    assert catalog.pictures[0][0].path == tmp_path / "a, b|c.png"


def test_several_pictures_in_a_cell(tmp_path: Path) -> None:
    feature = datasets.Features({"images": datasets.List(datasets.Image()), "title": datasets.Value("string")})
    rows = {"images": [[{"bytes": PNG, "path": None}, {"bytes": JPEG, "path": None}], []], "title": ["a", "b"]}
    catalog = Catalog.read(datasets.Dataset.from_dict(rows, features=feature), cache=tmp_path)
    assert [len(sources) for sources in catalog.column("image")] == [2, 0]
    assert catalog.pictures[0][0].path.read_bytes() == PNG


def test_bytes_that_are_not_the_pictures_are_passed_over(tmp_path: Path) -> None:
    table = pl.DataFrame({"title": [b"\xff"], "name": ["cup"], "image": ["a.png"], "sound": [b"RIFF"]})
    catalog = Catalog.read(table, cache=tmp_path)
    assert catalog.texts("title") == ["cup"]
    assert "sound" not in catalog.table.columns
    assert sum("holds bytes" in note for note in catalog.report.notes) == 2


class _Stream:
    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        raise RuntimeError("the connection is closed\nand more")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: 7, "cannot read a catalogue from an object of the type int"),
        (lambda: {"title": ["a"]}, "of the type dict"),
        (lambda: io.BytesIO(b"title\na\n"), "of the type BytesIO"),
        (lambda: _Stream(), "cannot be read as an Arrow table: the connection is closed"),
        (lambda: pl.DataFrame(), "the DataFrame has no rows"),
        (lambda: pd.DataFrame({"title": []}), "the DataFrame has no rows"),
        (lambda: pd.DataFrame([[1, 2]], columns=["title", "title"]), 'several columns called "title"'),
        (lambda: pl.DataFrame({f"column {n}": ["a"] for n in range(5_001)}), "more than 5,000 columns"),
        (lambda: pl.DataFrame({"price": [1]}), "no column looks like the title"),
        (lambda: datasets.Dataset.from_dict({}), "has no rows"),
        (
            lambda: datasets.DatasetDict({"train": datasets.Dataset.from_dict({"title": ["a"]})}),
            r"several parts \(train\): give one of them, such as data\['train'\]",
        ),
        (lambda: datasets.Dataset.from_dict({"title": ["a"]}).to_iterable_dataset(), "load it with streaming=False"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as error:
        Catalog.read(make())
    assert "\n" not in str(error.value)


BROKEN_LETTER = "half a letter \ud83d"


@pytest.mark.parametrize("names", ["sku", ["sku", "stock"]])
def test_an_index_that_is_a_column_too_is_read_once(names: Any, tmp_path: Path) -> None:
    catalog = Catalog.read(pd.DataFrame(ROWS).set_index(names, drop=False), columns=COLUMNS, cache=tmp_path)
    assert catalog.ids == ["a-1", "007", "3", "d", "e"]
    assert catalog.column("stock") == ROWS["stock"]


def test_an_index_with_the_name_of_another_column_is_refused(tmp_path: Path) -> None:
    table = pd.DataFrame(ROWS, index=pd.Index(range(5), name="sku"))
    with pytest.raises(UserError, match='the DataFrame has several columns called "sku"'):
        Catalog.read(table, columns=COLUMNS, cache=tmp_path)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (pl.scan_csv("nowhere.csv"), "the LazyFrame cannot be read: No such file .*nowhere"),
        (pl.scan_parquet("nowhere.parquet"), "the LazyFrame cannot be read: No such file .*nowhere"),
        (TABLE.lazy().select("titel"), 'the LazyFrame cannot be read: .*"titel"'),
    ],
)
def test_a_query_of_polars_that_fails_is_one_sentence(table: pl.LazyFrame, says: str) -> None:
    with pytest.raises(UserError, match=says):
        Catalog.read(table)


def test_half_a_letter_in_a_table_of_pandas_is_replaced(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "title": [BROKEN_LETTER, "b"],
            "tags": [[BROKEN_LETTER], None],
            "image": [{"bytes": PNG, "path": BROKEN_LETTER}, None],
        },
        dtype=object,
    )
    catalog = Catalog.read(table, cache=tmp_path)
    assert catalog.texts("title")[0] == "half a letter \ufffd"
    assert catalog.texts("tags")[0] == '["half a letter \ufffd"]'
    assert len(catalog.pictures[0]) == 1


def test_recordings_in_cells_have_to_be_files(tmp_path: Path) -> None:
    sound = {"bytes": encoded_sound(tone()), "path": "a.wav"}
    rows = {"title": ["a", "b"], "audio": [None, sound], "code": [b"1", b"2"]}
    catalog = Catalog.read(pd.DataFrame(rows), cache=tmp_path)
    said = " ".join(catalog.report.notes)
    assert 'the column "audio" holds recordings, which have to be files' in said
    assert 'the column "code" holds bytes and is not used' in said


def test_pictures_in_cells_leave_their_names_in_the_column(tmp_path: Path) -> None:
    files = [{"bytes": PNG, "path": "a.png"}, {"bytes": JPEG, "path": None}, None, {"bytes": b"", "path": "c.png"}]
    rows = {"title": ["a", "b", None, "c"], "photo": files}
    catalog = Catalog.read(pd.DataFrame(rows), columns={"image": "photo"}, cache=tmp_path)
    assert catalog.texts("photo") == ["a.png", None, "c.png"]
    assert [source[:7] for source in catalog.table["image"].list.first()[:2]] == ["sha256:", "sha256:"]
    bare = Catalog.read(pl.DataFrame({"title": ["a"], "photo": [PNG]}), columns={"image": "photo"}, cache=tmp_path)
    assert (bare.texts("photo"), len(bare.pictures[0])) == ([None], 1)
