"""Synonyms from a user's file: words or phrases that find what others are written as.

    sofa, couch, settee     each of them also finds the others
    tv => television        tv also finds television, but not the other way round

A line that begins with # is a comment, as in Solr's and Elasticsearch's files.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from likewise.catalog.text import split_words
from likewise.errors import UserError
from likewise.files import DamageError, FormatError, read_record, reason, write_record

Phrase = tuple[str, ...]

_LARGEST_FILE = 4_000_000  # bytes
_MOST_LINES = 50_000
_MOST_PHRASES = 50  # in a line
_LONGEST_PHRASE = 6  # words
_ARROW = "=>"
_FILE, _FORMAT = "synonyms.json", 1


@dataclass(frozen=True)
class Synonyms:
    """Which phrases also find which others.

    Attributes:
        phrases: phrase → others that will do instead; all as words without case and accents.
        skipped_lines: the numbers of lines, from 1, that hold no synonyms and were left out.

    Example:
        >>> import likewise as lw
        >>> index = lw.Index.open("runs/products", lw.Model.load("runs/products"))
        >>> synonyms = lw.Synonyms.parse("ring, circle")
        >>> index.search("red ring", hybrid=lw.Hybrid(synonyms=synonyms))[0].fields["title"]
        'red circle shirt'
    """

    phrases: Mapping[Phrase, tuple[Phrase, ...]] = field(default_factory=dict)
    skipped_lines: tuple[int, ...] = ()

    @classmethod
    def read(cls, file: str | Path) -> "Synonyms":
        """Read a file of synonyms.

        Raises:
            UserError: it cannot be read, is too large, is no text in UTF-8, or holds no synonyms.
        """
        try:
            with Path(file).open("rb") as opened:
                content = opened.read(_LARGEST_FILE + 1)
        except OSError as error:
            raise UserError(f"the synonyms {file} cannot be read: {reason(error)}") from None
        if len(content) > _LARGEST_FILE:
            raise UserError(f"the synonyms {file} have more than {_LARGEST_FILE:,} bytes")
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise UserError(f"the synonyms {file} are no text in UTF-8") from None
        return cls.parse(text, str(file))

    @classmethod
    def parse(cls, text: str, name: str = "given") -> "Synonyms":
        """Parse synonyms, one rule a line; lines without any are left out and their numbers kept.

        Args:
            name: of the file, for messages.

        Raises:
            UserError: there are too many lines, or none that holds synonyms.
        """
        lines = text.splitlines()
        if len(lines) > _MOST_LINES:
            raise UserError(f"the synonyms {name} have {len(lines):,} lines; the limit is {_MOST_LINES:,}")
        phrases: dict[Phrase, dict[Phrase, None]] = {}
        skipped = []
        for number, line in enumerate(lines, start=1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            rule = _parse_line(line)
            if rule is None:
                skipped.append(number)
                continue
            for one in rule[0]:
                phrases.setdefault(one, {}).update((other, None) for other in rule[1] if other != one)
        if not phrases:
            raise UserError(
                f"the synonyms {name} hold none: write lines such as 'sofa, couch, settee' or 'tv => television'"
            )
        return cls({phrase: tuple(others)[:_MOST_PHRASES] for phrase, others in phrases.items()}, tuple(skipped))

    def describe_skipped(self, name: str | Path) -> str | None:
        """One sentence about the lines that were left out; None: all were understood."""
        if not self.skipped_lines:
            return None
        count = "1 line" if len(self.skipped_lines) == 1 else f"{len(self.skipped_lines):,} lines"
        return f"{count} of {name} hold no synonyms and were left out, the first is line {self.skipped_lines[0]:,}"

    def find(self, words: Sequence[str]) -> Iterator[tuple[Phrase, tuple[Phrase, ...]]]:
        """The phrases that stand in some words, from the left and the longest first, each with its synonyms."""
        place = 0
        while place < len(words):
            for length in range(min(self._longest, len(words) - place), 0, -1):
                phrase = tuple(words[place : place + length])
                if phrase in self.phrases:
                    yield phrase, self.phrases[phrase]
                    place += length - 1
                    break
            place += 1

    @cached_property
    def words(self) -> frozenset[str]:
        """The words of all phrases that have synonyms."""
        return frozenset(word for phrase in self.phrases for word in phrase)

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self.phrases), default=0)


NO_SYNONYMS = Synonyms()


class SynonymsFile:
    """The synonyms of an index, kept in the folder of its run; follows what other processes write there.

    The file carries its checksum. Whoever wants to be rid of the synonyms removes it.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / _FILE
        self._known: tuple[tuple[int, int, int] | None, Synonyms] = (None, NO_SYNONYMS)

    def current(self) -> Synonyms:
        """The synonyms that are there now; none where there is no file.

        Raises:
            UserError: the file is damaged.
        """
        try:
            status = self._file.stat()
        except OSError:
            return NO_SYNONYMS
        state = (status.st_mtime_ns, status.st_size, status.st_ino)
        if self._known[0] != state:
            self._known = (state, self._read())
        return self._known[1]

    def write(self, synonyms: Synonyms) -> None:
        """Keep synonyms with the index.

        Raises:
            UserError: the file cannot be written.
        """
        rules = [[list(phrase), list(map(list, others))] for phrase, others in synonyms.phrases.items()]
        write_record(self._file, {"synonyms": rules}, _FORMAT)

    def _read(self) -> Synonyms:
        try:
            rules = read_record(self._file, _FORMAT)["synonyms"]
            return Synonyms({_read_phrase(phrase): tuple(map(_read_phrase, others)) for phrase, others in rules})
        except FileNotFoundError:
            return NO_SYNONYMS
        except (DamageError, FormatError) as error:
            raise UserError(f"{error}: index again with --synonyms FILE, or remove it") from None
        except (KeyError, TypeError, ValueError):
            raise UserError(f"{self._file} holds no synonyms: index again with --synonyms FILE, or remove it") from None


def _read_phrase(words: object) -> Phrase:
    """A phrase as JSON holds it.

    Raises:
        ValueError: it is none: no list of words, without any word, or too long.
    """
    if not isinstance(words, list) or not 0 < len(words) <= _LONGEST_PHRASE:
        raise ValueError("a phrase is a list of words")
    if not all(isinstance(word, str) and word for word in words):
        raise ValueError("a word is a text")
    return tuple(words)


def _parse_line(line: str) -> tuple[list[Phrase], list[Phrase]] | None:
    """What is looked for, and what else it finds; None: the line is no rule."""
    left, arrow, right = line.partition(_ARROW)
    if not arrow:
        phrases = _parse_phrases(left)
        return (phrases, phrases) if phrases is not None and len(set(phrases)) > 1 else None
    asked, found = _parse_phrases(left), _parse_phrases(right)
    return (asked, found) if asked and found and _ARROW not in right else None


def _parse_phrases(listed: str) -> list[Phrase] | None:
    phrases = [tuple(split_words(part)) for part in listed.split(",")]
    if len(phrases) > _MOST_PHRASES or not all(0 < len(phrase) <= _LONGEST_PHRASE for phrase in phrases):
        return None
    return phrases
