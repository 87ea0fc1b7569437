"""Where towers begin: at the closed form that leads from pictures and descriptions to what the titles say."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.evaluation.baselines import fit_ridge
from likewise.model.heads import PictureMap, VectorHead
from likewise.model.kernel import KernelMap
from likewise.model.network import Network
from likewise.training.features import Features
from likewise.training.kernel_ridge import fit_kernel_ridge
from likewise.training.views import Bools, RowTexts

StartingMap = PictureMap | KernelMap
Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]

_MOST_ROWS = 20_000  # more rows than that change a map of a thousand features very little
_CHUNK = 256


@dataclass(frozen=True)
class Pairs:
    """What rows show, (n, width), and the untrained vectors of their titles, (n, dim)."""

    inputs: Vectors
    targets: Vectors


def titled_pictures(
    network: Network, features: Features, texts: RowTexts, rows: Rows, pictured: Bools, seed: int
) -> Pairs | None:
    """What the base map of the picture tower reads; None where fewer than two rows have a picture and a title."""
    complete = _some(rows[pictured[rows] & (texts.title[rows] >= 0)], seed)
    if len(complete) < 2 or "image" not in network.fields:
        return None
    with torch.inference_mode():
        parts = np.split(complete, range(_CHUNK, len(complete), _CHUNK))
        summaries = [network.picture_head.summary(features.pictures(part)).cpu().numpy() for part in parts]
        return Pairs(np.concatenate(summaries), _titles(network, features, texts, complete).cpu().numpy())


def titled_descriptions(network: Network, features: Features, texts: RowTexts, rows: Rows, seed: int) -> Pairs | None:
    """What a description says, and how its title differs; None where fewer than two rows have both."""
    complete = _some(rows[(texts.description[rows] >= 0) & (texts.title[rows] >= 0)], seed)
    if len(complete) < 2 or "description" not in network.fields:
        return None
    with torch.inference_mode():
        said = features.texts(texts.description[complete], "document")
        own = cast(VectorHead, network.heads["description"]).base(said)
        title = _titles(network, features, texts, complete) * own.norm(dim=-1, keepdim=True)
        return Pairs(said.cpu().numpy(), (title - own).cpu().numpy())


def begin(
    network: Network,
    pictures: Pairs | None,
    descriptions: Pairs | None,
    validate: Callable[[], float],
    *,
    far: bool,
    seed: int,
) -> dict[str, StartingMap]:
    """Let towers begin at closed forms, each of which has to find no less on the validation rows than what was before.

    Args:
        far: training will go far from where it begins. Pictures then begin at a linear map, which is the least to undo,
            and descriptions as they are; a kernel's examples would soon look like nothing that the encoders see.
        validate: how good the network is as it stands; higher is better.

    Returns:
        The maps that were taken, by field, for `Network.begin_at`.
    """
    taken: dict[str, StartingMap] = {}
    if pictures is not None:
        taken["image"] = PictureMap.of(*linear_map(pictures))
        network.begin_at("image", taken["image"])
    if far:
        return taken
    best = validate()
    for field, pairs in {"image": pictures, "description": descriptions}.items():
        if pairs is None or (pairs.inputs == pairs.inputs[0]).all():
            continue
        fitted, before = fit_kernel_ridge(pairs.inputs, pairs.targets, seed=seed), network.start_of(field)
        network.begin_at(field, fitted)
        score = validate()
        if score >= best:
            best, taken[field] = score, fitted
        else:
            network.begin_at(field, before)
    return taken


def linear_map(pictures: Pairs) -> tuple[Tensor, Tensor]:
    """The best linear map in closed form, which is a rival, too: weight (dim, width) and bias (dim,)."""
    ridge = fit_ridge(pictures.inputs, pictures.targets)
    bias = ridge.y_mean - ridge.x_mean @ ridge.weights
    return torch.from_numpy(ridge.weights.T.astype(np.float32)), torch.from_numpy(bias.astype(np.float32))


def _titles(network: Network, features: Features, texts: RowTexts, rows: Rows) -> Tensor:
    return network.query(features.texts(texts.title[rows], "query"))


def _some(rows: Rows, seed: int) -> Rows:
    if len(rows) <= _MOST_ROWS:
        return rows
    return np.sort(np.random.default_rng([seed, 6]).choice(rows, _MOST_ROWS, replace=False))
