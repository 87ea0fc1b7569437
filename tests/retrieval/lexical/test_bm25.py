"""BM25 as others compute it, whatever was changed since the words were first written."""

import tempfile
from pathlib import Path

import bm25s
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.retrieval.lexical import postings
from likewise.retrieval.lexical.bm25 import BM25Index, Stamp
from likewise.retrieval.lexical.tokenizing import lexical_tokens
from likewise.retrieval.lexical.writer import LexicalIndex

_WORDS = ["red", "shoe", "sole", "xj-900", "ab12", "the", "of", "leather"]
_texts = st.lists(st.sampled_from(_WORDS), max_size=8).map(" ".join)


def write(index: LexicalIndex, texts: dict[str, str], removed: tuple[str, ...] = (), *, clear: bool = False) -> None:
    with index.update() as draft:
        if clear:
            draft.clear()
        draft.remove(removed)
        draft.add(list(texts), [{"text": text} for text in texts.values()])
        draft.stamp = Stamp("build", 7)


def scores_of(words: BM25Index, query: str, ids: list[str]) -> np.ndarray:
    return words.match([(query, 1.0)]).scores(ids)


def by_bm25s(query: str, texts: dict[str, str]) -> np.ndarray:
    """The same scores by the package bm25s."""
    vocabulary: dict[str, int] = {}
    documents = [[vocabulary.setdefault(word, len(vocabulary)) for word in lexical_tokens(t)] for t in texts.values()]
    known = [vocabulary[word] for word in lexical_tokens(query) if word in vocabulary]
    if not known:
        return np.zeros(len(texts))
    peer = bm25s.BM25(method="lucene", k1=1.2, b=0.75, backend="numpy")
    peer.index((documents, dict(vocabulary)), show_progress=False)
    return peer.get_scores_from_ids(known)


@settings(max_examples=30, deadline=None)
@given(first=st.dictionaries(st.sampled_from("abcdefgh"), _texts, min_size=1), query=_texts, data=st.data())
def test_an_index_that_was_changed_scores_as_one_written_at_once_and_as_bm25s(first, query, data) -> None:
    with tempfile.TemporaryDirectory() as folder:
        index, texts = LexicalIndex(Path(folder)), dict(first)
        write(index, texts)
        for _ in range(data.draw(st.integers(0, 12))):
            removed = tuple(data.draw(st.sets(st.sampled_from("abcdefghi"), max_size=3)))
            added = data.draw(st.dictionaries(st.sampled_from("abcdefghijk"), _texts, max_size=3))
            write(index, added, removed)
            texts = {id: text for id, text in texts.items() if id not in removed and id not in added} | added
        words, ids = LexicalIndex(Path(folder)).current(), sorted(texts)
        assert words.count == words.stamp.count == len(texts)
        expected = by_bm25s(query, {id: texts[id] for id in ids}) if ids else np.zeros(0)
        np.testing.assert_allclose(scores_of(words, query, ids), expected, rtol=1e-4, atol=1e-5)
        found, scores = words.match([(query, 1.0)]).best(100)
        assert sorted(found) == [id for id, score in zip(ids, expected, strict=True) if score > 0]
        assert (np.diff(scores) <= 0).all()


def test_the_best_are_found_whatever_their_number(tmp_path: Path) -> None:
    index = LexicalIndex(tmp_path)
    write(index, {str(row): "shoe " * (row % 5 + 1) + "other words " * (row % 7) for row in range(300)})
    write(index, {str(row): "shoe" for row in range(300, 320)})
    matches = index.current().match([("shoe", 1.0)])
    ids, scores = matches.best(1_000)
    assert len(ids) == matches.count == 320
    for count in (1, 7, 25, 100):
        some, their_scores = matches.best(count)
        assert some == ids[:count], "the first ones are the same, however many are asked for"
        np.testing.assert_array_equal(their_scores, scores[:count])


