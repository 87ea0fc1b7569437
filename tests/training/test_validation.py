"""Held-out rows as a retrieval task: what chooses the weights, and the same figures as `likewise evaluate`."""

import numpy as np
import pytest
from model.shape_catalogue import catalogue_of
from training.toy_network import DIM, toy_network

from likewise.catalog.catalog import Catalog
from likewise.config import TrainConfig
from likewise.evaluation.embeddings import TaskEmbeddings
from likewise.evaluation.evaluate import evaluate_run
from likewise.evaluation.metrics import METRICS, unit_rows
from likewise.evaluation.subsets import list_modality_subsets
from likewise.evaluation.task import TaskOptions
from likewise.model.field_embeddings import FieldEmbeddings
from likewise.model.matryoshka import build_variants
from likewise.model.model import Model
from likewise.training.validation import score_validation

ITEMS = 40


def test_validation_is_the_mean_over_the_forms_in_which_vectors_will_be_kept(tmp_path):
    """Items that differ in their last numbers alone, and never in a sign: short or in bits they are all one."""
    vectors = np.ones((ITEMS, DIM), np.float32)
    vectors[:, 4:] += 0.5 * np.random.default_rng(0).uniform(-1, 1, (ITEMS, DIM - 4))
    vectors = unit_rows(vectors)
    catalog = catalogue_of(tmp_path, [{"title": f"title {row}", "description": "text"} for row in range(ITEMS)])
    task = TaskOptions(catalog, ("title", "description")).build()
    items = FieldEmbeddings(("description",), vectors[:, None])
    embeddings = TaskEmbeddings(task, toy_network(("title", "description")), vectors, items)
    subsets = list_modality_subsets(["description"], "title", seed=0)

    def mean(forms):
        return score_validation(embeddings, subsets, forms).mean

    forms = build_variants(TrainConfig(matryoshka=(4,), quantization="binary"))
    whole, short, bits, _ = ([form] for form in forms)
    assert mean(whole) == 1.0
    assert mean(short) < 0.5 and mean(bits) < 0.5
    assert mean(forms) == pytest.approx(np.mean([mean([form]) for form in forms]))


def test_the_table_of_a_training_is_that_of_likewise_evaluate_on_the_same_rows(trained, shapes):
    """Equal figures, intervals and differences on the rows that the column `part` holds out."""
    held_out = Catalog.read(shapes.source, cache=shapes.cache).where("part == 'test'")
    model = Model.load(trained.path, "cpu")
    task = TaskOptions(held_out, model.fields).build()
    evaluated = evaluate_run(trained.path, model, task).comparison.subsets[0]
    reported = trained.metrics.comparison.subsets[0]
    assert (evaluated.queries, evaluated.candidates) == (reported.queries, reported.candidates)
    assert [system.name for system in evaluated.systems] == [system.name for system in reported.systems]
    for ours, theirs in zip(evaluated.systems, reported.systems, strict=True):
        for metric in METRICS:
            assert ours.metrics[metric] == theirs.metrics[metric], (ours.name, metric)
    assert evaluated.differences == reported.differences
    assert evaluated.baseline == reported.baseline
