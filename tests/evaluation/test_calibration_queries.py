"""Queries for items that a model has not seen, in an index that holds those that it has seen, too."""

import dataclasses

import numpy as np
import polars as pl
import pytest

import likewise as lw
from likewise.catalog.identity import Identity
from likewise.evaluation import calibration_queries
from likewise.evaluation.calibration_queries import CalibrationItems, score_queries
from likewise.evaluation.task import build_title_task
from likewise.model.field_embeddings import FieldEmbeddings

DIM = 16
WORDS = ["red", "blue", "green", "shoe", "hat", "bag", "for", "walks", "rain", "work", "lamp"]


def embed(texts) -> np.ndarray:
    """One dimension for each word, so that texts are as near as they share words."""
    vectors = np.zeros((len(texts), DIM), np.float32)
    for row, text in enumerate(texts):
        for word in text.lower().split():
            vectors[row, WORDS.index(word)] += 1
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Words:
    """A network that reads all fields as words but for pictures and numbers."""

    def reads_words(self, field: str) -> bool:
        return field not in ("image", "price")


@pytest.fixture
def items(tmp_path, monkeypatch) -> CalibrationItems:
    table = pl.DataFrame(
        {
            "id": ["a", "b", "c", "d", "e"],
            "title": ["red shoe", "blue shoe", "green hat", "red bag", "lamp"],
            "description": ["for walks", "for rain", "for rain", "for work", None],
            "image_url": [None] * 5,
        }
    )
    table.write_csv(tmp_path / "items.csv")
    catalog = lw.Catalog.read(tmp_path / "items.csv")

    def fuse(self, network, fields):
        vectors = np.nansum([self.field(field) for field in fields], axis=0)
        vectors[~self.has_any(fields)] = np.nan
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    monkeypatch.setattr(FieldEmbeddings, "fuse", fuse)
    titles, descriptions = catalog.texts("title"), catalog.texts("description")
    towers = np.full((5, 2, DIM), np.nan, np.float32)
    towers[:, 0] = embed(titles)
    towers[:4, 1] = embed(descriptions[:4])
    identity = Identity.read(catalog)
    task = build_title_task(catalog, identity, ("description",))
    unseen = np.array([True, True, False, False, True])
    return CalibrationItems(
        FieldEmbeddings(("title", "description"), towers), unseen, Words(), identity, task, titles, embed
    )


@pytest.fixture
def measured(monkeypatch):
    """What is measured: the queries, the items as they are seen, and as they are where they answer."""
    found = []

    def measure(queries, whole, rng, *, answers=None):
        found.append((queries, whole, answers))
        return calibration_queries.CalibrationScores(*np.zeros((2, 0)), *np.zeros((2, 0, 4)), np.zeros(0, np.int64))

    monkeypatch.setattr(calibration_queries, "measure_queries", measure)
    monkeypatch.setattr(calibration_queries, "_RARE", 0.5)
    return found


@pytest.fixture
def asked(items, measured):
    score_queries(items, np.random.default_rng(0))
    return measured


def show_pictures(items: CalibrationItems, pictures: np.ndarray, **identity: np.ndarray) -> CalibrationItems:
    """The items with picture vectors (5, 1, DIM) and other identities."""
    towers = np.concatenate([items.embeddings.vectors, pictures], axis=1)
    return dataclasses.replace(
        items,
        embeddings=FieldEmbeddings(("title", "description", "image"), towers),
        identity=dataclasses.replace(items.identity, **identity),
    )


def test_titles_ask_for_unseen_items_and_are_hidden_from_the_answers_alone(items, asked):
    (queries, whole, answers), _ = asked
    assert np.allclose(queries.vectors, embed(["red shoe", "blue shoe", "lamp"]))
    assert [rows.tolist() for rows in queries.relevant] == [[0], [1], [4]]
    assert np.allclose(answers[:4], items.embeddings.field("description")[:4]) and np.isnan(answers[4]).all()
    assert np.allclose(whole[0], embed(["red shoe for walks"])[0])


def test_words_ask_for_unseen_items_and_those_that_trained_are_no_candidates(asked):
    _, (queries, whole, answers) = asked
    answered = {
        WORDS[int(vector.argmax())]: (right.tolist(), out.tolist())
        for vector, right, out in zip(queries.vectors, queries.relevant, queries.exclude, strict=True)
    }
    assert answered == {
        "red": ([0], [3]),
        "shoe": ([0, 1], []),
        "walks": ([0], []),
        "blue": ([1], []),
        "rain": ([1], [2]),
        "lamp": ([4], []),
    }, "what most items have, as 'for', asks for nothing; 'green' and 'work' stand in items that trained"
    assert answers is None and np.allclose(whole[0], embed(["red shoe for walks"])[0])


def test_pictures_ask_for_their_items_and_copies_of_them_are_no_candidates(items, measured):
    """The first and the last item share a picture, and are different things."""
    pictures = np.full((5, 1, DIM), np.nan, np.float32)
    pictures[[0, 1, 2, 4], 0] = np.eye(DIM, dtype=np.float32)[[0, 1, 2, 0]]
    pictured = show_pictures(items, pictures, named=np.arange(5), picture=np.array([0, 1, 2, -1, 0]))
    assert set(score_queries(pictured, np.random.default_rng(0))) == {"words", "pictures", "mixed"}
    queries, _, answers = measured[-2]
    assert [rows.tolist() for rows in queries.relevant] == [[0], [1], [4]]
    assert [rows.tolist() for rows in queries.exclude] == [[4], [], [0]]
    assert np.allclose(answers[0], embed(["red shoe for walks"])[0]), "the picture is hidden from the answer"
    _, _, answers = measured[-1]
    assert np.allclose(answers[0], items.embeddings.field("description")[0]), "and the title, where it is asked"


def test_where_most_things_have_several_pictures_they_ask_for_each_other(items, measured):
    pictures = np.eye(DIM, dtype=np.float32)[:5, None]
    pictured = show_pictures(items, pictures, named=np.array([7, 7, 8, 8, 7]), picture=np.arange(5))
    score_queries(pictured, np.random.default_rng(0))
    queries, _, answers = measured[-2]
    assert [rows.tolist() for rows in queries.relevant] == [[1, 4], [0, 4], [0, 1]]
    assert [rows.tolist() for rows in queries.exclude] == [[0], [1], [4]] and answers is None


def test_no_words_are_drawn_from_cells_that_nobody_reads_as_words(items, monkeypatch):
    asked = []
    monkeypatch.setattr(Words, "reads_words", lambda self, field: field == "description")
    monkeypatch.setattr(calibration_queries, "_RARE", 0.5)
    embedding = dataclasses.replace(items, embed=lambda texts: (asked.extend(texts), embed(texts))[1])
    score_queries(embedding, np.random.default_rng(0))
    assert set(asked) == {"red shoe", "blue shoe", "lamp", "walks", "rain"}