def test_weights_add_up_and_unwanted_words_take_away(tmp_path: Path) -> None:
    index = LexicalIndex(tmp_path)
    write(index, {"a": "red shoe", "b": "red leather shoe", "c": "leather bag", "d": "hat"})
    words = index.current()
    both = words.match([("red", 1.0), ("shoe", 2.0)]).scores(["a"])
    each = words.match([("red", 1.0)]).scores(["a"]) + 2 * words.match([("shoe", 1.0)]).scores(["a"])
    np.testing.assert_allclose(both, each, rtol=1e-5)
    found, _ = words.match([("red shoe", 1.0), ("leather", -1.0)]).best(9)
    assert found[0] == "a"
    assert "c" not in found


def test_the_yardstick_is_the_score_of_an_item_with_every_word(tmp_path: Path) -> None:
    index = LexicalIndex(tmp_path)
    write(index, {"a": "red shoe", "b": "blue hat", "c": "green bag " * 40})
    matches = index.current().match([("red shoe", 1.0)])
    assert matches.full_match_score(["c", "b", "a"]) == pytest.approx(float(matches.scores(["a"])[0]), rel=1e-5)
    assert matches.full_match_score(["b", "c", "unknown"]) == matches.full_match_score([]) == 0.0
    half = index.current().match([("red submarine", 1.0)])
    assert half.coverage(["a", "b"]).tolist() == pytest.approx([0.32, 0.0], abs=0.01), "unknown words tell most"
    assert half.full_match_score(["a"]) == pytest.approx(float(half.scores(["a"])[0]) / 0.3206, rel=0.01)
    long = index.current().match([("green bag", 1.0)])
    assert long.scores(["c"])[0] / long.full_match_score(["c"]) == pytest.approx(1.0, rel=1e-5), (
        "long items are no worse"
    )
    unwanted = index.current().match([("red", 1.0), ("shoe", -9.0)])
    assert unwanted.full_match_score(["a"]) == 0.0


def test_words_of_nothing_match_nothing(tmp_path: Path) -> None:
    for words in (BM25Index(), LexicalIndex(tmp_path).current()):
        matches = words.match([("red", 1.0)])
        assert matches.count == 0
        assert matches.best(5)[0] == []
        assert matches.scores(["a"]).tolist() == [0.0]
    write(LexicalIndex(tmp_path), {"a": "", "b": "  !? "})
    assert LexicalIndex(tmp_path).current().match([("red", 1.0)]).count == 0
    assert LexicalIndex(tmp_path).current().match([("", 1.0)]).count == 0


@pytest.mark.parametrize("typed", ["XJ-906", "xj906", "XJ 906", "906xj", "xj/906"])
def test_a_code_is_covered_by_its_parts_where_nobody_writes_it_in_one(tmp_path: Path, typed: str) -> None:
    index = LexicalIndex(tmp_path)
    write(index, {"a": "XJ-906", "b": "XJ-907", "c": "a hat"})
    matches = index.current().match([(typed, 1.0)])
    assert matches.best(1)[0] == ["a"]
    assert matches.coverage(["a"])[0] == pytest.approx(1.0)
    assert matches.coverage(["b"])[0] < 0.5
    assert index.current().match([("zz-777", 1.0)]).coverage(["a", "b"]).tolist() == [0, 0]


@pytest.mark.parametrize("bits", [0, 1, 2])
def test_ids_with_the_same_hash_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bits: int) -> None:
    names = [letter * 4 for letter in "bcdfghjklmnp"]
    texts = {f"item{number}": name for number, name in enumerate(names)}
    whole = postings.hash_text
    monkeypatch.setattr(
        postings, "hash_text", lambda text: whole(text) & (2**bits - 1) if text in texts else whole(text)
    )
    index = LexicalIndex(tmp_path)
    write(index, texts)
    [segment] = index.current().parts
    asked = ["item11", "unknown", *texts, "item0"]
    assert segment.postings.find_rows(asked).tolist() == [11, -1, *range(12), 0]
    write(index, {"item3": "other"}, removed=("item5", "unknown"))
    words = LexicalIndex(tmp_path).current()
    assert words.count == 11
    assert words.match([(f"{names[3]} {names[5]}", 1.0)]).best(5)[0] == []
    for number in {*range(12)} - {3, 5}:
        assert words.match([(names[number], 1.0)]).scores([f"item{number}"])[0] > 0
