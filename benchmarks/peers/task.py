"""What a system is given: rows to learn from, rows to choose by, questions to answer at the end."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from likewise.catalog.catalog import Catalog
from likewise.catalog.identity import Identity
from likewise.evaluation.task import RetrievalTask, TaskOptions
from likewise.training.split import Split, split_rows
from peers.clock import Clock
from peers.seen import Seen

FIELDS = ("title", "description", "image")


@dataclass(frozen=True)
class Task:
    """One catalogue on one clock.

    Attributes:
        file: the CSV, with a column `split`.
        work: a folder that is the system's own; nothing lies in it from before.
        seed: of every random choice.
        threads: processor threads that the system may use.
        shared_cache: a folder for features that other trainings use, too; None: nothing is cached from one to the next.
    """

    file: Path
    work: Path
    clock: Clock
    seed: int
    threads: int
    shared_cache: Path | None = None

    @property
    def cache(self) -> Path:
        """Where pictures and features are cached."""
        return self.shared_cache or self.work / "cache"

    @cached_property
    def catalog(self) -> Catalog:
        """All rows."""
        return Catalog.read(self.file, cache=self.cache)

    @cached_property
    def train(self) -> Catalog:
        """The rows to learn from."""
        return self._parts[0]

    @cached_property
    def validation(self) -> Catalog:
        """The rows to choose weights and settings by."""
        return self._parts[1]

    @cached_property
    def given(self) -> Catalog:
        """All rows but those that the questions are about."""
        return self.catalog.select(np.setdiff1d(np.arange(len(self.catalog)), self._split.test))

    @cached_property
    def test(self) -> Catalog:
        """The rows that the questions are about."""
        return self._parts[2]

    @cached_property
    def questions(self) -> RetrievalTask:
        """Titles of test rows that look for test rows."""
        return titles_look_for_items(self.test)

    @cached_property
    def validation_questions(self) -> RetrievalTask:
        """The same about validation rows."""
        return titles_look_for_items(self.validation)

    def score(self, seen: Seen) -> float:
        """How good a system is on the validation rows: the headline metric, averaged over the ways to see items."""
        asked = self.validation_questions
        metrics = [asked.evaluate("", scores, asked.relevant).metrics[asked.metric] for scores in seen.views().values()]
        return float(np.mean([np.nanmean(figures) for figures in metrics]))

    @cached_property
    def _split(self) -> Split:
        # likewise's own reading of the column, so that no system learns from a row that another is asked about
        return split_rows(
            self.catalog, Identity.read(self.catalog), column="split", validation=0.0, test=0.0, seed=self.seed
        )

    @cached_property
    def _parts(self) -> tuple[Catalog, Catalog, Catalog]:
        split = self._split
        train, validation, test = (self.catalog.select(rows) for rows in (split.train, split.validation, split.test))
        return train, validation, test


def titles_look_for_items(catalog: Catalog) -> RetrievalTask:
    """Every distinct title is a query; the rows that bear it are its answers, seen through all their other fields."""
    return TaskOptions(catalog, FIELDS).build()
