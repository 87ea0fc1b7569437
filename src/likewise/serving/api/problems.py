"""Errors of the package as problem details: one sentence that says what was wrong and what to do."""

import logging
import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from likewise.errors import UserError
from likewise.retrieval.items import UnknownItemError
from likewise.serving.lanes import DeadlinePassed, Overloaded
from likewise.serving.problems import ProblemResponse, title_of

log = logging.getLogger(__name__)

_PARAMETER = re.compile(r"(?!(?:str|int|float|bool|body|query|path)$)[a-z_]+")  # not the name of an alternative
_LONGEST_NAME = 100  # characters of a key that a stranger made up, in a message
_EXAMPLES = {
    400: "Invalid JSON: EOF while parsing a string at line 1 column 9",
    401: "send a key: Authorization: Bearer KEY",
    403: "this key may not do that",
    404: 'there is no item "sku-9"',
    405: "GET is not understood here; Allow names what is",
    413: "a request has at most 1,000,000 bytes",
    414: "a path has at most 4,096 characters",
    415: "send application/json here, not 'text/plain'",
    422: 'there is no column "prise"; did you mean price?',
    429: "too much is waiting here: try again later",
    500: "the server failed; its log says why",
    507: "judgements.jsonl is full, with 50,000,000 bytes: move it away, or name another file with --judgements",
    503: "there was no time to answer: try again later",
}


class ProblemError(Exception):
    """A problem that a request ends with."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


def find_problem(error: Exception) -> ProblemError | None:
    """The problem that an error of the package is; None: it is one of ours to mend."""
    match error:
        case ProblemError():
            return error
        case UnknownItemError():
            return ProblemError(404, str(error))
        case UserError():
            return ProblemError(422, str(error))
        case Overloaded():
            wait = max(1, round(error.retry_after + 0.5))
            return ProblemError(429, "too much is waiting here: try again later", {"Retry-After": str(wait)})
        case DeadlinePassed():
            return ProblemError(503, "there was no time to answer: try again later", {"Retry-After": "1"})
        case ValidationError() | RequestValidationError():
            return ProblemError(422, describe_first_error(error))
        case ClientDisconnect():
            return ProblemError(499, "the client has gone")
        case HTTPException():
            return ProblemError(error.status_code, str(error.detail), error.headers)
    return None


def describe_first_error(error: ValidationError | RequestValidationError) -> str:
    """One sentence on the first thing that a model did not accept."""
    errors = error.errors()
    first = max(errors, key=lambda one: len(one["loc"]))  # of alternatives, the one that went furthest
    if first["type"] == "extra_forbidden":
        name = str(first["loc"][-1])[:_LONGEST_NAME]
        return f'there is no parameter "{name}" here: /docs lists them'
    place = ".".join(str(part) for part in first["loc"] if isinstance(part, int) or _PARAMETER.fullmatch(part))
    what = str(first["msg"])
    sentence = what if what[:4].isupper() else what[:1].lower() + what[1:]
    return f"{place}: {sentence}" if place else sentence


_EXPECTED: tuple[type[Exception], ...] = (
    *(ProblemError, UserError, Overloaded, DeadlinePassed, ValidationError, RequestValidationError, HTTPException),
    ClientDisconnect,
)


def add_problems(app: FastAPI) -> None:
    """Make every error of an application a problem."""

    async def answer(request: Request, error: Exception) -> Response:
        problem = find_problem(error)
        if problem is None:
            log.error("a request failed", exc_info=error)
            problem = ProblemError(500, "the server failed; its log says why")
        return ProblemResponse(request.scope["path"], problem.status, problem.detail, problem.headers)

    for kind in (*_EXPECTED, Exception):
        app.add_exception_handler(kind, answer)


def describe_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of problems, by their status."""
    return {status: _describe_response(status) for status in statuses}


def _describe_response(status: int) -> dict[str, Any]:
    example = {"type": "about:blank", "title": title_of(status), "status": status, "detail": _EXAMPLES[status]}
    schema = {"$ref": "#/components/schemas/Problem"}
    described: dict[str, Any] = {
        "description": title_of(status),
        "content": {"application/problem+json": {"schema": schema, "example": example}},
    }
    if status in (429, 503):
        described["headers"] = {
            "Retry-After": {"description": "seconds until it may work", "schema": {"type": "integer", "minimum": 1}}
        }
    return described


PROBLEM_RESPONSES = describe_problems(400, 401, 403, 404, 405, 413, 414, 415, 422, 429, 500, 503)
