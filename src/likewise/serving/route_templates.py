"""Which route a request is for, as logs and metrics name it: never with an id that a client sent."""

import re
from collections.abc import Iterable

from starlette.types import Scope

OTHER = "(other)"
_PARAMETER = re.compile(r"\\{[^}]*\\}")


class RouteTemplates:
    """The paths that a server answers.

    Args:
        paths: such as /v1/items/{id}; a part in braces stands for anything without a slash.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        everything = list(paths)
        self._fixed = frozenset(path for path in everything if "{" not in path)
        self._patterns = [
            (re.compile(_PARAMETER.sub("[^/]+", re.escape(path)).encode()), path) for path in everything if "{" in path
        ]

    def find(self, scope: Scope) -> str:
        """The template that a request fits; all that no template is for has one name."""
        path: str = scope["path"]
        if path in self._fixed:
            return path
        raw = (scope.get("raw_path") or path.encode("utf-8", "replace")).partition(b"?")[0]
        return next((template for pattern, template in self._patterns if pattern.fullmatch(raw)), OTHER)
