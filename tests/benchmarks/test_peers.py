"""What the peers have in common: fair batches, fusion, the clock, and early stopping."""

from pathlib import Path

import numpy as np
import pytest
import torch
from peers import clock
from peers.best import Best
from peers.clock import Clock, Pace, cosine, linear
from peers.examples import Examples
from peers.seen import Seen
from peers.settings import GRID, PeerSettings

from likewise.errors import UserError


def test_no_title_is_its_own_negative_and_every_row_is_seen() -> None:
    titles = [f"title {row % 7}" for row in range(50)] + ["Title 3 "]  # the last one is title 3 in other letters
    examples = Examples(titles, ["text"] * 51, [None] * 51)
    batches = list(examples.batches(5, np.random.default_rng(0)))
    for batch in batches:
        keys = [titles[row].strip().lower() for row in batch]
        assert 2 <= len(keys) == len(set(keys)) <= 5
    seen = [row for batch in batches for row in batch]
    assert len(seen) == len(set(seen))
    assert len(seen) >= 45  # but for rows of the last title that is left alone


def test_fusion_of_vectors() -> None:
    queries = np.array([[1.0, 0.0]], np.float32)
    texts = np.array([[1.0, 0.0], [3.0, 4.0], [np.nan, np.nan], [np.nan, np.nan]], np.float32)
    pictures = np.array([[0.0, 1.0], [np.nan, np.nan], [1.0, 0.0], [np.nan, np.nan]], np.float32)
    mean = Seen.by_vectors(queries, texts, pictures, "mean")
    side_by_side = Seen.by_vectors(queries, texts, pictures, "concatenation")
    np.testing.assert_allclose(mean.whole[0], [np.sqrt(0.5), 0.6, 1.0, np.nan], rtol=1e-6)
    np.testing.assert_allclose(side_by_side.whole[0] / 2, [0.5, 0.3, 0.5, np.nan], rtol=1e-6)
    for seen in (mean, side_by_side):
        np.testing.assert_allclose(seen.text[0], [1.0, 0.6, np.nan, np.nan], rtol=1e-6)
        assert seen.image is not None
        np.testing.assert_allclose(seen.image[0], [0.0, np.nan, 1.0, np.nan], rtol=1e-6)


def test_half_of_the_items_show_their_picture_alone_in_the_mix(tmp_path: Path) -> None:
    text, image = np.full((3, 10), 1.0, np.float32), np.full((3, 10), 2.0, np.float32)
    Seen(text + image, text, image).write(tmp_path / "seen.npz")
    mixed = Seen.read(tmp_path / "seen.npz").views()["mixed"]
    assert sorted(mixed[0]) == [1.0] * 5 + [2.0] * 5
    blind = Seen(text, text, None)
    blind.write(tmp_path / "blind.npz")
    views = Seen.read(tmp_path / "blind.npz").views()
    assert "image" not in views
    # to a search for words the same items are blank
    np.testing.assert_array_equal(views["mixed"] == 0, mixed == 2)


def test_the_halves_are_exchanged_in_the_second_mix() -> None:
    text, image = np.full((2, 7), 1.0, np.float32), np.full((2, 7), 2.0, np.float32)
    text[:, 5], image[:, 6] = np.nan, np.nan
    first, second = Seen(text, text, image).mixes()
    np.testing.assert_array_equal(first[:, :5] + second[:, :5], np.full((2, 5), 3.0))
    np.testing.assert_array_equal(first[:, 5:], second[:, 5:], "an item that has one of both keeps it")
    np.testing.assert_array_equal(first[0, 5:], [2.0, 1.0])


@pytest.mark.parametrize("schedule", [cosine, linear])
def test_rates_rise_and_fall(schedule) -> None:
    assert schedule(0.0) < 0.02
    assert schedule(0.1) == pytest.approx(1.0)
    assert schedule(1.0) == pytest.approx(0.0)
    values = [schedule(step / 100) for step in range(10, 101)]
    assert values == sorted(values, reverse=True)


def test_a_training_looks_as_often_as_agreed_and_leaves_time_for_the_last_look(monkeypatch) -> None:
    now = 1000.0
    monkeypatch.setattr(clock.time, "time", lambda: now)
    budget = Clock(990.0, 110.0)  # ten seconds went into the start
    pace = Pace(budget, looks=4)
    looks = 0
    while pace.progress < 1:
        now += 1
        if pace.due():
            looks += 1

            def look() -> float:
                nonlocal now
                now += 5
                return 0.0

            pace.look(look)
    assert looks == 4
    assert 0 <= budget.left < 5


def test_processor_seconds_are_shared_by_the_threads() -> None:
    spent = Clock(0.0, 1e9, threads=2).spent
    assert spent == pytest.approx(clock.processor_seconds() / 2, abs=0.1)
    assert spent < Clock(0.0, 1e9).spent  # the wall's would count from 1970


def test_the_best_weights_come_back() -> None:
    module, best = torch.nn.Linear(2, 2), Best()
    best.offer(0.5, module, 0.3)
    kept = module.weight.detach().clone()
    with torch.no_grad():
        module.weight.add_(1.0)
    best.offer(0.4, module, 0.6)
    best.restore(module)
    torch.testing.assert_close(module.weight.detach(), kept)
    assert (best.score, best.progress) == (0.5, 0.3)


def test_a_budget_that_ends_before_the_first_validation_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"give more seconds \(--budget\)"):
        Best().restore(torch.nn.Linear(2, 2))


def test_the_grid_varies_settings_that_exist_and_holds_the_defaults() -> None:
    defaults = PeerSettings()
    assert {name: getattr(defaults, name) in values for name, values in GRID.items()} == dict.fromkeys(GRID, True)
    assert PeerSettings.parse(defaults.varied(batch_size=32).as_dict()) == defaults.varied(batch_size=32)
