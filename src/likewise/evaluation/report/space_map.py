"""The space on paper: texts, pictures and whole items of a catalogue as points of a plane."""

import importlib.util
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from likewise.seeds import Stream, random_stream

Vectors = NDArray[np.float32]

MOST_ITEMS = 300  # more points hide each other
_FEWEST_ITEMS = 5
_NEIGHBOURS = 15


@dataclass(frozen=True)
class SpaceMap:
    """Points of a plane by what they stand for.

    Attributes:
        points: (n, 2) per view, such as "texts", "pictures" and "whole items".
        method: "UMAP" or "PCA".
        note: what a reader must know of the method, or None.
    """

    points: dict[str, NDArray[np.float32]]
    method: str
    note: str | None


def draw_map(views: Mapping[str, Vectors], *, seed: int = 0, fine: bool = True) -> SpaceMap | None:
    """Lay several views of the same items out in one plane, so that near points are alike.

    The layout is UMAP's with the cosine (McInnes, Healy and Melville, 2018), or where umap-learn is not installed the
    first two principal components.

    Args:
        views: (n, dim) unit vectors of the same n items in each view; NaN where an item lacks it.
        seed: of the draw of at most 300 items, and of the layout.
        fine: UMAP, if it is installed.

    Returns:
        None where fewer than two views have anything to show.
    """
    present = {name: ~np.isnan(vectors[:, 0]) for name, vectors in views.items()}
    present = {name: rows for name, rows in present.items() if rows.sum() >= _FEWEST_ITEMS}
    if len(present) < 2:
        return None
    rows = np.flatnonzero(np.any(list(present.values()), axis=0))
    rows = np.sort(random_stream(seed, Stream.SPACE_MAP).permutation(rows)[:MOST_ITEMS])
    parts = {name: views[name][rows[present[name][rows]]] for name in present}
    vectors = np.concatenate(list(parts.values()))
    if not fine:
        method, note = "PCA", "`likewise evaluate --report FILE` draws a map with finer detail"
        plane = _principal_components(vectors)
    elif not _umap_is_installed():
        method, note = "PCA", "umap-learn is not installed; pip install 'likewise[map]' gives a map with finer detail"
        plane = _principal_components(vectors)
    elif len(vectors) <= 2 * _NEIGHBOURS:
        method, note = "PCA", "there are too few items for a UMAP"
        plane = _principal_components(vectors)
    else:
        method, note = "UMAP", None
        plane = _umap(vectors, seed)
    ends = np.cumsum([len(part) for part in parts.values()])[:-1]
    return SpaceMap(dict(zip(parts, np.split(plane, ends), strict=True)), method, note)


def _principal_components(vectors: Vectors) -> NDArray[np.float32]:
    centred = vectors - vectors.mean(axis=0)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    plane: NDArray[np.float32] = (left * scale)[:, :2].astype(np.float32)
    return plane


def _umap_is_installed() -> bool:
    return importlib.util.find_spec("umap") is not None


def _umap(vectors: Vectors, seed: int) -> NDArray[np.float32]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads that a fixed seed forbids, and of libraries that it can do without
        import umap

        layout = umap.UMAP(n_neighbors=_NEIGHBOURS, min_dist=0.15, metric="cosine", random_state=seed)
        plane: NDArray[np.float32] = np.asarray(layout.fit_transform(vectors), dtype=np.float32)
    return plane
