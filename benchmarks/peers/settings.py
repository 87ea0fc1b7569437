"""The settings of the peers that are tuned on validation rows."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

Tower = Literal["full", "locked"]

PEERS = ("sentence-transformers", "two-tower")


@dataclass(frozen=True)
class PeerSettings:
    """What is tuned.

    Attributes:
        picture_tower: "full" trains the whole picture encoder; "locked" freezes it, so that it runs once per picture
            and training goes through many more epochs (Zhai et al. 2022, https://arxiv.org/abs/2111.07991).
        learning_rate: of the encoders.
        batch_size: pairs that are told apart; no title twice among them.
        head_learning_rate: of the projections, which start at random.
    """

    picture_tower: Tower = "full"
    learning_rate: float = 5e-5
    batch_size: int = 64
    head_learning_rate: float = 1e-3

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Self:
        """From JSON."""
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def varied(self, **changes: Any) -> Self:
        """The same with some values changed."""
        return replace(self, **changes)


# One setting at a time, each with the best of those before it: three times cheaper than the whole grid.
GRID: dict[str, tuple[Any, ...]] = {
    "picture_tower": ("full", "locked"),
    "learning_rate": (2e-5, 5e-5, 1.5e-4),
    "batch_size": (32, 64, 128),
    "head_learning_rate": (1e-3, 3e-3),
}
