"""Calibrated thresholds: the score below which a hit is less likely an answer, one rule per kind of query.

A score says little by itself: some queries are near to half of the catalogue and others to nothing. So a rule sets the
threshold of a query by where the query's scores lie over a sample of the index's items: their mean, their spread and
the mean of the highest ones. Hubness corrections such as z-scores and CSLS (Conneau et al., "Word translation without
parallel data", 2018) are special cases.

A run keeps its rules in `thresholds.json`; they were fitted on queries that the model had not seen.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self, cast, get_args

import numpy as np

from likewise.files import DamageError, explain_damage, read_record, write_record

QueryKind = Literal["words", "pictures", "mixed", "hybrid"]
KINDS: tuple[QueryKind, ...] = get_args(QueryKind)
FILE_NAME = "thresholds.json"
SAMPLE = 400  # items; their cosines with a query cost about a tenth of a millisecond
_FORMAT = 1
_HIGHEST = 0.02  # of the sample
_LARGEST = 1e6  # coefficient


@dataclass(frozen=True)
class ScoreStatistics:
    """Where the cosines of one query lie.

    Attributes:
        mean, spread: over a sample of the items; the spread is their standard deviation.
        tail: the mean of the highest 2 % of the sample.
        nearest: of the nearest item of the whole index.
    """

    mean: float
    spread: float
    tail: float
    nearest: float

    @classmethod
    def measure(cls, cosines: np.ndarray, nearest: float) -> "ScoreStatistics":
        """Summarise the cosines of a query with at least one sampled item: (n,)."""
        highest = max(1, round(_HIGHEST * len(cosines)))
        tail = np.partition(cosines, -highest)[-highest:]
        return cls(float(cosines.mean()), float(cosines.std()), float(tail.mean()), nearest)


@dataclass(frozen=True)
class ThresholdRule:
    """The threshold of a query as a linear function of its `ScoreStatistics`.

    Attributes:
        intercept: what the threshold is where all statistics are 0.
        mean, spread, tail, nearest: the coefficients of the statistics. All of them are 0 for a flat threshold.
        false_alarms: share of the calibration queries whose answer is in the index and which nothing fits.
        flagged: share of the same queries that nothing fits once their answers are taken out of the index.
        flagged_by_flat: likewise, by one flat threshold with as many false alarms.
        queries: how many there were.
    """

    intercept: float
    mean: float
    spread: float
    tail: float
    nearest: float
    false_alarms: float
    flagged: float
    flagged_by_flat: float
    queries: int

    def threshold(self, statistics: ScoreStatistics) -> float:
        """The score from which on a hit is likely an answer to a query."""
        return (
            self.intercept
            + self.mean * statistics.mean
            + self.spread * statistics.spread
            + self.tail * statistics.tail
            + self.nearest * statistics.nearest
        )

    @classmethod
    def parse(cls, content: object) -> Self:
        """A rule from a file that anyone may have written.

        Raises:
            ValueError: it is none.
        """
        if not isinstance(content, Mapping) or set(content) != set(cls.__dataclass_fields__):
            raise ValueError("it is no rule")
        for name, value in content.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{name} is no number")
            if not math.isfinite(value) or abs(value) > _LARGEST:
                raise ValueError(f"{name} is out of range")
        return cls(**content)


@dataclass(frozen=True)
class Thresholds:
    """The rules of a run, by the kind of query; kinds of which there were too few queries have none.

    Attributes:
        dim: of the vectors that they were fitted on; they do not apply to truncated ones.
    """

    dim: int
    rules: Mapping[QueryKind, ThresholdRule]

    def write(self, run: Path) -> None:
        """Keep them in a run folder.

        Raises:
            UserError: the file cannot be written.
        """
        rules = {kind: asdict(rule) for kind, rule in self.rules.items()}
        write_record(run / FILE_NAME, {"dim": self.dim, "rules": rules}, _FORMAT)

    @classmethod
    def read(cls, run: Path) -> "Thresholds | None":
        """The rules of a run; None where it has none, such as one of an earlier version.

        Raises:
            UserError: they are damaged, or of a newer version.
        """
        path = run / FILE_NAME
        try:
            return cls._parse(read_record(path, _FORMAT))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:  # DamageError among them
            damage = error if isinstance(error, DamageError) else DamageError(f"{path} is damaged ({error})")
            way_out = "train the run again, or delete the file to search without calibrated thresholds"
            raise explain_damage(damage, older=f"{damage}: {way_out}", damaged=f"{damage}: {way_out}") from None

    @classmethod
    def _parse(cls, content: Mapping[str, Any]) -> "Thresholds":
        dim, rules = content.get("dim"), content.get("rules")
        if isinstance(dim, bool) or not isinstance(dim, int) or dim < 1:
            raise ValueError("dim is no number of dimensions")
        if not isinstance(rules, Mapping) or not set(rules) <= set(KINDS):
            raise ValueError(f"rules are of the kinds {', '.join(KINDS)} only")
        return cls(dim, {cast(QueryKind, kind): ThresholdRule.parse(rule) for kind, rule in rules.items()})


@dataclass(frozen=True)
class Threshold:
    """The calibrated threshold of one query.

    Attributes:
        score: hits with at least this score are likely answers; where none has, most likely nothing fits.
        kind: of the query: "words", "pictures", "mixed" (both) or "hybrid".
    """

    score: float
    kind: QueryKind

    def to_json(self) -> dict[str, Any]:
        """The JSON object of the API and the command line."""
        return {"score": round(self.score, 6), "kind": self.kind}
