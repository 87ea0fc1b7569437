"""Files of the pages, read once from the package, under addresses that change with their content."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_ENTRIES = ("theme.js", "main.js", "judge.js")  # which pages load by themselves
_KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class Asset:
    """A file of a page.

    Attributes:
        kind: its media type.
        tag: its ETag.
    """

    content: bytes
    kind: str
    tag: str


@dataclass(frozen=True)
class Assets:
    """All files that a browser loads.

    Attributes:
        version: changes whenever one of them does, so that browsers may keep what they have for as long as they like.
        files: by name.
    """

    version: str
    files: Mapping[str, Asset]

    def address(self, name: str) -> str:
        """The path under which a file is answered."""
        return f"/page/{self.version}/{name}"

    def modules(self) -> list[str]:
        """The paths of the modules of the search page, which a browser may load before they are imported."""
        scripts = [name for name, asset in self.files.items() if asset.kind == "text/javascript"]
        return [self.address(name) for name in scripts if name not in _ENTRIES]


@cache
def load_assets() -> Assets:
    """Read the files of the package."""
    found: dict[str, Asset] = {}
    for file in sorted(files("likewise.serving.page").joinpath("app").iterdir(), key=lambda file: file.name):
        kind = _KINDS.get(file.name[file.name.rfind(".") :])
        if kind is not None:
            content = file.read_bytes()
            found[file.name] = Asset(content, kind, tag_of(content))
    whole = hashlib.sha256()
    for name, asset in found.items():
        whole.update(f"{name}\n{asset.tag}\n".encode())
    return Assets(whole.hexdigest()[:16], found)


def tag_of(content: bytes) -> str:
    """The ETag of some bytes."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'
