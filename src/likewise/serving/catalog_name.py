"""The name of a catalogue, for the titles of pages."""

from pathlib import Path, PurePath

from likewise.config import TrainConfig
from likewise.model.run_folder import CONFIG

_GENERIC_NAMES = {"catalog", "catalogue", "data", "items"}  # of files; their folder says more


def find_catalog_name(run: Path) -> str:
    """The name of the catalogue that a run was trained on, for the title of its page.

    It is the name of the catalogue's file, or of its folder if the file is called items.csv or the like. A run that
    does not know its catalogue has the name of its own folder.

    Raises:
        UserError: the run's configuration cannot be read.
    """
    file = TrainConfig.read(run / CONFIG).data.file
    if file is None:
        return run.resolve().name
    path = PurePath(file)
    name = path.name.partition(".")[0]
    return (path.parent.name if name.lower() in _GENERIC_NAMES else name) or path.name
