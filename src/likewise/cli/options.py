"""Options that several commands share: parameter types with their help, and groups of options."""

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

from likewise.errors import UserError
from likewise.progress import say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from likewise.catalog.catalog import Catalog
    from likewise.config import AudioSettings, DataSettings, ImageSettings
    from likewise.evaluation.task import RetrievalTask
    from likewise.model.model import Model
    from likewise.retrieval.index import Index
    from likewise.retrieval.lexical.synonyms import Synonyms
    from likewise.serving.keys import Keys
    from likewise.stores.uri import Credentials

Run = Annotated[Path, Parameter(help="Run folder.")]
RunOrFile = Annotated[Path, Parameter(help="Run folder, or a file of weights such as train.py writes.")]
Data = Annotated[
    str,
    Parameter(
        help="Catalogue: a CSV, TSV, Parquet or JSON Lines file, its address in a bucket (s3://, gs://, hf://), or a "
        "folder of pictures."
    ),
]
Where = Annotated[
    str | None, Parameter(help="Use only rows that match a filter, such as 'price < 50 and brand is not null'.")
]
Fields = Annotated[str | None, Parameter(help="Fields of an item to use, such as image or title,image (default: all).")]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON instead of a table.")]
Device = Annotated[Literal["auto", "cpu", "cuda", "mps"], Parameter(help="Device to run on: auto, cpu, cuda or mps.")]
Switch = Annotated[bool, Parameter(negative="")]
Several = Annotated[list[str] | None, Parameter(negative="")]
KeyFile = Annotated[
    Path | None,
    Parameter(
        name="--keys",
        help="File of API keys, as likewise key makes it; keys of LIKEWISE_API_KEYS and LIKEWISE_WRITE_KEYS (with "
        "commas between them) count, too. Without any, only this machine is answered.",
    ),
]
StoreUri = Annotated[
    str | None,
    Parameter(
        name="--store",
        help="URI of the store, such as faiss:index, lancedb:items or qdrant://host:6333; relative paths start at the "
        "run folder (default: the store that the run used last, initially faiss:index). Credentials are read from "
        "LIKEWISE_STORE_USER, LIKEWISE_STORE_PASSWORD and LIKEWISE_STORE_TOKEN; without --store they are sent to "
        "LIKEWISE_STORE_HOST only.",
    ),
]


@Parameter(name="*", group=Group("Catalogue", sort_key=10))
@dataclass(frozen=True)
class CatalogOptions:
    """How a catalogue is read.

    Attributes:
        map: Use a column of the file as one of ours, such as title=product_name (repeatable).
        image_root: Read local pictures and recordings from this folder only.
        allow_private_hosts: Allow URLs of pictures and recordings on private and loopback addresses.
        allow_buckets: Allow s3://, gs:// and hf:// for the catalogue and its files, with the credentials of the
            environment.
        images_per_item: Number of pictures per item, whose features are averaged (default: 1).
        retry_failed: Retry downloads that failed in an earlier run.
        cache: Folder for downloads, thumbnails and features.
    """

    map: Annotated[list[str] | None, Parameter(negative="")] = None
    image_root: Path | None = None
    allow_private_hosts: Switch = False
    allow_buckets: Switch = False
    images_per_item: int | None = None
    retry_failed: Switch = False
    cache: Path | None = None

    def parse_columns(self) -> dict[str, str]:
        """Parse --map."""
        from likewise.catalog.columns import parse_mapping

        return parse_mapping(self.map or [])

    def build_image_settings(self, settings: "ImageSettings | None" = None) -> "ImageSettings":
        """Build the settings of where pictures may come from; options override those of a settings file."""
        from likewise.config import ImageSettings

        values = (settings or ImageSettings()).model_dump() | self._list_sources()
        if self.images_per_item is not None:
            values["per_item"] = self.images_per_item
        return ImageSettings.parse(values, source="options")

    def build_audio_settings(self, settings: "AudioSettings | None") -> "AudioSettings | None":
        """The same for recordings; None: as for pictures."""
        from likewise.config import AudioSettings

        if settings is None:
            return None
        return AudioSettings.parse(settings.model_dump() | self._list_sources(), source="options")

    def _list_sources(self) -> "dict[str, Path | bool]":
        """The options on where files may come from that were given, as settings."""
        given = {
            "root": self.image_root,
            "allow_private_hosts": self.allow_private_hosts,
            "allow_buckets": self.allow_buckets,
            "retry_failed": self.retry_failed,
        }
        return {name: value for name, value in given.items() if value}

    def find_cache(self) -> Path | None:
        """The cache folder: --cache, or LIKEWISE_CACHE, or None for the user's default."""
        return self.cache or (Path(os.environ["LIKEWISE_CACHE"]) if os.environ.get("LIKEWISE_CACHE") else None)

    def read(
        self,
        source: str,
        where: str | None = None,
        max_items: int | None = None,
        seed: int = 0,
        settings: "DataSettings | None" = None,
    ) -> "Catalog":
        """Read the catalogue and print what was assumed about it.

        Args:
            settings: those of a settings file, which options override.
        """
        from likewise.catalog.catalog import Catalog
        from likewise.config import DataSettings

        settings = settings or DataSettings()
        catalog = Catalog.read(
            source,
            columns=settings.columns | self.parse_columns(),
            where=where if where is not None else settings.where,
            max_items=max_items if max_items is not None else settings.max_items,
            seed=seed,
            images=self.build_image_settings(settings.images),
            audio=self.build_audio_settings(settings.audio),
            cache=self.find_cache(),
        )
        for line in catalog.report.lines():
            say(line)
        return catalog


