"""Misspelt words of a hybrid query: which are corrected, which stay as they are, and that both are said."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from retrieval.fakes import FakeModel, catalog_of
from retrieval.lexical.test_vocabulary import make_older

from likewise.retrieval.hybrid import Hybrid
from likewise.retrieval.index import Index
from likewise.retrieval.items import Correction
from likewise.retrieval.lexical.synonyms import Synonyms

_TITLES = (
    "red lamp",
    "red lamp of glass",
    "blue ramp",
    "crème brûlée dish",
    "umbrella MT-102-35AB",
    "Светильник настенный",
    "東京タワー 模型",
    "t-shirt",
    "XKCD-1000 poster",
    "cat toy",
)


@pytest.fixture(scope="module")
def index() -> Index:
    return Index.build(FakeModel(), catalog_of(*_TITLES))


def searched(index: Index, text: str, **options: object) -> str:
    """What is searched for in place of a text."""
    hits = index.search(text, hybrid=Hybrid(**options))
    if not hits.did_you_mean:
        return text
    assert hits.did_you_mean == (Correction(text, hits.did_you_mean[0].searched),)
    return hits.did_you_mean[0].searched


@pytest.mark.parametrize(
    ("typed", "means"),
    [
        ("lmap", "lamp"),
        ("LAPM!", "lamp!"),
        ("a rde, laamp", "a rde, lamp"),  # too many words of three letters are like each other
        ("zamp", "lamp"),  # more items have a lamp than a ramp
        ("lmp", "lamp"),
        ("catt", "cat"),
        ("umbrlela", "umbrella"),
        ("unbrellas", "umbrella"),  # two edits, since it has eight letters
        ("creme brulle", "creme brulee"),
        ("crème brulle", "crème brulee"),
        ("cre\u0300me brulle", "crème brulee"),
        ("ｌｍａｐ", "lamp"),
        ("светилник", "светильник"),
        ("t-shrit", "t-shirt"),
        ("tshrit", "tshirt"),
    ],
)
def test_a_word_that_no_item_has_is_corrected(index: Index, typed: str, means: str) -> None:
    assert searched(index, typed) == means
    assert [hit.id for hit in index.search(typed, hybrid=True)] == [hit.id for hit in index.search(means, hybrid=True)]


@pytest.mark.parametrize(
    "typed",
    [
        "lamp",
        "LAMP",
        "Crème Brûlée",
        "ra",
        "kat",
        "lampstands",
        "umbrellaxyz",
        "MT-103-35AB",
        "mt1O2",
        "lmap9",
        "XKCE-1000",
        "lmap-1000",
        "東京タワ",
        "東京都",
        "12345",
        "",
        "!!",
        "a" * 2_000,
    ],
)
def test_what_is_known_or_has_a_digit_or_is_too_far_away_stays(index: Index, typed: str) -> None:
    if typed:
        assert searched(index, typed) == typed


def test_words_that_the_model_knows_stay(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeModel, "knows_word", lambda self, word: word == "damp", raising=False)
    assert searched(index, "damp") == "damp"
    assert searched(index, "dmap") == "damp" or searched(index, "lmap") == "lamp"


def test_words_of_synonyms_stay(index: Index) -> None:
    synonyms = Synonyms.parse("lamb => lamp")
    assert searched(index, "lamb") == "lamp"
    assert searched(index, "lamb", synonyms=synonyms) == "lamb"
    assert index.search("lamb", hybrid=Hybrid(synonyms=synonyms, words=1.0))[0].fields["title"] == "red lamp"


def test_it_can_be_switched_off_and_is_for_hybrid_searches_alone(index: Index) -> None:
    assert searched(index, "lmap", correct=False) == "lmap"
    assert index.search("lmap").did_you_mean == ()
    assert index.search(["lmap", "umbrela"], hybrid=True).did_you_mean == (
        Correction("lmap", "lamp"),
        Correction("umbrela", "umbrella"),
    )


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=40))
def test_any_text_is_searched_for(index: Index, text: str) -> None:
    if not text.strip():
        return
    for correction in index.search(text, hybrid=True, k=1).did_you_mean:
        before = [
            word for word in unicodedata.normalize("NFKC", correction.given).split() if any(map(str.isdigit, word))
        ]
        assert all(word in correction.searched for word in before), "what has a digit stays"


def test_single_writes_are_seen_at_once_and_what_is_gone_is_not_suggested(tmp_path: Path) -> None:
    index = Index.build(FakeModel(), catalog_of("red lamp", "blue vase"), tmp_path)
    assert searched(index, "chandeleer") == "chandeleer"
    index.upsert([{"id": "new", "title": "chandelier QX-77219"}])
    assert searched(index, "chandeleer") == "chandelier"
    assert index.search("x7721", hybrid=True)[0].id == "new"
    index.delete(["new"])
    assert searched(index, "chandeleer") == "chandeleer"
    index.upsert([{"id": "again", "title": "wardrobe"}])
    index.close()
    assert searched(Index.open(tmp_path, FakeModel()), "wardrobbe") == "wardrobe"


def test_an_update_gives_an_older_index_its_words(tmp_path: Path) -> None:
    Index.build(FakeModel(), catalog_of("red lamp", "blue vase"), tmp_path).close()
    (words,) = (tmp_path / "words").iterdir()
    make_older(words)
    index = Index.open(tmp_path, FakeModel())
    assert searched(index, "lmap") == "lmap"
    assert index.search("lamp", hybrid=True)[0].fields["title"] == "red lamp"
    index.update(catalog_of("red lamp", "blue vase"))
    assert searched(index, "lmap") == "lamp"


def test_synonyms_of_a_run_are_used_by_whoever_opens_it(tmp_path: Path) -> None:
    index = Index.build(FakeModel(), catalog_of("red couch", "blue vase", "sofia"), tmp_path)
    words = Hybrid(words=1.0)
    assert searched(index, "sofa") == "sofia"
    index.write_synonyms(Synonyms.parse("sofa, couch"))
    for opened in (index, Index.open(tmp_path, FakeModel())):
        assert opened.search("sofa", hybrid=words)[0].fields["title"] == "red couch"
        assert searched(opened, "sofa") == "sofa"
    assert index.search("sofa", hybrid=Hybrid(words=1.0, synonyms=Synonyms()))[0].fields["title"] == "sofia"
