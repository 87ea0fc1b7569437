"""What makes two rows the same thing."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from model.shape_catalogue import catalogue_of, draw
from training.identity_codes import identity_of

from likewise.catalog.identity import Identity, number_values
from likewise.catalog.text import normalize_text


def test_texts_are_compared_without_case_width_and_spaces():
    assert normalize_text("  Red\u00a0SHOES\n") == normalize_text("red shoes") == normalize_text("ｒｅｄ shoes")
    assert normalize_text("Straße") == normalize_text("STRASSE")
    assert normalize_text(None) is None


def test_codes_number_values_in_order_of_appearance():
    assert number_values(["b", None, "a", "b"]).tolist() == [0, -1, 1, 0]
    assert number_values([]).tolist() == []


def test_the_identity_of_a_catalogue(tmp_path):
    red, blue = draw("red", "circle"), draw("blue", "bar")
    rows = [
        {"title": "Red  circle", "description": "one", "image_url": red},
        {"title": "red circle", "description": "ONE", "image_url": None},
        {"title": "red circle", "description": "other", "image_url": blue},
        {"title": None, "description": None, "image_url": blue},
        {"title": None, "description": "only words", "image_url": None},
        {"title": None, "description": "only words", "image_url": red},
    ]
    identity = Identity.read(catalogue_of(tmp_path, rows))
    assert identity.title.tolist() == [0, 0, 0, -1, -1, -1]
    assert identity.description.tolist() == [0, 0, 1, -1, 2, 2]
    assert identity.picture.tolist() == [0, -1, 1, 1, -1, 0]
    assert identity.component.tolist() == [0, 0, 1, 1, 0, 0]


small_codes = st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 6), st.integers(-1, 2)), min_size=1, max_size=25)


@settings(max_examples=60, deadline=None)
@given(small_codes)
def test_components_are_what_a_walk_over_shared_codes_reaches(rows):
    title, picture, description = (list(column) for column in zip(*rows, strict=True))
    component = identity_of(title, picture, description).component

    def joined(a, b):
        same_picture = picture[a] == picture[b] >= 0
        same_texts = (title[a], description[a]) == (title[b], description[b]) != (-1, -1)
        return same_picture or same_texts

    reached = list(range(len(rows)))
    for _ in rows:
        for a in range(len(rows)):
            for b in range(len(rows)):
                if joined(a, b):
                    reached[a] = reached[b] = min(reached[a], reached[b])
    assert (component[:, None] == component[None, :]).tolist() == np.equal.outer(reached, reached).tolist()
