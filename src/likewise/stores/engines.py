"""Engines by the scheme of their URI: our own, and those that installed packages bring as entry points.

A package brings an engine with

    [project.entry-points."likewise.stores"]
    scheme = "package.module"

where the module has the functions of `registry.StoreEngine`, and may list the options of its URI in `OPTIONS`. Only the
engine that a URI names is ever loaded.
"""

import importlib
from importlib.metadata import entry_points
from typing import Any

from likewise.errors import UserError

GROUP = "likewise.stores"
ENGINES = {
    "faiss": "faiss",
    "lancedb": "lancedb",
    "milvus": "milvus",
    "qdrant": "qdrant",
    "postgresql": "pgvector",
    "postgres": "pgvector",
    "mongodb": "mongodb",
    "mongodb+srv": "mongodb",
}


def load_engine(scheme: str) -> Any:
    """Import the engine of a scheme.

    Raises:
        UserError: no engine has this scheme, or the package that brings it does not work.
    """
    if scheme in ENGINES:
        return importlib.import_module(f"likewise.stores.{ENGINES[scheme]}.collection")
    found = entry_points(group=GROUP, name=scheme)
    if not found:
        installed = sorted({*ENGINES, *entry_points(group=GROUP).names})
        raise UserError(f"there is no store {scheme}: installed are {', '.join(installed)}")
    entry = next(iter(found))
    try:
        engine = entry.load()
        _ = engine.open_store, engine.replace_store
    except Exception as error:  # a package of someone else may fail in any way
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"the store {scheme}: cannot be loaded from {entry.value} ({reason})") from None
    return engine
