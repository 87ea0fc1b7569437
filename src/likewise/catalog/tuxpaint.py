"""Sample catalogue of the stamps of Tux Paint: pictures with captions, spoken descriptions and sounds."""

import csv
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from likewise.catalog.samples import render_svg, write_sample_folder
from likewise.errors import UserError
from likewise.progress import track

STAMPS = Path("/usr/share/tuxpaint/stamps")
PACKAGE = "tuxpaint-stamps-default"
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:_[A-Z]{2})?(?:@[a-z]+)?")
_LICENCE = f"""The stamps of Tux Paint, © 2002–2022 Bill Kendrick and contributors, GPL-2.
Source: https://tuxpaint.org, in Debian's package {PACKAGE}, whose copyright file has the details.
The table names the installed files; drawings that are vectors were rendered to PNGs in the folder images.
"""


@dataclass(frozen=True)
class _Row:
    id: str
    title: str
    category: str
    image: str
    spoken: str
    sound: str


def write_tuxpaint(folder: str | Path, *, language: str = "en", stamps: Path | None = None) -> Path:
    """Write a table of the stamps of Tux Paint that are installed, in a language.

    Args:
        folder: written to; must not exist yet, be empty, or be an earlier sample.
        language: of the captions and the spoken descriptions, such as fr. Captions that lack it are English; so are the
            66 descriptions that are spoken without a language.
        stamps: where they are installed; None: where Debian's package puts them.

    Returns:
        The path of the CSV, with the columns id, title (the caption), category (the folder), image, spoken and sound
        (an effect): the last three are paths of installed files, empty where a stamp has none.

    Raises:
        UserError: the package is not installed, the language is none, or the folder cannot be written.
    """
    if not _LANGUAGE.fullmatch(language):
        raise UserError(f"{language!r} is no language that stamps have: name one such as fr or pt_BR")
    stamps = STAMPS if stamps is None else stamps
    pictures = sorted([*stamps.rglob("*.png"), *stamps.rglob("*.svg")])
    if not pictures:
        raise UserError(f"the stamps of Tux Paint are not installed in {stamps}: apt-get install {PACKAGE}")

    def write_into(partial: Path) -> None:
        rows = list(_build_rows(pictures, stamps, language, partial / "images", Path(folder).expanduser().absolute()))
        with (partial / _name_table(language)).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(_Row)])
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)
        (partial / "ATTRIBUTION.txt").write_text(_LICENCE, encoding="utf-8")

    return write_sample_folder(folder, _name_table(language), write_into)


def _name_table(language: str) -> str:
    return f"tuxpaint-{language}.csv"


def _build_rows(pictures: list[Path], stamps: Path, language: str, rendered: Path, folder: Path) -> Iterator[_Row]:
    for picture in track(pictures, "Collecting stamps"):
        caption = _read_caption(picture.with_suffix(".txt"), language)
        is_drawing = picture.suffix == ".svg"
        if not caption or (is_drawing and picture.with_suffix(".png").exists()):
            continue
        stem = picture.relative_to(stamps).with_suffix("")
        image = str(picture)
        if is_drawing:
            name = f"{'-'.join(stem.parts)}.png"
            image = str(folder / "images" / name) if _render(picture, rendered / name) else ""
        spoken = f"_desc_{language}.ogg" if language != "en" else "_desc.ogg"
        yield _Row(
            id=str(stem),
            title=caption,
            category=stem.parts[0].lstrip("0123456789_"),
            image=image,
            spoken=_name_existing(picture.with_name(picture.stem + spoken)),
            sound=_name_existing(picture.with_suffix(".ogg")),
        )


def _render(drawing: Path, path: Path) -> bool:
    """Render a drawing, unless it is one that the renderer refuses."""
    try:
        render_svg(drawing.read_text(encoding="utf-8", errors="replace"), path)
    except ValueError:
        return False
    return True


def _name_existing(path: Path) -> str:
    return str(path) if path.exists() else ""


def _read_caption(path: Path, language: str) -> str:
    """The caption in a language, else the English one, which stands first."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    wanted = f"{language}.utf8="
    translated = next((line.removeprefix(wanted).strip() for line in lines if line.startswith(wanted)), "")
    return translated or (lines[0].strip() if lines else "")
