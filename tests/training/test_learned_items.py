"""A run knows which items its model was fitted on, in whatever file and order they come."""

import numpy as np
import pytest
from model.shape_catalogue import catalogue_of, draw

from likewise.training.learned_items import FILE, count_known_items, write_learned_items


@pytest.fixture
def catalog(tmp_path):
    rows = [
        {
            "id": f"a{number}",
            "title": f"thing {number}",
            "description": "A thing.",
            "image_url": draw("red", "circle", 9),
        }
        for number in range(7)
    ]
    return catalogue_of(tmp_path, rows)


def test_items_are_known_in_any_order_and_part(catalog, tmp_path):
    write_learned_items(tmp_path, catalog.select(np.arange(5)))
    assert count_known_items(tmp_path, catalog) == 5
    assert count_known_items(tmp_path, catalog.select(np.array([6, 2, 0]))) == 2
    assert count_known_items(tmp_path, catalog.select(np.array([5, 6]))) == 0


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: b"X" + content, lambda content: b""])
def test_a_damaged_file_knows_nothing(catalog, tmp_path, change):
    write_learned_items(tmp_path, catalog)
    (tmp_path / FILE).write_bytes(change((tmp_path / FILE).read_bytes()))
    assert count_known_items(tmp_path, catalog) is None


def test_a_run_without_the_file_knows_nothing(catalog, tmp_path):
    assert count_known_items(tmp_path, catalog) is None
    (tmp_path / FILE).mkdir(parents=True)
    assert count_known_items(tmp_path, catalog) is None
