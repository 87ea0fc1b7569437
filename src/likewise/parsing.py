"""JSON and YAML files that may come from strangers: read within bounds of size and nesting, or refused."""

import json
from pathlib import Path
from typing import Any

import yaml

from likewise.errors import UserError

MOST_YAML_BYTES = 250_000
MOST_JSON_BYTES = 8_000_000  # a configuration that names 20,000 classes has 2 MB
_DEEPEST = 50
_NOT_OF_ITS_TAG = (ArithmeticError, AttributeError, LookupError, TypeError)  # raised for such as `!!bool perhaps`
_MOST_DIGITS = 400  # of an integer; Python itself takes quadratic time from there on


def read_json(path: Path, most_bytes: int = MOST_JSON_BYTES) -> Any:
    """Read a JSON file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large, nested too deeply, or no JSON; the message completes "the file is damaged (…)".
    """
    return parse_json(read_bounded(path, most_bytes))


def parse_json(text: str | bytes) -> Any:
    """`json.loads` with a single type of error.

    Raises:
        ValueError: it is nested too deeply, or no JSON.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(f"it is nested more than {_DEEPEST} levels deep") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON at line {error.lineno}, column {error.colno}") from None
    except ValueError:  # bytes that are not UTF-8, an integer of thousands of digits
        raise ValueError("it is no JSON") from None
    if _count_brackets(text) > _DEEPEST:
        _check_depth(value)
    return value


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """Read a regular file of at most `most_bytes`.

    Raises:
        OSError: it cannot be read.
        ValueError: it is larger, or no plain file.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is no plain file")
    with path.open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"it is larger than {most_bytes / 1e3:,.0f} KB")
    return content


def read_yaml(path: Path) -> Any:
    """Read a YAML file of settings.

    Aliases are refused: a few of them, each naming the one before it several times, stand for billions of values.

    Raises:
        UserError: it cannot be read, is too large, nested too deeply, has aliases, or is no YAML.
    """
    try:
        text = read_bounded(path, MOST_YAML_BYTES).decode("utf-8")
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except OSError as error:
        raise UserError(f"cannot read the config file {path}: {error.strerror}") from None
    except _RefusedError as error:
        raise UserError(f"the config file {path} is refused: {error}") from None
    except (yaml.YAMLError, UnicodeDecodeError, *_NOT_OF_ITS_TAG):
        raise UserError(f"the config file {path} is not valid YAML") from None
    except RecursionError:
        raise UserError(f"the config file {path} is refused: it is nested more than {_DEEPEST} levels deep") from None
    except ValueError as error:  # too large, or a date or number that there is not
        raise UserError(f"the config file {path} is refused: {error}") from None


class _RefusedError(Exception):
    """YAML that settings have no use for."""


class _Loader(yaml.SafeLoader):
    """Plain values only: no aliases, no anchors, no deep nesting."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _RefusedError(
                f"it has an anchor or alias in line {event.start_mark.line + 1}; write the values out instead"
            )
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _RefusedError(f"it is nested more than {_DEEPEST} levels deep")
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > _MOST_DIGITS:
            raise _RefusedError(f"it has a number of {len(node.value):,} digits")
        return int(super().construct_yaml_int(node))


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def _count_brackets(text: str | bytes) -> int:
    return text.count("[") + text.count("{") if isinstance(text, str) else text.count(b"[") + text.count(b"{")


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        if depth > _DEEPEST:
            raise ValueError(f"it is nested more than {_DEEPEST} levels deep")
        level = [inner for outer in level for inner in (outer.values() if isinstance(outer, dict) else outer)]
