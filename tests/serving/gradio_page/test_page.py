"""What the page says in each state, without a browser."""

import hashlib
import os
from pathlib import Path

import pytest
from PIL import Image
from retrieval.fakes import FakeModel, catalog_of, save_picture

from likewise.catalog.catalog import Catalog
from likewise.catalog.images.picture import Picture
from likewise.config import TrainConfig
from likewise.errors import UserError
from likewise.retrieval.index import Index
from likewise.retrieval.items import BookkeepingColumns, Hit, Item
from likewise.serving.catalog_name import find_catalog_name
from likewise.serving.gradio_page.cards import details_html
from likewise.serving.gradio_page.page import Answers, create_page
from likewise.serving.thumbnails import thumbnails_in
from likewise.stores.base import Record


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers(Index.build(FakeModel(), catalog_of("green tea", "black tea", "coffee")))


class Pressed:
    """Stands for Gradio's event of a button on a card or on a hint."""

    def __init__(self, id: str | None = None, text: object = None) -> None:
        self._data = {"id": id, "text": text}


def test_words_give_cards(answers: Answers) -> None:
    shown, _ = answers.search("green tea", None, 0.5, 2)
    assert "2 results: “green tea”" in shown
    assert shown.index("green tea</span>") < shown.index("black tea</span>")


def test_a_filter_and_exact_words(answers: Answers) -> None:
    shown, _ = answers.search("green tea", None, 0.5, 5, "title != 'green tea'", True)
    assert "2 results: “green tea” where title != &#x27;green tea&#x27;" in shown
    assert "green tea</span>" not in shown
    shown, _ = answers.search("tea", None, 0.5, 5, "titel == 'x'")
    assert 'role="alert">there is no column &quot;titel&quot;; did you mean title?</p>' in shown
    assert "1 result: more like “green tea” where" in answers.similar(5, "title == 'coffee'", Pressed("0"))
    assert "3 results: “tea”" in answers.search("tea", None, 0.5, 5, "  ", True)[0]


def test_misspelt_words_are_corrected_aloud_and_can_be_searched_for_as_they_are(answers: Answers) -> None:
    shown, _ = answers.search("gren tea & <b>", None, 0.5, 5, None, True)
    assert 'role="status">Showing results for <strong>green tea &amp; &lt;b&gt;</strong>. ' in shown
    button = '<button type="button" data-exact data-text="gren tea &amp; &lt;b&gt;">'
    assert f"{button}Search instead for gren tea &amp; &lt;b&gt;</button>" in shown
    assert shown.index("green tea</span>") < shown.index("black tea</span>")
    text, shown, _ = answers.search_exactly(Pressed(text="gren tea"), None, 0.5, 5, None, True)
    assert text == "gren tea"
    assert "Showing results for" not in shown
    assert "3 results: “gren tea”" in shown
    assert "Showing results for" not in answers.search("gren tea", None, 0.5, 5)[0]


def test_a_suggested_filter_is_a_line_and_applied_by_its_button() -> None:
    catalog = catalog_of("green tea", "black tea", "coffee", "<b>", price=[1, 2, 3, 4], brand=["A", "A", "<b>", "<b>"])
    answers = Answers(Index.build(FakeModel(), catalog))
    shown, _ = answers.search("tea under 3 by <b>", None, 0.5, 4)
    assert "4 results: “tea under 3 by &lt;b&gt;”" in shown
    assert "“under 3” is read as price &lt; 3; “by &lt;b&gt;” is read as brand == &quot;&lt;b&gt;&quot;." in shown
    assert 'data-apply data-text="tea under 3 by &lt;b&gt;">Apply as a filter</button>' in shown
    text, where, _, shown = answers.apply(Pressed(text="tea under 3"), None, 0.5, 4, "price > 1")
    assert (text, where) == ("tea", "price > 1 and price < 3")
    assert "1 result: “tea” where price &gt; 1 and price &lt; 3" in shown
    assert "data-apply" not in shown
    text, where, _, shown = answers.apply(Pressed(text="tea"), None, 0.5, 4, "")  # the columns have changed since
    assert (text, where, "4 results: “tea” ·" in shown) == ("tea", "", True)
    assert 'role="alert">syntax error' in answers.apply(Pressed(text="tea under 3"), None, 0.5, 4, "price >")[-1]
    assert 'role="alert">the query must be text' in answers.apply(Pressed(text=7), None, 0.5, 4)[-1]


