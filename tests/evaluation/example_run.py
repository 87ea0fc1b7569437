"""A finished run's metrics as a training would leave them, for tests of everything that shows them."""

import numpy as np

from likewise.catalog.report import Report
from likewise.evaluation.comparison import compare, evaluate_system
from likewise.evaluation.error_analysis import Card, ErrorAnalysis, FailedQuery
from likewise.evaluation.report.space_map import SpaceMap
from likewise.evaluation.results import (
    Comparison,
    DataNote,
    EncoderNote,
    Epoch,
    Frontier,
    FrontierPoint,
    RunMetrics,
    Threshold,
)
from likewise.evaluation.subsets import SUBSETS, describe

BASELINES = ("untrained", "BM25", "ridge", "kernel ridge", "start")


def example_comparison(*, gain: float = 1.0, queries: int = 120, baselines: tuple[str, ...] = BASELINES) -> Comparison:
    """A comparison on simulated scores: `gain` above 0 makes the trained model better than all baselines."""
    random = np.random.default_rng(0)
    truth = np.eye(queries)
    relevant = [[row] for row in range(queries)]
    subsets = []
    for subset in SUBSETS:
        noise = random.normal(size=(queries, queries))
        strengths = {
            "trained": 2.5 + gain,
            "untrained": 1.5,
            "BM25": 2.0,
            "ridge": 2.3,
            "kernel ridge": 2.4,
            "start": 2.5,
        }
        systems = {
            name: evaluate_system(
                name,
                strengths[name] * truth + 0.8 * noise + 0.6 * random.normal(size=noise.shape),
                relevant,
                range(queries),
            )
            for name in ("trained", *baselines)
        }
        trained, start, label = systems.pop("trained"), systems.pop("start", None), describe(subset, "title")
        others = list(systems.values())
        subsets.append(compare(subset, label, trained, others, start=start, metric="recall@10", candidates=queries))
    return Comparison(metric="recall@10", subsets=subsets)


def example_metrics(*, gain: float = 1.0, queries: int = 120, baselines: tuple[str, ...] = BASELINES) -> RunMetrics:
    """All of a run's metrics: 20 epochs, a catalogue with problems, settings and timings."""
    history = [Epoch(epoch=0, step=0, validation=0.41, temperature=0.05, seconds=1.2)]
    for epoch in range(1, 21):
        history.append(
            Epoch(
                epoch=epoch,
                step=epoch * 31,
                loss=4.2 * 0.86**epoch + 0.9,
                validation=0.41 + 0.3 * (1 - 0.8**epoch) - (0.004 * (epoch - 15) if epoch > 15 else 0),
                learning_rate=1e-3 * (1 - epoch / 20) + 1e-5,
                temperature=0.05 - 0.001 * epoch,
                seconds=2.4 + 0.1 * (epoch % 3),
                stage="heads" if epoch <= 10 else "last blocks",
            )
        )
    return RunMetrics(
        name="products",
        created="2025-01-31T12:30:00+00:00",
        data=DataNote(
            source="products.csv",
            items=2000,
            training_items=1590,
            validation_items=210,
            test_items=200,
            fields=["title", "description", "image"],
            split="drawn at random by identity: rows with an equal id, picture or title and description stay together",
            query="title",
        ),
        comparison=example_comparison(gain=gain, queries=queries, baselines=baselines),
        validation_metric="recall@10",
        history=history,
        best_epoch=15,
        frontier=Frontier(
            points=[
                FrontierPoint(alpha=alpha, metrics={"recall@10": 0.6 + 0.3 * alpha - 0.2 * alpha**2, "map": 0.4})
                for alpha in (1.0, 0.0, 0.5)
            ],
            chosen=0.5,
        ),
        threshold=Threshold(score=0.312, kept=0.93, refused=0.81, queries=210),
        catalogue=_catalogue_report().as_dict(),
        settings={
            "epochs": 20,
            "batch_size": 128,
            "regime": "frozen",
            "model": {"dim": 512, "text_encoder": "lite-text", "fields": ["title", "description", "image"]},
        },
        encoders=[
            EncoderNote(name="lite-text", modality="text"),
            EncoderNote(name="lite-image", modality="image"),
        ],
        software={"likewise": "0.1.0", "torch": "2.10.0", "Python": "3.11.7"},
        seconds={"encode pictures": 24.1, "encode texts": 6.3, "baselines": 2.2, "train": 50.4, "evaluate": 3.0},
        notes=["The catalogue has fewer than 200 identities, so validation rows were drawn row by row."],
    )


def example_errors() -> ErrorAnalysis:
    """Two queries that went wrong, the one with pictures."""
    pixel = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
    cards = [Card(f"item {number} with quite a long name", pixel) for number in range(4)]
    worded = [Card("a-word-without-any-place-to-break-it-" * 2)] * 4
    failed = [
        FailedQuery(Card("red shoes & <b>bold</b> laces", pixel), 1313, Card("wanted", pixel), cards),
        FailedQuery(Card("x" * 90), 7, Card("wanted"), worded),
    ]
    return ErrorAnalysis(failed)


def example_space() -> SpaceMap:
    """A map of random points."""
    points = np.random.default_rng(0).normal(size=(3, 40, 2))
    kinds = ("texts", "pictures", "whole items")
    return SpaceMap(dict(zip(kinds, points, strict=True)), "PCA", "umap-learn is not installed")


def _catalogue_report() -> Report:
    report = Report()
    report.rows, report.usable = 2043, 2000
    report.notes += ["the column product_name is read as title", "the file is read as Windows-1252"]
    report.count("without-picture", "<script>alert(1)</script>", count=12)
    report.count("without-picture", "https://pictures.example/a/very/long/address/without/any/space/in/it/0001.jpg")
    report.count("duplicate-id", 17, count=43)
    return report
