"""A network over features that are made up: no catalogue, no encoder to run, a step in a millisecond."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from training.identity_codes import identity_of

from likewise.catalog.identity import Identity
from likewise.config import ModelSettings, TrainConfig
from likewise.encoders.base import Encoder
from likewise.evaluation.judgments.query_log import QueryLog
from likewise.model.network import Network
from likewise.training.batches import TrainingSet
from likewise.training.distributed import Processes
from likewise.training.objective import Objective
from likewise.training.views import RowTexts

WIDTH, DIM = 12, 16


@dataclass
class ToyFeatures:
    """Random features of texts and of the rows' pictures; counts what is read."""

    table: Tensor
    images: Tensor
    texts_read: int = 0
    pictures_read: int = 0
    cheap_texts: bool = True
    cheap_pictures: bool = True
    crops: bool = False

    def texts(self, indices: np.ndarray, prompt: str) -> Tensor:
        self.texts_read += len(indices)
        return self.table[torch.from_numpy(indices)]

    def pictures(self, rows: np.ndarray, mirror: np.ndarray | None = None, rng: object = None) -> Tensor:
        self.pictures_read += len(rows)
        return self.images[torch.from_numpy(rows)]


def toy_network(fields: tuple[str, ...] = ("title", "description", "image"), seed: int = 0) -> Network:
    """Untrained, over an image encoder with a 2×2 grid."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text = Encoder(name="toy-text", modality="text", width=WIDTH)
        image = Encoder(name="toy-image", modality="image", width=WIDTH, grid=(2, 2))
        return Network(ModelSettings(dim=DIM, fields=fields), text, image)


def toy_objective(
    identity: Identity,
    *,
    pictured: Sequence[bool] | None = None,
    described: bool = True,
    titled: bool = True,
    rows: Sequence[int] | None = None,
    fields: tuple[str, ...] = ("title", "description", "image"),
    asked: QueryLog | None = None,
    processes: Processes = Processes.ALONE,
    **settings: object,
) -> Objective:
    """An objective over rows that each have texts of their own; `identity` alone says which are the same thing."""
    count = len(identity.title)
    none = np.full(count, -1, np.int64)
    title = np.arange(count) if titled else none
    description = np.arange(count, 2 * count) if described else none
    asked = QueryLog.from_column(none) if asked is None else asked
    texts = RowTexts([f"text {n}" for n in range(2 * count)], title, description, description, none, none, asked)
    generator = torch.Generator().manual_seed(1)
    features = ToyFeatures(
        torch.randn(2 * count, WIDTH, generator=generator), torch.randn(count, 4, WIDTH, generator=generator)
    )
    shown = np.ones(count, bool) if pictured is None else np.array(pictured, bool)
    config = TrainConfig.model_validate(
        {"batch_size": 4, "epochs": 3, "text_lr_scale": 0.1, "title_negatives": 256, **settings}
    )
    training_rows = np.arange(count) if rows is None else np.array(rows, np.int64)
    data = TrainingSet.build(training_rows, texts, identity, shown)
    return Objective(toy_network(fields), features, data, config, processes)


def unlike(count: int) -> Identity:
    """Rows that have nothing in common."""
    return identity_of(range(count), range(count), range(count))
