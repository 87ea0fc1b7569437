"""A lane encodes what has piled up, in batches; nobody waits for long, for nothing, or in vain."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.serving.lanes import DeadlinePassed, EncodedBatch, EncodeLane, LaneClosed, Overloaded, choose_batch


def vector_of(text: str) -> np.ndarray:
    return np.array([len(text), sum(map(ord, text)), ord(text[0]) if text else -1], np.float32)


class Encoder:
    """Notes its batches, and can be made to wait in the midst of one."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.raises: dict[str, BaseException] = {}

    def __call__(self, texts: list[str]) -> np.ndarray:
        self.batches.append(list(texts))
        assert self.goes_on.wait(10)
        for text in texts:
            if text in self.raises:
                raise self.raises[text]
        return np.stack([vector_of(text) for text in texts])


@pytest.fixture
def encoder() -> Encoder:
    return Encoder()


@pytest.fixture
def open_lane(encoder: Encoder) -> Iterator[Callable[..., EncodeLane[str]]]:
    lanes = []

    def start(**options: Any) -> EncodeLane[str]:
        lanes.append(EncodeLane(encoder, **{"name": "test", "largest_batch": 8, "most_waiting": 100} | options))
        return lanes[-1]

    yield start
    encoder.goes_on.set()
    for lane in lanes:
        lane.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def outcome(waiting: Awaitable[np.ndarray]) -> np.ndarray | BaseException:
    return (await asyncio.wait_for(asyncio.gather(waiting, return_exceptions=True), 10))[0]


async def occupy(lane: EncodeLane[str], encoder: Encoder, text: str = "busy") -> asyncio.Task[np.ndarray]:
    """Have the lane begin with a batch that does not end before `goes_on` is set."""
    encoder.goes_on.clear()
    before = len(encoder.batches)
    first = asyncio.create_task(lane.encode([text]))
    await until(lambda: len(encoder.batches) > before)
    return first


async def queue(lane: EncodeLane[str], *requests: Sequence[str], **options: Any) -> list[asyncio.Task[np.ndarray]]:
    tasks = [asyncio.create_task(lane.encode(texts, **options)) for texts in requests]
    await asyncio.sleep(0)  # each runs until it waits
    return tasks


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(coroutine)


TEXTS = st.text(max_size=60)


@settings(max_examples=60, deadline=None)
@given(requests=st.lists(st.lists(TEXTS, min_size=1, max_size=12), max_size=20), largest=st.integers(1, 9))
def test_every_request_gets_the_vectors_of_its_own_values_in_their_order(
    requests: list[list[str]], largest: int
) -> None:
    encoder = Encoder()
    lane = EncodeLane(encoder, name="test", largest_batch=largest, most_waiting=1_000)

    async def ask() -> None:
        answers = await asyncio.gather(*map(lane.encode, requests))
        for texts, vectors in zip(requests, answers, strict=True):
            assert vectors.dtype == np.float32
            np.testing.assert_array_equal(vectors, [vector_of(text) for text in texts])

    try:
        run(ask())
    finally:
        lane.close()
    encoded = [text for batch in encoder.batches for text in batch]
    assert set(encoded) == {text for texts in requests for text in texts}
    assert all(len(batch) <= largest for batch in encoder.batches)


def test_an_idle_lane_starts_at_once_and_a_busy_one_takes_all_that_has_piled_up(
    encoder: Encoder, open_lane: Callable[..., EncodeLane[str]]
) -> None:
    async def ask() -> None:
        lane = open_lane()
        first = await occupy(lane, encoder)
        waiting = await queue(lane, *([f"text {number}"] for number in range(6)))
        assert lane.queue_length == 6
        encoder.goes_on.set()
        await asyncio.gather(first, *waiting)
        assert lane.queue_length == 0

    run(ask())
    assert encoder.batches == [["busy"], [f"text {number}" for number in range(6)]]


