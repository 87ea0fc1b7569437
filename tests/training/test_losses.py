"""NT-Xent against a slow reference that follows the formula word by word."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from likewise.training.losses import nt_xent, shared


def unit(rows, dim=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(rows, dim, generator=generator, dtype=torch.float64), dim=-1).float()


def reference(anchors, candidates, positive, ignored, scale):
    """Plain Python, one number at a time."""
    per_anchor = []
    for a, anchor in enumerate(anchors.tolist()):
        similarity = [scale * sum(x * y for x, y in zip(anchor, other, strict=True)) for other in candidates.tolist()]
        positives = [c for c in range(len(similarity)) if positive[a][c]]
        negatives = [c for c in range(len(similarity)) if not positive[a][c] and not ignored[a][c]]
        if not positives or not negatives:
            continue
        total = sum(math.exp(similarity[c]) for c in positives + negatives)
        per_anchor.append(sum(-math.log(math.exp(similarity[p]) / total) for p in positives) / len(positives))
    return sum(per_anchor) / len(per_anchor) if per_anchor else 0.0


@st.composite
def problems(draw):
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 7))
    mask = st.lists(st.lists(st.booleans(), min_size=columns, max_size=columns), min_size=rows, max_size=rows)
    seed = draw(st.integers(0, 999))
    scale = draw(st.floats(0.5, 20.0))
    return unit(rows, seed=seed), unit(columns, seed=seed + 1000), draw(mask), draw(mask), scale


@settings(max_examples=80, deadline=None)
@given(problems())
def test_it_equals_the_slow_reference(problem):
    anchors, candidates, positive, ignored, scale = problem
    ours = nt_xent(anchors, candidates, torch.tensor(positive), torch.tensor(ignored), torch.tensor(scale))
    assert ours.item() == pytest.approx(reference(*problem), rel=1e-4, abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(problems())
def test_gradients_are_finite_whatever_the_masks(problem):
    anchors, candidates, positive, ignored, scale = problem
    inputs = [anchors.requires_grad_(), candidates.requires_grad_(), torch.tensor(scale, requires_grad=True)]
    loss = nt_xent(inputs[0], inputs[1], torch.tensor(positive), torch.tensor(ignored), inputs[2])
    loss.backward()
    assert all(torch.isfinite(value.grad).all() for value in inputs)
    if reference(anchors, candidates, positive, ignored, scale) == 0.0:
        assert loss.item() == 0
        assert all(value.grad.abs().sum() == 0 for value in inputs)


@settings(max_examples=30, deadline=None)
@given(problems(), st.randoms(use_true_random=False))
def test_the_order_of_anchors_and_candidates_does_not_matter(problem, random):
    anchors, candidates, positive, ignored, scale = problem
    positive, ignored = torch.tensor(positive), torch.tensor(ignored)
    rows = random.sample(range(len(anchors)), len(anchors))
    columns = random.sample(range(len(candidates)), len(candidates))
    shuffled = nt_xent(
        anchors[rows],
        candidates[columns],
        positive[rows][:, columns],
        ignored[rows][:, columns],
        torch.tensor(scale),
    )
    straight = nt_xent(anchors, candidates, positive, ignored, torch.tensor(scale))
    assert shuffled.item() == pytest.approx(straight.item(), rel=1e-4, abs=1e-5)


def loss_of(positive, ignored, anchors=None, candidates=None):
    positive, ignored = torch.tensor(positive, dtype=torch.bool), torch.tensor(ignored, dtype=torch.bool)
    anchors = unit(positive.shape[0]) if anchors is None else anchors
    candidates = unit(positive.shape[1], seed=1) if candidates is None else candidates
    return nt_xent(anchors, candidates, positive, ignored, torch.tensor(10.0))


def test_an_anchor_without_an_answer_or_without_a_negative_drops_out():
    usual = [1, 0, 0]
    alone = loss_of([usual], [[0, 0, 0]])
    for positive, ignored in (([0, 0, 0], [0, 0, 0]), ([1, 1, 1], [0, 0, 0]), ([1, 0, 0], [0, 1, 1])):
        assert torch.allclose(loss_of([usual, positive], [[0, 0, 0], ignored]), alone, atol=1e-6)


def test_an_ignored_candidate_is_as_good_as_absent():
    candidates = unit(3, seed=1)
    ignored = loss_of([[1, 0, 0]], [[0, 0, 1]], candidates=candidates)
    absent = loss_of([[1, 0]], [[0, 0]], candidates=candidates[:2])
    assert torch.allclose(ignored, absent, atol=1e-6)


def test_a_positive_that_is_ignored_too_stays_positive():
    assert loss_of([[1, 0, 0]], [[1, 0, 0]]) == loss_of([[1, 0, 0]], [[0, 0, 0]])


@settings(max_examples=20, deadline=None)
@given(st.floats(1.0, 30.0), st.integers(0, 50))
def test_the_temperatures_gradient_is_the_slope_of_the_loss(scale, seed):
    anchors, candidates, positive = (
        unit(3, seed=seed).double(),
        unit(4, seed=seed + 99).double(),
        torch.eye(3, 4).bool(),
    )

    def loss(value):
        return nt_xent(anchors, candidates, positive, torch.zeros(3, 4, dtype=torch.bool), value)

    variable = torch.tensor(scale, dtype=torch.float64, requires_grad=True)
    loss(variable).backward()
    step = 0.02
    slope = (loss(torch.tensor(scale + step)) - loss(torch.tensor(scale - step))) / (2 * step)
    assert variable.grad.item() == pytest.approx(slope.item(), rel=2e-2, abs=2e-3)


def test_shared_codes():
    one = (torch.tensor([0, 1, -1]), torch.tensor([1, -1, 0]))
    other = (torch.tensor([5, 6, 7]), torch.tensor([7, 7, 7]))
    assert shared([one]).tolist() == [[False, False, True], [True, False, False], [False, False, False]]
    assert shared([one, other]).tolist() == [[False, False, True], [True, False, False], [True, True, True]]
    with pytest.raises(ValueError, match="empty"):
        shared([])