def test_hints_are_shown_where_nothing_is_found() -> None:
    answers = Answers(
        Index.build(FakeModel(), catalog_of("green tea", "black tea", "coffee", "tee", price=[1, 2, 3, 4]))
    )
    shown, _ = answers.search("gren tea under 3", None, 0.5, 4, "price > 9", True)
    assert "Nothing found" in shown
    assert "data-exact" in shown
    assert 'data-apply data-text="gren tea under 3">Apply as a filter</button>' in shown


def test_exact_words_without_words_are_a_search_by_picture(answers: Answers, tmp_path: Path) -> None:
    picture = save_picture(tmp_path / "query.png", (0, 200, 0))
    assert "3 results" in answers.search("", {"path": str(picture.path)}, 0.5, 12, None, True)[0]


@pytest.mark.parametrize("words", ["", "   ", "\n"])
def test_nothing_asked_says_what_to_do(answers: Answers, words: str) -> None:
    shown, _ = answers.search(words, None, 0.5, 2)
    assert "type a few words or add a picture" in shown
    assert "alert" not in shown


def test_a_picture_is_searched_for(answers: Answers, tmp_path: Path) -> None:
    picture = save_picture(tmp_path / "query.png", (0, 200, 0))
    assert "3 results: your picture" in answers.search("", {"path": str(picture.path)}, 0.5, 12)[0]
    assert "3 results: “tea” and your picture" in answers.search("tea", {"path": str(picture.path)}, 0.5, 12)[0]


