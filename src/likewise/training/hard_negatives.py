"""Hard negatives from the items themselves: rows that look alike and are other things, and pairs that are suspicious.

Every row's query (its title) looks for items among the training rows, as they would be found in an index. What stands
high and is another thing is a hard negative, and is put into the same batch. What scores nearly as high as the row's
own item is most likely an answer that nobody marked, so it is left out (the positive-aware margin of NV-Retriever,
Moreira et al. 2024, https://arxiv.org/abs/2407.15831) and shown to a person instead.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from likewise.model.network import FIELD_MODALITY, Network
from likewise.stores.faiss.exact import find_nearest
from likewise.training.batches import Rows, TrainingSet
from likewise.training.features import Features
from likewise.training.questions import picture_vectors

Vectors = NDArray[np.float32]

_MARGIN = 0.05  # of the own item's score
_LOOKED_AT = 32  # candidates of a row, of which some are the same thing or too good
_MOST_ROWS = 50_000  # that are searched; of more, a part is drawn anew each time
_CHUNK = 1024
_NEARLY_EQUAL = 0.97  # cosine of two whole items


@dataclass(frozen=True)
class Suspect:
    """Two rows that are told apart in training and may be the same thing.

    Attributes:
        row, other: the rows.
        score: how well the other one's item answers the row's query. own: how well its own does.
        likeness: the cosine of the two whole items.
    """

    row: int
    other: int
    score: float
    own: float
    likeness: float

    @property
    def near_duplicate(self) -> bool:
        """Whether the items are nearly equal as a whole."""
        return self.likeness >= _NEARLY_EQUAL


@dataclass(frozen=True)
class Mined:
    """Hard negatives of all rows, and what is suspicious.

    Attributes:
        neighbours: (all rows, count) training rows, the hardest first; −1 where there are fewer.
        suspects: the most suspicious first.
    """

    neighbours: Rows
    suspects: list[Suspect]


def mine(network: Network, features: Features, data: TrainingSet, count: int, rng: np.random.Generator) -> Mined:
    """Find `count` hard negatives for every training row that has a title or another query.

    Args:
        network: as it is now; it is left in evaluation mode.
        rng: draws the rows that are searched where there are very many.
    """
    rows = data.rows
    if len(rows) > _MOST_ROWS:
        rows = np.sort(rng.choice(rows, _MOST_ROWS, replace=False))
    queries, answers, whole = _seen(network, features, data, rows)
    asking = np.flatnonzero(~np.isnan(queries[:, 0]) & ~np.isnan(answers[:, 0]))
    neighbours = np.full((len(data.pictured), count), -1)
    suspects: list[Suspect] = []
    known = np.nan_to_num(answers)
    own = np.einsum("nd,nd->n", queries, known)
    for start in range(0, len(asking), _CHUNK):
        places = asking[start : start + _CHUNK]
        scores, found = find_nearest(known, np.ascontiguousarray(queries[places]), _LOOKED_AT)
        other = ~_alike(data, rows[places][:, None], rows[found])
        fair = other & (scores <= (own - _MARGIN * np.abs(own))[places, None])
        for place, line, allowed in zip(places, found, fair, strict=True):
            hardest = rows[line[allowed][:count]]
            neighbours[rows[place], : len(hardest)] = hardest
        suspects += _suspects(rows, places, found, scores, other & ~fair, own, whole)
    suspects.sort(key=lambda suspect: (suspect.own - suspect.score, -suspect.likeness))
    return Mined(neighbours, suspects)


def _suspects(
    rows: Rows, places: Rows, found: Rows, scores: Vectors, dubious: NDArray[np.bool_], own: Vectors, whole: Vectors
) -> list[Suspect]:
    """Of each row the best of the other things that answer as well as its own item."""
    suspects = []
    for line in np.flatnonzero(dubious.any(axis=1)).tolist():
        place, best = int(places[line]), int(np.argmax(dubious[line]))
        other = int(found[line, best])
        likeness = float(whole[place] @ whole[other])
        suspects.append(
            Suspect(int(rows[place]), int(rows[other]), float(scores[line, best]), float(own[place]), likeness)
        )
    return suspects


def _alike(data: TrainingSet, rows: Rows, others: Rows) -> NDArray[np.bool_]:
    """Whether two rows share any identity."""
    identity = data.identity
    alike = np.asarray(rows == others)
    for codes in (identity.title, identity.picture, identity.named, identity.component):
        alike = alike | ((codes[rows] == codes[others]) & (codes[rows] >= 0))
    return alike


def _seen(network: Network, features: Features, data: TrainingSet, rows: Rows) -> tuple[Vectors, Vectors, Vectors]:
    """(n, dim) each row's title as a query, its item without the title (with it, where it has nothing else), and whole.

    NaN where there is none.
    """
    network.eval()
    queries, answers, whole = (np.full((len(rows), network.dim), np.nan, np.float32) for _ in range(3))
    texts = data.texts
    with torch.inference_mode():
        for start in range(0, len(rows), _CHUNK):
            part = slice(start, start + _CHUNK)
            own = rows[part]
            towers = torch.zeros(len(own), len(network.fields), network.dim, device=network.fusion.gates.device)
            present = np.zeros((len(own), len(network.fields)), bool)
            for column, field in enumerate(network.fields):
                picture = FIELD_MODALITY[field] == "image"
                values = own if picture else (texts.title if field == "title" else texts.description)[own]
                present[:, column] = data.pictured[own] if picture else values >= 0
                shown = np.flatnonzero(present[:, column])
                if len(shown):
                    towers[shown, column] = (
                        picture_vectors(network, features, values[shown])
                        if picture
                        else network.tower(field, features.texts(values[shown], "document"))
                    )
            titled = np.flatnonzero(texts.title[own] >= 0)
            if len(titled):
                asked = network.query(features.texts(texts.title[own][titled], "query"))
                queries[start + titled] = asked.cpu().numpy()
            mask = torch.from_numpy(present).to(towers.device)
            whole[part] = network.fuse(towers, mask).cpu().numpy()
            without = present.copy()
            if "title" in network.fields:
                title = network.fields.index("title")
                without[:, title] &= ~np.delete(present, title, axis=1).any(axis=1)
            answers[part] = network.fuse(towers, torch.from_numpy(without).to(towers.device)).cpu().numpy()
    return queries, answers, whole
