"""The losses against whole matrices with masks, against a reference in plain Python, and what they promise."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from training.plain_losses import one_way, plain
from training.toy_network import toy_objective, unlike

from likewise.config import TrainConfig
from likewise.model.matryoshka import build_variants
from likewise.training.losses import CodedEmbeddings, ContrastiveBatch, Grades, pairwise_sigmoid, symmetric_nt_xent

DIM = 8
BIAS = torch.tensor(-3.0, dtype=torch.float64)


def unit(rows, dim=DIM, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(rows, dim, generator=generator, dtype=torch.float64), dim=-1)


def side(vectors, generator, kinds=(2, 3), most=4):
    same, related = (torch.randint(-1, most, (len(vectors), kind), generator=generator) for kind in kinds)
    return CodedEmbeddings(vectors, same, related)


@st.composite
def contrasts(draw, most=9, graded=True):
    """Pairs of which each is the same thing, with codes that repeat, and further candidates on either side."""
    seed, pairs = draw(st.integers(0, 9999)), draw(st.integers(1, most))
    generator = torch.Generator().manual_seed(seed)
    most_codes = draw(st.sampled_from([1, 4, 40]))
    anchors, items = (side(unit(pairs, seed=seed + n), generator, most=most_codes) for n in range(2))
    row = torch.arange(pairs)[:, None]
    anchors, items = (dataclasses.replace(one, same=torch.cat([one.same, row], dim=1)) for one in (anchors, items))
    beside = [
        side(unit(count, seed=seed + 7 + n), generator, kinds=(3, 3), most=most_codes) if count else None
        for n, count in enumerate(draw(st.tuples(st.integers(0, 5), st.integers(0, 5))))
    ]
    for one in beside:
        if one is not None:
            one.same[:, 2] = -1
    grades = None
    if graded and draw(st.booleans()):
        relevance = torch.rand(pairs, generator=generator, dtype=torch.float64)
        relevance[torch.rand(pairs, generator=generator) < 0.3] = 0.0
        grades = Grades(torch.rand(pairs, generator=generator) < 0.6, relevance)
    return ContrastiveBatch(anchors, items, beside[0], beside[1], grades)


def differentiable(contrast, scale):
    """A copy whose vectors ask for gradients, and all that do."""
    sides = {}
    for name in ("anchors", "items", "extra_items", "extra_anchors"):
        one = getattr(contrast, name)
        sides[name] = one and dataclasses.replace(one, vectors=one.vectors.clone().requires_grad_())
    scale = torch.tensor(scale, dtype=torch.float64, requires_grad=True)
    return dataclasses.replace(contrast, **sides), scale, [one.vectors for one in sides.values() if one] + [scale]


def gradients(loss, inputs):
    found = torch.autograd.grad(loss, inputs, allow_unused=True)
    return [torch.zeros_like(one) if grad is None else grad for one, grad in zip(inputs, found, strict=True)]


TILES = st.sampled_from([None, (1, 1), (3, 2), (2, 5), (4, 4)])
SMOOTHING = st.sampled_from([0.0, 0.1])


@settings(max_examples=120, deadline=None)
@given(contrasts(), st.floats(0.5, 40.0), TILES, SMOOTHING)
def test_nt_xent_and_its_gradients_equal_those_of_whole_matrices_with_masks(contrast, scale, tile, smoothing):
    contrast, scale, inputs = differentiable(contrast, scale)
    expected = plain(contrast, scale, smoothing=smoothing)
    ours = symmetric_nt_xent(contrast, scale, smoothing=smoothing, tile=tile)
    assert torch.allclose(ours, expected, rtol=1e-9, atol=1e-9)
    for mine, theirs in zip(gradients(ours, inputs), gradients(expected, inputs), strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-8, atol=1e-9)


@settings(max_examples=120, deadline=None)
@given(contrasts(), st.floats(0.5, 40.0), TILES, SMOOTHING)
def test_the_sigmoid_loss_and_its_gradients_equal_those_of_whole_matrices(contrast, scale, tile, smoothing):
    contrast, scale, inputs = differentiable(contrast, scale)
    bias = BIAS.clone().requires_grad_()
    inputs.append(bias)
    expected = plain(contrast, scale, bias, smoothing=smoothing)
    ours = pairwise_sigmoid(contrast, scale, bias, smoothing=smoothing, tile=tile)
    assert torch.allclose(ours, expected, rtol=1e-9, atol=1e-9)
    for mine, theirs in zip(gradients(ours, inputs), gradients(expected, inputs), strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-8, atol=1e-9)


def test_the_comparison_is_not_an_empty_one():
    """Where many are alike there are answers, ignored pairs and negatives, and gradients that are not 0."""
    generator = torch.Generator().manual_seed(3)
    anchors, items = (side(unit(30, seed=n), generator) for n in range(2))
    contrast, scale, inputs = differentiable(ContrastiveBatch(anchors, items), 9.0)
    whole = symmetric_nt_xent(contrast, scale)
    assert whole.item() > 0.5
    assert all(grad.norm() > 1e-3 for grad in gradients(whole, inputs))
    strangers = ContrastiveBatch(*(dataclasses.replace(one, related=one.related.fill_(-1)) for one in (anchors, items)))
    assert symmetric_nt_xent(strangers, scale).item() != pytest.approx(whole.item(), rel=1e-3)


def in_words(anchors, candidates, positive, ignored, scale):
    """The formula in plain Python, one number at a time."""
    per_anchor = []
    for a, anchor in enumerate(anchors.tolist()):
        logits = [scale * sum(x * y for x, y in zip(anchor, other, strict=True)) for other in candidates.tolist()]
        positives = [c for c in range(len(logits)) if positive[a][c]]
        negatives = [c for c in range(len(logits)) if not positive[a][c] and not ignored[a][c]]
        if not positives or not negatives:
            continue
        total = sum(math.exp(logits[c]) for c in positives + negatives)
        per_anchor.append(sum(-math.log(math.exp(logits[p]) / total) for p in positives) / len(positives))
    return sum(per_anchor) / len(per_anchor) if per_anchor else 0.0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.integers(1, 5), st.integers(1, 7), st.floats(0.5, 20.0), st.randoms())
def test_the_masked_form_equals_the_formula_word_by_word(seed, rows, columns, scale, random):
    anchors, candidates = unit(rows, seed=seed), unit(columns, seed=seed + 1000)
    masks = [[[random.random() < 0.4 for _ in range(columns)] for _ in range(rows)] for _ in range(2)]
    positive, ignored = (torch.tensor(mask) for mask in masks)
    weight = torch.ones(rows, columns, dtype=torch.float64)
    losses, counts = one_way(anchors, candidates, positive, ignored, weight, torch.tensor(scale, dtype=torch.float64))
    mean = (losses * counts).sum() / counts.sum().clamp(min=1)
    assert mean.item() == pytest.approx(in_words(anchors, candidates, *masks, scale), rel=1e-9, abs=1e-9)


def in_forms(contrast, scale, **options):
    variants = build_variants(TrainConfig(**options))
    return torch.stack([symmetric_nt_xent(contrast.transform(variant), scale) for variant in variants]).mean()


LOSSES = {
    "nt_xent": symmetric_nt_xent,
    "smoothed": lambda contrast, scale: symmetric_nt_xent(contrast, scale, smoothing=0.1),
    "sigmoid": lambda contrast, scale: pairwise_sigmoid(contrast, scale, BIAS),
    "matryoshka": lambda contrast, scale: in_forms(contrast, scale, matryoshka=(6, 4, 2)),
    "int8": lambda contrast, scale: in_forms(contrast, scale, quantization="int8"),
    "binary": lambda contrast, scale: in_forms(contrast, scale, quantization="binary", matryoshka=(6,)),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


@every_loss
@settings(max_examples=25, deadline=None)
@given(contrast=contrasts(), random=st.randoms(use_true_random=False))
def test_the_order_of_pairs_and_candidates_does_not_matter(loss, contrast, random):
    scale = torch.tensor(7.0, dtype=torch.float64)

    def shuffled(one):
        return one and one[torch.tensor(random.sample(range(len(one)), len(one)))]

    order = torch.tensor(random.sample(range(len(contrast.items)), len(contrast.items)))
    grades = contrast.grades and Grades(contrast.grades.graded[order], contrast.grades.relevance[order])
    mixed = ContrastiveBatch(
        contrast.anchors[order],
        contrast.items[order],
        shuffled(contrast.extra_items),
        shuffled(contrast.extra_anchors),
        grades,
    )
    assert torch.allclose(loss(mixed, scale), loss(contrast, scale), rtol=1e-9, atol=1e-9)


@every_loss
@settings(max_examples=25, deadline=None)
@given(contrast=contrasts(graded=False), absent=st.lists(st.booleans(), min_size=9, max_size=9))
def test_a_pair_of_weight_0_is_as_good_as_absent(loss, contrast, absent):
    scale = torch.tensor(7.0, dtype=torch.float64)
    gone = torch.tensor(absent[: len(contrast.items)])
    ones = torch.ones(len(gone), dtype=torch.float64)
    weighted = dataclasses.replace(contrast, grades=Grades(gone, ones.masked_fill(gone, 0.0)))
    without = dataclasses.replace(contrast, anchors=contrast.anchors[~gone], items=contrast.items[~gone])
    assert torch.allclose(loss(weighted, scale), loss(without, scale), rtol=1e-9, atol=1e-9)


@every_loss
@settings(max_examples=25, deadline=None)
@given(contrast=contrasts(graded=False), graded=st.booleans())
def test_weights_of_1_change_nothing(loss, contrast, graded):
    scale, ones = torch.tensor(7.0, dtype=torch.float64), torch.ones(len(contrast.items), dtype=torch.float64)
    weighted = dataclasses.replace(contrast, grades=Grades(ones.bool() & graded, ones))
    assert torch.allclose(loss(weighted, scale), loss(contrast, scale), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("loss", [LOSSES["nt_xent"], LOSSES["sigmoid"]], ids=["nt_xent", "sigmoid"])
def test_two_listings_of_one_thing_are_not_pushed_apart(loss):
    """Among strangers, an anchor pushes another's twin away, draws it near if it is the same thing, or leaves it."""
    codes, none = torch.arange(6)[:, None], torch.full((6, 1), -1)
    merged = codes.clone()
    merged[1] = 0

    def pull(same, related):
        """How strongly the first anchor draws the second item."""
        anchors = CodedEmbeddings(torch.eye(6, DIM).double(), same, related)
        items = CodedEmbeddings(unit(6, seed=5).requires_grad_(), same, related)
        result = loss(ContrastiveBatch(anchors, items), torch.tensor(7.0, dtype=torch.float64))
        return -torch.autograd.grad(result, items.vectors)[0][1, 0].item()

    assert pull(codes, none) < -1e-3
    assert pull(merged, none) > 1e-3
    assert pull(codes, merged) == 0


