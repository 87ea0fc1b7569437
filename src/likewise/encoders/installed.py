"""What installed packages bring as entry points: encoders, and modalities for them."""

from importlib.metadata import entry_points
from typing import Any

from likewise.errors import UserError


def list_installed(group: str) -> list[str]:
    """The names of a group's entry points, sorted."""
    return sorted(entry_points(group=group).names)


def load_installed(group: str, name: str, wanted: type) -> Any:
    """The object of an entry point; None where no installed package brings one of this name.

    Args:
        group: such as likewise.encoders.
        name: of the entry point. Only this one is loaded.
        wanted: what the object has to be an instance of.

    Raises:
        UserError: the package does not work, or brings something else.
    """
    found = entry_points(group=group, name=name)
    if not found:
        return None
    entry = next(iter(found))
    try:
        loaded = entry.load()
    except Exception as error:  # a package of someone else may fail in any way
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{group} {name} cannot be loaded from {entry.value} ({reason[:200]})") from None
    if not isinstance(loaded, wanted):
        raise UserError(f"{group} {name}: {entry.value} must be a {wanted.__name__}, and is a {type(loaded).__name__}")
    return loaded
