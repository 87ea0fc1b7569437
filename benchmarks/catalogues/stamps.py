"""The stamps of Tux Paint as a catalogue: drawings and photos with a caption, sorted into folders by subject."""

import re
from pathlib import Path

import polars as pl

from likewise.errors import UserError

STAMPS = Path("/usr/share/tuxpaint/stamps")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def write_stamps(target: Path, folder: Path = STAMPS) -> Path:
    """Write a CSV with id, title, description and image_url: one row for every PNG that has an English caption.

    The title is the caption's first sentence; the description is what follows it, and the names of the folders that
    the stamp is sorted into. The file's own name would often give the title away, so it is the id and nothing else.

    Raises:
        UserError: the stamps are not installed.
    """
    rows = [row for picture in sorted(folder.rglob("*.png")) if (row := _row(picture, folder)) is not None]
    if not rows:
        raise UserError(f"there are no stamps in {folder}: apt-get install tuxpaint-stamps-default brings them")
    pl.DataFrame(rows).write_csv(target)
    return target


def _row(picture: Path, folder: Path) -> dict[str, str] | None:
    caption = _english_caption(picture.with_suffix(".txt"))
    if not caption:
        return None
    title, *rest = _SENTENCE.split(caption, maxsplit=1)
    place = picture.relative_to(folder).parent
    subjects = ", ".join(part.lstrip("0123456789_") or part for part in place.parts)
    return {
        "id": str(place / picture.stem),
        "title": title.removesuffix("."),
        "description": " ".join([*rest, f"Subject: {subjects}."]),
        "image_url": str(picture),
    }


def _english_caption(path: Path) -> str:
    """The first line of a caption file; translations follow it."""
    try:
        with path.open(encoding="utf-8") as lines:
            return next(lines, "").strip()
    except FileNotFoundError:
        return ""
