"""Synonyms: what a file says, what a query finds by it, what happens to files that say something else."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from retrieval.lexical.test_bm25 import write

from likewise.errors import UserError
from likewise.files import write_record
from likewise.retrieval.lexical import synonyms as module
from likewise.retrieval.lexical.synonyms import Synonyms, SynonymsFile
from likewise.retrieval.lexical.writer import LexicalIndex


def test_a_file_says_which_words_find_which(tmp_path: Path) -> None:
    file = tmp_path / "synonyms.txt"
    file.write_bytes("\ufeff# sofas\nsofa, Couch, settee\n\nTV => télévision, flat screen\ncouch, divan\n".encode())
    read = Synonyms.read(file)
    assert read.phrases[("couch",)] == (("sofa",), ("settee",), ("divan",))
    assert read.phrases[("tv",)] == (("television",), ("flat", "screen"))
    assert ("television",) not in read.phrases
    assert read.words == {"sofa", "couch", "settee", "tv", "divan"}
    assert read.describe_skipped(file) is None


@pytest.mark.parametrize(
    "line",
    ["alone", "a, a", "tv =>", "=> tv", "a, , b", "a => b => c", "!!, ??", "one two three four five six seven, x", ","],
)
def test_lines_that_say_nothing_are_counted(line: str) -> None:
    read = Synonyms.parse(f"sofa, couch\n{line}\n# x\n{line}")
    assert read.skipped_lines == (2, 4)
    assert read.describe_skipped("my.txt") == (
        "2 lines of my.txt hold no synonyms and were left out, the first is line 2"
    )
    with pytest.raises(UserError, match="hold none: write lines such as"):
        Synonyms.parse(line)


def test_files_that_are_none_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        Synonyms.read(tmp_path / "missing.txt")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9, bar")
    with pytest.raises(UserError, match="no text in UTF-8"):
        Synonyms.read(tmp_path / "latin.txt")
    monkeypatch.setattr(module, "_LARGEST_FILE", 10)
    (tmp_path / "large.txt").write_text("sofa, couch")
    with pytest.raises(UserError, match="more than 10 bytes"):
        Synonyms.read(tmp_path / "large.txt")
    monkeypatch.setattr(module, "_MOST_LINES", 1)
    with pytest.raises(UserError, match="have 2 lines; the limit is 1"):
        Synonyms.parse("a, b\nc, d")


@given(st.text())
def test_any_text_is_synonyms_or_one_sentence(text: str) -> None:
    try:
        read = Synonyms.parse(text)
    except UserError:
        return
    for phrase in read.phrases:
        assert next(found for found, _ in read.find(phrase))[: len(phrase)] == phrase


def test_they_find_items_that_are_written_otherwise(tmp_path: Path) -> None:
    index = LexicalIndex(tmp_path)
    write(
        index, {"a": "red sofa", "b": "red couch", "c": "television", "d": "flat screen", "e": "flat shoe", "f": "tv"}
    )
    words = index.current()
    read = Synonyms.parse("sofa, couch\ntv => television, flat screen\nhome cinema, television")

    def find(text: str) -> set[str]:
        return set(words.match([(text, 1.0)], read).best(9)[0])

    assert find("sofa") == find("couch") == {"a", "b"}
    assert find("tv") == {"c", "d", "f"}
    assert find("television") == {"c"}
    assert find("home cinema") == {"c"}
    assert find("cinema home") == set()
    assert words.match([("home cinema", 1.0)], read).coverage(["c"])[0] == pytest.approx(1.0)
    both = words.match([("red sofa", 1.0)], read)
    assert both.scores(["a"])[0] == pytest.approx(both.scores(["b"])[0]), "either word will do"
    assert words.match([("red", 1.0), ("sofa", -1.0)], read).best(9)[0] == ["b"], "what is not wanted is taken as it is"


def test_those_of_an_index_are_kept_and_followed(tmp_path: Path) -> None:
    mine, others = SynonymsFile(tmp_path), SynonymsFile(tmp_path)
    assert not mine.current().phrases
    mine.write(Synonyms.parse("sofa, couch"))
    assert others.current().phrases == {("sofa",): (("couch",),), ("couch",): (("sofa",),)}
    mine.write(Synonyms.parse("tv => flat screen"))
    assert others.current().phrases == {("tv",): (("flat", "screen"),)}
    (tmp_path / "synonyms.json").unlink()
    assert not others.current().phrases


def test_a_damaged_file_is_noticed(tmp_path: Path) -> None:
    SynonymsFile(tmp_path).write(Synonyms.parse("sofa, couch"))
    file = tmp_path / "synonyms.json"
    content = file.read_bytes()
    for place in range(0, len(content) - 1, 3):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            assert SynonymsFile(tmp_path).current().words == {"sofa", "couch"}  # blanks between the parts of a record
        except UserError as error:
            assert "index again with --synonyms FILE, or remove it" in str(error)
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"synonyms\.json is damaged"):
        SynonymsFile(tmp_path).current()


@pytest.mark.parametrize(
    "rules",
    [
        [[[], [["couch"]]]],
        [[["sofa"], [[]]]],
        [[["sofa"], [["a", "b", "c", "d", "e", "f", "g"]]]],
        [[["sofa"], ["couch"]]],
        [["sofa", [["couch"]]]],
        [[["sofa", 1], [["couch"]]]],
        [[["sofa"], [[""]]]],
        7,
    ],
)
def test_phrases_that_no_search_can_look_for_are_refused(tmp_path: Path, rules: object) -> None:
    write_record(tmp_path / "synonyms.json", {"synonyms": rules}, 1)
    with pytest.raises(UserError, match=r"synonyms\.json holds no synonyms: index again with"):
        SynonymsFile(tmp_path).current()
