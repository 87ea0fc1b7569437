"""The command that goes from a folder of pictures to a search page."""

import hashlib
import os
import shutil
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from likewise.cli.options import CATALOG_DEFAULTS, CatalogOptions, Device, Switch
from likewise.progress import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from likewise.catalog.catalog import Catalog
    from likewise.retrieval.index import Index


def photos(
    folder: Annotated[str, Parameter(help="Folder of pictures, or any other catalogue.")],
    /,
    *,
    output: Path | None = None,
    preset: str = "lite",
    host: str = "127.0.0.1",
    port: int = 7860,
    check: Switch = False,
    device: Device = "auto",
    catalog: CatalogOptions = CATALOG_DEFAULTS,
) -> None:
    """Search your own pictures by words, pictures or both: index a folder without any training, and serve a page.

    The index is kept; the next time only new and changed pictures are encoded.

    Example: likewise photos ~/Pictures

    Parameters
    ----------
    output
        Run folder to write (default: one in the cache folder for each folder of pictures).
    preset
        Encoders to use: lite (default; offline) or another preset.
    host
        Loopback address to listen on.
    port
        Port to listen on.
    check
        Start, request the page once, and exit.
    """
    # Threads that spin while they wait take the cores of a busy machine from each other; read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    from likewise.catalog.catalog import default_cache
    from likewise.config import find_preset
    from likewise.model.run_folder import WEIGHTS
    from likewise.serving.gradio_page.page import create_page
    from likewise.serving.gradio_page.server import check_page, serve
    from likewise.serving.thumbnails import thumbnails_in

    find_preset(preset)  # a misspelled one is noticed before anything is read
    cache = catalog.find_cache() or default_cache()
    items = catalog.read(folder)
    run = output or cache / "photos" / _name_run(folder, preset)
    with nullcontext() if output is not None else _hold_run(run):
        if output is None and run.exists() and not (run / WEIGHTS).is_file():  # left by a start that was killed
            shutil.rmtree(run)
        index = _open_or_build(run, items, preset, device, cache)
    say(f"{len(index):,} pictures can be searched; the run is {run}")
    page = create_page(
        index, title=items.name or "likewise", examples=index.example_titles(), thumbnails=thumbnails_in(cache)
    )
    if check:
        say(f"The page answers on {check_page(page, host, port)}")
    else:
        serve(page, host, port)


@contextmanager
def _hold_run(run: Path) -> "Iterator[None]":
    """Wait until no other start makes or updates a run of the cache."""
    from filelock import Timeout

    from likewise.files import hold_lock, make_folder

    make_folder(run.parent)
    lock = run.with_name(f".{run.name}.lock")
    with ExitStack() as held:
        try:
            held.enter_context(hold_lock(lock, wait=False))
        except Timeout:
            say("Waiting for another start of the same command, which is indexing this folder")
            held.enter_context(hold_lock(lock))
        yield


def _open_or_build(run: Path, items: "Catalog", preset: str, device: Device, cache: Path) -> "Index":
    """The index of a run over these items: updated, or built together with the run."""
    from likewise.evaluation.untrained_run import create_run, warn_of_limits
    from likewise.model.model import Model
    from likewise.model.run_folder import WEIGHTS
    from likewise.retrieval.index import Index
    from likewise.stores.registry import remembers_store

    if (run / WEIGHTS).is_file():
        model = Model.load(run, device)
    else:
        model = create_run(run, preset, device=device, cache=cache)
        warn_of_limits(model, preset)
    if not remembers_store(run):
        return Index.build(model, items, run)
    index = Index.open(run, model)
    say(f"{index.update(items)}")
    return index


def _name_run(folder: str, preset: str) -> str:
    """A name that is the same for the same folder and preset, and is readable."""
    from likewise.catalog.rows import locate_source

    place = str(locate_source(folder))
    code = hashlib.sha256("\n".join([place, preset]).encode("utf-8", "surrogateescape")).hexdigest()
    return f"{PurePath(place).name[:40]}-{code[:12]}"
