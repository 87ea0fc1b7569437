"""Quality gates that a run has to pass, such as "recall@10=0.8", so that a pipeline stops where it does not."""

from collections.abc import Sequence
from dataclasses import dataclass

from likewise.errors import UserError
from likewise.evaluation.metrics import METRICS
from likewise.evaluation.results import SubsetResult


@dataclass(frozen=True)
class QualityGate:
    """The least mean that one metric of the trained model has to reach."""

    metric: str
    minimum: float

    def explain_failure(self, subset: SubsetResult) -> str | None:
        """A sentence where the trained model does not pass; None where it does."""
        mean = subset.trained.metrics[self.metric].mean
        if mean >= self.minimum:
            return None
        if mean != mean:
            return f"{self.metric} could not be measured on {subset.label}, and has to reach {self.minimum:g}"
        return f"{self.metric} is {mean:.4f} on {subset.label}, below the {self.minimum:g} that it has to reach"


def parse_gates(options: Sequence[str]) -> list[QualityGate]:
    """Parse options such as "recall@10=0.8".

    Raises:
        UserError: an unknown metric, or a figure that is not between 0 and 1.
    """
    gates = []
    for option in options:
        metric, _, figure = option.partition("=")
        metric = metric.strip().lower()
        if metric not in METRICS:
            raise UserError(f"--fail-under {option}: write it as recall@10=0.8; metrics are {', '.join(METRICS)}")
        try:
            minimum = float(figure)
        except ValueError:
            minimum = -1.0
        if not 0.0 <= minimum <= 1.0:
            raise UserError(f"--fail-under {option}: {figure or 'nothing'} is not a number between 0 and 1")
        gates.append(QualityGate(metric, minimum))
    return gates
