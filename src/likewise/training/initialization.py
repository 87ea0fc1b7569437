"""Closed-form initialisation of the heads: regress embeddings of titles on pictures and descriptions."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from likewise.catalog.identity import Codes
from likewise.evaluation.baselines import fit_ridge
from likewise.model.heads import KernelMap, PictureMap, VectorHead
from likewise.model.network import Network
from likewise.progress import track
from likewise.seeds import Stream, draw_sorted, random_stream
from likewise.training.batches import TrainingSet
from likewise.training.cross_fitting import cross_fit_kernel_ridge
from likewise.training.features import Features, read_field
from likewise.training.kernel_ridge import fit_kernel_ridge
from likewise.training.left_out import StartFit, scale_kernel
from likewise.training.views import RowTexts

Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]
ClosedForms = dict[str, dict[str, PictureMap | KernelMap]]  # by name, then by field

_MOST_ROWS = 20_000  # more rows than that change a map of a thousand features very little
_SHARE_OF_WORDS = 0.5  # of kernel ridge in categories and the like: all of it would unlearn what no title mentions
_FEW_FEATURES = 256  # of an encoder that is fitted to a column, such as of numbers; a few rows say all about them
_MOST_ROWS_OF_FEW = 2_000
_CHUNK = 256


@dataclass(frozen=True)
class RegressionData:
    """Inputs (n, width) and targets (n, dim) of a regression, and the catalogue's rows (n,) that they come from.

    Attributes:
        adds: whether the map is added to what the head begins at, instead of taking its place.
        codes: (n,) rows with the same code have the same inputs; None: not known.
    """

    inputs: Vectors
    targets: Vectors
    rows: Rows
    adds: bool = False
    codes: Rows | None = None


Regressions = Mapping[str, RegressionData | None]  # by field


class _Titles:
    """What the untrained query tower makes of the titles of rows, computed once for fields that the same rows have."""

    def __init__(self, network: Network, features: Features, texts: RowTexts) -> None:
        self._network, self._features, self._texts = network, features, texts
        self._embedded: dict[bytes, Tensor] = {}

    def embed(self, rows: Rows) -> Tensor:
        """(rows, dim) unit vectors."""
        key = rows.tobytes()
        if key not in self._embedded:
            self._embedded[key] = self._network.query(self._features.texts(self._texts.title[rows], "query"))
        return self._embedded[key]


def collect_titled_pictures(
    network: Network, features: Features, data: TrainingSet, seed: int, titles: _Titles | None = None
) -> RegressionData | None:
    """What the map of the picture tower reads, and how the untrained vector of the title differs from the tower's own.

    A tower that knows the names of classes says something of its own, to which the map is added. None where fewer than
    two rows have a picture and a title.
    """
    complete = _sample(data.rows[data.has_field("image", data.rows) & data.has_field("title", data.rows)], seed)
    if len(complete) < 2 or "image" not in network.fields:
        return None
    with torch.inference_mode():
        parts = np.split(complete, range(_CHUNK, len(complete), _CHUNK))
        head, summaries, own = network.picture_head, [], []
        for part in parts:
            shown = features.pictures(part)
            summaries.append(head.summary(shown).cpu().numpy())
            own.append(head.zero_shot_vectors(shown).cpu().numpy())
        embedded = (titles or _Titles(network, features, data.texts)).embed(complete).cpu().numpy()
        return RegressionData(np.concatenate(summaries), embedded - np.concatenate(own), complete)


def collect_titled_values(
    network: Network, features: Features, data: TrainingSet, field: str, seed: int, titles: _Titles | None = None
) -> RegressionData | None:
    """What a field such as the description says, and the title; None where fewer than two rows have both.

    Of a field that holds words, the target is how the title differs from what the text encoder makes of them.
    """
    encoder = network.encoder(field)
    few_features = encoder.fitted and encoder.width <= _FEW_FEATURES and not network.reads_words(field)
    most = _MOST_ROWS_OF_FEW if few_features else _MOST_ROWS
    complete = _sample(data.rows[data.has_field(field, data.rows) & data.has_field("title", data.rows)], seed, most)
    if len(complete) < 2:
        return None
    codes = data.texts.field(field)[complete]
    with torch.inference_mode():
        said = read_field(features, network, field, codes)
        title = (titles or _Titles(network, features, data.texts)).embed(complete)
        if not network.reads_words(field):
            return RegressionData(said.cpu().numpy(), title.cpu().numpy(), complete, codes=codes)
        own = cast(VectorHead, network.head(field)).base(said)
        target = title * own.norm(dim=-1, keepdim=True) - own
        return RegressionData(said.cpu().numpy(), target.cpu().numpy(), complete, adds=True, codes=codes)


def collect_regressions(network: Network, features: Features, data: TrainingSet, seed: int) -> Regressions:
    """What the closed forms are fitted to, by field, on the rows that train; None where there is too little.

    Args:
        network: untrained.
        features: of the untrained encoders.
    """
    others = [field for field in network.fields if field not in ("title", "image")]
    titles = _Titles(network, features, data.texts)
    return {"image": collect_titled_pictures(network, features, data, seed, titles)} | {
        field: collect_titled_values(network, features, data, field, seed, titles) for field in others
    }


def cross_fit_start(regressions: Regressions, groups: Codes, seed: int) -> dict[str, StartFit]:
    """Kernel ridge, with what it says of every row without the row's group, by field.

    Args:
        groups: (all rows,) codes of the groups that are left out together.

    Returns:
        None for a field of which too few rows differ.
    """
    return {
        field: StartFit(
            *cross_fit_kernel_ridge(pairs.inputs, pairs.targets, groups[pairs.rows], seed=seed, codes=pairs.codes),
            middle=_find_middle(field, pairs),
            share=_find_share(field, pairs),
        )
        for field, pairs in _fitting(regressions)
    }


def fit_closed_forms(
    regressions: Regressions, seed: int, kernels: Mapping[str, KernelMap] | None = None, groups: Codes | None = None
) -> ClosedForms:
    """Fit every closed form: the baselines, and what a training may start from.

    Args:
        kernels: kernel ridge by field, where it is fitted already.
        groups: (all rows,) codes of rows that say the same; penalties are the best for groups that are left out. None:
            for rows that are.

    Returns:
        Maps by field, for `Network.set_base_map`: "ridge" is linear, of pictures and values that are no words; "kernel
        ridge" is of all fields but the title. A field of which too few rows differ has none, and a closed form without
        any map is absent.
    """
    if kernels is None:
        kernels = {
            field: scale_kernel(
                _fit_kernel_ridge(pairs, seed, groups), _find_share(field, pairs), _find_middle(field, pairs)
            )
            for field, pairs in _fitting(regressions)
        }
    replacing = {field: pairs for field, pairs in regressions.items() if pairs is not None and not pairs.adds}
    ridge: dict[str, PictureMap | KernelMap] = {
        field: fit_picture_map(pairs, groups)
        for field, pairs in replacing.items()
        if field == "image" or _differ(pairs)
    }
    return {name: dict(maps) for name, maps in (("ridge", ridge), ("kernel ridge", kernels)) if maps}


def _fit_kernel_ridge(pairs: RegressionData, seed: int, groups: Codes | None) -> KernelMap:
    own = None if groups is None else groups[pairs.rows]
    return fit_kernel_ridge(pairs.inputs, pairs.targets, seed=seed, codes=pairs.codes, groups=own)


def _fitting(regressions: Regressions) -> Iterator[tuple[str, RegressionData]]:
    """The fields that kernel ridge can be fitted to, with a bar."""
    for field, pairs in track(regressions.items(), "Fitting kernel ridge"):
        if pairs is not None and _differ(pairs):
            yield field, pairs


def _find_share(field: str, pairs: RegressionData) -> float:
    """How much of kernel ridge enters the tower of a field."""
    return _SHARE_OF_WORDS if pairs.adds and field != "description" else 1.0


def _find_middle(field: str, pairs: RegressionData) -> Tensor:
    """(dim,) what a share of kernel ridge leaves whole.

    Of a description it is the mean, which takes it to where titles are: otherwise, of items that have only a text and
    others that have only a picture, the ones would be found before the others. The words of other columns stay where
    they are, as most titles do not mention them.
    """
    mean = torch.from_numpy(pairs.targets.mean(axis=0))
    return mean if field == "description" else torch.zeros_like(mean)


def _differ(pairs: RegressionData) -> bool:
    return bool((pairs.inputs != pairs.inputs[0]).any())


def initialise_heads(
    network: Network,
    closed_forms: Mapping[str, Mapping[str, PictureMap | KernelMap]],
    validate: Callable[[], float] | None,
) -> dict[str, PictureMap | KernelMap]:
    """Initialise heads of pictures and numbers with a linear map, and all with kernel ridge where that is no worse.

    Args:
        closed_forms: of `fit_closed_forms`.
        validate: scores the network as it is; higher is better. None: without kernels, for a training that moves
            encoders: after that a kernel's examples resemble nothing that they see, and a linear map is the least to
            undo.

    Returns:
        The chosen maps, by field, for `Network.set_base_map`.
    """
    chosen = dict(closed_forms.get("ridge", {}))
    for field, linear in chosen.items():
        network.set_base_map(field, linear)
    if validate is None:
        return chosen
    best = validate()
    for field, kernel in closed_forms.get("kernel ridge", {}).items():
        before = network.base_map(field)
        network.set_base_map(field, kernel)
        score = validate()
        if score >= best:
            best, chosen[field] = score, kernel
        else:
            network.set_base_map(field, before)
    return chosen


def fit_picture_map(pictures: RegressionData, groups: Codes | None = None) -> PictureMap:
    """Ridge regression in closed form, which is a baseline as well; `groups` as in `fit_closed_forms`."""
    own = None if groups is None else groups[pictures.rows]
    ridge = fit_ridge(pictures.inputs, pictures.targets, groups=own)
    weight, bias = ridge.weights.T, ridge.y_mean - ridge.x_mean @ ridge.weights
    return PictureMap.from_weights(
        torch.from_numpy(weight.astype(np.float32)), torch.from_numpy(bias.astype(np.float32))
    )


def _sample(rows: Rows, seed: int, most: int = _MOST_ROWS) -> Rows:
    return draw_sorted(rows, most, random_stream(seed, Stream.INITIALIZATION_ROWS))
