"""The commands that build an index, ask it and serve it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from likewise.errors import UserError
from likewise.options import (
    PLAIN,
    AsJson,
    CatalogOptions,
    Data,
    Device,
    Run,
    Several,
    StoreUri,
    Switch,
    Where,
    store_credentials,
)
from likewise.output import print_json, print_table
from likewise.progress import plain_text, say

if TYPE_CHECKING:
    from rich.console import RenderableType

    from likewise.retrieval.index import Index
    from likewise.retrieval.items import Hits


@Parameter(name="*", group=Group("Query", sort_key=5))
@dataclass(frozen=True)
class QueryOptions:
    """What is looked for beside the words, and how hits are chosen.

    A weight can stand behind each part: "in blue^0.5".

    Attributes:
        text: More words (repeatable).
        image: A picture to look for (repeatable).
        like: The id of an item to look for others like it (repeatable).
        minus: Words for what is not wanted (repeatable).
        image_weight: The pictures' share where there are words or items, too.
        where: Only items that meet a filter, such as 'price < 50 and brand is not null'.
        hybrid: Look for the very words, too: ids, model numbers and brand names are found.
        fusion: Put both together by the weights of their scores, or by their ranks.
        words_weight: The share of the words in a hybrid search.
        offset: How many hits to pass over, for the pages after the first.
        min_score: The least score of a hit.
        group_by: A column of whose values each gets its best hit only.
        hide_duplicates: Leave out items that are nearly the same as a hit before them.
        diversity: How much hits have to differ from those before them, from 0 up to 1.
        boost: Arithmetic over numeric columns that is added to the score, such as 'popularity * 0.1'.
        facet: A column whose values are counted among the best 1,000 items (repeatable).
    """

    text: Several = None
    image: Several = None
    like: Several = None
    minus: Several = None
    image_weight: float = 0.5
    where: str | None = None
    hybrid: Switch = False
    fusion: Literal["weights", "ranks"] = "weights"
    words_weight: float = 0.6
    offset: int = 0
    min_score: float | None = None
    group_by: str | None = None
    hide_duplicates: Switch = False
    diversity: float = 0.0
    boost: str | None = None
    facet: Several = None

    def ask(self, index: "Index", words: str | None, k: int) -> "Hits":
        """Search an index."""
        from likewise.retrieval.hybrid import Hybrid
        from likewise.retrieval.query import parse_weighted

        def weighted(given: list[str] | None) -> list[Any]:
            return [parse_weighted(one) for one in given or []]

        texts = [words] if words is not None else []
        return index.search(
            weighted([*texts, *(self.text or [])]),
            image=weighted(self.image),
            like=weighted(self.like),
            minus=weighted(self.minus),
            image_weight=self.image_weight,
            where=self.where,
            hybrid=Hybrid(self.fusion, self.words_weight) if self.hybrid else False,
            k=k,
            offset=self.offset,
            min_score=self.min_score,
            group_by=self.group_by,
            hide_duplicates=self.hide_duplicates,
            diversity=self.diversity,
            boost=self.boost,
            facet=self.facet or (),
        )


NOTHING_MORE = QueryOptions()


def index(
    run: Run,
    /,
    *,
    data: Data,
    where: Where = None,
    update: Switch = False,
    dim: int | None = None,
    store: StoreUri = None,
    target_recall: float | None = None,
    memory: str | None = None,
    index_kind: Literal["auto", "flat", "hnsw-sq8", "ivf-sq8", "ivf-pq", "rabitq"] | None = None,
    device: Device = "auto",
    catalog: CatalogOptions = PLAIN,
) -> None:
    """Encode a catalogue and make it searchable; by default the index lives in the run folder.

    Example: likewise index runs/products --data products.csv

    Parameters
    ----------
    update
        Encode only items that are new or look different now, and remove those that have gone.
    dim
        Keep only so many of the model's dimensions, which takes less memory; see `matryoshka` in the training guide.
    target_recall
        For faiss: the share of the true neighbours that a search has to find, such as 0.95.
    memory
        For faiss: how much memory a search may take, such as 2GB.
    index_kind
        For faiss: how items are searched; auto takes the fastest kind that finds enough within the memory.
    """
    from likewise.model.model import Model
    from likewise.retrieval.index import Index

    credentials = store_credentials()
    model = Model.load(run, device)
    if update:
        if any(wish is not None for wish in (target_recall, memory, index_kind)):
            raise UserError("--target-recall, --memory and --index-kind are for building an index, not for --update")
        if dim is not None:
            raise UserError("--dim is for building an index; --update keeps the dimensions that it has")
        opened = Index.open(run, model, store=store, credentials=credentials)
        say(f"{opened.update(catalog.read(data, where))}")
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
    )
    say(f"{len(built):,} items can be searched; {built.metadata.left_out:,} have no content")


def search(
    run: Run,
    words: str | None = None,
    /,
    *,
    k: Annotated[int, Parameter(name=["-k", "--k"])] = 10,
    query: QueryOptions = NOTHING_MORE,
    as_json: AsJson = False,
    store: StoreUri = None,
    device: Device = "auto",
) -> None:
    """Find the items most like some words, a picture, another item, or several of these.

    Example: likewise search runs/products "red shoes" --image photo.jpg --where 'price < 50' -k 5

    Parameters
    ----------
    words
        What to look for.
    k
        How many items.
    """
    from likewise.model.model import Model
    from likewise.retrieval.index import Index

    hits = query.ask(Index.open(run, Model.load(run, device), store=store, credentials=store_credentials()), words, k)
    if as_json:
        found = [{"id": hit.id, "score": round(hit.score, 6), "title": hit.fields.get("title")} for hit in hits]
        print_json({"hits": found, "facets": _named(hits.facets)} if hits.facets else found)
        return
    print_table(render_hits(hits, query.group_by))


def render_hits(hits: "Hits", group_by: str | None = None) -> "RenderableType":
    """Hits and their facets as tables for a terminal."""
    from rich.console import Group as Stack
    from rich.table import Column, Table

    extra = [group_by] if group_by else []
    table = Table("score", "id", "title", *(Column(plain_text(name)) for name in extra), box=None, pad_edge=False)
    tables = [table]
    for hit in hits:
        table.add_row(f"{hit.score:.3f}", *map(_cell, (hit.id, *(hit.fields.get(name) for name in ("title", *extra)))))
    for column, counts in hits.facets.items():
        facet = Table(Column(plain_text(column)), "items", box=None, pad_edge=False)
        tables.append(facet)
        for value, count in counts.items():
            facet.add_row(_cell(value), f"{count:,}")
    return Stack(*tables)


def recommend(
    run: Run,
    /,
    *,
    output: Path,
    k: Annotated[int, Parameter(name=["-k", "--k"])] = 10,
    where: str | None = None,
    hide_duplicates: Switch = False,
    store: StoreUri = None,
    device: Device = "auto",
) -> None:
    """Write the items most similar to each item to a Parquet file with the columns id, rank, similar_id and score.

    Example: likewise recommend runs/products --output similar.parquet -k 5 --where 'stock > 0'

    Parameters
    ----------
    output
        The Parquet file.
    k
        How many similar items each item gets.
    where
        What similar items have to meet.
    hide_duplicates
        Leave out what is nearly the same as the item, or as a similar item before it.
    """
    from likewise.model.model import Model
    from likewise.retrieval.export import prepare_target, write_parquet
    from likewise.retrieval.index import Index

    prepare_target(output)
    opened = Index.open(run, Model.load(run, device), store=store, credentials=store_credentials())
    table = opened.recommendations(k, where=where, hide_duplicates=hide_duplicates)
    write_parquet(output, table)
    say(f"{len(table):,} recommendations for {table['id'].n_unique():,} of {len(opened):,} items in {output}")


def demo(
    run: Run,
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    check: Switch = False,
    store: StoreUri = None,
    device: Device = "auto",
    cache: Path | None = None,
) -> None:
    """Open a search page over a run's index.

    Example: likewise demo runs/products --port 8000

    Parameters
    ----------
    host
        A loopback address.
    port
        The port of the page.
    check
        Serve, ask the page once, and stop.
    cache
        Folder of downloads and thumbnails.
    """
    from likewise.catalog.catalog import default_cache
    from likewise.model.model import Model
    from likewise.retrieval.index import Index
    from likewise.serving.server import check_page, serve
    from likewise.serving.web import create_page, thumbnails_in

    found = Index.open(run, Model.load(run, device), store=store, credentials=store_credentials())
    folder = CatalogOptions(cache=cache).folder() or default_cache()
    page = create_page(
        found, title=run.resolve().name, examples=found.example_titles(), thumbnails=thumbnails_in(folder)
    )
    if check:
        say(f"The page answers on {check_page(page, host, port)}")
    else:
        serve(page, host, port)


def verify(target: str, /, *, as_json: AsJson = False) -> None:
    """Verify every file of a run, its index and its words, or of a store on this machine; status 1 if one is damaged.

    Example: likewise verify runs/products

    Parameters
    ----------
    target
        A run folder, a store's folder, or a URI such as faiss:PATH or lancedb:PATH.
    """
    import sys

    from rich.table import Table

    from likewise.progress import Bar
    from likewise.retrieval.verification import verify

    with Bar("Verifying bytes", None) as bar:
        parts = verify(target, bar.advance)
    if as_json:
        print_json([{**asdict(part), "folder": str(part.folder)} for part in parts])
    else:
        table = Table("part", "files", "MB", "", box=None, pad_edge=False)
        for part in parts:
            table.add_row(part.part, f"{part.files:,}", f"{part.bytes / 1e6:,.1f}", part.damage or "whole")
        print_table(table)
    if any(part.damage for part in parts):
        sys.exit(1)


def _cell(value: Any) -> "RenderableType":
    return plain_text("" if value is None else str(value))


def _named(facets: dict[str, dict[Any, int]]) -> dict[str, list[dict[str, Any]]]:
    """Facets as JSON, whose keys are texts only."""
    return {
        column: [{"value": value, "count": count} for value, count in counts.items()]
        for column, counts in facets.items()
    }
