"""Problem details, which programs can read: what every refusal and every error looks like (RFC 9457)."""

from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import quote

from pydantic import BaseModel, Field
from pydantic_core import to_json
from starlette.responses import Response
from starlette.types import Scope

_LONGEST_INSTANCE = 200  # characters of the path that are repeated
_TITLES = {status.value: status.phrase for status in HTTPStatus} | {
    # those that Python does not know, or calls differently from version to version
    413: "Content Too Large",
    414: "URI Too Long",
    422: "Unprocessable Content",
    499: "Client Closed Request",
}


class Problem(BaseModel):
    """What every error looks like."""

    type: str = Field(description="URI of the kind of problem", examples=["about:blank"])
    title: str = Field(description="name of the HTTP status", examples=["Unprocessable Content"])
    status: int = Field(description="the HTTP status", examples=[422])
    detail: str = Field(description="one sentence", examples=['there is no column "prise"; did you mean price?'])
    instance: str | None = Field(default=None, description="the path of the request", examples=["/v1/search"])


class ProblemResponse(Response):
    """A problem as an HTTP answer.

    Args:
        path: of the request.
        detail: a sentence that says what to do.
        headers: such as `Retry-After`.
    """

    media_type = "application/problem+json"

    def __init__(self, path: str, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(to_json(describe_problem(path, status, detail)), status, headers)


def problem(scope: Scope, status: int, detail: str, headers: Mapping[str, str] | None = None) -> ProblemResponse:
    """The answer to a request that a middleware refuses."""
    return ProblemResponse(scope["path"], status, detail, headers)


def describe_problem(path: str, status: int, detail: str) -> Problem:
    """A problem as clients read it; its type is "about:blank", as the status says it all."""
    instance = quote(path, safe="/%:", errors="replace")[:_LONGEST_INSTANCE]
    return Problem(
        type="about:blank", title=title_of(status), status=status, detail=_encodable(detail), instance=instance
    )


def title_of(status: int) -> str:
    """The name of an HTTP status."""
    return _TITLES.get(status, "Error")


def _encodable(text: str) -> str:
    """A text without halves of surrogate pairs, which UTF-8 has no place for."""
    return text.encode("utf-8", "replace").decode("utf-8")
