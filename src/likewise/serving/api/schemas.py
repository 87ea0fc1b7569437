"""What requests and answers look like."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from likewise.serving.problems import Problem

MOST_HITS = 1_000
MOST_OFFSET = 10_000
MOST_TERMS = 32
MOST_SEARCHES = 100
MOST_ROWS = 10_000
LONGEST_TEXT = 10_000  # characters
LONGEST_ID = 1_000
LONGEST_FILTER = 10_000

Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
PictureText = Annotated[str, Field(description="base64, a data: URL, or an http(s) URL where those are allowed")]
AudioText = Annotated[str, Field(description="base64, or a data: URL")]
Id = Annotated[str, Field(min_length=1, max_length=LONGEST_ID)]
ColumnName = Annotated[str, Field(min_length=1, max_length=1_000)]
Weight = Annotated[float, Field(gt=0, le=1_000, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


def _shown(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [example]})


_FIELDS = {"title": "red shirt", "brand": "Acme", "price": 19.0}
_THUMBNAIL = "/v1/items/sku-1001/thumbnail?picture=5e884898da28047151d0e56f8dc62927"
_SEARCH_ANSWER = {
    "hits": [
        {
            "id": "sku-1001",
            "score": 0.61,
            "fields": _FIELDS,
            "thumbnail": _THUMBNAIL,
            "recording": None,
            "likely": True,
        }
    ],
    "facets": {"brand": [{"value": "Acme", "count": 12}]},
    "did_you_mean": [{"given": "red shrit", "searched": "red shirt"}],
    "threshold": {"score": 0.34, "kind": "words"},
    "suggested_filter": {
        "filter": "price < 50",
        "text": "red shirt",
        "because": "“under 50” is read as price < 50",
        "applied": False,
    },
    "took_ms": {"encode": 4.1, "search": 0.9, "fetch": 0.3, "total": 5.5},
    "index": {"version": "3f9a2c41d0b84e7f", "model": "0f1e2d3c4b5a6978", "items": 1900},
}


class WeightedText(_Strict):
    """Words with a weight."""

    text: Text
    weight: Weight = 1.0


class WeightedImage(_Strict):
    """A picture with a weight."""

    image: PictureText
    weight: Weight = 1.0


class WeightedAudio(_Strict):
    """A recording with a weight."""

    audio: AudioText
    weight: Weight = 1.0


class WeightedId(_Strict):
    """An item with a weight."""

    id: Id
    weight: Weight = 1.0


class HybridSettings(_Strict):
    """How vectors and words are combined."""

    fusion: Literal["weights", "ranks"] = "weights"
    words_weight: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.6
    correct: bool = Field(default=True, description="search by words of the catalogue in place of misspelt ones")


Words = Text | WeightedText
Pictures = PictureText | WeightedImage
Recordings = AudioText | WeightedAudio
Ids = Id | WeightedId


class SearchRequest(_Strict):
    """A search by words, pictures, other items, or several of these."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"text": "red shirt", "where": "price < 50", "k": 5},
                {"text": [{"text": "shirt", "weight": 1.0}], "minus": "blue", "hybrid": True, "facets": ["brand"]},
                {"like": "sku-1003", "group_by": "brand"},
                {"text": "red shirt under 50", "parse_query": True},
                {"text": "red shirt under 50", "suggest_filter": True},
            ]
        }
    )

    text: Words | Annotated[list[Words], Field(max_length=MOST_TERMS)] | None = Field(
        default=None, description="words; several are averaged by weight"
    )
    image: Pictures | Annotated[list[Pictures], Field(max_length=MOST_TERMS)] | None = Field(
        default=None, description="pictures to look for"
    )
    audio: Recordings | Annotated[list[Recordings], Field(max_length=MOST_TERMS)] | None = Field(
        default=None, description="recordings to look for, where the model has a field of them"
    )
    like: Ids | Annotated[list[Ids], Field(max_length=MOST_TERMS)] | None = Field(
        default=None, description="ids of items to find similar ones to"
    )
    minus: Words | Annotated[list[Words], Field(max_length=MOST_TERMS)] | None = Field(
        default=None, description="words for what is not wanted"
    )
    image_weight: float = Field(
        default=0.5,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="share of pictures and recordings where there are words or items, too",
    )
    where: str | None = Field(default=None, max_length=LONGEST_FILTER, description="filter, such as 'price < 50'")
    parse_query: bool = Field(
        default=False, description="apply the filter that the words suggest, which the answer names; for one text"
    )
    suggest_filter: bool = Field(
        default=False,
        description="name the filter that the words suggest, without applying it; for one text. There is none while "
        "the server reads what the columns hold, after its start and every few minutes",
    )
    hybrid: bool | HybridSettings = Field(default=False, description="also search by keyword (BM25)")
    k: int = Field(default=10, ge=1, le=MOST_HITS, description="number of hits")
    offset: int = Field(default=0, ge=0, le=MOST_OFFSET, description="number of hits to skip")
    min_score: Annotated[float, Field(allow_inf_nan=False)] | Literal["auto"] | None = Field(
        default=None, description='minimum score of a hit; "auto" says of each hit whether it is likely an answer'
    )
    group_by: ColumnName | None = Field(default=None, description="only the best hit for each value of this column")
    hide_duplicates: bool | Annotated[float, Field(gt=0, le=1)] = Field(
        default=False, description="skip near-duplicates of better hits; a number is the cosine from which on"
    )
    diversity: float = Field(
        default=0.0, ge=0, lt=1, allow_inf_nan=False, description="how much hits must differ (MMR)"
    )
    boost: str | None = Field(default=None, max_length=2_000, description="arithmetic added to the score")
    facets: list[ColumnName] = Field(default=[], max_length=20, description="columns whose values are counted")
    fields: list[ColumnName] | None = Field(
        default=None, max_length=200, description="columns that hits come with; all by default"
    )
    explain: bool | Literal["words"] = Field(
        default=False,
        description="say which fields, words and boosts each score comes from, for a k of up to 100; “words” also says "
        "what each word of the query and of the item's texts adds, for a k of up to 20",
    )


