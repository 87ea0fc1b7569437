"""Typed results of evaluations and trainings: the contents of a run's `metrics.json`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field, model_validator

from likewise.errors import UserError
from likewise.evaluation.significance import Interval, Number, Verdict, verdict
from likewise.files import write_file
from likewise.model.run_folder import METRICS
from likewise.parsing import read_bounded

if TYPE_CHECKING:
    from likewise.model.model import Model

FILE_NAME = METRICS
TRAINED, START = "trained", "start"  # what tables call a model, and what it was when its training began
UNTRAINED, ZERO_SHOT = "untrained", "zero-shot"  # before any training; the latter finds pictures by words even so
_MOST_BYTES = 64_000_000


class Result(BaseModel):
    """The base of all results: immutable; keys of a later version are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _escape_surrogates(cls, values: Any) -> Any:
        return _encodable(values)  # names of files need not be UTF-8; JSON and pages have to


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_encodable(key): _encodable(entry) for key, entry in value.items()}
    return [_encodable(entry) for entry in value] if isinstance(value, list) else value


class SystemResult(Result):
    """How one system did on one subset: a mean and interval for each metric."""

    name: str
    metrics: dict[str, Interval]
    ranks: list[int] = []  # queries by the rank of their first right answer (`ranks.RANK_EDGES`); empty: not counted


class SubsetResult(Result):
    """Results of the trained model, which comes first, and its baselines on one subset of the fields."""

    subset: str  # a key, such as "all" or "image"
    label: str  # the same in words that follow "on"
    queries: int  # queries that have an answer
    candidates: int
    systems: list[SystemResult]
    baseline: str | None  # the strongest one by the headline metric
    differences: dict[str, Interval]  # trained - strongest baseline, for each metric, paired by query
    gains: dict[str, Interval]  # trained - start, likewise: what training added; empty where no start was measured

    def system(self, name: str) -> SystemResult:
        """The result of the system called `name`."""
        return next(system for system in self.systems if system.name == name)

    @property
    def trained(self) -> SystemResult:
        """The trained model's result."""
        return self.systems[0]


class Comparison(Result):
    """All subsets; the first one decides the verdict."""

    metric: str  # the headline metric
    subsets: list[SubsetResult] = Field(min_length=1)

    @property
    def is_trained(self) -> bool:
        """Whether the model that is compared was trained."""
        return self.subsets[0].trained.name not in (UNTRAINED, ZERO_SHOT)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def verdict(self) -> Verdict:
        """Better, no difference or worse than the strongest baseline, on the first subset by the headline metric."""
        return self.verdict_on(self.subsets[0])

    @computed_field  # type: ignore[prop-decorator]
    @property
    def sentence(self) -> str:
        """The verdict with its figures, in one line."""
        untrained = "" if self.is_trained else " (nothing was trained)"
        return f"Verdict{untrained}: {self.sentence_on(self.subsets[0])}"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def training_verdict(self) -> Verdict | None:
        """Better, no difference or worse than the start of the training; None where no start was measured."""
        return self.training_verdict_on(self.subsets[0])

    @computed_field  # type: ignore[prop-decorator]
    @property
    def training_sentence(self) -> str | None:
        """What training added to its start, in one line; None where no start was measured."""
        return self.training_sentence_on(self.subsets[0])

    def training_verdict_on(self, subset: SubsetResult) -> Verdict | None:
        """`training_verdict` of one subset."""
        return verdict(subset.gains[self.metric]) if subset.gains else None

    def training_sentence_on(self, subset: SubsetResult) -> str | None:
        """`training_sentence` of one subset."""
        if not subset.gains or not subset.queries:
            return None
        return describe_gain(self.metric, subset.gains[self.metric])

    def verdict_on(self, subset: SubsetResult) -> Verdict:
        """The verdict of one subset."""
        return verdict(subset.differences[self.metric]) if subset.baseline else "no difference"

    def sentence_on(self, subset: SubsetResult) -> str:
        """The verdict of one subset with its figures, in one line."""
        ours = subset.trained.metrics[self.metric]
        if not subset.queries:
            return f"NO DIFFERENCE can be shown on {subset.label}: no query has an answer"
        if subset.baseline is None:
            return f"no baseline was measured on {subset.label}: {self.metric} {ours.mean:.2f}"
        theirs, difference = subset.system(subset.baseline).metrics[self.metric], subset.differences[self.metric]
        words = {
            "better": f"BETTER than the strongest baseline ({subset.baseline})",
            "worse": f"WORSE than the strongest baseline ({subset.baseline})",
            "no difference": f"NO DIFFERENCE from the strongest baseline ({subset.baseline})",
        }[self.verdict_on(subset)]
        figures = (
            f"{self.metric} {ours.mean:.2f} vs {theirs.mean:.2f}, "
            f"difference {difference.mean:+.2f} [{difference.low:.2f}, {difference.high:.2f}]"
        )
        few = f"; {difference.groups} identities are too few to tell" if difference.few_groups else ""
        return f"{words} on {subset.label}: {figures}{few}"


