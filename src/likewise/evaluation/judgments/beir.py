"""Folders in the layout of BEIR: corpus.jsonl, queries.jsonl and qrels/test.tsv (Thakur et al., 2021)."""

from pathlib import Path

from likewise.errors import UserError

_CORPUS, _QUERIES, _QRELS = "corpus.jsonl", "queries.jsonl", "qrels"


def is_beir(folder: Path) -> bool:
    """Whether a path is a folder with a corpus and queries."""
    return (folder / _CORPUS).is_file() and (folder / _QUERIES).is_file()


def corpus_file(folder: Path) -> Path:
    """The catalogue of such a folder; its columns _id, title and text are id, title and description to us."""
    return folder / _CORPUS


def find_judged_files(folder: Path) -> tuple[Path, Path]:
    """The judgements and the queries: qrels/test.tsv, else the only file of qrels/.

    Raises:
        UserError: there is no such file, or one would have to choose.
    """
    qrels = folder / _QRELS / "test.tsv"
    if qrels.is_file():
        return qrels, folder / _QUERIES
    found = sorted((folder / _QRELS).glob("*.tsv"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "no .tsv file"
        raise UserError(f"{folder / _QRELS} holds {names}: a BEIR folder needs qrels/test.tsv")
    return found[0], folder / _QUERIES
