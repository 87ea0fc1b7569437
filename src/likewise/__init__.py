"""likewise turns a catalogue into a search engine that understands text and pictures."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from likewise.catalog.catalog import Catalog
    from likewise.config import AudioSettings, DataSettings, ImageSettings, ModelSettings, TrainConfig
    from likewise.errors import MissingExtraError, UserError
    from likewise.model.model import Model
    from likewise.retrieval.hybrid import Hybrid
    from likewise.retrieval.index import Index
    from likewise.retrieval.items import Correction, Hit, Hits
    from likewise.retrieval.lexical.synonyms import Synonyms
    from likewise.training.train import Run, train

__all__ = [
    "AudioSettings",
    "Catalog",
    "Correction",
    "DataSettings",
    "Hit",
    "Hits",
    "Hybrid",
    "ImageSettings",
    "Index",
    "MissingExtraError",
    "Model",
    "ModelSettings",
    "Run",
    "Synonyms",
    "TrainConfig",
    "UserError",
    "train",
]

_HOME = {
    "AudioSettings": "likewise.config",
    "Catalog": "likewise.catalog.catalog",
    "Correction": "likewise.retrieval.items",
    "DataSettings": "likewise.config",
    "Hybrid": "likewise.retrieval.hybrid",
    "Hit": "likewise.retrieval.items",
    "Hits": "likewise.retrieval.items",
    "ImageSettings": "likewise.config",
    "Index": "likewise.retrieval.index",
    "MissingExtraError": "likewise.errors",
    "Model": "likewise.model.model",
    "ModelSettings": "likewise.config",
    "Run": "likewise.training.train",
    "Synonyms": "likewise.retrieval.lexical.synonyms",
    "TrainConfig": "likewise.config",
    "UserError": "likewise.errors",
    "train": "likewise.training.train",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used, so that `import likewise` costs next to nothing."""
    if name not in _HOME:
        raise AttributeError(f"module 'likewise' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
