"""A retrieval task as one model sees it: every tower runs once, then any subset of the fields can be ranked."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from likewise.catalog.catalog import Catalog
from likewise.catalog.images.picture import Picture, PictureError
from likewise.evaluation.comparison import SystemMetrics
from likewise.evaluation.metrics import Scores, cosine_scores
from likewise.evaluation.subsets import FieldSubset, mixed_index
from likewise.evaluation.task import RetrievalTask
from likewise.model.field_embeddings import FieldEmbeddings
from likewise.model.model import Model
from likewise.model.network import Network

Vectors = NDArray[np.float32]

_PICTURES_AT_ONCE = 32


@dataclass(frozen=True)
class TaskEmbeddings:
    """Queries and items of a retrieval task in one network's space.

    Attributes:
        task: the queries, and which candidates answer them.
        network: fuses fields, as it is when it is asked.
        queries: (texts, dim) unit vectors of what goes through the query tower; NaN rows cannot be encoded.
        items: what each field's tower makes of the items.
    """

    task: RetrievalTask
    network: Network
    queries: Vectors
    items: FieldEmbeddings

    def with_towers(self, other: "TaskEmbeddings") -> "TaskEmbeddings":
        """The same task, with the queries and the field vectors of `other` in place of these."""
        items = self.items
        vectors = [(other.items if field in other.items.fields else items).field(field) for field in items.fields]
        return replace(self, queries=other.queries, items=FieldEmbeddings(items.fields, np.stack(vectors, axis=1)))

    def fuse(self, subset: FieldSubset) -> Vectors:
        """(items, dim) unit vectors of the items, seen through a subset of their fields; NaN without any."""
        if subset.mix_seed is None:
            return self.items.fuse(self.network, subset.fields)
        texts, images = (self.items.fuse(self.network, fields) for fields in (subset.texts, subset.images))
        return mixed_index(texts, images, seed=subset.mix_seed)[0]

    def fuse_by_modality(self, subset: FieldSubset) -> dict[str, Vectors]:
        """The items' texts and pictures apart, and where there are both also the whole items: (items, dim) each."""
        parts = {"texts": subset.texts, "pictures": subset.images}
        views = {name: self.items.fuse(self.network, fields) for name, fields in parts.items() if fields}
        if len(views) > 1:
            views["whole items"] = self.fuse(subset)
        return views

    def score(self, subset: FieldSubset) -> tuple[Scores, list[np.ndarray]]:
        """The cosine of every query with every candidate, and the positions of the right answers.

        An item with none of the subset's fields cannot be found, and as a query it is not asked.
        """
        items, relevant = self.fuse(subset), self.task.relevant
        if self.task.direction == "items":
            return cosine_scores(self.queries, items), relevant
        empty, none = np.isnan(items[:, 0]), np.empty(0, np.int64)
        relevant = [none if lost else row for lost, row in zip(empty, relevant, strict=True)]
        return cosine_scores(np.nan_to_num(items), self.queries), relevant

    def evaluate(self, name: str, subsets: Iterable[FieldSubset]) -> dict[str, SystemMetrics]:
        """Metrics of every query, by the key of the subset.

        Args:
            name: of the system, as tables show it.
        """
        metrics = {}
        for subset in subsets:
            scores, relevant = self.score(subset)
            metrics[subset.key] = self.task.evaluate(name, scores, relevant)
        return metrics


def embed_task(
    model: Model, task: RetrievalTask, fields: Sequence[str] | None = None, queries: Vectors | None = None
) -> TaskEmbeddings:
    """Run a model's towers over the queries and items of a task.

    Args:
        model: encodes them.
        task: its catalogue opens the pictures.
        fields: of the items; None: those of the task.
        queries: the queries' vectors, where they are known already.
    """
    items = model.encode_fields(task.catalog, fields or task.fields)
    if queries is None:
        queries = embed_queries(model, task.catalog, task.texts, task.pictures)
    return TaskEmbeddings(task, model.network, queries, items)


def embed_queries(
    model: Model, catalog: Catalog, texts: Sequence[str | None], pictures: Sequence[Picture | None]
) -> Vectors:
    """(q, dim) vectors of queries by words, by a picture, or halfway between the two where a query has both.

    A query whose picture cannot be decoded, or that is empty, is NaN.

    Args:
        catalog: opens the pictures.
        texts, pictures: one of each for every query; None where it has none.
    """
    vectors = np.full((len(texts), model.dim), np.nan, np.float32)
    worded = [row for row, text in enumerate(texts) if text is not None]
    vectors[worded] = model.encode_queries([str(texts[row]) for row in worded])
    pictured = [row for row, picture in enumerate(pictures) if picture is not None]
    for start in range(0, len(pictured), _PICTURES_AT_ONCE):
        opened = {}
        for row in pictured[start : start + _PICTURES_AT_ONCE]:
            picture = pictures[row]
            assert picture is not None  # noqa: S101 - for the type checker: `pictured` holds no other rows
            try:
                opened[row] = catalog.open_picture(picture, model.encoder("image").minimum_side)
            except PictureError as error:
                catalog.report.count(error.cause, example=picture.path.name)
                vectors[row] = np.nan
        if not opened:
            continue
        for row, vector in zip(opened, model.encode_images(list(opened.values())), strict=True):
            both = vectors[row] + vector if texts[row] is not None else vector
            vectors[row] = both / max(float(np.linalg.norm(both)), 1e-12)
    return vectors