def test_a_broken_picture_is_one_sentence_and_taken_away(answers: Answers, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    shown, picture = answers.search("tea", {"path": str(tmp_path / "text.jpg")}, 0.5, 12)
    assert 'role="alert">This file is not a picture; try another one.</p>' in shown
    assert picture is None


def test_a_picture_with_too_many_pixels_is_refused(answers: Answers, tmp_path: Path) -> None:
    Image.new("1", (9000, 9000)).save(tmp_path / "huge.png")
    assert "has more pixels than allowed" in answers.search("", {"path": str(tmp_path / "huge.png")}, 0.5, 12)[0]


def test_an_example_takes_the_place_of_the_query(answers: Answers) -> None:
    text, picture, shown = answers.example("coffee", 1)
    assert (text, picture) == ("coffee", None)
    assert "1 result: “coffee”" in shown


def test_more_like_this_leaves_the_item_out(answers: Answers) -> None:
    shown = answers.similar(5, "", Pressed("0"))
    assert "2 results: more like “green tea”" in shown
    assert 'data-id="0"' not in shown
    assert "no item" in answers.similar(5, "", Pressed("gone"))


def test_an_empty_index_says_that_nothing_was_found() -> None:
    answers = Answers(Index.build(FakeModel(), catalog_of()))
    assert "Nothing found" in answers.search("tea", None, 0.5, 10)[0]
    alone = Answers(Index.build(FakeModel(), catalog_of("tea")))
    assert "Nothing found" in alone.similar(10, None, Pressed("0"))


@pytest.mark.parametrize(
    ("error", "sentence"),
    [(UserError("this model has no picture tower"), "this model has no picture tower."), (KeyError("x"), "terminal")],
)
def test_an_error_is_one_sentence(error: Exception, sentence: str, caplog: pytest.LogCaptureFixture) -> None:
    class Failing:
        def __len__(self) -> int:
            return 1

        def search(self, text: str | None = None, **options: object) -> list[Hit]:
            raise error

        def similar(self, id: str, k: int = 10, **options: object) -> list[Hit]:
            raise error

        def item(self, id: str) -> Item:
            return Item(id, {"title": "tea"}, None)

        def suggest_filter(self, text: str) -> None:
            raise error

    answers = Answers(Failing())
    for shown in (answers.search("tea", None, 0.5, 10)[0], answers.similar(10, "", Pressed("0"))):
        assert 'role="alert"' in shown
        assert sentence in shown
    assert ("the search failed" in caplog.text) == isinstance(error, KeyError)


def test_a_page_needs_no_run_folder(tmp_path: Path) -> None:
    small = save_picture(tmp_path / "small.jpg", (9, 9, 9)).path
    index = Index.build(FakeModel(), catalog_of("tea", "coffee"))
    page = create_page(index, examples=["tea"], thumbnails=lambda item: small if item.id == "0" else None)
    assert [page.picture("0"), page.picture("1")] == [small, None]
    with pytest.raises(UserError, match="no item"):
        page.picture("unknown")
    assert "coffee" in page.details("1", 0.5)


def test_a_thumbnail_is_made_once_and_survives_a_lost_original(tmp_path: Path) -> None:
    picture = save_picture(tmp_path / "photo.png", (1, 2, 3))
    find = thumbnails_in(tmp_path / "cache")
    made = find(Item("0", {}, picture))
    assert made.is_relative_to(tmp_path / "cache")
    picture.path.unlink()
    assert find(Item("0", {}, picture)) == made
    assert find(Item("1", {}, Picture(key="0" * 64, path=picture.path))) is None
    assert find(Item("2", {}, None)) is None


def test_a_replaced_picture_is_shown_once_the_index_is_updated(tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text("id,title,image\n1,tea,a.png\n")
    save_picture(tmp_path / "a.png", (250, 0, 0))
    times = (tmp_path / "a.png").stat()
    index = Index.build(FakeModel(), Catalog.read(tmp_path / "shop.csv", cache=tmp_path / "cache"))
    page = create_page(index, thumbnails=thumbnails_in(tmp_path / "cache"))
    before, card = page.picture("1"), page.details("1", None)
    save_picture(tmp_path / "a.png", (0, 0, 250))
    os.utime(tmp_path / "a.png", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert page.picture("1") == before
    index.update(Catalog.read(tmp_path / "shop.csv", cache=tmp_path / "cache"))
    with Image.open(page.picture("1")) as shown:
        assert shown.getpixel((5, 5))[2] > 200
    assert page.details("1", None) != card  # or else a browser would show what it has kept


class TestStrangersIndex:
    """An index that names files of this machine as the pictures of its items."""

    @pytest.fixture
    def secret(self, tmp_path: Path) -> Picture:
        return save_picture(tmp_path / "secret.png", (7, 7, 7))

    def shown(self, tmp_path: Path, key: object, path: object) -> Path | None:
        fields = {"title": "tea", "_likewise": {"input": None, "row": "", "picture": key, "path": path}}
        item = BookkeepingColumns().build_item(Record("0", fields))
        assert item.fields == {"title": "tea"}
        assert ("thumbnail?id=" in details_html(item, None)) == (item.picture is not None)
        return thumbnails_in(tmp_path / "cache")(item)

    def test_a_file_is_shown_only_to_who_knows_its_bytes(self, tmp_path: Path, secret: Picture) -> None:
        assert self.shown(tmp_path, "0" * 64, str(secret.path)) is None
        assert self.shown(tmp_path, secret.key, str(secret.path)) is not None

    def test_a_file_that_has_changed_since_is_not_shown(self, tmp_path: Path, secret: Picture) -> None:
        save_picture(secret.path, (8, 8, 8))
        assert self.shown(tmp_path, secret.key, str(secret.path)) is None

    def test_a_link_to_another_file_is_not_shown(self, tmp_path: Path, secret: Picture) -> None:
        other = save_picture(tmp_path / "other.png", (9, 9, 9))
        (tmp_path / "link.png").symlink_to(secret.path)
        assert self.shown(tmp_path, other.key, str(tmp_path / "link.png")) is None

    @pytest.mark.parametrize("key", ["../../secret", "..", "", None, 7, "F" * 64, "f" * 64 + "\n", ["f" * 64]])
    def test_a_key_is_a_sha256(self, tmp_path: Path, secret: Picture, key: object) -> None:
        (tmp_path / "cache" / "thumbnails").mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(tmp_path / "secret.jpg")
        before = sorted(tmp_path.rglob("*"))
        assert self.shown(tmp_path, key, str(secret.path)) is None
        assert sorted(tmp_path.rglob("*")) == before

    @pytest.mark.parametrize("path", ["/dev/zero", "/etc/passwd", "", None, 7, "\0", "//server/a.png", "\\\\server\\a"])
    def test_a_path_is_a_regular_file_with_a_picture(self, tmp_path: Path, path: object) -> None:
        key = hashlib.sha256(Path("/etc/passwd").read_bytes()).hexdigest()
        assert self.shown(tmp_path, key, path) is None
        assert not list((tmp_path / "cache").rglob("*.jpg"))

    def test_what_stands_in_place_of_a_picture_does_not_matter(self) -> None:
        for about in (None, "x", 7, [], {"picture": "0" * 64}):
            own = BookkeepingColumns()
            assert own.build_item(Record("0", {"title": "tea", own.name: about})).picture is None
            assert own.digests({own.name: about}) == (None, None)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("/data/openmoji/openmoji.csv", "openmoji"),
        ("/data/spring/items.csv.gz", "spring"),
        ("/data/spring/shoes.csv.gz", "shoes"),
        ("/data/spring/.csv", ".csv"),
        (None, "run"),
    ],
)
def test_a_page_is_titled_by_the_catalogue(file: str | None, name: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    TrainConfig.parse({"data": {"file": file}}).write(tmp_path / "run" / "config.yaml")
    assert find_catalog_name(tmp_path / "run") == name
