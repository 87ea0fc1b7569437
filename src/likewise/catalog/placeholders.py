"""Detection of placeholder pictures: one file that many unrelated titles share."""

import itertools
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from likewise.catalog.images.picture import Picture
from likewise.catalog.report import Report

LEAST_TITLES = 5  # captions of one photograph come in fives at most, and resemble each other
MOST_OVERLAP = 0.1  # mean share of words in common; variants of a product lie far above
_TITLES_COMPARED = 40  # pairs grow with the square
_WORD = re.compile(r"[^\W\d_]+")
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]")  # scripts that write no spaces


def drop_placeholders(
    pictures: Sequence[tuple[Picture, ...]], titles: Sequence[str | None], ids: Sequence[str], report: Report
) -> list[tuple[Picture, ...]]:
    """Remove placeholder pictures from every row and count them as "placeholder-picture" in the report.

    Args:
        pictures: those of each row.
        titles: of the same rows; rows without one do not vote.
        ids: of the same rows, for the report's examples.
    """
    placeholders = find_placeholders(pictures, titles)
    if not placeholders:
        return list(pictures)
    kept: list[tuple[Picture, ...]] = []
    for row, of_item in zip(ids, pictures, strict=True):
        remaining = tuple(picture for picture in of_item if picture.key not in placeholders)
        report.count("placeholder-picture", row, len(of_item) - len(remaining))
        kept.append(remaining)
    return kept


def find_placeholders(pictures: Sequence[tuple[Picture, ...]], titles: Sequence[str | None]) -> Mapping[str, int]:
    """Find placeholder pictures: key → number of different titles that share it."""
    sharing: defaultdict[str, set[str]] = defaultdict(set)
    for of_item, title in zip(pictures, titles, strict=True):
        for picture in of_item:
            if title:
                sharing[picture.key].add(title.lower())
    return {
        key: len(different)
        for key, different in sharing.items()
        if len(different) >= LEAST_TITLES and compute_mean_overlap(sorted(different)) < MOST_OVERLAP
    }


def compute_mean_overlap(titles: Sequence[str]) -> float:
    """Compute the mean Jaccard index of the titles' words over all pairs, in [0, 1]; long lists are subsampled."""
    step = max(1, len(titles) // _TITLES_COMPARED)
    words = [_split_words(title) for title in titles[::step][:_TITLES_COMPARED]]
    overlaps = [len(one & other) / max(len(one | other), 1) for one, other in itertools.combinations(words, 2)]
    return sum(overlaps) / len(overlaps) if overlaps else 1.0


def _split_words(title: str) -> frozenset[str]:
    return frozenset(_WORD.findall(_UNSPACED.sub(r" \g<0> ", title.lower())))
