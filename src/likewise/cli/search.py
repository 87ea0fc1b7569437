"""Commands that search an index."""

from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from likewise.cli.options import (
    AsJson,
    Device,
    Run,
    RunOrFile,
    Several,
    StoreUri,
    Switch,
    opened_index,
    read_credentials,
    read_synonyms,
    require_run,
)
from likewise.errors import UserError
from likewise.progress import plain_text, print_json, print_table, say

if TYPE_CHECKING:
    from rich.console import RenderableType

    from likewise.retrieval.index import Index
    from likewise.retrieval.items import Explanation, Hit, Hits


@Parameter(name="*", group=Group("Query", sort_key=5))
@dataclass(frozen=True)
class QueryOptions:
    """What to search for besides the words, and how hits are selected.

    Every part can have a weight: "in blue^0.5".

    Attributes:
        text: Additional words (repeatable).
        image: Picture to search with (repeatable).
        audio: Recording to search with, a sound file (repeatable).
        like: Id of an item to find similar ones to (repeatable).
        minus: Words for what is not wanted (repeatable).
        image_weight: Weight of the pictures and recordings when they are combined with words or items.
        where: Filter that items must match, such as 'price < 50 and brand is not null'.
        parse_query: Apply the filter that the words suggest: "red shoes under 50" searches for "red shoes" where
            'price < 50'. Without it the filter is only printed.
        hybrid: Combine with keyword search (BM25), which finds ids, model numbers and brand names.
        fusion: Combine hybrid results by weighted scores, or by ranks (reciprocal rank fusion).
        words_weight: Weight of the keyword search in a hybrid search.
        correct: Correct misspelt words of a hybrid search to words of the catalogue.
        synonyms: File of synonyms for a hybrid search, in place of those of the index.
        offset: Number of hits to skip, for paging.
        min_score: Minimum score of a hit; "auto" shows hits below the calibrated threshold of the query dimmed, as less
            likely.
        group_by: Return only the best hit for each value of this column.
        hide_duplicates: Skip items that are nearly the same as a better hit.
        diversity: How strongly hits must differ from each other, from 0 up to 1 (MMR).
        boost: Arithmetic over numeric columns to add to the score, such as 'popularity * 0.1'.
        facet: Column whose values are counted among the best 1,000 items (repeatable).
        explain: Show which fields, words and boosts the score of each hit comes from; for up to 100 hits. For up to 20,
            also what single words of the query and of the item's texts add.
    """

    text: Several = None
    image: Several = None
    audio: Several = None
    like: Several = None
    minus: Several = None
    image_weight: float = 0.5
    where: str | None = None
    parse_query: Switch = False
    hybrid: Switch = False
    fusion: Literal["weights", "ranks"] = "weights"
    words_weight: float = 0.6
    correct: bool = True
    synonyms: Path | None = None
    offset: int = 0
    min_score: float | Literal["auto"] | None = None
    group_by: str | None = None
    hide_duplicates: Switch = False
    diversity: float = 0.0
    boost: str | None = None
    facet: Several = None
    explain: Switch = False

    def ask(self, index: "Index", words: str | None, k: int) -> "Hits":
        """Search an index."""
        from likewise.retrieval.hybrid import Hybrid
        from likewise.retrieval.query import parse_weighted

        if not self.hybrid and (self.synonyms is not None or not self.correct):
            raise UserError("--synonyms and --no-correct apply to keyword search: also give --hybrid")

        def weighted(given: list[str] | None) -> list[Any]:
            return [parse_weighted(one) for one in given or []]

        words, where = self._follow_suggestion(index, words)
        texts = [words] if words is not None else []
        return index.search(
            weighted([*texts, *(self.text or [])]),
            image=weighted(self.image),
            audio=weighted(self.audio),
            like=weighted(self.like),
            minus=weighted(self.minus),
            image_weight=self.image_weight,
            where=where,
            hybrid=Hybrid(self.fusion, self.words_weight, self.correct, read_synonyms(self.synonyms))
            if self.hybrid
            else False,
            k=k,
            offset=self.offset,
            min_score=self.min_score,
            group_by=self.group_by,
            hide_duplicates=self.hide_duplicates,
            diversity=self.diversity,
            boost=self.boost,
            facet=self.facet or (),
            explain=self._explained(k),
        )

    def _explained(self, k: int) -> "bool | Literal['words']":
        """Words are shown of as many hits as are explained word by word."""
        from likewise.retrieval.query import MOST_EXPLAINED_BY_WORDS

        return "words" if self.explain and k <= MOST_EXPLAINED_BY_WORDS else self.explain

    def draw_heat_map(self, index: "Index", words: str | None, id: str, file: Path) -> None:
        """Write the picture of a hit with the heat map of the query over it."""
        from likewise.files import write_file
        from likewise.retrieval.query import parse_weighted

        def weighted(given: list[str] | None) -> list[Any]:
            return [parse_weighted(one) for one in given or []]

        heat_map = index.explain_picture(
            id,
            weighted([*([words] if words is not None else []), *(self.text or [])]),
            image=weighted(self.image),
            audio=weighted(self.audio),
            like=weighted(self.like),
            minus=weighted(self.minus),
            image_weight=self.image_weight,
        )
        encoded = BytesIO()
        heat_map.draw().save(encoded, "PNG")
        write_file(file, encoded.getvalue())
        say(f"Wrote the picture of {id} to {file}: red adds to the score, blue takes from it")

    def _follow_suggestion(self, index: "Index", words: str | None) -> tuple[str | None, str | None]:
        """The words and the filter to search with; prints the filter that the words suggest."""
        suggestion = index.suggest_filter(words) if words is not None else None
        if suggestion is None:
            return words, self.where
        if self.parse_query:
            say(f"Applied the filter {suggestion.filter}: {suggestion.because}")
            return suggestion.text, suggestion.join(self.where)
        say(f"Suggested filter: {suggestion.filter}, as {suggestion.because}; --parse-query applies it")
        return words, self.where


