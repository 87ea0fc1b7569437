"""The command line: one short function per command."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Group, Parameter

from likewise.errors import UserError
from likewise.progress import console, say

if TYPE_CHECKING:
    from likewise.catalog.catalog import Catalog
    from likewise.config import ImageSettings, TrainConfig
    from likewise.model.model import Model

Device = Literal["auto", "cpu", "cuda", "mps"]
_CATALOG = Group("Catalogue", sort_key=10)
_ABOUT = "Turn a catalogue into a search engine that understands text and pictures."

app = App(name="likewise", help=_ABOUT, help_format="plaintext", version_flags=["--version"])


@Parameter(name="*", group=_CATALOG)
@dataclass(frozen=True)
class CatalogOptions:
    """How a catalogue is read; the same for every command.

    Attributes:
        map: Column of ours = column of the file, such as title=product_name (repeatable).
        image_root: Local pictures must lie below this folder.
        allow_private_hosts: Let picture URLs lead to private and loopback addresses.
        images_per_item: How many pictures of an item are averaged.
        retry_failed: Try downloads again that failed before.
        cache: Folder of downloads, thumbnails and features.
    """

    map: Annotated[list[str] | None, Parameter(negative="")] = None
    image_root: Path | None = None
    allow_private_hosts: Annotated[bool, Parameter(negative="")] = False
    images_per_item: int = 1
    retry_failed: Annotated[bool, Parameter(negative="")] = False
    cache: Path | None = None

    def columns(self) -> dict[str, str]:
        """The mapping of --map."""
        from likewise.catalog.columns import parse_mapping

        return parse_mapping(self.map or [])

    def images(self) -> "ImageSettings":
        """Where pictures may come from."""
        from likewise.config import ImageSettings

        return ImageSettings.parse(
            {
                "root": self.image_root,
                "allow_private_hosts": self.allow_private_hosts,
                "per_item": self.images_per_item,
                "retry_failed": self.retry_failed,
            },
            source="options",
        )

    def folder(self) -> Path | None:
        """The cache folder: --cache, else LIKEWISE_CACHE, else None for the user's own."""
        return self.cache or (Path(os.environ["LIKEWISE_CACHE"]) if os.environ.get("LIKEWISE_CACHE") else None)

    def read(self, file: Path, where: str | None = None, max_items: int | None = None, seed: int = 0) -> "Catalog":
        """Read the catalogue and say aloud what was assumed."""
        from likewise.catalog.catalog import Catalog

        catalog = Catalog.read(
            file,
            columns=self.columns(),
            where=where,
            max_items=max_items,
            seed=seed,
            images=self.images(),
            cache=self.folder(),
        )
        for line in catalog.report.lines():
            say(line)
        return catalog


_DEFAULT_OPTIONS = CatalogOptions()


@app.command
def doctor(
    file: Path,
    /,
    *,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    catalog: CatalogOptions = _DEFAULT_OPTIONS,
) -> None:
    """Check a catalogue: count its rows, its usable items, and every problem by cause.

    Example: likewise doctor products.csv --map title=product_name

    Parameters
    ----------
    file
        CSV, TSV, Parquet or JSON Lines.
    as_json
        Print the counts as JSON.
    """
    from likewise.catalog.doctor import examine, render
    from likewise.config import PRESETS
    from likewise.encoders.registry import load_encoder

    encoder = load_encoder(PRESETS["lite"].text_encoder, "text")
    report = examine(
        file,
        columns=catalog.columns(),
        images=catalog.images(),
        cache=catalog.folder(),
        count_truncated=encoder.count_truncated,
    )
    if as_json:
        _print_json(report.as_dict())
    else:
        _print(render(report))


@app.command
def train(
    file: Path,
    /,
    *,
    output: Path,
    preset: str | None = None,
    regime: Literal["frozen", "full"] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    max_items: int | None = None,
    seed: int | None = None,
    where: str | None = None,
    split: str | None = None,
    config: Path | None = None,
    device: Device | None = None,
    tensorboard: Annotated[bool, Parameter(negative="")] = False,
    restart: Annotated[bool, Parameter(negative="")] = False,
    catalog: CatalogOptions = _DEFAULT_OPTIONS,
) -> None:
    """Train a model on a catalogue and write a run folder. The same command again goes on where it was stopped.

    Example: likewise train products.csv --output runs/products

    Parameters
    ----------
    file
        CSV, TSV, Parquet or JSON Lines.
    output
        The run folder.
    preset
        Encoders: lite (default), scratch or clip.
    regime
        frozen trains heads and fusion over cached features, full trains the encoders, too.
    epochs
        How often every item is seen.
    batch_size
        Items in a step.
    max_items
        At most so many items, drawn with the seed and spread over titles.
    seed
        Of every random choice (default 0).
    where
        Only rows that meet a filter, such as 'price < 50 and brand is not null'.
    split
        Column whose values say which rows train, validate ("val") and are reported on ("test").
    config
        YAML file with any settings; flags win over it.
    device
        auto, cpu, cuda or mps.
    tensorboard
        Write TensorBoard events into the run folder.
    restart
        Begin afresh, whatever training lies in the folder.
    """
    from likewise.training.train import train as train_run

    settings = _train_config(
        config,
        preset,
        regime=regime,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        split=split,
        device=device,
        tensorboard=tensorboard or None,
    )
    where = where if where is not None else settings.data.where
    max_items = max_items if max_items is not None else settings.data.max_items
    train_run(catalog.read(file, where, max_items, settings.seed), output, settings, restart=restart)
    say(f"Saved to {output}: report.html shows the training and the figures")


