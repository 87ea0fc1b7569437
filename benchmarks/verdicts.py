"""What was promised of a number of items, and what came out."""

from dataclasses import dataclass, field
from typing import Any

from likewise.progress import say


@dataclass
class Verdicts:
    """What was promised, and what came out."""

    rows: int
    lines: list[dict[str, Any]] = field(default_factory=list)

    def at_most(self, what: str, measured: float, limit: float) -> None:
        self._add(what, measured, f"at most {limit:g}", measured <= limit)

    def at_least(self, what: str, measured: float, limit: float) -> None:
        self._add(what, measured, f"at least {limit:g}", measured >= limit)

    def either(self, what: str, ratio: float, most: float, more: float, most_more: float) -> None:
        """A ratio, or where that is lost in what a call costs anyway, a difference in milliseconds."""
        met = ratio <= most or more <= most_more
        self._add(what, ratio, f"at most {most:g}, or {most_more:g} ms more", met, {"ms more": round(more, 4)})

    def _add(self, what: str, measured: float, limit: str, met: bool, beside: dict[str, float] | None = None) -> None:
        line = {"items": self.rows, "target": what, "measured": round(measured, 4), **(beside or {}), "limit": limit}
        self.lines.append(line | {"verdict": "PASS" if met else "MISS"})
        say(f"  {shown(self.lines[-1])}")


def shown(line: dict[str, Any]) -> str:
    """A verdict as people read it."""
    more = f", {line['ms more']:+.3f} ms" if "ms more" in line else ""
    return f"{line['verdict']}  {line['items']:,} items  {line['target']}: {line['measured']:g}{more} ({line['limit']})"
