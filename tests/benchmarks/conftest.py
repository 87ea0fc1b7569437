"""The benchmarks are scripts; their folder is on the path only while they are imported, as it has a `training`, too."""

import importlib.util
import sys
from pathlib import Path

_FOLDER = str(Path(__file__).parents[2] / "benchmarks")


def _import_as(name: str, file: str) -> None:
    """Import a script under another name."""
    spec = importlib.util.spec_from_file_location(name, f"{_FOLDER}/{file}")
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


sys.path.insert(0, _FOLDER)
try:
    import judging  # noqa: F401
    import later_items  # noqa: F401
    import load.client
    import load.processes
    import load.queries  # noqa: F401
    import peers.ours  # noqa: F401
    import quality  # noqa: F401

    _import_as("serving_benchmark", "serving.py")  # the tests have a folder `serving`
finally:
    sys.path.remove(_FOLDER)