@app.command
def evaluate(
    run: Path,
    /,
    *,
    data: Path,
    where: str | None = None,
    queries: str | None = None,
    answers: str = "items",
    fields: str | None = None,
    relevance: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    device: Device = "auto",
    catalog: CatalogOptions = _DEFAULT_OPTIONS,
) -> None:
    """Measure a run on a catalogue beside its rivals: untrained, BM25 and a closed-form linear map.

    Example: likewise evaluate runs/products --data products.csv --where 'split == "test"' --fields image

    Parameters
    ----------
    run
        The run folder.
    data
        The catalogue to ask about.
    where
        Only rows that meet a filter.
    queries
        A file of judged queries (query, id), or column:NAME for its distinct values (default: column:title).
    answers
        items, or column:NAME: then every item is a query, and the distinct values of the column are ranked.
    fields
        What is seen of an item, such as image or title,image (default: every field that is not asked for).
    relevance
        Column in which a query's item and its answers agree (default: the column of the queries).
    as_json
        Print the figures as JSON.
    device
        auto, cpu, cuda or mps.
    """
    from likewise.evaluation.inquiry import Inquiry
    from likewise.evaluation.table import comparison_table
    from likewise.model.caching import cache_pictures
    from likewise.model.model import Model

    model = Model.load(run, device)
    items = catalog.read(data, where)
    inquiry = Inquiry.of(
        items, model.fields, queries=queries, answers=answers, fields=_names(fields), relevance=relevance
    )
    if "image" in inquiry.fields:
        cache_pictures(model, items)  # every system reads them
    trained = inquiry.measure("trained", model)
    rivals = [inquiry.measure(name, rival) for name, rival in _untrained(run, model)]
    bm25 = inquiry.measure_bm25()
    comparison = inquiry.compare(trained, [*rivals, bm25] if bm25 else rivals)
    if as_json:
        _print_json(_figures(comparison.model_dump(mode="json")))
    else:
        _print(comparison_table(comparison))


@app.command
def encode(
    run: Path,
    /,
    *,
    data: Path,
    output: Path,
    fields: str | None = None,
    where: str | None = None,
    device: Device = "auto",
    catalog: CatalogOptions = _DEFAULT_OPTIONS,
) -> None:
    """Write the vectors of a catalogue to a Parquet file with the columns id and vector.

    Example: likewise encode runs/products --data products.csv --output vectors.parquet

    Parameters
    ----------
    run
        The run folder.
    data
        The catalogue.
    output
        The Parquet file; items without any of the fields are left out and counted.
    fields
        What is seen of an item, such as image or title,image (default: all).
    where
        Only rows that meet a filter.
    device
        auto, cpu, cuda or mps.
    """
    from likewise.model.model import Model
    from likewise.retrieval.vectors import prepare_target, write_vectors

    prepare_target(output)
    model = Model.load(run, device)
    items = catalog.read(data, where)
    written = write_vectors(output, items.ids, model.encode_items(items, _names(fields)))
    say(f"{written:,} vectors of {model.dim} dimensions in {output}")
    if written < len(items):
        say(f"{len(items) - written:,} items have none of the fields and are left out")


@app.command
def index(
    run: Path,
    /,
    *,
    data: Path,
    where: str | None = None,
    device: Device = "auto",
    catalog: CatalogOptions = _DEFAULT_OPTIONS,
) -> None:
    """Encode a catalogue and make it searchable; the index lives in the run folder.

    Example: likewise index runs/products --data products.csv

    Parameters
    ----------
    run
        The run folder.
    data
        The catalogue.
    where
        Only rows that meet a filter.
    device
        auto, cpu, cuda or mps.
    """
    from likewise.model.model import Model
    from likewise.retrieval.index import Index

    built = Index.build(Model.load(run, device), catalog.read(data, where), run)
    empty = built.description.left_out
    say(f"{len(built):,} items can be searched ({built.description.kind}); {empty:,} have no content")


