"""Vectors that are cut short: an index of them is built, opened, updated and asked like any other."""

from pathlib import Path

import numpy as np
import pytest
from retrieval.fakes import FakeModel, catalog_of

from likewise.errors import UserError
from likewise.retrieval.index import Index
from likewise.retrieval.truncated import TruncatedModel

TITLES = ("red", "green", "blue", "red green", None)


def test_vectors_are_the_first_dimensions_at_unit_norm() -> None:
    model = FakeModel()
    short = TruncatedModel(model, 3)
    whole, cut = model.encode_items(catalog_of(*TITLES)), short.encode_items(catalog_of(*TITLES))
    assert cut.shape == (5, 3)
    assert np.allclose(cut[:4], whole[:4, :3] / np.linalg.norm(whole[:4, :3], axis=1, keepdims=True))
    assert np.isnan(cut[4]).all(), "an item without content stays without"
    assert np.allclose(np.linalg.norm(short.encode_queries(["blue green"]), axis=1), 1)
    assert short.fingerprint == model.fingerprint


def test_a_vector_of_nothing_but_what_was_cut_is_zero() -> None:
    assert not TruncatedModel(FakeModel(), 3).encode_queries(["nowhere"]).any()


@pytest.mark.parametrize("dim", [0, -1, 65])
def test_a_model_has_only_so_many_dimensions(dim: int) -> None:
    with pytest.raises(UserError, match=f"dim must be between 1 and the model's 64, not {dim}"):
        TruncatedModel(FakeModel(), dim)


def test_a_short_index_is_opened_asked_and_updated_with_the_whole_model(tmp_path: Path) -> None:
    model = FakeModel()
    Index.build(model, catalog_of(*TITLES[:3]), tmp_path, dim=8)
    index = Index.open(tmp_path, model)
    assert index.metadata.dim == 8
    assert [hit.id for hit in index.search("green", k=1)] == ["1"]
    assert str(index.update(catalog_of("red", "green", "blue", "green red blue"))).startswith("1 new")
    assert index.metadata.dim == 8
    assert index.search("green red blue", k=1)[0].id == "3"


def test_a_short_index_of_another_model_is_still_refused(tmp_path: Path) -> None:
    Index.build(FakeModel(), catalog_of(*TITLES[:3]), tmp_path, dim=8)
    with pytest.raises(UserError, match="was made by another model"):
        Index.open(tmp_path, FakeModel(fingerprint="other"))