@every_loss
@pytest.mark.parametrize("kind", ["same", "related"])
def test_a_batch_of_one_thing_gives_0_and_no_gradient(loss, kind):
    vectors = unit(5).requires_grad_()
    scale = torch.tensor(7.0, dtype=torch.float64, requires_grad=True)
    one, own = torch.zeros(5, 1, dtype=torch.long), torch.arange(5)[:, None]
    of = CodedEmbeddings(vectors, one, own) if kind == "same" else CodedEmbeddings(vectors, own, one)
    result = loss(ContrastiveBatch(of, of), scale)
    assert result.item() == 0
    assert all((grad == 0).all() for grad in gradients(result, [vectors, scale]))


@every_loss
def test_no_pairs_at_all_give_0(loss):
    none = CodedEmbeddings(unit(0), torch.zeros(0, 1, dtype=torch.long), torch.zeros(0, 1, dtype=torch.long))
    assert loss(ContrastiveBatch(none, none), torch.tensor(7.0, dtype=torch.float64)).item() == 0


def test_a_row_that_drops_out_changes_nothing_for_others():
    """Its item is related to all others, so it has no negative, and is none."""
    vectors, codes = unit(4), torch.arange(4)[:, None]
    related = torch.tensor([[0, -1, -1], [-1, 0, -1], [-1, -1, 0], [0, 0, 0]])
    of = CodedEmbeddings(vectors, codes, related)
    scale = torch.tensor(7.0, dtype=torch.float64)
    for loss in LOSSES.values():
        assert torch.allclose(loss(ContrastiveBatch(of, of), scale), loss(ContrastiveBatch(of[:3], of[:3]), scale))