@app.command
def search(
    run: Path,
    words: str | None = None,
    /,
    *,
    image: Path | None = None,
    image_weight: float = 0.5,
    k: Annotated[int, Parameter(name=["-k", "--k"])] = 10,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    device: Device = "auto",
) -> None:
    """Find the items most like some words, a picture, or both.

    Example: likewise search runs/products "red shoes" --image photo.jpg -k 5

    Parameters
    ----------
    run
        The run folder.
    words
        What to look for.
    image
        A picture to look for.
    image_weight
        The picture's share where there are words, too.
    k
        How many items.
    as_json
        Print a list of objects with id, score and title.
    device
        auto, cpu, cuda or mps.
    """
    from likewise.model.model import Model
    from likewise.retrieval.index import Index

    hits = Index.open(run, Model.load(run, device)).search(words, image=image, image_weight=image_weight, k=k)
    if as_json:
        _print_json([{"id": hit.id, "score": round(hit.score, 6), "title": hit.fields.get("title")} for hit in hits])
        return
    from rich.table import Table

    table = Table("score", "id", "title", box=None, pad_edge=False)
    for hit in hits:
        table.add_row(f"{hit.score:.3f}", hit.id, str(hit.fields.get("title") or ""))
    _print(table)


@app.command
def sample(name: Literal["openmoji"], folder: Path, /) -> None:
    """Write a sample catalogue: about 1,900 OpenMoji pictures with names (CC BY-SA 4.0).

    Example: likewise sample openmoji samples/openmoji

    Parameters
    ----------
    name
        openmoji.
    folder
        Where the CSV and the pictures go.
    """
    from likewise.catalog.samples import write_openmoji

    say(f"The {name} catalogue is {write_openmoji(folder)}")


@app.command
def demo(
    run: Path,
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    check: Annotated[bool, Parameter(negative="")] = False,
    device: Device = "auto",
    cache: Path | None = None,
) -> None:
    """Open a search page over a run's index.

    Example: likewise demo runs/products --port 8000

    Parameters
    ----------
    run
        The run folder.
    host
        A loopback address.
    port
        The port of the page.
    check
        Serve, ask the page once, and stop.
    device
        auto, cpu, cuda or mps.
    cache
        Folder of downloads and thumbnails.
    """
    from likewise.catalog.catalog import default_cache
    from likewise.model.model import Model
    from likewise.retrieval.index import Index
    from likewise.serving.server import check_page, serve
    from likewise.serving.web import create_page, thumbnails_in

    found = Index.open(run, Model.load(run, device))
    folder = CatalogOptions(cache=cache).folder() or default_cache()
    page = create_page(
        found, title=run.resolve().name, examples=found.example_titles(), thumbnails=thumbnails_in(folder)
    )
    if check:
        say(f"The page answers on {check_page(page, host, port)}")
    else:
        serve(page, host, port)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; a user's mistake is one line on stderr and exit status 2."""
    try:
        app(arguments, exit_on_error=False, print_error=False)
    except (UserError, CycloptsError) as error:
        console.quiet = False
        say(f"likewise: {' '.join(str(error).split())}")
        sys.exit(2)
    except KeyboardInterrupt:
        say("likewise: stopped; the same command goes on from what is saved")
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has gone, as in `| head`
        sys.stderr.close()
        sys.exit(0)


def _train_config(config: Path | None, preset: str | None, **flags: Any) -> "TrainConfig":
    """Flags over config file over preset."""
    from likewise.config import PRESETS, TrainConfig

    if preset is not None and preset not in PRESETS:
        raise UserError(f"--preset {preset}: presets are {', '.join(PRESETS)}")
    settings = TrainConfig() if config is None else TrainConfig.read(config)
    values = settings.model_dump(exclude_unset=True)
    if preset is not None:
        values["model"] = PRESETS[preset].model_dump() | values.get("model", {})
    return TrainConfig.parse(values | {name: value for name, value in flags.items() if value is not None}, "options")


def _untrained(run: Path, model: "Model") -> "list[tuple[str, Model]]":
    """The rivals that a run can name: its encoders untrained, and with the closed-form picture map."""
    from likewise.model.checkpoint import load_picture_map
    from likewise.model.model import Model

    device: Any = model.device.type
    rivals = [("untrained", Model.create(model.settings, device, model.precision))]
    picture_map = load_picture_map(run)
    if picture_map is not None:
        ridge = Model.create(model.settings, device, model.precision)
        ridge.network.set_picture_map(*picture_map)
        rivals.append(("ridge", ridge))
    return rivals


def _figures(comparison: dict[str, Any]) -> dict[str, Any]:
    """The JSON of `evaluate`: the trained model's metrics first, then the rivals and the verdict."""
    result = comparison["subsets"][0]
    systems = {system["name"]: system["metrics"] for system in result["systems"]}
    return {
        "on": result["label"],
        "queries": result["queries"],
        "candidates": result["candidates"],
        "metrics": systems.pop("trained"),
        "rivals": systems,
        "metric": comparison["metric"],
        "strongest_rival": result["rival"],
        "difference": result["differences"].get(comparison["metric"]),
        "verdict": comparison["verdict"],
    }


def _names(fields: str | None) -> list[str] | None:
    return None if fields is None else [name.strip() for name in fields.split(",") if name.strip()]


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def _print(renderable: Any) -> None:
    from rich.console import Console

    Console().print(renderable)


if __name__ == "__main__":
    main()