class HeatMapRequest(_Strict):
    """The parts of a query whose score a picture explains."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"text": "red circle"}]})

    text: Words | Annotated[list[Words], Field(max_length=MOST_TERMS)] | None = Field(default=None, description="words")
    image: Pictures | Annotated[list[Pictures], Field(max_length=MOST_TERMS)] | None = Field(
        default=None, description="pictures that were looked for"
    )
    audio: Recordings | Annotated[list[Recordings], Field(max_length=MOST_TERMS)] | None = Field(
        default=None, description="recordings that were looked for"
    )
    like: Ids | Annotated[list[Ids], Field(max_length=MOST_TERMS)] | None = Field(
        default=None, description="ids of items"
    )
    minus: Words | Annotated[list[Words], Field(max_length=MOST_TERMS)] | None = Field(
        default=None, description="words for what is not wanted"
    )
    image_weight: float = Field(default=0.5, ge=0, le=1, allow_inf_nan=False, description="as in a search")
    picture: str | None = Field(
        default=None, max_length=64, description="the hash in the thumbnail's path: 404 if the item has another one"
    )


class BatchRequest(_Strict):
    """Several searches at once."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"searches": [{"text": "red shirt"}, {"like": "sku-1003", "k": 5}]}]}
    )

    searches: list[SearchRequest] = Field(min_length=1, max_length=MOST_SEARCHES)


class TermShare(BaseModel):
    """The share of a word in a score."""

    term: str
    share: float


class QueryWordShare(BaseModel):
    """A word of the query, and what the cosine loses without it."""

    word: str
    share: float


class TextWordShare(BaseModel):
    """A word of a text, from the character `start` to before `end`, and what the cosine loses without it."""

    start: int
    end: int
    share: float


class TextWordShares(BaseModel):
    """The words of one of an item's texts."""

    field: str
    text: str
    words: list[TextWordShare]


class ExplanationAnswer(BaseModel):
    """The shares that add up to a score, and those of single words, which do not."""

    fields: dict[str, float] = Field(description="of the item's fields (Shapley values)")
    terms: list[TermShare] | None = Field(default=None, description="of the words that keyword search has found")
    boost: float | None = Field(default=None, description="what the boost has added")
    query_words: list[QueryWordShare] | None = Field(default=None, description="with “words”, in the query's order")
    words: list[TextWordShares] | None = Field(default=None, description="with “words”")


class HitAnswer(BaseModel):
    """An item that answers a search."""

    id: str
    score: float = Field(description="cosine in [-1, 1], plus the boost; in [0, 1] for a hybrid search")
    fields: dict[str, Any] = Field(description="the columns of the item")
    thumbnail: str | None = Field(default=None, description="path of a small picture; null where it has none")
    recording: str | None = Field(
        default=None, description="path of its first recording's beginning (WAV); null where it has none"
    )
    explanation: ExplanationAnswer | None = Field(default=None, description="only if it was asked for")
    likely: bool | None = Field(default=None, description="whether the score reaches the calibrated threshold, if any")


