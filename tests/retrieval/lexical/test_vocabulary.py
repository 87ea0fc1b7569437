"""Words are found by their misspellings, codes by their parts, as a look at every one of them finds them."""

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from retrieval.lexical.test_bm25 import write
from retrieval.lexical.test_edit_distance import by_textbook

from likewise.retrieval.lexical import vocabulary
from likewise.retrieval.lexical.recent import RecentVocabulary
from likewise.retrieval.lexical.vocabulary import Vocabulary, is_code, is_word, merge_vocabularies
from likewise.retrieval.lexical.writer import LexicalIndex
from likewise.stores.versions import current_version

_letters = st.sampled_from("abcdß\u0915\u093f")  # with a letter of two words, and a vowel sign
_words = st.text(_letters, min_size=1, max_size=12)
_codes = st.text(st.sampled_from("ab12"), min_size=1, max_size=10)


def build(tokens: list[str]) -> Vocabulary:
    return Vocabulary.build(dict.fromkeys(tokens), lambda words: np.ones(len(words), np.int64))


def recent(tokens: list[str]) -> RecentVocabulary:
    words = RecentVocabulary()
    for token in dict.fromkeys(tokens):
        words.add(token)
    return words


def nearest(misspelt: str, tokens: list[str], edits: int) -> list[str]:
    """By a look at every word."""
    allowed = {token: min(edits, 1 if len(token) < 8 else 2) for token in tokens if 3 <= len(token) <= 32}
    return sorted(
        token
        for token, most in allowed.items()
        if by_textbook(misspelt, token) <= most and (len(misspelt) > 3 or len(token) > 3)
    )


@settings(max_examples=150, deadline=None)
@given(tokens=st.lists(_words, max_size=30), misspelt=st.text(_letters, min_size=3, max_size=12), data=st.data())
def test_a_misspelling_finds_what_brute_force_finds(tokens: list[str], misspelt: str, data: st.DataObject) -> None:
    tokens = [token for token in tokens if is_word(token)]
    if tokens and data.draw(st.booleans()):  # one that is near
        misspelt = list(data.draw(st.sampled_from(tokens)))
        for _ in range(data.draw(st.integers(1, 2))):
            place = data.draw(st.integers(0, len(misspelt)))
            misspelt[place : place + data.draw(st.integers(0, 1))] = data.draw(st.text(_letters, max_size=1))
        misspelt = "".join(misspelt)
    if len(misspelt) < 3:
        return
    for edits in (1, 2) if len(misspelt) >= 6 else (1,):
        expected = nearest(misspelt, tokens, edits)
        assert sorted(build(tokens).find_similar(misspelt, edits)) == expected
        assert sorted(recent(tokens).find_similar(misspelt, edits)) == expected


@settings(max_examples=100, deadline=None)
@given(tokens=st.lists(_codes, max_size=30), part=st.text(st.sampled_from("ab12"), min_size=3, max_size=6))
def test_a_part_finds_every_code_that_has_it(tokens: list[str], part: str) -> None:
    expected = sorted({token for token in tokens if part in token and is_code(token)})
    assert sorted(build(tokens).find_codes(part, 99)) == expected
    assert sorted(recent(tokens).find_codes(part, 99)) == expected


def test_words_and_codes_are_not_mixed_up() -> None:
    both = build(["lamp", "lamp1", "1amp", "mt102", "lamps"])
    assert both.find_similar("lamp", 1) == ["lamp", "lamps"]
    assert both.find_codes("amp", 9) == ["1amp", "lamp1"]
    assert [token for token in ("ab", "a1", "日本語", "こんにちは", "x" * 33, "\ud800ab") if is_word(token)] == []
    assert [token for token in ("ab", "a1", "1" * 25, "\ud8001a", "日本") if is_code(token)] == []


