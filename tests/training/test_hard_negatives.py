"""Hard negatives: what is found, what is left out, and what a person is shown."""

import csv

import numpy as np
import pytest
import torch
from training.identity_codes import identity_of
from training.toy_network import toy_objective, unlike

from likewise.progress import quiet
from likewise.training.hard_negatives import mine_hard_negatives
from likewise.training.sampler import epoch_batches
from likewise.training.train import train

ROWS = 12


def mined(identity, count=3, **options):
    objective = toy_objective(identity, **options)
    return objective, mine_hard_negatives(
        objective.network, objective.features, objective.data, count, np.random.default_rng(0)
    )


def test_neighbours_are_other_training_rows_of_which_the_nearest_come_first():
    objective, found = mined(unlike(ROWS), rows=range(8))
    assert found.neighbours.shape == (ROWS, 3)
    assert (found.neighbours[8:] == -1).all()
    network, features = objective.network, objective.features
    with torch.inference_mode():
        items = network.fuse(
            torch.stack(
                [
                    torch.zeros(ROWS, network.dim),
                    network.tower("description", features.table[ROWS:]),
                    network.tower("image", features.images),
                ],
                dim=1,
            ),
            torch.tensor([[False, True, True]] * ROWS),
        )
        scores = (network.query(features.table[:ROWS]) @ items.T).numpy()
    for row in range(8):
        fair = [n for n in range(8) if n != row and scores[row, n] <= scores[row, row] - 0.05 * abs(scores[row, row])]
        expected = sorted(fair, key=lambda n: -scores[row, n])[:3]
        assert [n for n in found.neighbours[row] if n >= 0] == expected


@pytest.mark.parametrize("shared", ["title", "picture", "named"])
def test_what_shares_an_identity_is_neither_a_negative_nor_suspicious(shared):
    codes = {name: list(range(ROWS)) for name in ("title", "picture", "description", "named")}
    codes[shared] = [n // 4 for n in range(ROWS)]
    _, found = mined(identity_of(**codes), count=ROWS)
    for row, neighbours in enumerate(found.neighbours):
        assert not [n for n in neighbours if n >= 0 and n // 4 == row // 4]
    assert not [suspect for suspect in found.suspects if suspect.row // 4 == suspect.other // 4]


def test_what_answers_as_well_as_the_row_itself_is_shown_and_not_a_negative():
    objective, _ = mined(unlike(ROWS))
    features = objective.features
    features.table[ROWS + 5] = features.table[ROWS + 2]  # row 5 has the description and the picture of row 2
    features.images[5] = features.images[2]
    found = mine_hard_negatives(objective.network, features, objective.data, ROWS, np.random.default_rng(0))
    assert 5 not in found.neighbours[2] and 2 not in found.neighbours[5]
    suspect = next(suspect for suspect in found.suspects if suspect.row == 2)
    assert suspect.score >= suspect.own - 0.05 * abs(suspect.own)


def test_rows_take_their_hard_negatives_along_and_every_row_comes_once():
    neighbours = np.full((40, 2), -1)
    neighbours[:, 0] = (np.arange(40) + 20) % 40
    batches = list(epoch_batches(np.arange(40), np.full(40, -1), 8, 0, 0, neighbours))
    assert sorted(np.concatenate(batches).tolist()) == list(range(40))
    together = sum((row + 20) % 40 in batch for batch in batches for row in batch.tolist())
    assert together >= 32, "of 40 rows"
    apart = list(epoch_batches(np.arange(40), np.full(40, -1), 8, 0, 0))
    assert sum((row + 20) % 40 in batch for batch in apart for row in batch.tolist()) <= 20


def test_a_training_with_hard_negatives_repeats_to_the_bit_and_lists_what_is_suspicious(shapes, tiny, tmp_path):
    config = tiny.model_copy(update={"hard_negatives": 2, "epochs": 3})
    with quiet():
        runs = [train(shapes, tmp_path / name, config) for name in ("first", "second")]
    first, second = ((run.path / "model.safetensors").read_bytes() for run in runs)
    assert first == second
    plain = train(shapes, tmp_path / "plain", tiny.model_copy(update={"epochs": 3}))
    assert (plain.path / "model.safetensors").read_bytes() != first
    rows = list(csv.DictReader((plain.path / "suspects.csv").open(encoding="utf-8")))
    assert set(rows[0]) == {"id", "other_id", "score", "own_score", "likeness", "near_duplicate"}
    assert all(float(row["score"]) >= float(row["own_score"]) - 0.06 for row in rows)
    assert "The same thing twice?" in (plain.path / "report.html").read_text()
