"""Names of ImageNet's 1,000 classes, in the order of a classifier's outputs.

They come with the package gradio, which the search page needs anyway; its code is not run.
"""

from importlib import util
from pathlib import Path

from likewise.errors import UserError
from likewise.parsing import read_json

IMAGENET_CLASSES = 1000
_FILE = Path("media_assets") / "data" / "imagenet_labels.json"
_KNOWN = {0: "tench", 250: "Siberian Husky", 500: "cliff dwelling", 750: "quilt", 999: "toilet paper"}  # the order


def read_imagenet_names() -> list[str]:
    """The English name of each class, such as "tench" or "lemon"; two classes can share one, such as "crane".

    Raises:
        UserError: gradio is missing, or does not hold the names in the order that is known.
    """
    spec = util.find_spec("gradio")
    path = None if spec is None or spec.origin is None else Path(spec.origin).parent / _FILE
    try:
        names = None if path is None else read_json(path)
    except (OSError, ValueError):
        names = None
    whole = isinstance(names, list) and len(names) == IMAGENET_CLASSES
    if names is None or not whole or any(not isinstance(name, str) or not name.strip() for name in names):
        names = None
    if names is None or any(names[place] != name for place, name in _KNOWN.items()):
        raise UserError(
            "the names of ImageNet's classes are not where the package gradio has them: "
            "pip install --force-reinstall gradio==6.31.0"
        )
    return list(names)