def test_relevance_decides_which_answer_is_drawn_nearer():
    """Two items answer one query; the gradient pulls the one that was clicked more often."""
    query, items = unit(1, seed=1).expand(2, -1), unit(2, seed=2).requires_grad_()
    strangers = CodedEmbeddings(unit(5, seed=3), torch.full((5, 1), -1), torch.full((5, 1), -1))
    codes, none = torch.zeros(2, 1, dtype=torch.long), torch.full((2, 1), -1)
    scale = torch.tensor(5.0, dtype=torch.float64)

    def pull(relevance, loss):
        grades = Grades(torch.ones(2, dtype=torch.bool), torch.tensor(relevance, dtype=torch.float64))
        contrast = ContrastiveBatch(
            CodedEmbeddings(query, codes, none), CodedEmbeddings(items, codes, none), strangers, strangers, grades
        )
        return -(torch.autograd.grad(loss(contrast, scale), items)[0] * query).sum(dim=1)

    for loss in (LOSSES["nt_xent"], LOSSES["sigmoid"]):
        first, second = pull([1.0, 0.2], loss), pull([0.2, 1.0], loss)
        assert first[0] > second[0] and first[1] < second[1]


@settings(max_examples=20, deadline=None)
@given(st.floats(1.0, 30.0), st.integers(0, 50))
def test_the_temperatures_gradient_is_the_slope_of_the_loss(scale, seed):
    generator = torch.Generator().manual_seed(seed)
    contrast = ContrastiveBatch(*(side(unit(6, seed=seed + n), generator) for n in range(2)))
    variable = torch.tensor(scale, dtype=torch.float64, requires_grad=True)
    symmetric_nt_xent(contrast, variable).backward()
    step = 1e-5
    above, below = (
        symmetric_nt_xent(contrast, torch.tensor(scale + way * step, dtype=torch.float64)) for way in (1, -1)
    )
    assert variable.grad.item() == pytest.approx((above - below).item() / (2 * step), rel=1e-5, abs=1e-6)