def test_very_many_words_and_codes_are_bounded_and_the_frequent_ones_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "_MOST_WORDS", 3)
    monkeypatch.setattr(vocabulary, "_MOST_CODES", 2)
    counts = {"rare": 1, "lamp": 9, "vase": 5, "bowl": 7, "oak": 2, "a11": 1, "b22": 4, "c33": 2}
    kept = Vocabulary.build(counts, lambda words: np.array([counts[word] for word in words]))
    assert kept.terms.to_list() == ["b22", "bowl", "c33", "lamp", "vase"]


def test_words_that_all_begin_alike_cost_no_more_than_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "_MOST_CANDIDATES", 50)
    compared = []
    distances = vocabulary.compute_distances
    monkeypatch.setattr(
        vocabulary,
        "compute_distances",
        lambda word, others, limit: (compared.append(len(others)), distances(word, others, limit))[1],
    )
    alike = ["same" * 2 + "".join(random.Random(seed).choices("xyz", k=9)) for seed in range(2_000)]
    build(alike).find_similar("samesam", 2)
    assert compared == [50]


@settings(max_examples=30, deadline=None)
@given(parts=st.lists(st.lists(_words | _codes, max_size=20), min_size=1, max_size=3))
def test_parts_make_the_same_whole_as_if_built_at_once(parts: list[list[str]]) -> None:
    merged = Vocabulary.merge([build(part) for part in parts], lambda words: np.ones(len(words)))
    whole = build([token for part in parts for token in part])
    assert merged.terms.to_list() == whole.terms.to_list()
    np.testing.assert_array_equal(merged._keys, whole._keys)
    np.testing.assert_array_equal(merged._entries, whole._entries)


def test_a_whole_of_parts_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"rare": 1, "lamp": 9, "vase": 5, "bowl": 7, "a11": 1, "b22": 4}
    parts = [build(["rare", "lamp", "a11"]), build(["bowl", "vase", "b22", "lamp"])]
    monkeypatch.setattr(vocabulary, "_MOST_WORDS", 2)
    monkeypatch.setattr(vocabulary, "_MOST_CODES", 1)
    merged = Vocabulary.merge(parts, lambda words: np.array([counts[word] for word in words]))
    assert merged.terms.to_list() == ["b22", "bowl", "lamp"]
    assert (merged.find_similar("lmap", 1), merged.find_codes("b22", 9), merged.find_similar("rars", 1)) == (
        ["lamp"],
        ["b22"],
        [],
    )


def test_parts_that_lack_words_make_a_whole_that_lacks_them() -> None:
    one, other = build(["lamp"]), build(["vase", "lamp"])
    assert merge_vocabularies([one, other], lambda words: np.ones(len(words))).terms.to_list() == ["lamp", "vase"]
    assert merge_vocabularies([one, None], lambda words: np.ones(len(words))) is None


def make_older(folder: Path) -> None:
    """The files of an index as they were before words were kept."""
    from likewise.checksums import write_index_manifest

    version = current_version(folder)
    gone = [file for pattern in ("*.terms", "*.keys.npy", "*.entries.npy") for file in version.glob(pattern)]
    assert len(gone) == 3
    for file in gone:
        file.unlink()
    write_index_manifest(version)


def test_an_older_index_still_opens_and_suggests_nothing(tmp_path: Path) -> None:
    write(LexicalIndex(tmp_path), {"a": "red lamp mt-102"})
    assert LexicalIndex(tmp_path).current().suggest("lmap") == "lamp"
    make_older(tmp_path)
    older = LexicalIndex(tmp_path)
    assert older.current().match([("lamp", 1.0)]).best(5)[0] == ["a"]
    assert older.current().suggest("lmap") is None
    assert older.current().match([("t102", 1.0)]).best(5)[0] == ["a"], "by its parts"
    write(older, {"b": "blue vase"})
    write(older, {"c": "green bowl"})
    assert older.current().match([("lamp", 1.0)]).best(5)[0] == ["a"]
    with older.update() as draft:
        assert not draft.has_vocabulary, "so that an update reads all items again"
