"""The benchmarks are scripts; their folder is on the path only while they are imported, as it has a `training`, too."""

import sys
from pathlib import Path

_FOLDER = str(Path(__file__).parents[2] / "benchmarks")

sys.path.insert(0, _FOLDER)
try:
    import judging  # noqa: F401
    import peers.ours  # noqa: F401
    import quality  # noqa: F401
finally:
    sys.path.remove(_FOLDER)
