"""The same rankings give the same figures as trec_eval, through ir-measures."""

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import AP, RR, R, nDCG

from likewise.evaluation.metrics import METRICS, per_query_metrics

PEERS = {"recall@1": R @ 1, "recall@5": R @ 5, "recall@10": R @ 10, "mrr": RR, "ndcg@10": nDCG @ 10, "map": AP}


def of_the_peer(scores: np.ndarray, relevant: list[list[int]], gains: list[list[int]]) -> dict[str, np.ndarray]:
    qrels = [
        ir_measures.Qrel(str(query), str(item), gain)
        for query, (items, of_query) in enumerate(zip(relevant, gains, strict=True))
        for item, gain in zip(items, of_query, strict=True)
    ]
    run = [
        ir_measures.ScoredDoc(str(query), str(item), float(score))
        for query, row in enumerate(scores)
        for item, score in enumerate(row)
    ]
    figures = {name: np.full(len(scores), np.nan) for name in METRICS}
    names = {str(measure): name for name, measure in PEERS.items()}
    for result in ir_measures.iter_calc(list(PEERS.values()), qrels, run):
        figures[names[str(result.measure)]][int(result.query_id)] = result.value
    return figures


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.booleans())
def test_figures_equal_those_of_trec_eval(seed, items, graded):
    random = np.random.default_rng(seed)
    scores = random.permuted(np.tile(np.arange(float(items)), (6, 1)), axis=1)  # no ties: trec_eval breaks them by name
    relevant = [random.choice(items, random.integers(1, items + 1), replace=False).tolist() for _ in scores]
    gains = [(random.integers(1, 5, len(row)) if graded else np.ones(len(row), int)).tolist() for row in relevant]
    ours = per_query_metrics(scores, relevant, gains)
    theirs = of_the_peer(scores, relevant, gains)
    for name in METRICS:
        assert ours[name] == pytest.approx(theirs[name], abs=1e-5), name