class ThresholdAnswer(BaseModel):
    """The calibrated threshold of a query."""

    score: float = Field(description="from which on a hit is likely an answer")
    kind: Literal["words", "pictures", "mixed", "hybrid"] = Field(description="of the query")


class FacetCount(BaseModel):
    """A value, and how many of the best items have it."""

    value: str | int | float | bool
    count: int


class SuggestedFilter(BaseModel):
    """A filter that the words of the query suggest."""

    filter: str = Field(description="for `where`")
    text: str = Field(description="the words without those that the filter stands for")
    because: str = Field(description="how these are read")
    applied: bool = Field(description="whether the hits meet it, as `parse_query` asks for")


class IndexState(BaseModel):
    """Which index has answered."""

    version: str = Field(description="changes when the index is built anew")
    model: str = Field(description="first digits of the model's fingerprint")
    items: int


class CorrectionAnswer(BaseModel):
    """A text that was corrected; `hybrid: {"correct": false}` searches for it as it is."""

    given: str = Field(description="as it was typed")
    searched: str = Field(description="what was searched for")


class SearchAnswer(BaseModel):
    """The hits of a search."""

    model_config = _shown(_SEARCH_ANSWER)

    hits: list[HitAnswer]
    facets: dict[str, list[FacetCount]] = Field(default={}, description="by column, the most frequent first")
    did_you_mean: list[CorrectionAnswer] = Field(
        default=[], description="texts that were searched for by other words, as the catalogue does not know theirs"
    )
    threshold: ThresholdAnswer | None = Field(
        default=None, description='with `min_score: "auto"`; null where there is none for such a query'
    )
    suggested_filter: SuggestedFilter | None = Field(
        default=None,
        description="of a query that is one text, such as “red shirt under 50”; with `suggest_filter` or `parse_query`",
    )
    took_ms: dict[str, float] = Field(description="milliseconds of encode, search, fetch and total")
    index: IndexState


class BatchAnswer(BaseModel):
    """The answers of several searches, in order; one that failed is a problem instead."""

    model_config = _shown({"answers": [_SEARCH_ANSWER]})

    answers: list[SearchAnswer | Problem]


class ItemAnswer(BaseModel):
    """An item as the index keeps it."""

    model_config = _shown({"id": "sku-1001", "fields": _FIELDS, "thumbnail": _THUMBNAIL, "recording": None})

    id: str
    fields: dict[str, Any]
    thumbnail: str | None = None
    recording: str | None = None


class HeatMapAnswer(BaseModel):
    """What each region of a picture adds to the cosine, as a grid over the whole picture."""

    model_config = _shown({"rows": 2, "columns": 2, "values": [[1.0, 0.2], [-0.1, 0.0]], "width": 320, "height": 240})

    rows: int
    columns: int
    values: list[list[float]] = Field(
        description="row by row from the top left, divided by the largest size: in [-1, 1]"
    )
    width: int = Field(description="of the thumbnail, in pixels")
    height: int


class WrittenAnswer(BaseModel):
    """What became of an item that was written."""

    model_config = _shown({"id": "sku-1001", "result": "changed"})

    id: str
    result: Literal["new", "changed", "rewritten", "unchanged"] = Field(
        description="rewritten: columns changed that the model does not see"
    )


class BulkAnswer(BaseModel):
    """How many items were new, changed, rewritten (without the model) or unchanged."""

    model_config = _shown({"new": 2, "changed": 1, "rewritten": 0, "unchanged": 7})

    new: int
    changed: int
    rewritten: int
    unchanged: int


class SuggestAnswer(BaseModel):
    """Titles that complete what was typed."""

    model_config = _shown({"suggestions": ["red shirt", "red shoes"]})

    suggestions: list[str]


class FacetsAnswer(BaseModel):
    """Values of columns and how many items have them."""

    model_config = _shown({"facets": {"brand": [{"value": "Acme", "count": 12}]}, "items": 30, "counted": 30})

    facets: dict[str, list[FacetCount]] = Field(description="by column, the most frequent first")
    items: int = Field(description="items that meet the filter")
    counted: int = Field(description="of these, the items whose values were counted")


