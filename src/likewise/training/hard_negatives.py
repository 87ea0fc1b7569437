"""Hard negatives, mined from the training rows: items that rank high for a row's title and have another identity.

They are put into the row's batch. What scores nearly as high as the row's own item is most likely an answer that nobody
marked, so it is omitted (the positive-aware margin of NV-Retriever, Moreira et al. 2024,
https://arxiv.org/abs/2407.15831) and reported as suspect instead.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from likewise.catalog.catalog import Catalog
from likewise.config import TrainConfig
from likewise.evaluation.error_analysis import PossibleDuplicate, build_item_drawer
from likewise.files import write_csv
from likewise.model.network import Network
from likewise.seeds import Stream, draw_sorted, random_stream
from likewise.stores.faiss.exact import find_nearest
from likewise.training.batches import Rows, TrainingSet
from likewise.training.context import TrainingContext
from likewise.training.distributed import Processes
from likewise.training.features import Features
from likewise.training.validation import embed_queries, embed_rows

Vectors = NDArray[np.float32]

_MARGIN = 0.05  # of the own item's score
_CANDIDATES = 32  # candidates of a row; some share an identity with it or score too high
_MOST_ROWS = 50_000  # that are searched; of more, a part is drawn anew each time
_CHUNK = 1024
SUSPECTS = "suspects.csv"
_LISTED, _SHOWN = 500, 12
_NEARLY_EQUAL = 0.97  # cosine of two whole items


@dataclass(frozen=True)
class Suspect:
    """Two training rows that count as different things and may be the same.

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

    @property
    def reason(self) -> str:
        """Why they are suspected, in a sentence."""
        scores = f"{self.score:.2f}, its own item {self.own:.2f}"
        nearly = "Nearly equal. " if self.near_duplicate else ""
        return f"{nearly}To the first one's title the second one's item scores {scores}."


@dataclass(frozen=True)
class HardNegatives:
    """Hard negatives of all rows, and what is suspicious.

    Attributes:
        neighbours: (all rows, count) training rows, the hardest first; −1 where there are fewer.
        suspects: the most suspicious first.
    """

    neighbours: Rows
    suspects: list[Suspect]


def build_mining(
    processes: Processes, network: Network, features: Features, data: TrainingSet, config: TrainConfig
) -> Callable[[], Rows] | None:
    """A function that finds the hard negatives of the network as it is when it is called; None: none are asked for."""
    if not config.hard_negatives:
        return None

    def neighbours() -> Rows:
        rng = random_stream(config.seed, Stream.HARD_NEGATIVES)
        mined = None
        if processes.leads:
            mined = mine_hard_negatives(network, features, data, config.hard_negatives, rng).neighbours
        return np.asarray(processes.from_leader(mined))

    return neighbours


def mine_hard_negatives(
    network: Network, features: Features, data: TrainingSet, count: int, rng: np.random.Generator
) -> HardNegatives:
    """Find `count` hard negatives for every training row that has a title or another query.

    Args:
        network: as it is now; it is left in evaluation mode.
        rng: draws the rows that are searched where there are very many.
    """
    rows = draw_sorted(data.rows, _MOST_ROWS, rng)
    queries, answers, whole = _embed_training_rows(network, features, data, rows)
    asking = np.flatnonzero(~np.isnan(queries[:, 0]) & ~np.isnan(answers[:, 0]))
    neighbours = np.full((len(data.pictured), count), -1)
    suspects: list[Suspect] = []
    known = np.nan_to_num(answers)
    own = np.einsum("nd,nd->n", queries, known)
    for start in range(0, len(asking), _CHUNK):
        places = asking[start : start + _CHUNK]
        scores, found = find_nearest(known, np.ascontiguousarray(queries[places]), _CANDIDATES)
        other = ~_alike(data, rows[places][:, None], rows[found])
        fair = other & (scores <= (own - _MARGIN * np.abs(own))[places, None])
        for place, line, allowed in zip(places, found, fair, strict=True):
            hardest = rows[line[allowed][:count]]
            neighbours[rows[place], : len(hardest)] = hardest
        suspects += _suspects(rows, places, found, scores, other & ~fair, own, whole)
    suspects.sort(key=lambda suspect: (suspect.own - suspect.score, -suspect.likeness))
    return HardNegatives(neighbours, suspects)


def find_suspects(context: TrainingContext, features: Features) -> list[Suspect]:
    """Find training rows that may be the same although their identities differ, and list them in `suspects.csv`."""
    rng = random_stream(context.config.seed, Stream.SUSPECTS)
    suspects = mine_hard_negatives(context.model.network, features, context.data, 1, rng).suspects[:_LISTED]
    ids = context.catalog.ids
    rows = []
    for suspect in suspects:
        figures = [f"{figure:.4f}" for figure in (suspect.score, suspect.own, suspect.likeness)]
        rows.append((ids[suspect.row], ids[suspect.other], *figures, str(suspect.near_duplicate).lower()))
    write_csv(context.run / SUSPECTS, ("id", "other_id", "score", "own_score", "likeness", "near_duplicate"), rows)
    return suspects


def draw_suspects(catalog: Catalog, suspects: Sequence[Suspect]) -> list[PossibleDuplicate]:
    """The most suspicious pairs, as a report shows them."""
    draw = build_item_drawer(catalog, pictured="image" in catalog.fields)
    return [PossibleDuplicate(draw(suspect.row), draw(suspect.other), suspect.reason) for suspect in suspects[:_SHOWN]]


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


def _embed_training_rows(
    network: Network, features: Features, data: TrainingSet, rows: Rows
) -> tuple[Vectors, Vectors, Vectors]:
    """(n, dim) each row's title as a query, its item without the title (with it, where it has nothing else), and whole.

    NaN where there is none.
    """
    queries, answers, whole = (np.full((len(rows), network.dim), np.nan, np.float32) for _ in range(3))
    others = [field for field in network.fields if field != "title"]
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        items = embed_rows(network, features, data, rows[part], network.fields)
        whole[part] = items.fuse(network)
        without = items.fuse(network, others)
        answers[part] = np.where(np.isnan(without), whole[part], without)
        titles = data.texts.title[rows[part]]
        titled = np.flatnonzero(titles >= 0)
        queries[start + titled] = embed_queries(network, features, titles[titled])
    return queries, answers, whole
