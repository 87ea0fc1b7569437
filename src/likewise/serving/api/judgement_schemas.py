"""What requests and answers of judging look like."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from likewise.serving.api.schemas import Id, PictureText, Text

LONGEST_NOTE = 2_000  # characters
HIGHEST_RELEVANCE = 10
MOST_LISTED = 10_000

_NAME = "9f86d081884c7d659a2feaa0c55ad015"
Name = Annotated[str, Field(description="of the judgement, by which it is removed")]


class JudgedQuery(BaseModel):
    """The query that was asked: words, a picture, or both."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: Text | None = Field(default=None, description="words")
    image: PictureText | None = Field(default=None, description="a picture; a small copy of it is kept")


class JudgementRequest(BaseModel):
    """What somebody says of an item as an answer to a query."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {"query": {"text": "red shirt"}, "id": "sku-1001", "relevance": 1},
                {"query": {"text": "red shirt"}, "id": "sku-1003", "relevance": 0, "note": "it is orange"},
            ]
        },
    )

    query: JudgedQuery
    id: Id = Field(description="of the item")
    relevance: int = Field(
        ge=0, le=HIGHEST_RELEVANCE, description="0: not relevant; 1: relevant; 2: the right answer; or a finer grade"
    )
    note: str | None = Field(default=None, max_length=LONGEST_NOTE, description="what else there is to say")


class JudgementAnswer(BaseModel):
    """A judgement was kept."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"judgements": 12, "judgement": _NAME}]})

    judgements: int = Field(description="how many there are")
    judgement: Name


class ListedJudgement(BaseModel):
    """A judgement that counts."""

    judgement: Name
    query: str | None = Field(default=None, description="words of the query")
    image: str | None = Field(
        default=None, description="file of the query's picture, beside the file of the judgements"
    )
    id: str = Field(description="of the item")
    relevance: float
    time: str = Field(description="ISO 8601")
    judge: str | None = Field(default=None, description="name of the key that made it")
    note: str | None = None


class JudgementsAnswer(BaseModel):
    """The judgements that count."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "judgements": [
                        {
                            "judgement": _NAME,
                            "query": "red shirt",
                            "image": None,
                            "id": "sku-1001",
                            "relevance": 1.0,
                            "time": "2026-01-31T12:30:00.000Z",
                            "judge": "anna",
                            "note": None,
                        }
                    ],
                    "total": 1,
                }
            ]
        }
    )

    judgements: list[ListedJudgement]
    total: int = Field(description="how many there are, of which `limit` and `offset` show a part")


class AskedQueryAnswer(BaseModel):
    """A query that has no judgement yet."""

    text: str
    asked: int = Field(description="how often")
    last_asked: str | None = Field(default=None, description="ISO 8601; null where it is not known")


class QueriesToJudgeAnswer(BaseModel):
    """Queries that have no judgement yet, the most frequent first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "queries": [{"text": "red shirt", "asked": 12, "last_asked": "2026-01-31T12:30:00Z"}],
                    "judged": 4,
                    "total": 40,
                }
            ]
        }
    )

    queries: list[AskedQueryAnswer]
    judged: int = Field(description="queries that have a judgement")
    total: int = Field(description="queries with and without")
