"""When two texts count as the same: in identities, in splits, and in the answers of an evaluation."""

import unicodedata


def normalised(text: str | None) -> str | None:
    """Text as identities compare it: Unicode-normalised, case-folded, with single spaces."""
    return None if text is None else " ".join(unicodedata.normalize("NFKC", text).casefold().split())
