"""The units of the game Battle for Wesnoth as a catalogue: small drawings with a name and a paragraph about each.

Nothing of likewise was chosen with a look at it. Debian's package wesnoth-1.16-data holds it (GPL and CC BY-SA 4.0).
"""

import re
from pathlib import Path

import polars as pl

from likewise.errors import UserError

DATA = Path("/usr/share/games/wesnoth")
_VALUE = re.compile(r'^\s*(id|name|image|race|description)\s*=\s*_?\s*("(?:[^"]|"")*"|[^\n#]*)', re.MULTILINE)
_PICTURE = re.compile(r"[\w/.+-]{1,200}\.png")
_MARKUP = re.compile(r"<[^>]*>")


def write_units(target: Path, folder: Path = DATA) -> Path:
    """Write a CSV with id, title, description and image_url: one row for every unit with a description and a picture.

    The description begins with the unit's race. Names are common in descriptions, as they are in shops.

    Raises:
        UserError: the game's data are not installed.
    """
    rows = []
    for core in sorted(folder.glob("*/data/core")):
        for file in sorted(core.glob("units/**/*.cfg")):
            row = _row(file.read_text(encoding="utf-8"), core / "images")
            rows += [row] if row is not None else []
    if not rows:
        raise UserError(f"there are no units in {folder}: apt-get install wesnoth-1.16-data brings them")
    pl.DataFrame(rows).unique("id", keep="first", maintain_order=True).write_csv(target)
    return target


def _row(text: str, images: Path) -> dict[str, str] | None:
    """The values of the unit itself, which stand before those of its attacks and variants."""
    values = dict(reversed([(name, _clean(value)) for name, value in _VALUE.findall(text)]))
    shown = _PICTURE.match(values.get("image", ""))
    if shown is None or not all(values.get(name) for name in ("id", "name", "description")):
        return None
    picture = images / shown[0]
    if not picture.is_file():
        return None
    race = f"Race: {values['race']}. " if values.get("race") else ""
    return {
        "id": values["id"],
        "title": values["name"],
        "description": race + values["description"],
        "image_url": str(picture.absolute()),
    }


def _clean(value: str) -> str:
    return " ".join(_MARKUP.sub(" ", value.strip().strip('"').replace('""', '"')).split())