def test_logits_far_apart_overflow_nowhere():
    """A temperature of 0.001 in single precision: exponentials of ±1000."""
    vectors = torch.cat([unit(20), -unit(20)]).float()
    codes = torch.arange(40)[:, None]
    for tile in (None, (3, 7)):
        of = CodedEmbeddings(vectors.clone().requires_grad_(), codes, codes % 20)
        scale = torch.tensor(1000.0, requires_grad=True)
        loss = symmetric_nt_xent(ContrastiveBatch(of, of), scale, tile=tile)
        loss.backward()
        assert math.isfinite(loss.item()) and torch.isfinite(of.vectors.grad).all() and math.isfinite(scale.grad)


def test_every_variant_of_the_vectors_counts_the_same(monkeypatch):
    objective = toy_objective(unlike(6), matryoshka=(4, 2), quantization="binary")
    batch = objective.draw(np.arange(6), 0)
    towers = {each.tower: objective.encode(each) for each in batch.inputs}
    whole = objective.build_contrastive_batch(batch, towers)
    compute, losses, seen = objective._compute_loss, [], []

    def noted(one):
        sides = (one.anchors, one.items, one.extra_items, one.extra_anchors)
        for vectors in (side.vectors for side in sides):
            assert torch.allclose(vectors.norm(dim=1), torch.ones(len(vectors)), atol=1e-5)
        seen.append(sides)
        losses.append(compute(one))
        return losses[-1]

    monkeypatch.setattr(objective, "_compute_loss", noted)
    mean = objective.loss(batch, towers)
    assert [[side.vectors.shape[1] for side in sides] for sides in seen] == [[dim] * 4 for dim in (16, 4, 2, 16, 4, 2)]
    assert torch.equal(seen[0][1].vectors, whole.items.vectors)
    assert len({loss.item() for loss in losses}) == 6 and losses[0].item() == compute(whole).item()
    assert mean.item() == pytest.approx(sum(loss.item() for loss in losses) / 6)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@settings(max_examples=15, deadline=None)
@given(contrast=contrasts(), cut=st.integers(0, 9))
def test_the_shares_of_processes_add_up_to_the_loss_and_its_gradients(loss, contrast, cut):
    alone = dataclasses.replace(contrast, extra_items=None, extra_anchors=None)
    alone, scale, inputs = differentiable(alone, 7.0)
    whole = loss(alone, scale)
    cut = min(cut, len(alone.items))
    parts = [dataclasses.replace(alone, own=own) for own in (slice(0, cut), slice(cut, len(alone.items)))]
    noted = []
    for part in parts:  # what each process would put into the common sums
        loss(dataclasses.replace(part, sum_over_processes=lambda number: noted.append(number) or number), scale)
    sums = [sum(pair) for pair in zip(noted[: len(noted) // 2], noted[len(noted) // 2 :], strict=True)]
    shares = []
    for part in parts:
        answers = iter(sums)
        shares.append(
            loss(dataclasses.replace(part, sum_over_processes=lambda _, answers=answers: next(answers)), scale)
        )
    assert torch.allclose(sum(shares), whole, rtol=1e-9, atol=1e-9)
    for mine, theirs in zip(gradients(sum(shares), inputs), gradients(whole, inputs), strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-8, atol=1e-9)
