"""Which column of a file is the id, the title, the description and the image."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from likewise.errors import UserError

FIELDS = ("title", "description", "image")
COLUMNS = ("id", *FIELDS)
MOST_COLUMNS = 5_000  # of a file
_OWN_NAMES = {"id": "id", "title": "title", "description": "description", "image_url": "image", "image": "image"}
_EXPECTED = frozenset({"id", "title", "description", "imageurl", "image"})

# Names that catalogues use, in the order of preference, without case, spaces and punctuation.
_COMMON_NAMES: dict[str, tuple[str, ...]] = {
    "id": (
        *("id", "itemid", "productid", "sku", "asin", "uid", "uuid", "uniqid", "uniqueid", "articleid", "gtin", "ean"),
        *("isbn", "handle", "productcode", "code", "key"),
    ),
    "title": (
        *("title", "producttitle", "productname", "productdisplayname", "itemtitle", "itemname", "name", "displayname"),
        *("fullname", "headline", "heading", "label", "product", "item", "subject", "caption", "text"),
    ),
    "description": (
        *("description", "productdescription", "itemdescription", "longdescription", "desc", "bodyhtml", "body"),
        *("details", "productdetails", "abouttheproduct", "aboutproduct", "shortdescription", "summary", "abstract"),
        *("content", "features", "overview", "text", "caption"),
    ),
    "image": (
        *("imageurl", "image", "images", "imageurls", "mainimage", "mainimageurl", "primaryimage", "primaryimageurl"),
        *("imageurlhttp", "imagelink", "imagesrc", "imagepath", "imagefile", "imagefilename", "img", "imgurl", "imgs"),
        *("imgpath", "picture", "pictureurl", "pictures", "photo", "photourl", "photos", "cover", "coverurl"),
        *("coverimage", "thumbnail", "thumbnailurl", "thumb", "filename", "filepath", "file", "path"),
    ),
}


@dataclass(frozen=True)
class ColumnMap:
    """Our column → the file's column; columns that the file lacks are absent.

    Attributes:
        sources: "id", "title", "description", "image" → the file's name for it.
        guessed: those of `sources` whose name was neither given nor the expected one.
        notes: what was guessed and what is absent, one sentence each.
    """

    sources: dict[str, str]
    guessed: frozenset[str]
    notes: tuple[str, ...]


def parse_mapping(entries: Sequence[str]) -> dict[str, str]:
    """Options such as "title=product_name" as {ours: theirs}.

    Raises:
        UserError: an entry is not of that form.
    """
    pairs = [entry.partition("=") for entry in entries]
    for ours, equals, theirs in pairs:
        if not (ours and equals and theirs):
            raise UserError(f"--map {ours}{equals}{theirs}: write it as title=product_name")
    return {ours: theirs for ours, _, theirs in pairs}


def map_columns(found: Sequence[str], wanted: Mapping[str, str] | None = None) -> ColumnMap:
    """Match our columns with a file's.

    Args:
        found: the file's column names.
        wanted: our name ("image_url" also stands for "image") → the file's name, which wins over any guess.

    Raises:
        UserError: `wanted` names an unknown column on either side, or nothing can be the title.
    """
    sources = _check_given(found, wanted or {})
    given = frozenset(sources)
    taken = set(sources.values())
    # The title first: "text" or "caption" is the title where nothing better is, and the description elsewhere.
    for ours in ("title", "description", "image", "id"):
        if ours in sources:
            continue
        name = _guess_column(ours, [name for name in found if name not in taken])
        if name is not None:
            sources[ours] = name
            taken.add(name)
    if "title" not in sources:
        raise UserError(
            f"no column looks like the title; the columns are {format_names(found)}: "
            "name it with --map title=COLUMN (in Python: columns={'title': 'COLUMN'})"
        )
    guessed = frozenset(
        ours for ours, name in sources.items() if ours not in given and _simplify(name) not in _EXPECTED
    )
    notes = [f'the column "{sources[ours]}" is taken as the {ours}' for ours in COLUMNS if ours in guessed]
    for ours, consequence in (
        ("description", "items are known by their other fields"),
        ("image", "items are known by their texts"),
        ("id", "row numbers are the ids"),
    ):
        if ours not in sources:
            notes.append(f"there is no {ours} column: {consequence}")
    return ColumnMap(sources, guessed, tuple(notes))


def _check_given(found: Sequence[str], wanted: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(wanted, Mapping):
        raise UserError(f"columns must map our names to those of the file, such as {{'title': 'name'}}, not {wanted!r}")
    sources: dict[str, str] = {}
    for target, name in wanted.items():
        ours = _OWN_NAMES.get(target)
        if ours is None:
            raise UserError(
                f'cannot map "{target}": the columns that can be mapped are id, title, description and image_url'
            )
        if not isinstance(name, str) or not name.strip():
            raise UserError(f'the name of the column for "{target}" must be a text that is not blank, not {name!r}')
        sources[ours] = name if name in found else _find_name(name, found)
    return sources


def _find_name(name: str, found: Sequence[str]) -> str:
    """The only column that differs from `name` in case and surrounding blanks alone."""
    same = [other for other in found if other.strip().lower() == name.strip().lower()]
    if len(same) == 1:
        return same[0]
    raise unknown_column_error(name, found)


def check_width(width: int, name: str, kind: str = "columns") -> None:
    """See that a file has no more columns than a table of items can sensibly have.

    Raises:
        UserError: it has.
    """
    if width > MOST_COLUMNS:
        raise UserError(f"{name} has more than {MOST_COLUMNS:,} {kind}: it is not a table of items")


def check_ids(ids: Iterable[str]) -> None:
    """See that no two items have the same id, of which one would replace the other.

    Raises:
        UserError: two have; the message names it.
    """
    seen: set[str] = set()
    for id in ids:
        if id in seen:
            raise UserError(f"the id {id!r} occurs more than once: every item needs its own")
        seen.add(id)


def unknown_column_error(name: str, found: Sequence[str]) -> UserError:
    """The error for a column that does not exist, with names near it, else all of them."""
    near = find_similar_names(name, found)
    hint = f"did you mean {' or '.join(near)}?" if near else f"the columns are {format_names(found)}"
    return UserError(f'there is no column "{name}"; {hint}')


def find_similar_names(name: str, found: Sequence[str]) -> list[str]:
    """Up to three of `found` that look like `name`, case and punctuation aside."""
    by_plain = {_simplify(other): other for other in reversed(found)}
    plain = _simplify(name)
    near = difflib.get_close_matches(plain, list(by_plain), n=3, cutoff=0.6)
    contained = [other for other in by_plain if len(plain) > 2 and plain in other and other not in near]
    return [by_plain[other] for other in (near + contained)[:3]]


def format_names(names: Sequence[str], most: int = 30) -> str:
    """Names for a message, cut where there are very many."""
    shown = ", ".join(name[:60] for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown or "none"


def _guess_column(ours: str, found: Sequence[str]) -> str | None:
    exact = [name for name, meaning in _OWN_NAMES.items() if meaning == ours and name in found]
    if exact:
        return exact[0]
    by_plain = {_simplify(name): name for name in reversed(found)}
    return next((by_plain[common] for common in _COMMON_NAMES[ours] if common in by_plain), None)


def _simplify(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())
