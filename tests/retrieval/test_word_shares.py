"""Words of the query and of the item in explanations: what the cosine loses without them."""

from pathlib import Path

import numpy as np
import pytest
from cli.commands import run_command
from retrieval.fakes import FakeModel, catalog_of

from likewise.catalog.catalog import Catalog
from likewise.catalog.text import find_word_spans
from likewise.errors import UserError
from likewise.model.model import Model
from likewise.retrieval.index import Index


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A red t-shirt, don't wash: XJ-917B!", ["A", "red", "t-shirt", "don't", "wash", "XJ-917B"]),
        ("東京都の茶 green", ["東京", "都の", "茶", "green"]),
        ("… – ", []),
        ("snake_case AT&T 3.5mm", ["snake_case", "AT&T", "3.5mm"]),
    ],
)
def test_words_are_those_that_a_reader_sees(text: str, words: list[str]) -> None:
    assert [text[start:end] for start, end in find_word_spans(text, 100)] == words
    assert len(find_word_spans(text, 2)) == min(2, len(words))


def test_words_of_the_query_have_what_the_cosine_loses_without_them(shop_index: Index) -> None:
    (hit,) = shop_index.search("red circle", k=1, explain="words")
    shares = {one.word: one.share for one in hit.explanation.query_words}
    assert list(shares) == ["red", "circle"]
    for word, rest in (("red", "circle"), ("circle", "red")):
        without = {other.id: other.score for other in shop_index.search(rest, k=30)}[hit.id]
        assert shares[word] == pytest.approx(hit.score - without, abs=2e-3)  # half precision


def test_other_parts_of_the_query_stay_when_a_word_goes(
    shop_index: Index, shop_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shop_run.parent)
    mixed = {"image": "photo.jpg", "minus": "leather", "image_weight": 0.3}
    (hit,) = shop_index.search("red", k=1, explain="words", **mixed)
    red, leather = hit.explanation.query_words
    assert (red.word, leather.word) == ("red", "leather")
    without_red = {one.id: one.score for one in shop_index.search(image="photo.jpg", minus="leather", k=30)}[hit.id]
    without_leather = {one.id: one.score for one in shop_index.search("red", image="photo.jpg", image_weight=0.3, k=30)}
    assert red.share == pytest.approx(hit.score - without_red, abs=2e-3)
    assert leather.share == pytest.approx(hit.score - without_leather[hit.id], abs=2e-3)


def test_without_its_only_word_a_query_has_no_cosine(shop_index: Index) -> None:
    (hit,) = shop_index.search("red", k=1, explain="words")
    assert hit.explanation.query_words[0].share == pytest.approx(hit.score, abs=2e-3)


def test_words_of_an_item_are_those_of_its_texts(shop_index: Index) -> None:
    for hit in shop_index.search("red circle", k=5, explain="words", hybrid=True):
        by_field = {one.field: one for one in hit.explanation.words}
        assert list(by_field) == ["title", "description"]
        for field, of_text in by_field.items():
            assert of_text.text == hit.fields[field]
            shown = [of_text.text[word.start : word.end] for word in of_text.words]
            assert shown == [of_text.text[start:end] for start, end in find_word_spans(of_text.text, 100)]
            assert any(abs(word.share) > 1e-4 for word in of_text.words)
        assert "words" in hit.explanation.to_json()
    plain = shop_index.search("red circle", k=1, explain=True)[0].explanation
    assert plain.words is plain.query_words is None
    assert not {"words", "query_words"} & plain.to_json().keys()


def test_words_of_an_item_follow_an_item_that_is_written_without_them(
    shop_run: Path, shop_catalog: Catalog, shop_model: Model
) -> None:
    """Encode the changed item itself."""
    with Index.build(shop_model, shop_catalog, shop_run) as index:
        (hit,) = index.search("red circle", where='id == "sku-1004"', k=1, explain="words")
        text = hit.explanation.words[1]
        word = max(text.words, key=lambda one: abs(one.share))
        changed = text.text[: word.start] + text.text[word.end :].lstrip()
        index.patch(hit.id, {"description": changed})
        (after,) = index.search("red circle", where='id == "sku-1004"', k=1)
        assert word.share == pytest.approx(hit.score - after.score, abs=2e-3)


def test_an_index_of_fewer_dimensions_has_words_too(shop_catalog: Catalog, shop_model: Model) -> None:
    with Index.build(shop_model, shop_catalog, dim=16) as index:
        (hit,) = index.search("red circle", k=1, explain="words")
        assert np.isfinite([word.share for of_text in hit.explanation.words for word in of_text.words]).all()
        assert index.explain_picture(hit.id, "red circle").values.shape == (8, 8)


def test_a_long_query_is_explained_by_its_first_words(shop_index: Index) -> None:
    (hit,) = shop_index.search("red circle " * 40, k=1, explain="words")
    assert [one.word for one in hit.explanation.query_words] == ["red", "circle"] * 16


def test_what_cannot_be_explained_is_said_in_one_sentence(shop_index: Index) -> None:
    with pytest.raises(UserError, match="20 hits are explained word by word at once at most"):
        shop_index.search("red", k=21, explain="words")
    with pytest.raises(UserError, match="explain is True, False or \"words\", not 'letters'"):
        shop_index.search("red", explain="letters")

    class FusingModel(FakeModel):
        def fuse_fields(self, vectors: np.ndarray, fields: object) -> np.ndarray:
            return np.nan_to_num(vectors).sum(axis=1)

    with pytest.raises(UserError, match="cannot say what single words and parts of a picture add"):
        Index.build(FusingModel(), catalog_of("red hat")).search("red", explain="words")


def test_the_command_line_shows_words(shop_run: Path, shop_index: Index, capsys: pytest.CaptureFixture[str]) -> None:
    shop = shop_run.parent
    run_command("index", str(shop_run), "--data", str(shop / "products.csv"), "--cache", str(shop / "cache"))
    capsys.readouterr()
    run_command("search", str(shop_run), "red circle", "--explain", "-k", "2")
    shown = " ".join(capsys.readouterr().out.split())
    assert "query words:" in shown
    assert "item words:" in shown
