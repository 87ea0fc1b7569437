"""Where towers begin: at the closed form that leads from pictures and descriptions to what the titles say."""

from collections.abc import Callable, Mapping
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
from likewise.progress import track
from likewise.training.features import Features
from likewise.training.kernel_ridge import fit_kernel_ridge
from likewise.training.views import Bools, RowTexts

Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]

_MOST_ROWS = 20_000  # more rows than that change a map of a thousand features very little
_CHUNK = 256


@dataclass(frozen=True)
class Pairs:
    """What rows show, (n, width), and where a map has to take it, (n, dim)."""

    inputs: Vectors
    targets: Vectors


def titled_pictures(
    network: Network, features: Features, texts: RowTexts, rows: Rows, pictured: Bools, seed: int
) -> Pairs | None:
    """What the map of the picture tower reads, and the untrained vector of the title.

    None where fewer than two rows have a picture and a title.
    """
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
    picture_map: PictureMap | None,
    pairs_of: Mapping[str, Pairs | None],
    validate: Callable[[], float],
    seed: int,
) -> dict[str, PictureMap | KernelMap]:
    """Let pictures begin at a linear map, and towers at kernel ridge regression where validation finds no less with it.

    Args:
        pairs_of: by field, for the kernels. Empty for a training that goes far from where it begins: once encoders have
            moved, a kernel's examples look like nothing that they see, and a linear map is the least to undo.
        validate: how good the network is as it stands; higher is better.

    Returns:
        The maps that were taken, by field, for `Network.begin_at`.
    """
    taken: dict[str, PictureMap | KernelMap] = {}
    if picture_map is not None:
        taken["image"] = picture_map
        network.begin_at("image", picture_map)
    best = validate() if pairs_of else 0.0
    for field, pairs in track(pairs_of.items(), "Fitting where towers begin"):
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


def linear_map(pictures: Pairs) -> PictureMap:
    """Ridge regression in closed form, which is a rival, too."""
    ridge = fit_ridge(pictures.inputs, pictures.targets)
    weight, bias = ridge.weights.T, ridge.y_mean - ridge.x_mean @ ridge.weights
    return PictureMap.of(torch.from_numpy(weight.astype(np.float32)), torch.from_numpy(bias.astype(np.float32)))


def _titles(network: Network, features: Features, texts: RowTexts, rows: Rows) -> Tensor:
    return network.query(features.texts(texts.title[rows], "query"))


def _some(rows: Rows, seed: int) -> Rows:
    if len(rows) <= _MOST_ROWS:
        return rows
    return np.sort(np.random.default_rng([seed, 6]).choice(rows, _MOST_ROWS, replace=False))
