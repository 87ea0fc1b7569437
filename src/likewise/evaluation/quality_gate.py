"""Goals that a run has to reach, such as "recall@10=0.8", so that a pipeline can stop where it does not."""

from collections.abc import Sequence
from dataclasses import dataclass

from likewise.errors import UserError
from likewise.evaluation.metrics import METRICS
from likewise.evaluation.results import SubsetResult


@dataclass(frozen=True)
class Goal:
    """The least mean of one metric."""

    metric: str
    least: float

    @classmethod
    def parse(cls, options: Sequence[str]) -> "list[Goal]":
        """Options such as "recall@10=0.8".

        Raises:
            UserError: an unknown metric, or a figure that is not between 0 and 1.
        """
        goals = []
        for option in options:
            metric, _, figure = option.partition("=")
            metric = metric.strip().lower()
            if metric not in METRICS:
                raise UserError(f"--fail-under {option}: write it as recall@10=0.8; metrics are {', '.join(METRICS)}")
            try:
                least = float(figure)
            except ValueError:
                least = -1.0
            if not 0.0 <= least <= 1.0:
                raise UserError(f"--fail-under {option}: {figure or 'nothing'} is not a figure between 0 and 1")
            goals.append(cls(metric, least))
        return goals

    def missed_by(self, subset: SubsetResult) -> str | None:
        """A sentence where the trained model does not reach the goal; None where it does."""
        mean = subset.trained.metrics[self.metric].mean
        if mean >= self.least:
            return None
        if mean != mean:
            return f"{self.metric} could not be measured on {subset.label}, and has to reach {self.least:g}"
        return f"{self.metric} is {mean:.4f} on {subset.label}, below the {self.least:g} that it has to reach"
