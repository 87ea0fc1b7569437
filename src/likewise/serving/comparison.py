"""The model of an index beside the same encoders untrained, over the same items; built when it is asked for."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from likewise.catalog.catalog import Catalog
from likewise.config import OWN_FIELDS, Device
from likewise.errors import UserError
from likewise.model.model import Model
from likewise.retrieval.index import Index
from likewise.retrieval.sampled_items import SampledItems

log = logging.getLogger(__name__)

MOST_ITEMS = 10_000
_ITEMS_AT_ONCE = 64  # between two looks at whether the server ends


@dataclass(frozen=True)
class ComparisonState:
    """How far a comparison is.

    Attributes:
        encoded: items that the untrained model has seen.
        items: those that it will have seen.
        of: the items of the index.
        detail: why it failed.
    """

    state: Literal["absent", "building", "ready", "failed"] = "absent"
    encoded: int = 0
    items: int = 0
    of: int = 0
    detail: str | None = None


@dataclass(frozen=True)
class UntrainedIndex:
    """What a comparison searches.

    Attributes:
        index: in memory.
        sample: ids of its items; None: it has all of them.
    """

    index: Index
    sample: tuple[str, ...] | None


class Comparison:
    """Builds the index of the untrained model in one thread of one core, at most `MOST_ITEMS` items of it.

    Args:
        index: of the trained model.
        model: the trained model; its settings say which encoders it began with.
        cache: the folder of features, which training has filled for the catalogue's pictures.
        create: settings → the untrained model.
    """

    def __init__(self, index: Index, model: Model, cache: Path, create: Callable[[Model], Model] | None = None) -> None:
        self._index = index
        self._model = model
        self._cache = cache
        self._create = create or create_untrained
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._state = ComparisonState()
        self._built: tuple[str, UntrainedIndex] | None = None  # build of the index, and what was built for it

    def describe(self) -> ComparisonState:
        """How far it is; an index that was built anew since needs a new comparison."""
        if self._built is not None and self._built[0] != self._index.metadata.build:
            return ComparisonState()
        return self._state

    def begin(self) -> ComparisonState:
        """Start to build, unless that is under way or done."""
        with self._lock:
            if self.describe().state in ("absent", "failed") and not self._ending.is_set():
                self._state = ComparisonState("building", of=len(self._index))
                self._thread = threading.Thread(target=self._build, name="comparison", daemon=True)
                self._thread.start()
            return self._state

    def find(self) -> UntrainedIndex | None:
        """The index of the untrained model, if it is ready."""
        return self._built[1] if self._built is not None and self.describe().state == "ready" else None

    def close(self) -> None:
        """Stop building, and let the index go."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
        if self._built is not None:
            self._built[1].index.close()

    def _build(self) -> None:
        import torch

        torch.set_num_threads(1)  # of this thread: searches need the other cores
        build = self._index.metadata.build
        try:
            untrained = self._create(self._model)
            if untrained.fingerprint == self._model.fingerprint:
                raise UserError("the model of this index has not been trained, so there is nothing to compare")
            items = self._index.sample(MOST_ITEMS)
            vectors = self._encode(untrained, items)
            if vectors is None:
                return
            pictures = [shown[0] if shown else None for shown in items.pictures]
            index = Index.from_vectors(untrained, vectors, items.table, pictures=pictures)
            sample = tuple(items.table["id"].to_list()) if len(items.table) < items.of else None
            if self._built is not None:
                self._built[1].index.close()
            self._built = build, UntrainedIndex(index, sample)
            self._state = replace(self._state, state="ready")
        except UserError as error:
            self._state = ComparisonState("failed", detail=str(error))
        except Exception:
            log.exception("the comparison could not be built")
            self._state = ComparisonState(
                "failed", detail="the comparison could not be built; the server's log says why"
            )

    def _encode(self, model: Model, items: SampledItems) -> np.ndarray | None:
        """(items, dim) float32; None where the server ends before that."""
        sources = pl.Series("image", [[str(one.path) for one in shown] for shown in items.pictures], pl.List(pl.String))
        catalog = Catalog.from_items(items.table.with_columns(sources), items.pictures, cache=self._cache)
        total = len(catalog)
        self._state = ComparisonState("building", 0, total, items.of)
        vectors = np.empty((total, model.dim), np.float32)
        for start in range(0, total, _ITEMS_AT_ONCE):
            if self._ending.is_set():
                return None
            stop = min(start + _ITEMS_AT_ONCE, total)
            vectors[start:stop] = model.encode_items(catalog.select(list(range(start, stop))))
            self._state = ComparisonState("building", stop, total, items.of)
        return vectors


def create_untrained(model: Model) -> Model:
    """The encoders that a model began with, without any training, for title, description and image.

    Raises:
        UserError: the encoders are not to be had any more.
    """
    fields = {field: kind for field, kind in OWN_FIELDS.items() if field in model.fields}
    if not fields:
        raise UserError("the model reads neither title, description nor image, so there is nothing to compare it with")
    settings = model.settings.model_copy(update={"fields": fields})
    device: Device = "cpu" if model.device.type == "cpu" else "auto"
    return Model.create(settings, device, precision=model.precision)
