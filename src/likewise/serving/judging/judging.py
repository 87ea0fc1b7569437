"""What a server knows of judging: the judgements, the queries that were asked, and those that it was given."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from likewise.catalog.text import normalize_text
from likewise.evaluation.judgments.queries_to_judge import read_queries_to_judge
from likewise.serving.judging.asked_queries import AskedQueries, AskedQuery
from likewise.serving.judging.store import JudgementStore

FILE_NAME = "judgements.jsonl"


@dataclass(frozen=True)
class JudgingSettings:
    """How `likewise serve` lets people judge.

    Attributes:
        file: where judgements are kept, and the queries that were asked beside it.
        judge: take judgements.
        collect: collect the queries that are asked.
        queries: a file of queries to judge.
    """

    file: Path
    judge: bool = False
    collect: bool = False
    queries: Path | None = None

    @property
    def asked_file(self) -> Path:
        """Where the queries that were asked are kept."""
        return self.file.with_name(f"{self.file.stem}-queries.json")


@dataclass(frozen=True)
class QueriesToJudge:
    """The queries without a judgement, the most frequent first, and how far judging has come.

    Attributes:
        judged: queries that have one.
        total: queries with and without.
    """

    queries: list[AskedQuery]
    judged: int
    total: int


@dataclass(frozen=True)
class Judging:
    """Judgements and queries of a server.

    Attributes:
        store: None: nobody may judge here.
        asked: queries that were asked here; None: they are neither collected nor known.
        given: queries of a file, and how often each was asked.
    """

    store: JudgementStore | None = None
    asked: AskedQueries | None = None
    given: dict[str, int] = field(default_factory=dict)

    def list_queries(self, limit: int) -> QueriesToJudge:
        """At most `limit` queries that have no judgement yet.

        Raises:
            UserError: a file is damaged.
        """
        known: dict[str, AskedQuery] = {}
        asked = self.asked.list() if self.asked is not None else []
        for query in [*asked, *(AskedQuery(text, count) for text, count in self.given.items())]:
            key = normalize_text(query.text) or query.text
            before = known.get(key)
            known[key] = query if before is None else AskedQuery(before.text, before.count + query.count, before.last)
        judged = self.store.judged_texts() if self.store is not None else set()
        open_ = sorted((one for key, one in known.items() if key not in judged), key=lambda one: -one.count)
        return QueriesToJudge(open_[:limit], len(known) - len(open_), len(known))


NO_JUDGING = Judging()


@contextmanager
def opening_judging(settings: JudgingSettings | None) -> Iterator[Judging]:
    """Open the files of judging while the block runs.

    Raises:
        UserError: one cannot be read or written.
    """
    if settings is None or not (settings.judge or settings.collect):
        yield NO_JUDGING
        return
    given = read_queries_to_judge(settings.queries) if settings.queries is not None else {}
    store = JudgementStore(settings.file) if settings.judge else None
    asked = AskedQueries(settings.asked_file, collect=settings.collect)
    try:
        yield Judging(store, asked, given)
    finally:
        asked.close()
