"""Report of the problems of a catalogue, counted by cause, and of the assumptions made about it."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

EXAMPLES_PER_CAUSE = 5

# What each cause means, as the reports say it. A status that a server answered is counted as "http-404" and the like.
PICTURE_CAUSES: dict[str, str] = {
    "malformed-source": "cannot be read as a path or an address",
    "unknown-scheme": "is neither a path nor http(s), s3, gs, hf, file or data",
    "bucket-not-allowed": "lies in a bucket, which --allow-buckets allows",
    "no-object": "names an object that its bucket does not hold",
    "bucket-refused": "may not be read with the credentials of the environment",
    "network-path": "names a share of another machine",
    "outside-root": "lies outside the image root",
    "no-file": "names a file that does not exist",
    "not-a-file": "names a folder or a device instead of a file",
    "unreadable": "may not be read",
    "empty-file": "is empty",
    "not-a-picture": "is not a picture",
    "format-not-allowed": "has a format other than JPEG, PNG, WebP, GIF, BMP, TIFF and AVIF",
    "too-large": "has more bytes than allowed",
    "too-many-pixels": "has more pixels than allowed",
    "too-small": "is only a few pixels wide or high",
    "too-long": "is more than 250 times as long as it is wide",
    "truncated": "ends too early",
    "broken": "is damaged",
    "changed": "has changed since it was last read",
    "damaged-copy": "was damaged in the cache and will be downloaded or read again by the next run",
    "address-refused": "leads to an address that pictures may not come from",
    "port-refused": "names a port that pictures do not come from",
    "host-not-found": "names a host that does not exist",
    "connection-failed": "lies on a host that could not be reached",
    "host-given-up": "lies on a host that failed or was slow too often in this run; the next run asks it again",
    "connection-broken": "came from a host that broke off or did not speak HTTP",
    "timeout": "took too long to download",
    "too-many-redirects": "was redirected too often",
    "insecure-redirect": "was redirected from https to http",
    "compressed-answer": "came compressed although no compression was requested",
}

_ABOUT_PICTURES = ("not-a-picture", "too-many-pixels", "too-small", "too-long")
AUDIO_CAUSES: dict[str, str] = {
    **{cause: meaning for cause, meaning in PICTURE_CAUSES.items() if cause not in _ABOUT_PICTURES},
    "outside-root": "lies outside the folder that --image-root names",
    "address-refused": "leads to an address that recordings may not come from",
    "port-refused": "names a port that recordings do not come from",
    "not-audio": "is not a recording",
    "format-not-allowed": "has a format other than WAV, FLAC, MP3 and Ogg (Vorbis or Opus)",
    "no-samples": "is empty: it holds no samples",
    "too-short": "is shorter than a hundredth of a second",
    "too-many-seconds": "lasts longer than allowed",
    "too-many-channels": "has more channels than allowed",
    "sample-rate": "has a sample rate outside 1,000 to 384,000 Hz",
    "not-finite": "holds samples that are not finite numbers",
}
AUDIO_PREFIX = "audio-"  # of causes in reports, where pictures may fail for the same ones

# Cause → what happens to the rows that it counts.
CONSEQUENCES: dict[str, str] = {
    "empty-row": "the row is empty and is skipped",
    "no-content": "the row has no title, description or image and is skipped",
    "malformed-row": "the row cannot be read (unbalanced quotes, or not a JSON object) and is skipped",
    "long-row": "the row has more cells than the header and is skipped, because it is unclear which cells moved",
    "short-row": "the row has fewer cells than the header; the missing ones count as blank",
    "repaired-quotes": "the row has a stray quotation mark, which was taken literally",
    "undecodable-bytes": "the line holds bytes that are invalid in the file's encoding; they were replaced",
    "control-characters": "the row holds NUL or other control characters, which were removed",
    "duplicate-id": "the id occurred before; the first row wins and this one is skipped",
    "blank-id": "the row has no id; its row number is used instead",
    "blank-title": "the row has no title; its other fields are used",
    "blank-description": "the row has no description; its other fields are used",
    "blank-image": "the row has no picture; its texts are used",
    "null-word": "the text is the word null or nan and counts as blank",
    "html-removed": "HTML tags or entities in the text were turned into plain text",
    "broken-image-list": "the image cell looks like a JSON list but is not valid, so the item has no picture",
    "placeholder-picture": "the picture is shared by many unlike titles, so it is treated as a placeholder and ignored",
    "without-picture": "none of the row's pictures can be used; the item is kept with its texts",
    "hidden": "the file or folder is hidden and is skipped",
    "other-file": "the file is no picture and is skipped",
    "other-format": "the picture has a format other than JPEG, PNG, WebP, GIF, BMP, TIFF and AVIF and is skipped",
    "unreadable-file": "the file is empty, may not be read or is no regular file, and is skipped",
    "unreadable-folder": "the folder may not be read or lies too deep, and is skipped",
    "link-out-of-folder": "the link leads out of the folder, or nowhere, and is not followed",
    "link-to-folder": "the link leads to another folder in the folder, whose pictures are found where they lie",
    "undecodable-name": "the name of the file is not valid UTF-8, so it is skipped",
    "title-from-folder": "the name of the file has no words (such as IMG_0012), so the folder's name is the title",
    "equal-name": "a picture in another folder has the same name; their ids differ",
    "long-title": "the title is longer than the text encoder reads; the rest is ignored",
    "long-description": "the description is longer than the text encoder reads; the rest is ignored",
}


@dataclass
class Problem:
    """A cause, the number of times it occurred, and the first few rows (or ids) with it."""

    cause: str
    count: int = 0
    examples: list[str | int] = field(default_factory=list)

    @property
    def consequence(self) -> str:
        """The consequence for the affected rows, as a sentence without a full stop."""
        if self.cause in CONSEQUENCES:
            return CONSEQUENCES[self.cause]
        if self.cause.startswith(AUDIO_PREFIX):
            meaning = describe_audio_cause(self.cause.removeprefix(AUDIO_PREFIX))
            return f"the recording {meaning}; the item is kept without it"
        if self.cause in PICTURE_CAUSES or self.cause.startswith("http-"):
            return f"the picture {describe_picture_cause(self.cause)}; the item is kept without it"
        return "the row is used as far as possible"


class Report:
    """Problem counts by cause; the size does not grow with the catalogue.

    Attributes:
        rows: rows of data in the file, blank and unreadable ones included.
        usable: items that were made of them, before filters and sampling.
        notes: what was assumed or is absent, one sentence each.
        problems: cause → Problem, in the order of appearance.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.usable = 0
        self.notes: list[str] = []
        self.problems: dict[str, Problem] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Report(rows={self.rows}, usable={self.usable}, problems={self.as_dict()['problems']})"

    def count(self, cause: str, example: str | int | None = None, count: int = 1) -> None:
        """Add `count` to the count of `cause`; `example` is a row number or an id. Thread-safe."""
        if count < 1:
            return
        with self._lock:
            problem = self.problems.setdefault(cause, Problem(cause))
            problem.count += count
            if example is not None and len(problem.examples) < EXAMPLES_PER_CAUSE:
                problem.examples.append(example)

    def count_rows(self, cause: str, examples: Sequence[str | int]) -> None:
        """Count `cause` once for each of `examples`, row numbers or ids, of which the first few are kept."""
        for example in examples[:EXAMPLES_PER_CAUSE]:
            self.count(cause, example)
        self.count(cause, count=len(examples) - EXAMPLES_PER_CAUSE)

    def note(self, sentence: str) -> None:
        """Add a note, once."""
        with self._lock:
            if sentence not in self.notes:
                self.notes.append(sentence)

    def as_dict(self) -> dict[str, Any]:
        """The report as plain JSON values: `problems` maps causes to counts, `details` explains them."""
        problems = list(self.problems.values())
        return {
            "rows": self.rows,
            "usable": self.usable,
            "problems": {problem.cause: problem.count for problem in problems},
            "details": {
                problem.cause: {"consequence": problem.consequence, "examples": problem.examples}
                for problem in problems
            },
            "notes": self.notes,
        }

    def lines(self) -> list[str]:
        """The report as sentences for people: the sum, the notes, then the problems, most frequent first."""
        problems = sorted(self.problems.values(), key=lambda problem: -problem.count)
        found = [
            f"{problem.count:,} × {problem.cause}: {problem.consequence}{_format_examples(problem.examples)}"
            for problem in problems
        ]
        return [f"{self.usable:,} usable items from {self.rows:,} rows", *self.notes, *found]


def _format_examples(examples: list[str | int]) -> str:
    return f" (such as {', '.join(str(example)[:60] for example in examples)})" if examples else ""


def describe_picture_cause(cause: str) -> str:
    """Describe a cause as the end of a sentence that starts with "the picture"."""
    return _describe_cause(cause, PICTURE_CAUSES)


def describe_audio_cause(cause: str) -> str:
    """Describe a cause as the end of a sentence that starts with "the recording"."""
    return _describe_cause(cause, AUDIO_CAUSES)


def _describe_cause(cause: str, meanings: dict[str, str]) -> str:
    if cause.startswith("http-"):
        return f"was refused by its server with status {cause.removeprefix('http-')}"
    return meanings.get(cause, "cannot be used")
