"""Baselines without gradients: likewise's encoders as they come, and closed-form maps to the vectors of titles."""

import numpy as np
import torch

from likewise.evaluation.baselines import fit_ridge
from likewise.evaluation.embeddings import embed_task
from likewise.evaluation.subsets import FieldSubset
from likewise.model.cached_features import cache_pictures
from likewise.model.heads import PictureMap
from likewise.model.model import Model
from likewise.training.kernel_ridge import fit_kernel_ridge
from peers.seen import Seen
from peers.task import Task

_AT_ONCE = 256  # pictures


def untrained(task: Task) -> tuple[Seen, dict[str, object]]:
    """The encoders as they come; pictures stand among texts by the names of ImageNet's classes."""
    return answers(task, Model.create("lite", cache=task.cache)), {"seconds": task.clock.spent}


def ridge(task: Task) -> tuple[Seen, dict[str, object]]:
    """A linear map from picture features to the vectors of titles, fitted in closed form on all given rows."""
    model = Model.create("lite", cache=task.cache)
    features, targets = _pictured_titles(task, model)
    fitted = fit_ridge(features, targets)
    bias = fitted.y_mean - fitted.x_mean @ fitted.weights
    seconds = task.clock.spent
    weights = (torch.from_numpy(values.astype(np.float32)) for values in (fitted.weights.T, bias))
    with model.network.with_base_maps({"image": PictureMap.from_weights(*weights)}):
        return answers(task, model), {"seconds": seconds}


def kernel_ridge(task: Task) -> tuple[Seen, dict[str, object]]:
    """Maps with a Gaussian kernel from picture features and descriptions to the vectors of titles, in closed form.

    As in likewise's own start, that of a description is added to what the text encoder says of it.
    """
    model = Model.create("lite", cache=task.cache)
    network = model.network
    features, targets = _pictured_titles(task, model)
    network.set_base_map("image", fit_kernel_ridge(features, targets, seed=task.seed))
    described = zip(task.given.texts("description"), task.given.texts("title"), strict=True)
    pairs = [(said, title) for said, title in described if said is not None and title is not None]
    with torch.inference_mode():
        features_of_texts = model.featurizer("text").texts([said for said, _ in pairs], prompt="document")
        own = network.base_map("description")(features_of_texts).cpu().numpy()
    said = features_of_texts.cpu().numpy()
    targets = model.encode_queries([title for _, title in pairs]) * np.linalg.norm(own, axis=1, keepdims=True) - own
    network.set_base_map("description", fit_kernel_ridge(said, targets, seed=task.seed))
    return answers(task, model), {"seconds": task.clock.spent}


def answers(task: Task, model: Model) -> Seen:
    """What a likewise model says to the questions."""
    embeddings = embed_task(model, task.questions)

    def through(*fields: str) -> np.ndarray:
        scores, _ = embeddings.score(FieldSubset("", "", fields))
        return np.asarray(scores(slice(None)) if callable(scores) else scores)

    return Seen(through("description", "image"), through("description"), through("image"))


def _pictured_titles(task: Task, model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Of the given rows with picture and title: features (n, width), and what the names of classes lack (n, dim).

    Nothing is chosen, so none of the rows has to validate.
    """
    catalog, head, rows, own = task.given, model.network.picture_head, [], []
    cached = cache_pictures(model, catalog)
    titles = catalog.texts("title")
    known = [row for row, slot in enumerate(cached.slots) if slot >= 0 and titles[row] is not None]
    for start in range(0, len(known), _AT_ONCE):
        shown = torch.from_numpy(cached.features[cached.slots[known[start : start + _AT_ONCE]]].astype(np.float32))
        with torch.inference_mode():
            rows.append(head.summary(shown).numpy())
            own.append(head.zero_shot_vectors(shown).numpy())
    return np.concatenate(rows), model.encode_queries([titles[row] for row in known]) - np.concatenate(own)
