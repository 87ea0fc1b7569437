"""The client that loads a server, and the figures it gives."""

import asyncio
import json
import math
from itertools import islice

import pytest
from benchmarks.serving_app import TARDY_SECONDS, serving_searches
from load.client import Answers, closed_loop, one_client, open_loop, percentiles, summarize
from load.processes import MemoryWatch, Server
from load.queries import five_words, search_request
from serving_benchmark import _new_item, _ratio


def test_queries_have_five_different_words_and_hardly_repeat() -> None:
    queries = list(islice(five_words(1), 500))
    assert all(len(set(query.split())) == 5 for query in queries)
    assert len(set(queries)) == 500
    assert queries == list(islice(five_words(1), 500))
    assert queries[0] != next(five_words(2))


def test_one_client_measures_every_answer() -> None:
    with serving_searches() as port:
        answers = one_client(port, map(search_request, five_words(1)), 20)
    figures = summarize(answers, 1.0, 0.1)
    assert figures["outcomes"] == {"200": 20}
    assert 0 < figures["ms"]["p50"] <= figures["ms"]["p99"]
    assert figures["server's stages, p50 ms"] == {"encode": 0.2, "search": 0.1, "fetch": 0.1, "total": 0.5}
    rest = figures["all but encode and search, ms"]["p50"]
    assert rest == pytest.approx(figures["ms"]["p50"] - 0.3, abs=1e-3)


def test_many_clients_keep_as_many_requests_under_way() -> None:
    with serving_searches(tardy=True) as port:
        answers = asyncio.run(closed_loop(port, map(search_request, five_words(1)), clients=8, seconds=0.5))
    assert set(answers.outcomes) == {"200"}
    rounds = 0.5 / TARDY_SECONDS
    assert 8 < len(answers.seconds) <= 8 * (rounds + 2)
    assert min(answers.seconds) >= TARDY_SECONDS


def test_an_open_loop_does_not_wait_and_counts_refusals_and_what_it_could_not_send() -> None:
    with serving_searches(tardy=True, most=5) as port:
        requests = map(search_request, five_words(1))
        answers = asyncio.run(open_loop(port, requests, rate=400, connections=10, seconds=0.5))
    assert set(answers.outcomes) <= {"200", "429", "no connection"}
    assert sum(answers.outcomes.values()) == 200
    assert answers.outcomes["429"] == len(answers.refused) > 0
    assert answers.outcomes["200"] == len(answers.seconds) > 0
    assert "ms until refused" in summarize(answers, 0.5, 0.1)


def test_percentiles_of_nothing_and_of_something() -> None:
    assert percentiles([]) == {}
    assert percentiles([number / 1000 for number in range(1, 101)]) == {
        "p50": 51.0,
        "p95": 96.0,
        "p99": 100.0,
        "largest": 100.0,
    }
    assert "ms until refused" not in summarize(Answers(), 1.0, 0.0)


def test_growth_of_memory_is_that_of_the_second_half() -> None:
    watch = MemoryWatch(Server("none", 0, None))  # type: ignore[arg-type]
    watch.megabytes = [100.0, 200.0, 200.0, 200.0, 201.0, 202.0]
    assert watch.figures() == {
        "MB at first": 100.0,
        "MB at last": 202.0,
        "largest MB": 202.0,
        "MB a minute more in the second half": 120.0,
    }


def test_ratios_are_those_of_rounds() -> None:
    assert math.isclose(_ratio([10, 20, 300], [10, 10, 100]), 2.0)


def test_an_item_to_write_has_a_picture_if_it_should() -> None:
    assert "image" not in _new_item(3, picture=False)
    item = json.loads(json.dumps(_new_item(3, picture=True)))
    assert item["image"].startswith("data:image/jpeg;base64,")
    assert item["title"] != _new_item(4, picture=True)["title"]
