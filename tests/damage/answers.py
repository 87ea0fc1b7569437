"""How an operation ended on damaged files, beside how it ends on whole ones."""

import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from likewise.errors import UserError

SAME, REFUSED, WRONG, TRACEBACK = "same", "refused", "wrong", "traceback"
_TOLERANCE = 1.5e-5
_HALF = 2e-3  # of half precision, whose last bits depend on what is computed together
_LONGEST = 400  # characters of one sentence


def outcome(operation: Callable[[], Any], expected: Any) -> tuple[str, str]:
    """Run an operation: the class of its outcome, and what there is to say about it."""
    try:
        answer = operation()
    except UserError as error:
        return judge_refusal(str(error))
    except BaseException as error:  # what Rust panics with is no Exception
        return TRACEBACK, f"{where_in_our_code(error)}: {type(error).__name__}: {str(error).strip()[:200]!r}"
    difference = first_difference(expected, answer)
    return (SAME, "") if difference is None else (WRONG, difference[:200])


def judge_refusal(message: str) -> tuple[str, str]:
    """A refusal counts as such where it is one sentence."""
    if not message.strip() or "\n" in message or len(message) >= _LONGEST:
        return TRACEBACK, f"a message of {len(message)} characters and {message.count(chr(10)) + 1} lines: {message!r}"
    return REFUSED, message


def where_in_our_code(error: BaseException) -> str:
    """The innermost of our own lines that an error came through."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/likewise/" in frame.filename]
    if not frames:
        return "outside"
    return f"{frames[-1].filename.rpartition('/likewise/')[2]}:{frames[-1].lineno} {frames[-1].name}"


def first_difference(expected: Any, answer: Any, place: str = "") -> str | None:
    """Where two answers differ, in words; None where they are the same."""
    if isinstance(expected, np.ndarray) and isinstance(answer, np.ndarray):
        if expected.shape != answer.shape:
            return f"{place}: the shape {answer.shape} instead of {expected.shape}"
        if np.issubdtype(expected.dtype, np.number):
            relative, absolute = (_HALF, _HALF) if expected.dtype == np.float16 else (0.0, _TOLERANCE)
            if np.allclose(expected, answer, rtol=relative, atol=absolute, equal_nan=True):
                return None
            return f"{place}: numbers differ by up to {np.abs(expected.astype(float) - answer.astype(float)).max():.3g}"
        return None if (expected == answer).all() else f"{place}: values differ"
    if isinstance(expected, float) and isinstance(answer, float):
        same = math.isclose(expected, answer, rel_tol=0, abs_tol=_TOLERANCE) or (expected != expected != answer)
        return None if same else f"{place}: {answer!r} instead of {expected!r}"
    if isinstance(expected, Mapping) and isinstance(answer, Mapping):
        if list(map(str, expected)) != list(map(str, answer)):
            return f"{place}: {sorted(map(str, answer))[:8]} instead of {sorted(map(str, expected))[:8]}"
        return _first((value, answer[name], f"{place}.{name}") for name, value in expected.items())
    if isinstance(expected, Sequence) and isinstance(answer, Sequence) and not isinstance(expected, str | bytes):
        if len(expected) != len(answer):
            return f"{place}: {len(answer)} instead of {len(expected)} of them"
        return _first(
            (one, other, f"{place}[{i}]") for i, (one, other) in enumerate(zip(expected, answer, strict=True))
        )
    same = not isinstance(expected, np.ndarray) and not isinstance(answer, np.ndarray) and expected == answer
    return None if same else f"{place}: {repr(answer)[:80]} instead of {repr(expected)[:80]}"


def _first(pairs: Any) -> str | None:
    return next((found for pair in pairs if (found := first_difference(*pair)) is not None), None)
