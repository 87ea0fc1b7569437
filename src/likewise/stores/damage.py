"""The one sentence for a store that cannot be read."""

from likewise.errors import UserError
from likewise.files import DamageError, explain_damage


def explain_damaged_store(place: object, error: Exception) -> UserError:
    """Say that the store at a place is damaged, or was written by another version of likewise, and the way out.

    Args:
        place: a location or folder.
        error: what reading it raised; a `DamageError` is quoted.
    """
    cause = f" ({error})" if isinstance(error, DamageError) else ""
    return explain_damage(
        error,
        older=f"the store at {place} cannot be used: build it again{cause}",
        damaged=f"the store at {place} is missing or damaged: build it again{cause}",
    )
