"""How a segment is searched, as segment.json says it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from likewise.stores.faiss.approximate import SearchParameters
from likewise.stores.search_target import SearchTarget


@dataclass(frozen=True)
class SearchPlan:
    """What was chosen, and why.

    Attributes:
        kind: "flat", or one of index_types.py.
        bytes: of the index's file; of the vectors where they are all compared.
        chosen_at: how many items there were when the kind was chosen and its codes were learned.
        parameters: of a search; None where all items are compared.
        recall: the share of the true neighbours of held-out queries that searches found.
        seconds: that such a search took then.
        why: the reason, as a part of a sentence.
        target: what was wished for; None: nothing.
    """

    kind: str
    bytes: int
    chosen_at: int
    parameters: SearchParameters | None = None
    recall: float = 1.0
    seconds: float | None = None
    why: str = "few items are quickly compared one by one"
    target: SearchTarget | None = None

    def write(self, folder: Path, count: int) -> None:
        """Write it into a segment of so many items."""
        content = json.dumps({"count": count} | asdict(self), indent=2)
        (folder / "segment.json").write_text(content + "\n", encoding="utf-8")

    @property
    def about(self) -> dict[str, Any]:
        """The same for whoever wants to show it; JSON values."""
        parameters = {} if self.parameters is None else asdict(self.parameters)
        about = {"kind": self.kind, "parameters": parameters, "recall": self.recall, "seconds": self.seconds}
        return about | {"bytes": self.bytes, "why": self.why}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "SearchPlan":
        """What stands in segment.json.

        Raises:
            ValueError, KeyError, TypeError: something else.
        """
        values = {name: value for name, value in content.items() if name != "count"}
        parameters = values["parameters"]
        if (parameters is None) != (values["kind"] == "flat"):
            raise ValueError(f"a {values['kind']} index cannot be searched with the parameters {parameters}")
        values["parameters"] = (
            None if parameters is None else SearchParameters(**{name: int(value) for name, value in parameters.items()})
        )
        values["target"] = SearchTarget.from_json(values["target"])
        return cls(**values)
