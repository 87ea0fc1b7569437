"""sentence-transformers, fine-tuned as its documentation says, on the same text and picture encoders.

A `Router` sends texts to all-MiniLM-L6-v2 and pictures to EfficientNet-Lite0 with a `Dense` layer into the text space;
`MultipleNegativesRankingLoss` pulls titles towards descriptions and towards pictures, in batches without duplicates.
"""

import logging
from typing import Any

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.modules import InputModule, Router
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import Dense, Normalize
from sentence_transformers.training_args import BatchSamplers
from torch import Tensor
from transformers import TrainerCallback

from likewise.catalog.catalog import Catalog
from likewise.encoders.packaged import MINILM
from likewise.evaluation.task import RetrievalTask
from peers.best import Best
from peers.clock import Pace, linear
from peers.examples import Examples, columns_of
from peers.photos import WIDTH, PooledEfficientNet, pixels_of, pooled_features
from peers.seen import Fusion, Seen
from peers.settings import PeerSettings
from peers.task import Task

_FOREVER = 1_000_000  # epochs; the clock ends the training
_FUSIONS: tuple[Fusion, ...] = ("mean", "concatenation")


class Photos(InputModule):
    """Paths of pictures → pooled features of EfficientNet-Lite0; a locked encoder sees every picture once."""

    def __init__(self, locked: bool, seed: int) -> None:
        super().__init__()
        self.encoder = PooledEfficientNet().requires_grad_(not locked)
        self.locked = locked
        self._rng = np.random.default_rng(seed)
        self._features: dict[str, Tensor] = {}

    @property
    def modalities(self) -> list[Any]:
        return ["image"]

    def get_embedding_dimension(self) -> int:
        return WIDTH

    def preprocess(self, inputs: Any, prompt: str | None = None, **_: Any) -> dict[str, Tensor]:
        """Augmented pixels in training, whole pictures elsewhere; of a locked encoder the features themselves."""
        if not self.locked:
            return {"pixel_values": pixels_of(inputs, self._rng if self.training else None)}
        new = [path for path in dict.fromkeys(inputs) if path not in self._features]
        if new:
            self._features.update(zip(new, pooled_features(self.encoder, new), strict=True))
        return {"sentence_embedding": torch.stack([self._features[path] for path in inputs])}

    def forward(self, features: dict[str, Tensor], **_: Any) -> dict[str, Tensor]:
        if not self.locked:
            features["sentence_embedding"] = self.encoder(features["pixel_values"])
        return features

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        self.save_torch_weights(output_path)


class _TrainerOnTheClock(SentenceTransformerTrainer):
    """The library's trainer, its linear schedule driven by the time that is left instead of a number of steps."""

    pace: Pace

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer or self.optimizer, lambda _: linear(self.pace.progress)
        )
        return self.lr_scheduler


class _Look(TrainerCallback):
    """Scores validation as often as the pace says, keeps the best weights, and stops when time is up."""

    def __init__(self, task: Task, pace: Pace, best: Best) -> None:
        self._task, self._pace, self._best = task, pace, best

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        if self._pace.due():
            score = self._pace.look(lambda: _best_fusion(model, self._task)[0])
            model.train()
            self._best.offer(score, model, self._pace.progress)
        control.should_training_stop = self._pace.progress >= 1


def train(task: Task, settings: PeerSettings) -> tuple[Seen, dict[str, object]]:
    """Train until the clock says stop, with the best weights on validation; the answers, and notes for the record."""
    logging.disable(logging.WARNING)
    torch.manual_seed(task.seed)
    model = _model(settings, task.seed)
    pace, best = Pace(task.clock), Best()
    trainer = _TrainerOnTheClock(
        model=model,
        args=_arguments(task, settings),
        train_dataset=_pairs(Examples.of(task.train)),
        loss=MultipleNegativesRankingLoss(model),
        callbacks=[_Look(task, pace, best)],
    )
    trainer.pace = pace
    trainer.train()
    best.restore(model)
    _, fusion = _best_fusion(model, task)
    seconds = task.clock.spent
    notes = {
        "seconds": seconds,
        "validation": best.score,
        "epochs": trainer.state.epoch,
        "steps": trainer.state.global_step,
        "best at": best.progress,
        "fusion": fusion,
    }
    return _answers(model, task.test, task.questions, fusion), notes


def _model(settings: PeerSettings, seed: int) -> SentenceTransformer:
    transformer, pooling, *_ = SentenceTransformer(str(MINILM.locate().parent), device="cpu").children()
    width = pooling.get_embedding_dimension()
    router = Router(
        sub_modules={
            "text": [transformer, pooling],
            "image": [
                Photos(settings.picture_tower == "locked", seed),
                Dense(WIDTH, width, activation_function=None),
            ],
        },
        route_mappings={(None, "text"): "text", (None, "image"): "image"},
    )
    return SentenceTransformer(modules=[router, Normalize()], device="cpu")


def _pairs(examples: Examples) -> DatasetDict:
    """(title, description) and (title, picture), as a data set each."""
    sides = {"text": examples.descriptions, "image": examples.pictures}
    pairs = {
        side: [(title, value) for title, value in zip(examples.titles, values, strict=True) if value is not None]
        for side, values in sides.items()
    }
    return DatasetDict(
        {
            side: Dataset.from_dict({"anchor": [title for title, _ in rows], "positive": [value for _, value in rows]})
            for side, rows in pairs.items()
            if rows
        }
    )


def _arguments(task: Task, settings: PeerSettings) -> SentenceTransformerTrainingArguments:
    return SentenceTransformerTrainingArguments(
        output_dir=str(task.work / "trainer"),
        num_train_epochs=_FOREVER,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        router_mapping={
            "text": {"anchor": "text", "positive": "text"},
            "image": {"anchor": "text", "positive": "image"},
        },
        learning_rate_mapping={r"sub_modules\.image\.1\.": settings.head_learning_rate},
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        seed=task.seed,
        use_cpu=True,
        save_strategy="no",
        eval_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )


def _best_fusion(model: SentenceTransformer, task: Task) -> tuple[float, Fusion]:
    """The better way to fuse text and picture on validation, and its score."""
    vectors = _vectors(model, task.validation, task.validation_questions)
    return max((task.score(Seen.by_vectors(*vectors, fusion)), fusion) for fusion in _FUSIONS)


def _answers(model: SentenceTransformer, catalog: Catalog, asked: RetrievalTask, fusion: Fusion) -> Seen:
    return Seen.by_vectors(*_vectors(model, catalog, asked), fusion)


def _vectors(
    model: SentenceTransformer, catalog: Catalog, asked: RetrievalTask
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the queries (q, width), and of the items' descriptions and pictures (n, width), NaN where there is none."""
    _, descriptions, pictures = zip(*columns_of(catalog), strict=True)

    def encode(values: tuple[str | None, ...]) -> np.ndarray:
        vectors = np.full((len(values), model.get_embedding_dimension() or 0), np.nan, np.float32)
        known = [row for row, value in enumerate(values) if value is not None]
        if known:
            vectors[known] = model.encode(
                [str(values[row]) for row in known], batch_size=32, show_progress_bar=False, convert_to_numpy=True
            )
        return vectors

    return encode(tuple(asked.texts)), encode(descriptions), encode(pictures)
