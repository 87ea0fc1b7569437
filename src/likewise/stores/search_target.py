"""What the embedded store should aim at when it chooses how to search."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from likewise.errors import UserError

KINDS = ("flat", "hnsw-sq8", "ivf-sq8", "ivf-pq", "rabitq")
OPTIONS = ("target_recall", "memory", "kind")  # of the store's URI

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


@dataclass(frozen=True)
class SearchTarget:
    """A wish; without one, few items are searched exactly and many by what a default target leads to.

    Attributes:
        recall: the share of the ten true neighbours that a search has to find, above 0 and at most 1.
        memory: bytes that searching may take; None: as many as there are.
        kind: one of `KINDS`; None: the fastest that meets the rest.

    Raises:
        UserError: a value that makes no sense.
    """

    recall: float = 0.95
    memory: int | None = None
    kind: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.recall <= 1:
            raise UserError(f"the target recall must be above 0 and at most 1, not {self.recall:g}")
        if self.memory is not None and self.memory < 1:
            raise UserError(f"the memory must be at least one byte, not {self.memory}")
        if self.kind is not None and self.kind not in KINDS:
            raise UserError(f"there is no kind of index {self.kind!r}: use auto or one of {', '.join(KINDS)}")

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> "SearchTarget | None":
        """The target in a store's URI, such as `faiss:index?target_recall=0.95&memory=2GB`; None where there is none.

        Raises:
            UserError: a value cannot be read or makes no sense.
        """
        given = {name: options[name] for name in OPTIONS if name in options}
        if not given:
            return None
        try:
            recall = float(given.get("target_recall", cls.recall))
        except ValueError:
            raise UserError(f"the target recall is a number such as 0.95, not {given['target_recall']!r}") from None
        memory = parse_bytes(given["memory"]) if "memory" in given else None
        kind = given.get("kind", "auto")
        return cls(recall, memory, None if kind == "auto" else kind)

    @classmethod
    def from_json(cls, content: Mapping[str, Any] | None) -> "SearchTarget | None":
        """What `dataclasses.asdict` made of a target."""
        return None if content is None else cls(**content)


def parse_bytes(text: str) -> int:
    """A number of bytes written as 2GB, 512 MiB or 1000000.

    Raises:
        UserError: it is something else.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]I?)?B?\s*", text.upper())
    if match is None:
        raise UserError(f"an amount of memory is written as 2GB or 512MB, not {text!r}")
    return int(float(match[1]) * _UNITS[match[2] or ""])


def show_bytes(count: float) -> str:
    """A number of bytes as people write it."""
    for unit in ("bytes", "KB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}" if unit != "bytes" else f"{count:.0f} bytes"
        count /= 1000
    return f"{count:.3g} GB"
