"""Encoders of numbers, categories, tags, dates and truth values: the contract, and what each of them is for."""

import json
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from likewise.encoders.category import CategoryEncoder
from likewise.encoders.date import DateEncoder
from likewise.encoders.number import NumberEncoder, fit_quantiles, quantile_features
from likewise.encoders.registry import find_fitted, restore_encoder
from likewise.encoders.tags import TagsEncoder
from likewise.errors import UserError
from likewise.testing.encoders import *  # noqa: F403
from likewise.testing.encoders import Subject, encode

SUBJECTS = [
    Subject("number", "number", [1.0, 2.5, 2.5e3, -7.0]),
    Subject("category", "category", ["shoes", "hats", "bags"]),
    Subject("tags", "tags", [("red", "new"), ("red",), ("blue", "sale")]),
    Subject("date", "date", [datetime(2020, 1, 1), datetime(2021, 7, 3, 12), datetime(2024, 2, 29)]),
    Subject("boolean", "boolean", [True, False]),
]


@pytest.fixture(scope="module", params=[one for one in SUBJECTS if one.name != "boolean"], ids=lambda one: one.name)
def subject(request: pytest.FixtureRequest) -> Subject:
    return request.param


def cosine(encoder, one, other) -> float:
    return torch.cosine_similarity(*encode(encoder, [one, other])[:, None]).item()


def test_case_and_blanks_do_not_make_another_category():
    encoder = CategoryEncoder.fit(["Shoes", "shoes ", "hats", "hats"], seed=0)
    assert encoder.description()["vocabulary"] == ["shoes", "hats"]
    assert cosine(encoder, "SHOES", "shoes") == pytest.approx(1.0)
    assert abs(cosine(encoder, "hats", "shoes")) < 0.6


def test_unseen_and_rare_categories_have_buckets_and_their_words():
    encoder = CategoryEncoder.fit(["shoes"] * 3 + ["sandals"], seed=0)
    prepared = encoder.prepare(["shoes", "sandals", "boots", "boots"])["values"][:, 0].tolist()
    assert prepared[0] == 0
    assert all(number >= 1 for number in prepared[1:])
    assert prepared[2] == prepared[3]
    assert encoder.words("boots") == ("boots",)
    assert encoder.words("4711-8") == ()


@pytest.mark.parametrize("name", ["category", "tags"])
def test_the_largest_vocabulary_can_be_read_back(tmp_path, name):
    words = [f"{'Полуботинки женские' * 5}{number:05}" for number in range(50_000)]
    values = [(word,) if name == "tags" else word for word in words for _ in range(2)]
    encoder = find_fitted(name, name).fit(values, 0)
    assert 15_000 < len(encoder.numbers) < 50_000, "by their bytes"
    encoder.save(tmp_path)
    assert list(restore_encoder(tmp_path, name).numbers) == list(encoder.numbers)


def test_a_vocabulary_is_saved_in_its_own_letters(tmp_path):
    encoder = CategoryEncoder.fit(["туфли", "туфли", "half \ud800", "half \ud800"], 0)
    encoder.save(tmp_path)
    assert '"туфли"' in (tmp_path / "encoder.json").read_text(encoding="utf-8")
    assert list(restore_encoder(tmp_path, "category").numbers) == ["туфли"], "UTF-8 has no half characters"


def test_a_family_decides_its_modality(tmp_path):
    CategoryEncoder.fit(["shoes"] * 2, 0).save(tmp_path)
    file = tmp_path / "encoder.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"modality": "number"}))
    with pytest.raises(UserError, match=r"damaged .*an encoder of category is not for number"):
        restore_encoder(tmp_path, "number")


def test_tags_are_the_mean_of_their_values_in_any_order():
    encoder = TagsEncoder.fit([("red", "new"), ("red", "sale"), ("new", "sale")], seed=0)
    both, turned, red, new = encode(encoder, [("red", "new"), ("new", "red", "new"), ("red",), ("new",)])
    torch.testing.assert_close(both, turned)
    torch.testing.assert_close(both, (red + new) / 2)
    assert encoder.words(("red", "12", "new")) == ("red", "new")


def test_near_numbers_are_near():
    encoder = NumberEncoder.fit(np.random.default_rng(0).lognormal(3, 1, 500).tolist(), seed=0)
    assert cosine(encoder, 20.0, 21.0) > 0.97 > cosine(encoder, 20.0, 60.0) > cosine(encoder, 20.0, 500.0) - 0.2
    beyond = encode(encoder, [1e3, 1e6])
    assert not torch.equal(beyond[0], beyond[1])


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=40),
    st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=10),
)
def test_any_numbers_give_features_within_bounds(fitted, asked):
    quantiles = fit_quantiles(np.array(fitted))
    assert all(low < high for low, high in pairwise(quantiles))
    features = quantile_features(np.array(asked), np.array(quantiles))
    assert np.isfinite(features).all()
    assert np.abs(features).max() <= 3
    NumberEncoder.saved.model_validate({"quantiles": quantiles})


def test_dates_know_the_season_the_week_and_the_time():
    days = [datetime(2015 + year, month, 5) for year in range(8) for month in range(1, 13)]
    encoder = DateEncoder.fit(days, seed=0)
    spring, other_spring, autumn = encode(encoder, [datetime(2016, 4, 4), datetime(2021, 4, 5), datetime(2021, 10, 4)])
    cycles = slice(-6, None)
    assert (spring[cycles] - other_spring[cycles]).norm() < (autumn[cycles] - other_spring[cycles]).norm()
    assert (spring - other_spring).norm() > 0.5  # the trend distinguishes them
    zoned = datetime(2021, 4, 5, tzinfo=UTC)
    assert torch.equal(encode(encoder, [zoned])[0], other_spring)


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("category", {"vocabulary": ["a", "a"], "buckets": 64}, "a value occurs twice"),
        ("category", {"vocabulary": "shoes", "buckets": 64}, "vocabulary: input should be a valid list"),
        ("category", {"vocabulary": ["a"], "buckets": 10**9}, "buckets"),
        ("tags", {"vocabulary": [1], "buckets": 64}, r"vocabulary\.0"),
        ("number", {"quantiles": [2.0, 1.0]}, "not in ascending order"),
        ("number", {"quantiles": [0.0, float("nan")]}, r"quantiles\.1"),
        ("date", {"quantiles": [0.0]}, "at least 2"),
        ("boolean", {"code": "x"}, "code"),
    ],
)
def test_a_damaged_description_is_refused(tmp_path, name, damage, said):
    values = next(one.values for one in SUBJECTS if one.name == name)
    find_fitted(name, name).fit(values, 0).save(tmp_path / "saved")
    file = tmp_path / "saved" / "encoder.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"description": damage}))
    with pytest.raises(UserError, match=f"is damaged .*{said}"):
        restore_encoder(tmp_path / "saved", name)
