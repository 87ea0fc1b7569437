"""Two rankings as one: what both find comes first, and neither can spoil the other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.errors import UserError
from likewise.retrieval.hybrid import Hybrid, ScoreScale, compute_parts

_cosines = st.floats(-1, 1, width=32)
_words = st.one_of(st.just(0.0), st.floats(0, 30, width=32))
_pairs = st.lists(st.tuples(_cosines, _words), min_size=1, max_size=30)
_fusions = st.builds(Hybrid, st.sampled_from(["weights", "ranks"]), st.floats(0, 1))


def fuse_scores(cosines: np.ndarray, words: np.ndarray, fusion: Hybrid, scale: ScoreScale) -> np.ndarray:
    return np.sum(compute_parts(cosines, words, fusion, scale), axis=0).astype(np.float32)


def both(pairs: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray, ScoreScale]:
    cosines, words = (np.array(side, np.float64) for side in zip(*pairs, strict=True))
    return cosines, words, ScoreScale(float(cosines.min()), float(cosines.max()), 6.0)


@settings(deadline=None)
@given(pairs=_pairs, fusion=_fusions)
def test_scores_lie_between_0_and_1_and_what_is_better_in_both_is_never_behind(pairs, fusion) -> None:
    cosines, words, scale = both(pairs)
    scores = fuse_scores(cosines, words, fusion, scale)
    assert scores.min() >= 0
    assert scores.max() <= 1 + 1e-6
    for one in range(len(pairs)):
        behind = (cosines <= cosines[one]) & (words <= words[one])
        assert (scores[behind] <= scores[one] + 1e-6).all()


@settings(deadline=None)
@given(pairs=_pairs, fusion=_fusions, seed=st.integers(0, 99))
def test_the_order_of_candidates_does_not_matter(pairs, fusion, seed) -> None:
    cosines, words, scale = both(pairs)
    order = np.random.default_rng(seed).permutation(len(pairs))
    expected = fuse_scores(cosines, words, fusion, scale)[order]
    np.testing.assert_allclose(fuse_scores(cosines[order], words[order], fusion, scale), expected, atol=1e-6)


@pytest.mark.parametrize("by", ["weights", "ranks"])
def test_at_the_ends_one_ranking_decides(by) -> None:
    cosines, words, scale = both([(0.9, 0.0), (0.5, 3.0), (0.1, 5.0)])
    assert np.argsort(-fuse_scores(cosines, words, Hybrid(by, 0.0), scale)).tolist() == [0, 1, 2]
    assert np.argsort(-fuse_scores(cosines, words, Hybrid(by, 1.0), scale)).tolist() == [2, 1, 0]


def test_reciprocal_ranks_are_those_of_the_paper() -> None:
    cosines, words, scale = both([(0.9, 0.0), (0.5, 3.0), (0.1, 5.0)])
    scores = fuse_scores(cosines, words, Hybrid("ranks", 0.5), scale)
    rank = [1 / 61, 1 / 62 + 1 / 62, 1 / 63 + 1 / 61]
    np.testing.assert_allclose(scores, np.array(rank) * 61 / 2, rtol=1e-6)


def test_equal_scores_have_equal_ranks() -> None:
    scores = fuse_scores(np.array([0.5, 0.5, 0.1]), np.zeros(3), Hybrid("ranks"), ScoreScale(0.1, 0.5, 1.0))
    assert scores[0] == scores[1] > scores[2]


def test_weights_say_how_much_of_the_query_stands_in_an_item() -> None:
    """A best match that shares one word of many does not count as if it shared all."""
    cosines, scale = np.array([0.9, 0.3]), ScoreScale(0.3, 0.9, 10.0)
    assert fuse_scores(cosines, np.array([0.0, 1.0]), Hybrid(), scale).tolist() == pytest.approx([0.4, 0.06])
    assert fuse_scores(cosines, np.array([0.0, 12.0]), Hybrid(), scale).tolist() == pytest.approx([0.4, 0.6])


def test_where_there_are_no_words_vectors_decide() -> None:
    assert fuse_scores(np.array([0.2, 0.4]), np.zeros(2), Hybrid(words=0.5), ScoreScale(0.2, 0.4, 0.0)).tolist() == [
        0.0,
        0.5,
    ]
    assert fuse_scores(np.empty(0), np.empty(0), Hybrid(), ScoreScale(0.0, 0.0, 0.0)).tolist() == []


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(UserError, match="between 0 and 1"):
        Hybrid(words=share)


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(UserError, match="by weights or by ranks, not by luck"):
        Hybrid(by="luck")
