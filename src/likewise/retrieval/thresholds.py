"""Calibrated thresholds: the score below which a hit is less likely an answer, one rule per kind of query.

A score says little by itself: some queries are near to half of the catalogue and others to nothing, and some items are
near to whatever is asked (hubs). So a rule sets the threshold of a query by the cosines that the query, and the best
item that was found for it, have with a sample of the index's items. Corrections of hubness such as z-scores of both
sides are special cases; see also CSLS (Conneau et al., "Word translation without parallel data", 2018).

A run keeps its rules in `thresholds.json`; they were fitted on queries that the model had not seen.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self, cast, get_args

import numpy as np

from likewise.files import DamageError, explain_damage, read_record, write_record
from likewise.model.run_folder import THRESHOLDS

RuleKind = Literal["words", "pictures", "mixed"]
RULES: tuple[RuleKind, ...] = get_args(RuleKind)
QueryKind = RuleKind | Literal["hybrid"]  # which goes by the rule of words
SAMPLE = 400  # items; their cosines with a query cost about a tenth of a millisecond
_FORMAT, _OLDER_FORMAT = 2, 1
_LARGEST = 1e6  # coefficient


@dataclass(frozen=True)
class ScoreStatistics:
    """Where the cosines of a query, and of the best item that was found for it, lie.

    Attributes:
        mean, spread: of the query's cosines with a sample of the items; the spread is their standard deviation.
        item_mean, item_spread: of the best item's cosines with the sample, without itself.
    """

    mean: float
    spread: float
    item_mean: float
    item_spread: float

    @classmethod
    def measure(cls, of_query: np.ndarray, of_item: np.ndarray) -> "ScoreStatistics":
        """Summarise the cosines of a query and of an item with sampled ones: (n,) and (m,), neither of them empty."""
        return cls(
            float(of_query.mean()),
            float(of_query.std()),
            float(of_item.mean()),
            float(of_item.std()),
        )


STATISTICS = tuple(ScoreStatistics.__dataclass_fields__)


@dataclass(frozen=True)
class ThresholdRule:
    """The threshold of a query as a linear function of its `ScoreStatistics`.

    Attributes:
        intercept: what the threshold is where all statistics are 0.
        mean, spread, item_mean, item_spread: the coefficients of the statistics. All of them are 0 for a flat
            threshold.
        least, greatest: every threshold lies within these, as do those of the calibration queries but for the outermost
            5 % of either side.
        flat: the flat threshold with as many false alarms.
        false_alarms: share of the calibration queries whose answer is in the index and which nothing fits.
        flagged: share of the same queries that nothing fits once their answers are taken out of the index.
        flagged_by_flat: likewise, by the flat threshold.
        queries: how many there were.
    """

    intercept: float
    mean: float
    spread: float
    item_mean: float
    item_spread: float
    least: float
    greatest: float
    flat: float
    false_alarms: float
    flagged: float
    flagged_by_flat: float
    queries: int

    def threshold(self, statistics: ScoreStatistics) -> float:
        """The score from which on a hit is likely an answer to a query."""
        found = self.intercept + sum(getattr(self, name) * getattr(statistics, name) for name in STATISTICS)
        return min(max(found, self.least), self.greatest)

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
    rules: Mapping[RuleKind, ThresholdRule]

    def write(self, run: Path) -> None:
        """Keep them in a run folder.

        Raises:
            UserError: the file cannot be written.
        """
        rules = {kind: asdict(rule) for kind, rule in self.rules.items()}
        write_record(run / THRESHOLDS, {"dim": self.dim, "rules": rules}, _FORMAT)

    @classmethod
    def read(cls, run: Path) -> "Thresholds | None":
        """The rules of a run; None where it has none, or those of an earlier version, which flagged good answers.

        Raises:
            UserError: they are damaged, or of a newer version.
        """
        path = run / THRESHOLDS
        try:
            return cls._parse(read_record(path, _FORMAT))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:  # DamageError among them
            if _is_older(path):
                return None
            damage = error if isinstance(error, DamageError) else DamageError(f"{path} is damaged ({error})")
            way_out = "train the run again, or delete the file to search without calibrated thresholds"
            raise explain_damage(damage, older=f"{damage}: {way_out}", damaged=f"{damage}: {way_out}") from None

    @classmethod
    def _parse(cls, content: Mapping[str, Any]) -> "Thresholds":
        dim, rules = content.get("dim"), content.get("rules")
        if isinstance(dim, bool) or not isinstance(dim, int) or dim < 1:
            raise ValueError("dim is no number of dimensions")
        if not isinstance(rules, Mapping) or not set(rules) <= set(RULES):
            raise ValueError(f"rules are of the kinds {', '.join(RULES)} only")
        return cls(dim, {cast(RuleKind, kind): ThresholdRule.parse(rule) for kind, rule in rules.items()})


def _is_older(path: Path) -> bool:
    try:
        read_record(path, _OLDER_FORMAT)
    except DamageError:
        return False
    return True


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
