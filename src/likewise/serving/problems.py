"""Refusals as problem details, which programs can read (RFC 9457)."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import quote

from starlette.responses import Response
from starlette.types import Scope

_LONGEST_INSTANCE = 200  # characters of the path that are repeated


def problem(scope: Scope, status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a request that is refused: JSON with type, title, status, detail and instance.

    Args:
        detail: a sentence that says what to do; the request is not quoted in it.
        headers: such as `Retry-After`.
    """
    body = {
        "type": "about:blank",  # the status says it all
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": quote(scope["path"], errors="replace")[:_LONGEST_INSTANCE],
    }
    return Response(json.dumps(body), status, headers, media_type="application/problem+json")
