"""Negations in a query: "isn't over 50" turns a comparison round, and "no shoes over 50" names no filter.

A rule sees a comparison or a value, and not what the words before it deny. "No shoes over 50" may mean shoes up to 50
or anything but shoes, so nothing is suggested; "shoes without laces under 50" denies the laces alone.
"""

import re
from collections.abc import Sequence

from likewise.retrieval.query_amounts import LINKS

NEGATIONS = r"but not|not|no|without|except|excluding|nicht|ohne|keine?|sauf|sans"

_VERBS = r"\w{2,7}n['’]t|(?:is|are|does|do|did|was|must|should)nt"
_BEFORE_COMPARISON = re.compile(
    r"(?<!\w)(?:(?:is|are|ist|sind|est|sont)\s+)?"
    rf"(?:not|no|never|nothing|cannot|without|except|{_VERBS}"
    r"|nicht|nichts|nie|kein\w{0,2}|ohne|pas|jamais|rien|sans|sauf)\s+"
    r"(?:(?:be|being|cost|costs|costing|priced|made|released|anything|coûter)\s+)?$",
    re.IGNORECASE,
)
_DENIAL = re.compile(
    rf"(?<!\w)(?:no|none|never|nothing|neither|nor|cannot|except|exclud(?:e|ing)|avoid|{_VERBS}|not(?!\s+(?:too|very|so)\b)"
    r"|nicht(?!\s+(?:zu|so|sehr)\b)|nichts|nie|niemals|kein\w{0,2}|außer|pas(?!\s+(?:ch[eè]r|trop))|jamais|rien|sauf"
    r"|aucune?)\s",
    re.IGNORECASE,
)
_DENIES_WHAT_FOLLOWS = re.compile(r"\s*(?:without|ohne|sans)\s", re.IGNORECASE)
_STOP = re.compile(r"[,;:!?()]|\.(?!\d)|(?<!\w)(?:but|aber|mais)(?!\w)(?!\s+(?:not|no)\b)", re.IGNORECASE)
_LINK_BEFORE = re.compile(rf"(?<!\w)(?:{LINKS})\s*$", re.IGNORECASE)
_LIST = re.compile(r"(?<!\w)(?:or|nor|and|oder|und|ou|ni|et)(?!\w)", re.IGNORECASE)


def find_negation(text: str, start: int) -> int | None:
    """Where a negation begins that stands right before `start`: "not", "isn't", "pas"; None without one."""
    found = _BEFORE_COMPARISON.search(text[:start])
    return found.start() if found else None


def is_denied(text: str, start: int, read: Sequence[tuple[int, int]]) -> bool:
    """Whether words before `start` deny what stands there: "no shoes over 50", "don't show me coats in black".

    A negation reaches up to the next comma, unless a list follows ("no shoes, boots or coats over 50"), and not beyond
    an "and", "for" or the like right before `start` ("no laces and under 50").

    Args:
        text: the query.
        start: where something begins that a rule has read.
        read: (start, end) of all that rules have read, whose negations belong to them.
    """
    if find_negation(text, start) is not None:
        return True
    before = text[:start]
    for first, last in read:
        before = before[:first] + "_" * (min(last, start) - first) + before[last:] if first < start else before
    if _LINK_BEFORE.search(before):
        return False
    clause = max((stop.end() for stop in _STOP.finditer(before) if not _LIST.search(before, stop.end())), default=0)
    return bool(_DENIAL.search(before, clause) or _DENIES_WHAT_FOLLOWS.match(before, clause))