class ColumnAnswer(BaseModel):
    """What a column holds."""

    name: str
    kind: Literal["text", "integer", "number", "boolean", "list", "other"]
    filter: Literal["number", "year", "date", "day", "category", "boolean"] | None = Field(
        default=None,
        description="as what `where` compares it with; null where that makes no sense, as for titles and codes",
    )
    filled: int = Field(description="cells that are not blank")
    least: float | None = Field(default=None, description="of its numbers")
    greatest: float | None = None
    distinct: int | None = Field(default=None, description="different texts; null where there are too many")
    values: list[FacetCount] = Field(description="of a category, the most frequent first")


class ColumnsAnswer(BaseModel):
    """What the columns hold."""

    model_config = _shown(
        {
            "columns": [
                {
                    "name": "brand",
                    "kind": "text",
                    "filter": "category",
                    "filled": 30,
                    "least": None,
                    "greatest": None,
                    "distinct": 3,
                    "values": [{"value": "Acme", "count": 12}],
                }
            ],
            "items": 30,
            "counted": 30,
        }
    )

    columns: list[ColumnAnswer]
    items: int = Field(description="of the index")
    counted: int = Field(description="of these, the items that were looked at")


class ComparisonAnswer(BaseModel):
    """How far the comparison with the untrained model is."""

    model_config = _shown({"state": "building", "encoded": 640, "items": 1900, "of": 1900, "detail": None})

    state: Literal["absent", "building", "ready", "failed"]
    encoded: int = Field(description="items that the untrained model has seen")
    items: int = Field(description="items that it will have seen; of a large index, a sample")
    of: int = Field(description="items of the index")
    detail: str | None = Field(default=None, description="why it failed")


class ComparedHit(BaseModel):
    """A hit of one system."""

    id: str
    score: float
    fields: dict[str, Any]
    thumbnail: str | None = None
    trained_rank: int | None = Field(
        default=None, description="its rank with the trained model; null: beyond the 200th"
    )


class ComparedSystem(BaseModel):
    """What one system finds."""

    system: Literal["trained", "untrained", "bm25"]
    hits: list[ComparedHit]


class ComparedAnswer(BaseModel):
    """One query answered by several systems, all over the same items."""

    model_config = _shown(
        {
            "systems": [
                {
                    "system": "bm25",
                    "hits": [{"id": "sku-1", "fields": _FIELDS, "thumbnail": None, "score": 0.8, "trained_rank": 3}],
                }
            ],
            "comparison": {"state": "absent", "encoded": 0, "items": 0, "of": 0, "detail": None},
        }
    )

    systems: list[ComparedSystem]
    comparison: ComparisonAnswer


class EmbeddingRequest(BaseModel):
    """OpenAI's request for embeddings."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"model": "likewise/query", "input": ["red shirt", "blue shoes"]}]},
    )

    model: Literal["likewise/query", "likewise/item"] = Field(description="which tower encodes the input")
    input: (
        Annotated[str, Field(min_length=1)]
        | Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=512)]
    ) = Field(description="texts, or pictures as data: or http(s) URLs; in likewise/item a text is a title")
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, ge=1, description="cut vectors to so many dimensions (Matryoshka)")
    user: str | None = Field(default=None, max_length=1_000, description="ignored")

    @field_validator("input", mode="before")
    @classmethod
    def _refuse_tokens(cls, value: Any) -> Any:
        if isinstance(value, list) and value and isinstance(value[0], int | list):
            raise PydanticCustomError("tokens", "token arrays mean nothing to this model: send texts")
        return value


class Embedding(BaseModel):
    """The vector of one input."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """How much was encoded."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingAnswer(BaseModel):
    """OpenAI's answer with embeddings."""

    model_config = _shown(
        {
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.03, -0.06, 0.02]}],
            "model": "likewise/query",
            "usage": {"prompt_tokens": 9, "total_tokens": 9},
        }
    )

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class ModelEntry(BaseModel):
    """A tower that encodes."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["likewise"] = "likewise"


class ModelList(BaseModel):
    """OpenAI's list of models."""

    model_config = _shown(
        {
            "object": "list",
            "data": [{"id": "likewise/query", "object": "model", "created": 1767261600, "owned_by": "likewise"}],
        }
    )

    object: Literal["list"] = "list"
    data: list[ModelEntry]


class State(BaseModel):
    """Whether the server lives or is ready."""

    status: Literal["ok"] = "ok"
