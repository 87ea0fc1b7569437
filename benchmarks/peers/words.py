"""BM25 over the texts that an item shows."""

from likewise.evaluation.baselines import bm25_scores
from peers.seen import Seen
from peers.task import Task


def bm25(task: Task) -> tuple[Seen, dict[str, object]]:
    """Words alone; to a search for words a picture is blank."""
    asked = task.questions
    documents = asked.documents(("description",))
    scores = bm25_scores(asked.texts, documents or [])(slice(None))
    return Seen(scores, scores, None), {"seconds": task.clock.spent}
