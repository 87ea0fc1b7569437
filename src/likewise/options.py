"""What several commands ask for in the same words: parameter types with their help, and the options of a catalogue."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from likewise.errors import UserError
from likewise.progress import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from likewise.catalog.catalog import Catalog
    from likewise.config import ImageSettings, TrainConfig
    from likewise.evaluation.task import RetrievalTask
    from likewise.stores.uri import Credentials

Run = Annotated[Path, Parameter(help="The run folder.")]
Data = Annotated[Path, Parameter(help="The catalogue: CSV, TSV, Parquet or JSON Lines.")]
Where = Annotated[
    str | None, Parameter(help="Only rows that meet a filter, such as 'price < 50 and brand is not null'.")
]
Fields = Annotated[str | None, Parameter(help="What is seen of an item, such as image or title,image (default: all).")]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON instead of a table.")]
Device = Annotated[Literal["auto", "cpu", "cuda", "mps"], Parameter(help="auto, cpu, cuda or mps.")]
Switch = Annotated[bool, Parameter(negative="")]
Several = Annotated[list[str] | None, Parameter(negative="")]
StoreUri = Annotated[
    str | None,
    Parameter(
        name="--store",
        help="The store's URI, such as faiss:index, lancedb:items or qdrant://host:6333; relative paths start from the "
        "run folder (default: the one that the run used before, at first faiss:index). Credentials come from "
        "LIKEWISE_STORE_USER, LIKEWISE_STORE_PASSWORD and LIKEWISE_STORE_TOKEN; without --store they go to "
        "LIKEWISE_STORE_HOST alone.",
    ),
]


@Parameter(name="*", group=Group("Catalogue", sort_key=10))
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
    allow_private_hosts: Switch = False
    images_per_item: int = 1
    retry_failed: Switch = False
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


@Parameter(name="*", group=Group("Questions", sort_key=5))
@dataclass(frozen=True)
class QuestionOptions:
    """What is asked; the same for every command that measures.

    Attributes:
        queries: Judged queries (a table with query or image, id, relevance; TREC qrels; a BEIR folder), or column:NAME
            for a column's distinct values (default: column:title).
        topics: The words of the queries that TREC qrels name by id.
        answers: items, or column:NAME: then every item is a query, and the distinct values of the column are ranked.
        fields: What is seen of an item, such as image or title,image (default: every field that is not asked for).
        relevance: Column in which a query's item and its answers agree (default: the column of the queries).
    """

    queries: str | None = None
    topics: Path | None = None
    answers: str = "items"
    fields: str | None = None
    relevance: str | None = None

    def task(
        self, data: Path, catalog: CatalogOptions, where: str | None, model_fields: "Sequence[str]"
    ) -> "RetrievalTask":
        """Read the catalogue and the questions about it; a folder in BEIR's layout holds both."""
        from likewise.evaluation.judgments.beir import corpus_file, is_beir
        from likewise.evaluation.task import TaskOptions

        queries = self.queries
        if is_beir(data):
            queries, data = queries or str(data), corpus_file(data)
        items = catalog.read(data, where)
        notes = len(items.report.notes)
        fields = names(self.fields)
        task = TaskOptions(items, model_fields, queries, self.topics, self.answers, fields, self.relevance).build()
        for note in items.report.notes[notes:]:
            say(note)
        return task


PLAIN = CatalogOptions()
TITLES = QuestionOptions()


def store_credentials() -> "Credentials":
    """Who we are to the store's server, from the environment."""
    from likewise.stores.uri import Credentials

    return Credentials.of(os.environ)


def names(listed: str | None) -> list[str] | None:
    """The parts of "title,image"; None for None."""
    return None if listed is None else [name.strip() for name in listed.split(",") if name.strip()]


def train_config(config: Path | None, preset: str | None, **flags: Any) -> "TrainConfig":
    """The settings of a training: flags over config file over preset."""
    from likewise.config import PRESETS, TrainConfig

    if preset is not None and preset not in PRESETS:
        raise UserError(f"--preset {preset}: presets are {', '.join(PRESETS)}")
    settings = TrainConfig() if config is None else TrainConfig.read(config)
    values = settings.model_dump(exclude_unset=True)
    if preset is not None:
        values["model"] = PRESETS[preset].model_dump() | values.get("model", {})
    return TrainConfig.parse(values | {name: value for name, value in flags.items() if value is not None}, "options")
