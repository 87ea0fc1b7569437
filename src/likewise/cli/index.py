"""Commands that encode a catalogue: into a search index, or into a file of vectors."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from likewise.cli.options import (
    CATALOG_DEFAULTS,
    CatalogOptions,
    Data,
    Device,
    Fields,
    RunOrFile,
    StoreUri,
    Switch,
    Where,
    load_model,
    read_credentials,
    read_synonyms,
    require_run,
    split_names,
)
from likewise.errors import UserError
from likewise.progress import say

if TYPE_CHECKING:
    from likewise.catalog.catalog import Catalog
    from likewise.model.model import Model


def index(
    run: RunOrFile,
    /,
    *,
    data: Data,
    where: Where = None,
    update: Switch = False,
    prune: Switch = False,
    dim: int | None = None,
    store: StoreUri = None,
    target_recall: float | None = None,
    memory: str | None = None,
    index_kind: Literal["auto", "flat", "hnsw-sq8", "ivf-sq8", "ivf-pq", "rabitq"] | None = None,
    field_vectors: bool = True,
    synonyms: Path | None = None,
    device: Device = "auto",
    catalog: CatalogOptions = CATALOG_DEFAULTS,
) -> None:
    """Encode a catalogue and build a search index, by default in the run folder.

    A file of weights, such as model_weights.pt, holds its items itself: they are replaced by those of the catalogue.

    Example: likewise index runs/products --data products.csv

    Parameters
    ----------
    update
        Update an existing index: encode new and changed items only, and remove those no longer in the catalogue.
    prune
        With --update: also remove items that the catalogue lacks because they were written singly, from Python or HTTP.
    dim
        Truncate vectors to this many dimensions to save memory; see `matryoshka` in the training guide.
    target_recall
        For faiss: minimum share of the true nearest neighbours that a search finds, such as 0.95.
    memory
        For faiss: maximum memory of the index, such as 2GB.
    index_kind
        For faiss: type of index; auto picks the fastest that reaches --target-recall within --memory.
    field_vectors
        Also keep the vector of each field of an item; --no-field-vectors makes the index smaller.
    synonyms
        File of synonyms for hybrid searches, which the run keeps: lines such as 'sofa, couch' or 'tv => television'.
    """
    require_run(run)
    from likewise.model.model import Model
    from likewise.retrieval.index import Index
    from likewise.stores.search_target import show_bytes

    if prune and not update:
        raise UserError("--prune applies to --update: a new index holds the items of the catalogue alone")
    if run.is_file():
        options = (update, dim, store, target_recall, memory, index_kind, not field_vectors, synonyms)
        if any(option not in (None, False) for option in options):
            raise UserError(
                f"{run} is a file of weights, which is filled with a catalogue as it is: omit other options"
            )
        _fill_file(run, load_model(run, device), catalog.read(data, where))
        return
    credentials, words = read_credentials(), read_synonyms(synonyms)
    model = Model.load(run, device)
    if update:
        if any(option is not None for option in (target_recall, memory, index_kind)):
            raise UserError(
                "--target-recall, --memory and --index-kind apply when an index is built: omit them with --update"
            )
        if not field_vectors:
            raise UserError("--no-field-vectors applies to a new index: --update keeps what it has")
        if dim is not None:
            raise UserError("--dim applies to a new index: --update keeps the dimensions that it has")
        opened = Index.open(run, model, store=store, credentials=credentials)
        say(f"{opened.update(catalog.read(data, where), prune=prune)}")
        if words is not None:
            opened.write_synonyms(words)
        say(f"{len(opened):,} items can be searched")
        return
    built = Index.build(
        model,
        catalog.read(data, where),
        run,
        dim=dim,
        store=store,
        credentials=credentials,
        target_recall=target_recall,
        memory=memory,
        kind=index_kind,
        field_vectors=field_vectors,
    )
    if words is not None:
        built.write_synonyms(words)
    say(f"{len(built):,} items can be searched; {built.metadata.left_out:,} have no content")
    if field_vectors:
        size = show_bytes(built.metadata.field_vector_bytes)
        say(f"The vectors of single fields take {size} (--no-field-vectors omits them)")


def _fill_file(path: Path, model: "Model", items: "Catalog") -> None:
    """Encode a catalogue into a file of weights, in the place of the items that it holds."""
    from likewise.model.portable import EncodedItems, save_portable

    vectors = model.encode_items(items)
    pictures = [shown[0] if shown else None for shown in items.pictures]
    save_portable(path, model, EncodedItems(vectors, items.table, pictures), cache=items.cache)
    say(f"{len(items):,} items can be searched in {path}")


def encode(
    run: RunOrFile,
    /,
    *,
    data: Data,
    output: Path,
    fields: Fields = None,
    dim: int | None = None,
    where: Where = None,
    device: Device = "auto",
    catalog: CatalogOptions = CATALOG_DEFAULTS,
) -> None:
    """Encode a catalogue into a Parquet file with the columns id and vector.

    Example: likewise encode runs/products --data products.csv --output vectors.parquet

    Parameters
    ----------
    output
        Parquet file to write; items that have none of the fields are skipped and counted.
    dim
        Truncate vectors to this many dimensions.
    """
    require_run(run)
    from likewise.retrieval.export import prepare_target, write_vectors
    from likewise.retrieval.truncated import TruncatedModel

    prepare_target(output)
    model = load_model(run, device)
    shortened = TruncatedModel(model, model.dim if dim is None else dim)
    items = catalog.read(data, where)
    written = write_vectors(output, items.ids, shortened.truncate(model.encode_items(items, split_names(fields))))
    say(f"{written:,} vectors of {shortened.dim} dimensions in {output}")
    if written < len(items):
        say(f"{len(items) - written:,} items have none of the fields and were skipped")