_WORDS_SHOWN = 6  # of a query or an item, those that add or take the most
QUERY_DEFAULTS = QueryOptions()
_NOTHING_FITS = "most likely nothing fits; less likely:"
_NO_THRESHOLD = (
    "No hit is marked as less likely: there is no calibrated threshold for this kind of query (train and index again "
    "with enough items to get one)"
)


def search(
    run: RunOrFile,
    words: str | None = None,
    /,
    *,
    k: Annotated[int, Parameter(name=["-k", "--k"])] = 10,
    query: QueryOptions = QUERY_DEFAULTS,
    heatmap: Path | None = None,
    as_json: AsJson = False,
    store: StoreUri = None,
    device: Device = "auto",
) -> None:
    """Find the items most similar to words, a picture, another item, or a combination of them.

    Example: likewise search runs/products "red shoes" --image photo.jpg --where 'price < 50' -k 5

    Parameters
    ----------
    words
        What to search for.
    k
        Number of hits.
    heatmap
        PNG to write: the picture of the best hit that has one, with red over what adds to the score and blue over what
        takes from it.
    """
    with opened_index(run, device, store) as (index, _, _):
        hits = query.ask(index, words, k)
        if heatmap is not None:
            shown = next((hit.id for hit in hits if hit.picture is not None), None)
            if shown is None:
                raise UserError("--heatmap needs a hit with a picture, and none of these has one")
            query.draw_heat_map(index, words, shown, heatmap)
    for correction in hits.did_you_mean:
        say(
            f'Searched for "{correction.searched}", as the catalogue does not have all of "{correction.given}" '
            "(--no-correct searches for it as it is)"
        )
    if as_json:
        found = [_describe_hit(hit) for hit in hits]
        corrected = [asdict(correction) for correction in hits.did_you_mean]
        facets = _list_facets(hits.facets)
        about: dict[str, Any] = {"facets": facets, "did_you_mean": corrected} if facets or corrected else {}
        if query.min_score == "auto":
            about["threshold"] = None if hits.threshold is None else hits.threshold.to_json()
        print_json({"hits": found, **about} if about else found)
        return
    if query.min_score == "auto" and hits.threshold is None:
        say(_NO_THRESHOLD)
    print_table(render_hits(hits, query.group_by))