def describe_gain(metric: str, gain: Interval, training: str = "Training") -> str:
    """What a training added to its start, in one line.

    Args:
        metric: its name.
        gain: trained - start, paired by query.
        training: the subject of the sentence.
    """
    sentence = f"{training} changed {metric} by {gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] over its start"
    if gain.few_groups:
        return f"{sentence}; {gain.groups} identities are too few to tell"
    return f"{sentence}: no measurable difference" if verdict(gain) == "no difference" else sentence


class Threshold(Result):
    """A score below which nothing fits, and what it does."""

    score: Number
    kept: Number  # share of the searches with an answer whose best score is at least as much
    refused: Number  # share of the same searches whose best score is less once their answers are taken out
    queries: int

    @property
    def sentence(self) -> str:
        """What it means and what it does, in one line."""
        return (
            f"A best score below {self.score:.2f} most likely means that nothing fits: of {self.queries:,} searches "
            f"with an answer {1 - self.kept:.0%} lie below it, and {self.refused:.0%} once their answers are taken out."
        )


class FrontierPoint(Result):
    """How good the model is a share `alpha` of the way from where training began to where it ended."""

    alpha: Number
    metrics: dict[str, Number]


class Frontier(Result):
    """Interpolation between all weights at the start and at the end of training (WiSE-FT; Wortsman et al., 2022)."""

    points: list[FrontierPoint] = Field(min_length=1)
    chosen: Number  # the alpha of the model that was saved


class Epoch(Result):
    """One line of the training history; epoch 0 is the untrained model."""

    epoch: int
    step: int
    loss: Number | None = None  # mean training loss
    validation: Number | None = None  # the metric that chooses the best checkpoint
    learning_rate: Number | None = None
    temperature: Number | None = None
    seconds: Number = 0.0  # of this epoch, validation included
    minutes: Number | None = None  # wall-clock since the training began; None: the sum of `seconds`
    stage: str | None = None  # of a staged recipe, such as "heads" or "last blocks"


class CrossValidation(Result):
    """What chose the shares of a stacked training, on rows that had been held out."""

    folds: int
    queries: int  # of all folds together, each asked on every field subset
    metric: str
    start: Number  # mean score of the best closed-form start
    chosen: Number  # with the chosen shares of a closed form and of what training learned
    gain: Interval  # chosen − start, over queries; slightly optimistic, as it chose the shares
    shares: dict[str, Number]  # by part of the towers, 0 to 1
    seeds: int = 1  # trainings whose mean is what was learned

    @property
    def sentence(self) -> str:
        """What cross-validation measured of the learned parts, in one line."""
        held_out = f"held out by {self.folds} folds" if self.folds > 1 else "that were held out"
        subject = f"On rows {held_out} ({self.queries:,} queries), what training learned"
        return describe_gain(self.metric, self.gain, subject) + "."


class EncoderNote(Result):
    """An encoder of the model."""

    name: str  # its registry string
    modality: str
    licence: str | None = None  # of its weights


def describe_encoders(model: "Model") -> list[EncoderNote]:
    """Notes on the encoders of a model, without those that are fitted to a column."""
    encoders = [encoder for encoder in model.encoders.values() if not encoder.fitted]
    return [EncoderNote(name=one.name, modality=one.modality, licence=one.licence) for one in encoders]


class DataNote(Result):
    """What was trained and measured on."""

    source: str  # the file's name
    items: int
    training_items: int
    validation_items: int
    test_items: int = 0
    fields: list[str]
    split: str  # how the validation part was drawn, in words
    query: str | None = None  # the field that the queries were taken from


class RunMetrics(Result):
    """Everything that `report.html` and the model card show."""

    format: Literal[3] = 3
    name: str  # of the run folder
    created: str  # ISO 8601
    data: DataNote
    comparison: Comparison | None  # None where the held-out items left nothing to ask
    validation_metric: str  # what `Epoch.validation` holds
    history: list[Epoch] = []
    best_epoch: int | None = None
    frontier: Frontier | None = None
    cross_validation: CrossValidation | None = None
    refit_items: int | None = None  # rows of the model in the run, fitted once the figures were there; None: no refit
    threshold: Threshold | None = None  # chosen on items that the model had not seen
    catalogue: dict[str, Any] = {}  # catalog.report.Report.as_dict()
    settings: dict[str, Any] = {}
    encoders: list[EncoderNote] = []
    software: dict[str, str] = {}
    seconds: dict[str, float] = {}  # stage → wall time
    notes: list[str] = []  # what a reader of the figures must know, one sentence each

    @property
    def trained(self) -> bool:
        """Whether the run's model was trained; that of `likewise new` was not."""
        return self.data.training_items > 0

    def write(self, run: Path) -> Path:
        """Write `metrics.json` into the run folder, in one step."""
        target = run / FILE_NAME
        write_file(target, self.model_dump_json(indent=2) + "\n")
        return target

    @classmethod
    def read(cls, run: Path) -> "RunMetrics":
        """Read a run's `metrics.json`.

        Raises:
            UserError: there is none, or it is not one.
        """
        target = Path(run) / FILE_NAME
        try:
            return cls.model_validate_json(read_bounded(target, _MOST_BYTES))
        except OSError:
            raise UserError(f"{run} holds no {FILE_NAME}: is it a finished run of likewise train?") from None
        except ValueError:  # pydantic's own are such
            raise UserError(
                f"{target} is not a metrics file of this version of likewise; train the run again"
            ) from None
