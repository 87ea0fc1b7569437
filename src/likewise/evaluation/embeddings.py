"""A catalogue and its questions as one model sees them: every tower runs once, then any fields can be fused."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from likewise.catalog.catalog import Catalog
from likewise.catalog.images.picture import Picture, PictureError
from likewise.model.model import Model

Vectors = NDArray[np.float32]

_PICTURES_AT_ONCE = 32
_ROWS_AT_ONCE = 4096


class SeenItems:
    """Items through one model, one tower at a time, so that leaving a field out costs no second pass.

    Args:
        fields: those that will be asked for.
    """

    def __init__(self, model: Model, catalog: Catalog, fields: Sequence[str]) -> None:
        self._model = model
        self._items = len(catalog)
        # an item seen through one field alone is that field's tower output
        self._towers = {field: model.encode_items(catalog, [field]) for field in model.network.check_fields(fields)}

    def through(self, fields: Sequence[str]) -> Vectors:
        """(n, dim) unit vectors of the items seen through some of the fields; NaN where an item has none of them."""
        network = self._model.network
        fused = np.empty((self._items, network.dim), np.float32)
        for start in range(0, self._items, _ROWS_AT_ONCE):
            rows = slice(start, min(start + _ROWS_AT_ONCE, self._items))
            absent = np.full((rows.stop - start, network.dim), np.nan, np.float32)
            columns = [self._towers[field][rows] if field in fields else absent for field in network.fields]
            towers = torch.from_numpy(np.stack(columns, axis=1)).to(self._model.device)
            with torch.inference_mode():
                fused[rows] = network.fuse(towers.nan_to_num(), ~towers[..., 0].isnan()).cpu().numpy()
        return fused


def query_vectors(
    model: Model, catalog: Catalog, texts: Sequence[str | None], pictures: Sequence[Picture | None]
) -> Vectors:
    """(q, dim) vectors of queries by words, by a picture, or halfway between the two where a query has both.

    A query whose picture cannot be decoded, or that asks nothing, is NaN.

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