@Parameter(name="*", group=Group("Evaluation", sort_key=5))
@dataclass(frozen=True)
class EvaluationOptions:
    """What is evaluated.

    Attributes:
        queries: Judged queries (a table with query or image, id and relevance; TREC qrels; a BEIR folder), or
            column:NAME to use a column's distinct values (default: column:title).
        topics: Texts of the queries that TREC qrels refer to by id.
        answers: What is ranked: items, or column:NAME for the distinct values of a column, with every item as a query.
        fields: Fields of an item to use, such as image or title,image (default: all except the one queried for).
        relevance: Column whose value a query and its relevant items share (default: the column queried for).
    """

    queries: str | None = None
    topics: Path | None = None
    answers: str = "items"
    fields: str | None = None
    relevance: str | None = None

    def build_task(
        self, data: str, catalog: CatalogOptions, where: str | None, model_fields: "Sequence[str]"
    ) -> "RetrievalTask":
        """Read the catalogue and the queries; a folder in BEIR's layout holds both."""
        from likewise.evaluation.judgments.beir import corpus_file, is_beir
        from likewise.evaluation.task import TaskOptions

        queries = self.queries
        if is_beir(Path(data)):
            queries, data = queries or data, str(corpus_file(Path(data)))
        items = catalog.read(data, where)
        notes = len(items.report.notes)
        options = TaskOptions(
            items, model_fields, queries, self.topics, self.answers, split_names(self.fields), self.relevance
        )
        task = options.build()
        for note in items.report.notes[notes:]:
            say(note)
        return task


CATALOG_DEFAULTS = CatalogOptions()
EVALUATION_DEFAULTS = EvaluationOptions()


def require_run(run: Path) -> None:
    """Refuse a mistyped folder before the libraries load, which takes seconds; a file of weights is looked at later."""
    from likewise.model.run_folder import check_has_model

    if not run.is_file():
        check_has_model(run)


def load_model(run: Path, device: Device) -> "Model":
    """The model of a run folder, or of a file of weights."""
    require_run(run)
    from likewise.model.model import Model
    from likewise.model.portable import load_portable

    if not run.is_file():
        return Model.load(run, device)
    with TemporaryDirectory(prefix="likewise-weights-") as folder:
        return load_portable(run, Path(folder), device)[0]


@contextmanager
def opened_index(run: Path, device: Device, store: str | None) -> "Iterator[tuple[Index, Model, Path | None]]":
    """The index of a run folder, or the items in a file of weights, until the end of the block.

    Yields:
        The index, its model, and the folder of its thumbnails; None where they are made in the cache folder.
    """
    require_run(run)
    from likewise.model.model import Model
    from likewise.model.portable import load_portable
    from likewise.retrieval.index import Index

    if not run.is_file():
        model = Model.load(run, device)
        with Index.open(run, model, store=store, credentials=read_credentials()) as index:
            yield index, model, None
        return
    if store is not None:
        raise UserError(f"--store applies to a run folder: {run} is a file, which holds its items itself")
    with TemporaryDirectory(prefix="likewise-weights-") as folder:
        model, items = load_portable(run, Path(folder), device)
        with Index.from_vectors(model, items.vectors, items.table, pictures=items.pictures) as index:
            yield index, model, Path(folder)


def read_synonyms(file: Path | None) -> "Synonyms | None":
    """Read a file of synonyms and print how many of its lines were left out; None stays None."""
    from likewise.retrieval.lexical.synonyms import Synonyms

    if file is None:
        return None
    synonyms = Synonyms.read(file)
    if skipped := synonyms.describe_skipped(file):
        say(skipped)
    return synonyms


def read_credentials() -> "Credentials":
    """Read the credentials for a store's server from the environment."""
    from likewise.stores.uri import Credentials

    return Credentials.read(os.environ)


def read_keys(file: Path | None) -> "Keys":
    """Read API keys from a file and from the environment."""
    from likewise.serving.keys import Keys

    return Keys.collect(os.environ.get("LIKEWISE_API_KEYS", ""), os.environ.get("LIKEWISE_WRITE_KEYS", ""), file)


def split_names(listed: str | None) -> list[str] | None:
    """Split a list such as "title,image"; None stays None."""
    return None if listed is None else [name.strip() for name in listed.split(",") if name.strip()]
