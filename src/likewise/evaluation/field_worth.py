"""What each field is worth: the model on all fields, less the same on all but one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from likewise.evaluation.comparison import SystemMetrics
from likewise.evaluation.significance import Interval, bootstrap_interval, verdict

_WITHOUT = "without-"


@dataclass(frozen=True)
class FieldWorth:
    """How much a field adds to the others.

    Attributes:
        field: its name.
        metric: one of `METRICS`.
        gain: of the metric, with its 95 % interval, paired by query.
    """

    field: str
    metric: str
    gain: Interval

    @property
    def sentence(self) -> str:
        """The gain in one line."""
        if not self.gain.groups:
            return f'"{self.field}" cannot be judged: no query has an answer'
        words = {
            "better": "helps",
            "worse": "hurts",
            "no difference": "makes no measurable difference",
        }[verdict(self.gain)]
        figures = f"{self.metric} {self.gain.mean:+.3f} [{self.gain.low:+.3f}, {self.gain.high:+.3f}]"
        return f'"{self.field}" {words} on these queries, next to the other fields: {figures}'

    def as_dict(self) -> dict[str, Any]:
        """The gain as JSON."""
        return {"field": self.field, "metric": self.metric, "gain": self.gain.model_dump(mode="json")}


def measure_field_worths(by_subset: Mapping[str, SystemMetrics], metric: str, seed: int = 0) -> list[FieldWorth]:
    """What each field adds; empty where no field was left out.

    Args:
        by_subset: a system's metrics by the key of the subset, as `RetrievalTask.list_subsets` names ablations;
            the first is of all fields.
        metric: one of `METRICS`.
        seed: of the bootstrap.
    """
    whole = next(iter(by_subset.values()))
    return [
        FieldWorth(
            key.removeprefix(_WITHOUT),
            metric,
            bootstrap_interval(whole.metrics[metric] - metrics.metrics[metric], whole.groups, seed=seed),
        )
        for key, metrics in by_subset.items()
        if key.startswith(_WITHOUT)
    ]