def test_equal_values_that_wait_or_are_being_encoded_are_encoded_once(
    encoder: Encoder, open_lane: Callable[..., EncodeLane[str]]
) -> None:
    async def ask() -> None:
        lane = open_lane()
        first = await occupy(lane, encoder, "red")
        waiting = await queue(lane, ["red"], ["blue", "red", "blue"], ["blue"])
        encoder.goes_on.set()
        answers = await asyncio.gather(first, *waiting)
        for texts, vectors in zip((["red"], ["red"], ["blue", "red", "blue"], ["blue"]), answers, strict=True):
            np.testing.assert_array_equal(vectors, [vector_of(text) for text in texts])
        answers[0][:] = 0  # each has vectors of its own
        assert answers[1].any()

    run(ask())
    assert encoder.batches == [["red"], ["blue"]]


def test_values_that_cannot_be_hashed_are_encoded_too() -> None:
    lane = EncodeLane[list[int]](
        lambda values: np.array([[sum(value)] for value in values]), name="lists", largest_batch=4, most_waiting=9
    )

    async def ask() -> None:
        same = [1, 2]
        np.testing.assert_array_equal(await lane.encode([same, [3], same]), [[3], [3], [3]])

    try:
        run(ask())
    finally:
        lane.close()


def entries(*sizes: int) -> list[Any]:
    return [SimpleNamespace(size=size, turn=turn) for turn, size in enumerate(sizes)]


def test_a_batch_holds_values_of_similar_size_around_the_one_whose_turn_it_is() -> None:
    def sizes(waiting: list[Any], largest: int) -> list[int]:
        return sorted(entry.size for entry in choose_batch(waiting, largest))

    assert sizes(entries(20, 900, 25, 1000, 15, 30), 8) == [15, 20, 25, 30]
    assert sizes(entries(900, 20, 25, 1000, 15, 30), 8) == [900, 1000]
    assert sizes(entries(100, 900, 101, 90, 500), 2) == [100, 101]
    assert sizes(entries(5), 4) == [5]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 2_000), min_size=1, max_size=60), st.integers(1, 8))
def test_the_value_whose_turn_it_is_is_in_every_batch_and_little_of_it_is_padding(
    sizes: list[int], largest: int
) -> None:
    waiting = entries(*sizes)
    while waiting:
        batch = choose_batch(waiting, largest)
        assert waiting[0] in batch
        assert 1 <= len(batch) <= largest
        assert max(entry.size for entry in batch) <= 2 * min(entry.size for entry in batch) + 32
        waiting = [entry for entry in waiting if entry not in batch]


