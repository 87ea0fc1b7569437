"""Codes by their parts: below what matches exactly, above what does not match at all."""

from pathlib import Path

import pytest
from retrieval.lexical.test_bm25 import write

from likewise.retrieval.lexical import bm25
from likewise.retrieval.lexical.bm25 import BM25Index
from likewise.retrieval.lexical.writer import LexicalIndex


@pytest.fixture
def words(tmp_path: Path) -> BM25Index:
    index = LexicalIndex(tmp_path)
    write(index, {"a": "lamp MT-102-35AB", "b": "lamp MT-203-35CD", "c": "lamp", "d": "vase", "e": "bowl 7702"})
    write(index, {"f": "clock ZZ-88X1", "g": "vase 1029"})
    return index.current()


def best(words: BM25Index, text: str) -> list[str]:
    return words.match([(text, 1.0)]).best(9)[0]


@pytest.mark.parametrize("typed", ["102", "T102", "t10235", "35AB", "5ab", "mt-102-3", "MT10235A", "023"])
def test_three_characters_of_a_code_find_it(words: BM25Index, typed: str) -> None:
    assert "a" in best(words, typed)
    matches = words.match([(typed, 1.0)])
    assert matches.coverage(["a"])[0] > 0.3
    assert matches.coverage(["d"])[0] == 0


@pytest.mark.parametrize("typed", ["lam", "02", "5", "mt", "vas", "zz"])
def test_letters_alone_and_two_characters_are_no_part_of_a_code(words: BM25Index, typed: str) -> None:
    exact = {"mt": ["a", "b"], "zz": ["f"]}
    assert sorted(best(words, typed)) == exact.get(typed, [])


def test_a_code_itself_comes_first_then_those_that_begin_with_it_then_the_others(tmp_path: Path) -> None:
    index = LexicalIndex(tmp_path)
    write(index, {"inside": "a 77029", "begins": "a 70299", "exact": "a 702", "none": "a 7", "longer": "a 702999"})
    matches = index.current().match([("702", 1.0)])
    assert matches.best(9)[0][0] == "exact"
    assert set(matches.best(9)[0][1:3]) == {"begins", "longer"}
    assert matches.best(9)[0][3:] == ["inside"]
    scores = matches.scores(["exact", "begins", "inside"])
    assert scores[0] > 1.9 * scores[1] > 0
    assert scores[1] > 1.5 * scores[2] > 0
    assert index.current().match([("lamp", 1.0), ("702", -1.0)]).best(9)[0] == []


def test_items_with_a_code_twice_count_once_and_deleted_ones_not_at_all(tmp_path: Path) -> None:
    index = LexicalIndex(tmp_path)
    write(index, {"a": "x9991 x9992 9993", "b": "x9994", "c": "y"})
    write(index, {"c": "y2"}, removed=("b",))
    assert best(index.current(), "999") == ["a"]


def test_a_part_that_very_many_codes_have_finds_some_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bm25, "_MOST_CODES", 20)
    index = LexicalIndex(tmp_path)
    write(index, {str(row): f"lamp item-{row:05d}" for row in range(300)})
    assert len(best(index.current(), "tem000")) == 9
    assert index.current().match([("tem000", 1.0)]).count == 20


def test_codes_of_deleted_items_take_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bm25, "_MOST_CODES", 5)
    items = {f"{number}": f"lamp z{number}" for number in range(1000, 1012)}
    index, gone = LexicalIndex(tmp_path / "changed"), [str(number) for number in range(1000, 1005)]
    write(index, items)
    write(index, {"new": "vase z10000"}, removed=tuple(gone[:2]))
    write(index, {}, removed=tuple(gone[2:]))
    at_once = LexicalIndex(tmp_path / "at once")
    write(at_once, {id: text for id, text in items.items() if id not in gone} | {"new": "vase z10000"})
    ids = [str(number) for number in range(1005, 1012)]
    of_both = [words.current().match([("z10", 1.0)]).scores(ids).tolist() for words in (index, at_once)]
    assert of_both[0] == pytest.approx(of_both[1], rel=1e-5)
    assert of_both[0][0] > of_both[0][-1], "five are found, by the whole and not only by its first letter"


def test_the_shares_of_words_add_up_to_the_scores(words: BM25Index) -> None:
    matches = words.match([("lamp 102 vase", 1.0), ("bowl", -1.0)])
    ids = ["a", "b", "c", "d", "g", "unknown"]
    shares = matches.scores_by_term(ids)
    assert set(shares) == {"lamp", "102", "vase"}
    assert sum(shares.values()).tolist() == pytest.approx(matches.scores(ids).tolist(), rel=1e-5)
    assert shares["102"][ids.index("g")] > 0, "1029 begins with it"
    assert matches.scores_by_term([]) == {}
