"""The loss of a step: what counts as the same thing, and what a batch may lack."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training.identity_codes import identity_of
from training.plain_losses import shares
from training.toy_network import toy_objective, unlike

from likewise.evaluation.judgments.query_log import QueryLog
from likewise.training.batches import KINDS
from likewise.training.positives import code_anchors, code_items, code_title_negatives, list_queries

ALONE = {"negatives": 0, "title_negatives": 0}  # the batch is told apart from nothing but itself


def loss_of(objective, batch, step=0):
    objective.eval()  # no dropout: losses are compared
    return objective(np.array(batch), step)


@pytest.mark.parametrize(
    "identity",
    [
        identity_of([0, 0, 0], [0, 1, 2], [0, 1, 2]),
        identity_of([0, 1, 2], [0, 0, 0], [0, 1, 2]),
        identity_of([0, 0, 1], [0, 1, 1], [0, 0, 1]),  # first and last only through the row between them
    ],
    ids=["title", "picture", "component"],
)
def test_a_batch_of_one_thing_has_nothing_to_say(identity):
    objective = toy_objective(identity, **ALONE)
    assert all(loss_of(objective, [0, 1, 2], seed).item() == 0 for seed in range(5))
    assert loss_of(toy_objective(unlike(3), **ALONE), [0, 1, 2]).item() > 0.1


def test_extra_negatives_and_titles_of_the_same_thing_say_nothing_either():
    objective = toy_objective(identity_of([0] * 6, [0] * 6), negatives=64, title_negatives=64)
    assert all(loss_of(objective, [0, 1, 2], seed).item() == 0 for seed in range(5))


rows_of_codes = st.lists(st.tuples(*[st.integers(-1, 3)] * 4), min_size=2, max_size=8)


@settings(max_examples=40, deadline=None)
@given(rows_of_codes, st.integers(0, 99))
def test_what_is_told_apart_has_nothing_in_common_and_everything_unlike_is(rows, step):
    title, picture, description, named = (np.array(column) for column in zip(*rows, strict=True))
    identity = identity_of(title, picture, description, named)
    objective = toy_objective(identity, **ALONE)
    plan = objective.draw(np.arange(len(rows)), step)

    def equal(code):
        return ((code[:, None] == code[None, :]) & (code >= 0)[:, None])[plan.row][:, plan.row]

    related = plan.row[:, None] == plan.row[None, :]
    for code in (title, picture, named, identity.component):
        related |= equal(code)
    asked_by_description = plan.pairs.kind == KINDS.index("sentence")
    described_alone = (plan.items.title < 0) & ~plan.items.picture
    related |= equal(description) & (asked_by_description[:, None] | described_alone[None, :])
    related = torch.from_numpy(related)
    anchors, items = code_anchors(objective.data, plan), code_items(objective.data, plan)
    same = shares(torch.from_numpy(anchors.same), torch.from_numpy(items.same))
    ignored = shares(torch.from_numpy(anchors.related), torch.from_numpy(items.related))
    assert not same[~related].any(), "an answer has something in common with its question"
    assert (~(same | ignored)).equal(~related)
    assert same.diagonal().all(), "every item answers its own question"


def test_what_shares_a_description_is_told_apart_by_what_else_it_shows():
    """Many things are described as "Birds"."""
    objective = toy_objective(identity_of(range(6), range(6), [0] * 6), **ALONE)
    plan, same, related = kinds_of_pairs(objective)
    titles = np.flatnonzero(plan.pairs.kind == KINDS.index("title"))
    described_alone = torch.from_numpy((plan.items.title < 0) & ~plan.items.picture)
    others = torch.from_numpy(plan.row[titles][:, None] != plan.row[None, :])
    assert described_alone.any() and not described_alone.all()
    assert not same[titles][others].any(), "a title is answered by its own row alone"
    assert related[titles][others].equal(described_alone.expand_as(others)[others])


def kinds_of_pairs(objective, step=0):
    plan = objective.draw(objective.data.rows, step)
    codes = code_anchors(objective.data, plan), code_items(objective.data, plan)
    same, related = (shares(*(torch.from_numpy(getattr(one, name)) for one in codes)) for name in ("same", "related"))
    return plan, same, related


def test_a_picture_answers_by_picture_or_title_and_a_sentence_by_its_description_alone():
    """Rows 0 and 1 share a title, 1 and 2 a description, 2 and 3 a picture."""
    objective = toy_objective(identity_of([0, 0, 1, 2], [0, 1, 2, 2], [0, 1, 1, 2]), **ALONE)
    plan, same, _ = kinds_of_pairs(objective)

    def answered(kind, row):
        found = [same[place] for place in np.flatnonzero((plan.pairs.kind == KINDS.index(kind)) & (plan.row == row))]
        return {int(other) for line in found for other in plan.row[line.numpy()]}

    assert answered("title", 0) == {0, 1}
    assert answered("title", 2) == {2}
    assert answered("picture", 1) == {0, 1}
    assert answered("picture", 3) == {2, 3}


def test_a_named_identity_joins_rows_that_share_nothing_else():
    objective = toy_objective(identity_of(range(4), named=[0, 0, 1, -1]), **ALONE)
    plan, same, _ = kinds_of_pairs(objective)
    for place, row in enumerate(plan.row):
        assert set(plan.row[same[place].numpy()]) == ({0, 1} if row < 2 else {row})


def test_a_row_answers_all_its_logged_queries_and_is_no_negative_of_any():
    """Queries 0 and 1 both found row 0; row 1 answers query 1 alone."""
    log = QueryLog.from_entries(4, np.array([0, 0, 1, 2]), np.array([0, 1, 1, 3]), np.array([3.0, 1.0, 2.0, 1.0]))
    objective = toy_objective(unlike(4), asked=log, **ALONE)
    for step in range(6):
        plan, same, related = kinds_of_pairs(objective, step)
        asking = np.flatnonzero(plan.pairs.kind == KINDS.index("query"))
        assert set(plan.row[asking]) == {0, 1, 2}
        drawn = {int(plan.row[place]): int(plan.pairs.query[place]) for place in asking}
        for place in asking:
            query = plan.pairs.query[place]
            answers = {row for row in range(3) if drawn[row] == query}
            assert set(plan.row[same[place].numpy()]) == answers
            known = {row for row in range(4) if query in list_queries(log, np.array([row]), 9)}
            assert set(plan.row[(same | related)[place].numpy()]) == known | {plan.row[place]}
        weight = {(0, 0): 3.0, (0, 1): 1.0, (1, 1): 2.0, (2, 3): 1.0}
        for place in asking:
            assert plan.pairs.weight[place] == weight[int(plan.row[place]), int(plan.pairs.query[place])]


def test_titles_as_prototypes_tell_pictures_apart_and_pass_over_text_queries():
    objective = toy_objective(unlike(6), negatives=0)
    plan = objective.draw(np.arange(4), 0)
    anchors, title_negatives = code_anchors(objective.data, plan), code_title_negatives(objective.data, plan)
    same = shares(torch.from_numpy(anchors.same), torch.from_numpy(title_negatives.same))
    ignored = shares(torch.from_numpy(anchors.related), torch.from_numpy(title_negatives.related))
    is_picture = plan.pairs.kind == KINDS.index("picture")
    assert (same.sum(dim=1).numpy() == is_picture).all(), "a picture is answered by its own title alone"
    assert ignored[torch.from_numpy(~is_picture)].all()
    assert (~(same | ignored)).sum(dim=1).numpy()[is_picture].tolist() == [5] * is_picture.sum()


def test_extra_negatives_come_from_the_training_rows_alone():
    objective = toy_objective(unlike(20), rows=range(10), negatives=256, title_negatives=256)
    objective.features.table[10:20] = float("nan")
    objective.features.table[30:40] = float("nan")
    objective.features.images[10:] = float("nan")
    assert math.isfinite(loss_of(objective, range(4)).item())
    more, fewer = (toy_objective(unlike(20), negatives=count, title_negatives=0) for count in (256, 0))
    assert loss_of(more, range(4)) > loss_of(fewer, range(4))


def test_live_features_are_computed_for_the_batch_alone():
    objective = toy_objective(unlike(20), regime="full", negatives=256, title_negatives=256)
    objective.features.cheap_texts = objective.features.cheap_pictures = False
    loss_of(objective, range(4))
    assert objective.features.pictures_read == 4
    assert objective.features.texts_read <= 4 * 4 * 2


@pytest.mark.parametrize(
    "options",
    [
        {"pictured": [False] * 12},
        {"pictured": [True, False] * 6},
        {"described": False},
        {"titled": False},
        {"fields": ("title", "image")},
        {"fields": ("image", "description", "title")},
        {"fields": ("title", "description"), "pictured": [False] * 12},
    ],
    ids=["no pictures", "some pictures", "no descriptions", "no titles", "two fields", "other order", "texts only"],
)
@pytest.mark.parametrize("regime", ["frozen", "full"])
def test_a_catalogue_may_lack_anything(options, regime):
    if "fields" in options and "description" not in options["fields"]:
        options = options | {"described": False}
    objective = toy_objective(unlike(12), regime=regime, **options)
    assert objective.data.has_pairs()
    loss = loss_of(objective, range(6))
    loss.backward()
    assert math.isfinite(loss.item()) and loss.item() > 0
    assert all(torch.isfinite(weight.grad).all() for weight in objective.parameters() if weight.grad is not None)


def test_rows_with_one_field_give_no_pair():
    objective = toy_objective(unlike(6), described=False, pictured=[False] * 6)
    assert not objective.data.has_pairs()


def test_the_loss_is_a_function_of_batch_and_random_state():
    objective = toy_objective(unlike(12))
    assert loss_of(objective, range(4), 3) == loss_of(objective, range(4), 3)
    assert loss_of(objective, range(4), 3) != loss_of(objective, range(4), 4)


def test_the_temperature_is_learned_and_clamped():
    objective = toy_objective(unlike(8), temperature=0.1)
    assert objective.scale.item() == pytest.approx(10.0)
    loss_of(objective, range(4)).backward()
    assert objective.log_scale.grad.abs() > 0
    with torch.no_grad():
        objective.log_scale.fill_(50.0)
    assert objective.scale.item() == pytest.approx(100.0)