def test_a_single_query_does_not_wait_for_all_of_a_request_of_many(
    encoder: Encoder, open_lane: Callable[..., EncodeLane[str]]
) -> None:
    async def ask() -> None:
        lane = open_lane(most_waiting=1_000)
        first = await occupy(lane, encoder)
        bulk, single = await queue(lane, [f"a text of the bulk {number:03}" for number in range(200)], ["single"])
        encoder.goes_on.set()
        await asyncio.gather(first, bulk, single)

    run(ask())
    assert "single" in encoder.batches[1] + encoder.batches[2]
    assert len(encoder.batches) == 1 + -(-201 // 8)


def test_a_cancelled_request_is_not_encoded_unless_another_waits_for_the_same(
    encoder: Encoder, open_lane: Callable[..., EncodeLane[str]]
) -> None:
    async def ask() -> None:
        lane = open_lane()
        first = await occupy(lane, encoder)
        gone, also_gone, stays = await queue(lane, ["given up", "shared"], ["given up"], ["shared", "own"])
        gone.cancel()
        also_gone.cancel()
        assert isinstance(await outcome(gone), asyncio.CancelledError)
        assert isinstance(await outcome(also_gone), asyncio.CancelledError)
        assert lane.queue_length == 2
        encoder.goes_on.set()
        await asyncio.gather(first, stays)

    run(ask())
    assert [sorted(batch) for batch in encoder.batches] == [["busy"], ["own", "shared"]]


def test_cancelling_what_is_being_encoded_harms_nobody(
    encoder: Encoder, open_lane: Callable[..., EncodeLane[str]]
) -> None:
    async def ask() -> None:
        lane = open_lane()
        first = await occupy(lane, encoder, "red")
        (second,) = await queue(lane, ["red"])
        first.cancel()
        await outcome(first)
        encoder.goes_on.set()
        np.testing.assert_array_equal(await second, [vector_of("red")])
        np.testing.assert_array_equal(await lane.encode(["red"]), [vector_of("red")])

    run(ask())


def test_who_leaves_at_the_last_moment_does_not_disturb_those_of_the_same_batch(
    encoder: Encoder, open_lane: Callable[..., EncodeLane[str]]
) -> None:
    async def ask() -> None:
        lane = open_lane()
        leaves = await occupy(lane, encoder, "red")
        (stays,) = await queue(lane, ["red"])
        leaves.cancel()
        encoder.goes_on.set()
        time.sleep(0.05)  # the lane finishes before the event loop can withdraw the request
        np.testing.assert_array_equal(await outcome(stays), [vector_of("red")])
        assert isinstance(await outcome(leaves), asyncio.CancelledError)

    run(ask())


def test_a_deadline_ends_the_wait_when_it_passes(encoder: Encoder, open_lane: Callable[..., EncodeLane[str]]) -> None:
    async def ask() -> None:
        lane = open_lane()
        first = await occupy(lane, encoder)
        (late,) = await queue(lane, ["late"], deadline=time.monotonic() + 0.02)
        assert isinstance(await outcome(late), DeadlinePassed)  # the encoder is still busy
        assert lane.queue_length == 0
        with pytest.raises(DeadlinePassed):
            await lane.encode(["too late"], deadline=time.monotonic())
        encoder.goes_on.set()
        await first
        assert (await lane.encode(["in time"], deadline=time.monotonic() + 10)).shape == (1, 3)

    run(ask())
    assert encoder.batches == [["busy"], ["in time"]]


def test_what_is_late_is_not_encoded_even_if_the_event_loop_has_not_noticed(
    encoder: Encoder, open_lane: Callable[..., EncodeLane[str]]
) -> None:
    async def ask() -> None:
        lane = open_lane()
        first = await occupy(lane, encoder)
        (late,) = await queue(lane, ["late"], deadline=time.monotonic() + 0.01)
        (stays,) = await queue(lane, ["stays"])
        time.sleep(0.03)  # the loop is busy with something else
        encoder.goes_on.set()
        time.sleep(0.03)
        assert encoder.batches == [["busy"], ["stays"]]
        assert isinstance(await outcome(late), DeadlinePassed)
        await asyncio.gather(first, stays)

    run(ask())


def test_more_than_can_wait_is_refused_at_once_with_the_time_to_come_back(
    encoder: Encoder, open_lane: Callable[..., EncodeLane[str]]
) -> None:
    async def ask() -> None:
        lane = open_lane(most_waiting=3)
        assert (await lane.encode([f"{number}" for number in range(7)])).shape == (7, 3)  # nothing waited
        first = await occupy(lane, encoder)
        waiting = await queue(lane, ["a"], ["b", "c"])
        with pytest.raises(Overloaded, match="try again in") as refused:
            await lane.encode(["d"])
        assert 0 < refused.value.retry_after < 60
        waiting += await queue(lane, ["a", "c"])  # costs nothing
        assert lane.queue_length == 3
        waiting[1].cancel()
        await outcome(waiting.pop(1))
        waiting += await queue(lane, ["d"])  # in the place of the cancelled "b"
        encoder.goes_on.set()
        await asyncio.gather(first, *waiting)

    run(ask())
    assert sorted(encoder.batches[-1]) == ["a", "c", "d"]


def test_a_deadline_that_the_work_before_it_would_pass_is_refused_at_once(
    encoder: Encoder, open_lane: Callable[..., EncodeLane[str]]
) -> None:
    def slow(texts: list[str]) -> np.ndarray:
        time.sleep(0.02 * len(texts))
        return encoder(texts)

    async def ask() -> None:
        lane = EncodeLane(slow, name="slow", largest_batch=8, most_waiting=1_000)
        try:
            for text in ("first", "second", "third"):
                await lane.encode([text])
            first = await occupy(lane, encoder)
            (waiting,) = await queue(lane, [f"{number}" for number in range(20)])
            assert 0.35 < lane.estimated_wait < 2
            with pytest.raises(Overloaded) as refused:
                await lane.encode(["d"], deadline=time.monotonic() + 0.1)
            assert refused.value.retry_after == pytest.approx(lane.estimated_wait, abs=0.2)
            (patient,) = await queue(lane, ["d"], deadline=time.monotonic() + 30)
            encoder.goes_on.set()
            await asyncio.gather(first, waiting, patient)
            assert lane.estimated_wait == 0
        finally:
            encoder.goes_on.set()
            lane.close()

    run(ask())


def test_a_slow_first_batch_does_not_make_the_lane_refuse_the_next(
    encoder: Encoder, open_lane: Callable[..., EncodeLane[str]]
) -> None:
    async def ask() -> None:
        lane = open_lane()
        first = await occupy(lane, encoder)
        await asyncio.sleep(0.2)  # libraries start
        encoder.goes_on.set()
        await first
        second = await occupy(lane, encoder)
        waiting = await queue(lane, ["a"], ["b"], ["c"], deadline=time.monotonic() + 0.1)
        assert not any(task.done() for task in waiting)
        assert lane.estimated_wait < 0.1
        encoder.goes_on.set()
        await asyncio.gather(second, *waiting)

    run(ask())


def test_a_value_that_the_encoder_cannot_read_fails_alone(
    encoder: Encoder, open_lane: Callable[..., EncodeLane[str]]
) -> None:
    error = OSError("cannot read this")
    encoder.raises["bad"] = error

    async def ask() -> None:
        lane = open_lane()
        first = await occupy(lane, encoder)
        waiting = await queue(lane, ["good"], ["bad"], ["fine", "bad", "better"], ["fine"])
        encoder.goes_on.set()
        good, bad, partly_bad, fine = [await outcome(task) for task in waiting]
        assert bad is error
        assert partly_bad is error
        np.testing.assert_array_equal(good, [vector_of("good")])
        np.testing.assert_array_equal(fine, [vector_of("fine")])
        await first
        assert (await lane.encode(["afterwards"])).shape == (1, 3)

    run(ask())


def test_an_encoder_that_raises_a_timeout_is_not_taken_for_a_deadline(
    encoder: Encoder, open_lane: Callable[..., EncodeLane[str]]
) -> None:
    encoder.raises["bad"] = TimeoutError("the GPU did not answer")

    async def ask() -> None:
        with pytest.raises(TimeoutError, match="GPU"):
            await open_lane().encode(["bad"], deadline=time.monotonic() + 10)

    run(ask())


@pytest.mark.parametrize("made", [np.zeros((2, 3)), np.zeros(3), np.zeros((0, 3))])
def test_an_encoder_that_gives_another_number_of_vectors_is_an_error(made: np.ndarray) -> None:
    lane = EncodeLane[str](lambda texts: made, name="wrong", largest_batch=4, most_waiting=9)

    async def ask() -> None:
        with pytest.raises(ValueError, match="the encoder of wrong made"):
            await lane.encode(["text"])

    try:
        run(ask())
    finally:
        lane.close()


def test_nothing_to_encode_is_an_error(open_lane: Callable[..., EncodeLane[str]]) -> None:
    with pytest.raises(ValueError, match="nothing to encode"):
        run(open_lane().encode([]))  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_encoder_that_ends_its_thread_leaves_nobody_waiting(
    encoder: Encoder, open_lane: Callable[..., EncodeLane[str]]
) -> None:
    encoder.raises["end"] = SystemExit()

    async def ask() -> None:
        lane = open_lane()
        first = await occupy(lane, encoder, "end")
        (waiting,) = await queue(lane, ["text"])
        encoder.goes_on.set()
        for task in (first, waiting):
            assert isinstance(await outcome(task), LaneClosed)
        with pytest.raises(LaneClosed):
            await lane.encode(["text"])

    run(ask())


def test_closing_finishes_what_is_being_encoded_and_fails_the_rest(
    encoder: Encoder, open_lane: Callable[..., EncodeLane[str]]
) -> None:
    async def ask() -> None:
        before = threading.active_count()
        lane = open_lane(name="the closing lane")
        first = await occupy(lane, encoder)
        waiting = await queue(lane, ["a"], ["busy", "b"])
        closing = asyncio.create_task(asyncio.to_thread(lane.close))
        await asyncio.sleep(0.01)
        with pytest.raises(LaneClosed, match="the closing lane"):
            await lane.encode(["c"])
        encoder.goes_on.set()
        await closing
        assert "the closing lane" not in [thread.name for thread in threading.enumerate()]
        assert threading.active_count() <= before + 1  # that of to_thread
        np.testing.assert_array_equal(await outcome(first), [vector_of("busy")])
        for task in waiting:
            assert isinstance(await outcome(task), LaneClosed)
        lane.close()

    run(ask())
    assert encoder.batches == [["busy"]]


def test_batches_are_reported_and_a_report_that_fails_does_not_end_the_lane(
    encoder: Encoder, open_lane: Callable[..., EncodeLane[str]]
) -> None:
    reported: list[EncodedBatch] = []

    def report(batch: EncodedBatch) -> None:
        reported.append(batch)
        raise RuntimeError("the counter is broken")

    async def ask() -> None:
        lane = open_lane(on_batch=report)
        first = await occupy(lane, encoder)
        waiting = await queue(lane, ["a", "b", "c"])
        await asyncio.sleep(0.02)
        encoder.goes_on.set()
        await asyncio.gather(first, *waiting)
        await lane.encode(["d"])
        await until(lambda: len(reported) == 3)

    run(ask())
    assert [(batch.size, len(batch.waits)) for batch in reported] == [(1, 1), (3, 3), (1, 1)]
    assert reported[0].seconds >= 0.02 > reported[2].seconds
    assert min(reported[1].waits) >= 0.02 > max(reported[2].waits)


def test_a_batch_wakes_the_event_loop_once(encoder: Encoder, open_lane: Callable[..., EncodeLane[str]]) -> None:
    async def ask() -> None:
        lane = open_lane()
        first = await occupy(lane, encoder)
        waiting = await queue(lane, *([f"{number}"] for number in range(8)))
        loop, calls = asyncio.get_running_loop(), []
        original = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *given: calls.append(given) or original(*given)  # type: ignore[method-assign,func-returns-value]
        encoder.goes_on.set()
        await asyncio.gather(first, *waiting)
        assert len(calls) == 2

    run(ask())


def test_an_event_loop_that_was_closed_midway_does_not_end_the_lane(
    encoder: Encoder, open_lane: Callable[..., EncodeLane[str]]
) -> None:
    lane = open_lane()
    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(occupy(lane, encoder, "left behind"))
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    encoder.goes_on.set()

    async def ask() -> None:
        np.testing.assert_array_equal(await lane.encode(["text"]), [vector_of("text")])

    run(ask())
    del task


def test_a_lane_serves_several_event_loops_and_outlives_one_that_ends(
    encoder: Encoder, open_lane: Callable[..., EncodeLane[str]]
) -> None:
    lane = open_lane()

    async def leave() -> None:
        task = await occupy(lane, encoder, "left behind")
        task.cancel()

    async def ask() -> None:
        waiting = await queue(lane, ["text"])
        encoder.goes_on.set()
        np.testing.assert_array_equal(await waiting[0], [vector_of("text")])

    run(leave())
    run(ask())