def render_hits(hits: "Hits", group_by: str | None = None) -> "RenderableType":
    """Hits and their facets as tables for a terminal."""
    from rich.console import Group as Stack
    from rich.table import Column, Table

    extra = [group_by] if group_by else []
    why = ["why"] if any(hit.explanation for hit in hits) else []
    heads = [Column(plain_text(name)) for name in extra]
    table = Table("score", "id", "title", *heads, *why, box=None, pad_edge=False)
    tables = [table]
    told = False
    for hit in hits:
        dimmed = "dim" if hit.likely is False else None
        if dimmed and not told:
            table.add_row("", "", "less likely:" if any(hit.likely for hit in hits) else _NOTHING_FITS, style="bold")
            told = True
        cells = [hit.id, *(hit.fields.get(name) for name in ("title", *extra))]
        if hit.explanation is not None:
            cells.append(_format_explanation(hit.explanation))
        table.add_row(f"{hit.score:.3f}", *map(_format_cell, cells), style=dimmed)
    for column, counts in hits.facets.items():
        facet = Table(Column(plain_text(column)), "items", box=None, pad_edge=False)
        tables.append(facet)
        for value, count in counts.items():
            facet.add_row(_format_cell(value), f"{count:,}")
    return Stack(*tables)


def _describe_hit(hit: "Hit") -> dict[str, Any]:
    about = {"id": hit.id, "score": round(hit.score, 6), "title": hit.fields.get("title")}
    if hit.likely is not None:
        about["likely"] = hit.likely
    return about if hit.explanation is None else about | {"explanation": hit.explanation.to_json()}


def _format_explanation(explanation: "Explanation") -> str:
    """The shares of fields, found words (in quotation marks) and the boost, then the words that add the most."""
    about = explanation.to_json()
    shares = [f"{name} {share:+.3f}" for name, share in about["fields"].items()]
    shares += [f'"{term["term"]}" {term["share"]:+.3f}' for term in about.get("terms", [])]
    if "boost" in about:
        shares.append(f"boost {about['boost']:+.3f}")
    lines = [", ".join(shares)]
    asked = [(one.word, one.share) for one in explanation.query_words or ()]
    found = [(text.text[one.start : one.end], one.share) for text in explanation.words or () for one in text.words]
    for name, words in (("query words", asked), ("item words", found)):
        strongest = sorted(words, key=lambda pair: -abs(pair[1]))[:_WORDS_SHOWN]
        if strongest:
            lines.append(f"{name}: " + ", ".join(f"{word} {share:+.3f}" for word, share in strongest))
    return "; ".join(lines)


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
    """Find the items most similar to each item; writes a Parquet file with the columns id, rank, similar_id and score.

    Example: likewise recommend runs/products --output similar.parquet -k 5 --where 'stock > 0'

    Parameters
    ----------
    output
        Parquet file to write.
    k
        Number of similar items per item.
    where
        Filter that similar items must match.
    hide_duplicates
        Skip items that are nearly the same as the item itself or as a better hit.
    """
    require_run(run)
    from likewise.model.model import Model
    from likewise.retrieval.export import prepare_target, write_parquet
    from likewise.retrieval.index import Index

    prepare_target(output)
    opened = Index.open(run, Model.load(run, device), store=store, credentials=read_credentials())
    table = opened.recommendations(k, where=where, hide_duplicates=hide_duplicates)
    write_parquet(output, table)
    say(f"{len(table):,} recommendations for {table['id'].n_unique():,} of {len(opened):,} items in {output}")


def _format_cell(value: Any) -> "RenderableType":
    return plain_text("" if value is None else str(value))


def _list_facets(facets: dict[str, dict[Any, int]]) -> dict[str, list[dict[str, Any]]]:
    """Facets as JSON, whose keys are texts only."""
    return {
        column: [{"value": value, "count": count} for value, count in counts.items()]
        for column, counts in facets.items()
    }
