"""Tags: a set of categories, whose vectors and words are averaged."""

from typing import Any

from likewise.encoders.category import CategoryEncoder


class TagsEncoder(CategoryEncoder):
    """Sets of values to (64,): the mean of their vectors, as of `CategoryEncoder`."""

    family = "tags"

    @staticmethod
    def split(value: Any) -> tuple[str, ...]:
        """The tags of one cell, each once."""
        return tuple(dict.fromkeys(value))
