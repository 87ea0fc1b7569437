"""What a loss puts side by side: vectors, what makes them the same thing, how relevant they are to each other."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from likewise.training.forms import Form


@dataclass(frozen=True)
class Side:
    """Vectors and what they are.

    Attributes:
        vectors: (n, dim) unit vectors.
        same: (n, kinds) int64 codes: two vectors that share one of any kind are the same thing; −1 shares with nothing.
        related: (n, other kinds) int64 codes: two that share one of these are too much alike to be told apart.
    """

    vectors: Tensor
    same: Tensor
    related: Tensor

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, places: slice | Tensor) -> "Side":
        return Side(self.vectors[places], self.same[places], self.related[places])

    def in_form(self, form: Form) -> "Side":
        """The same with vectors in another form."""
        return dataclasses.replace(self, vectors=form(self.vectors))

    @classmethod
    def joined(cls, sides: Sequence["Side"]) -> "Side":
        """One after the other."""
        return cls(
            torch.cat([side.vectors for side in sides]),
            torch.cat([side.same for side in sides]),
            torch.cat([side.related for side in sides]),
        )


@dataclass(frozen=True)
class Grades:
    """How relevant items are to queries.

    Attributes:
        graded: (pairs,) bool: the pair's anchor is a query with graded answers.
        relevance: (pairs,) float, 0 or more: of the pair's item to the query of its own row.
    """

    graded: Tensor
    relevance: Tensor

    @property
    def weight(self) -> Tensor:
        """(pairs,) how much a pair counts."""
        return torch.where(self.graded, self.relevance, 1.0)


@dataclass(frozen=True)
class Contrast:
    """What a batch puts side by side.

    Attributes:
        anchors, items: (pairs, …): each anchor and the item that answers it.
        beside_items: further candidates of the anchors.
        beside_anchors: further candidates of the items.
        grades: of the pairs.
        own: which of the pairs ask here; the others, of other processes, are candidates only. None: all of them.
        summed: adds a number up over all processes.
    """

    anchors: Side
    items: Side
    beside_items: Side | None = None
    beside_anchors: Side | None = None
    grades: Grades | None = None
    own: slice | None = None
    summed: Callable[[Tensor], Tensor] = lambda number: number

    def in_form(self, form: Form) -> "Contrast":
        """The same with all vectors in another form."""
        return dataclasses.replace(
            self,
            anchors=self.anchors.in_form(form),
            items=self.items.in_form(form),
            beside_items=self.beside_items and self.beside_items.in_form(form),
            beside_anchors=self.beside_anchors and self.beside_anchors.in_form(form),
        )

    def without_absent(self) -> "Contrast":
        """Pairs of weight 0 taken out."""
        if self.grades is None or bool((keep := self.grades.weight > 0).all()):
            return self
        own = self.own and slice(int(keep[: self.own.start].sum()), int(keep[: self.own.stop].sum()))
        return dataclasses.replace(
            self,
            anchors=self.anchors[keep],
            items=self.items[keep],
            grades=Grades(self.grades.graded[keep], self.grades.relevance[keep]),
            own=own,
        )
