"""Heads: from an encoder's features to the shared space.

Every head is a map that means something from the start, plus a residual that starts at zero. The map of a text head is
an isometry, so the untrained text space is the encoder's own; pictures begin at the names of their encoder's classes,
where it has any. What a closed form finds replaces the map of pictures, and is added to that of descriptions
(`Network.set_base_map`).
"""

from collections.abc import Callable, Mapping
from typing import Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

Shift = Callable[[Tensor], Tensor]  # (n, width) → (n, dim)

_LEAST_VARIANCE = 1e-6  # its root has a gradient
# Chosen on two catalogues (benchmarks/zero_shot.py): probabilities are less certain than the classifier's, and a part
# of what all class names have in common is taken away. Without any of it left, uncertain pictures would point anywhere;
# so they stay near the middle, where they hide fewer others, and where an item's text counts more.
_TEMPERATURE, _COMMON_PART = 1.5, 0.3
_SHARE_OF_VALUES = 0.1  # of a category's own vector before training, where its words have 1


def isometry(width: int, dim: int) -> nn.Linear:
    """A fixed linear map (…, width) → (…, dim) that keeps angles: the identity, or orthonormal rows or columns.

    With width ≤ dim all cosines are kept exactly; with width > dim it is an orthonormal projection, which keeps them
    approximately (Johnson and Lindenstrauss, 1984).
    """
    linear = nn.Linear(width, dim, bias=False).requires_grad_(False)
    if width == dim:
        nn.init.eye_(linear.weight)
    else:
        generator = torch.Generator().manual_seed(
            width * 100_003 + dim
        )  # a constant of the shape: the same in every run
        nn.init.orthogonal_(linear.weight, generator=generator)
    return linear


def _zero(linear: nn.Linear) -> nn.Linear:
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


class PictureMap(nn.Linear):
    """A trainable map of picture features that can begin at a closed-form solution."""

    @classmethod
    @torch.no_grad()
    def from_weights(cls, weight: Tensor, bias: Tensor) -> Self:
        """With these values: weight (dim, width), bias (dim,)."""
        dim, width = weight.shape
        linear = cls(width, dim)
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
        return linear


class ClassNameMap(nn.Module):
    """Logits of a classifier → the mean of the vectors of its class names, weighted with their probabilities.

    ConSE (Norouzi et al., 2014; https://arxiv.org/abs/1312.5650): pictures stand among texts without any training.

    Attributes:
        names: (classes, dim) the vectors of the names, less a part of their mean; all 0 until `set_names`.
    """

    names: Tensor
    temperature: Tensor

    def __init__(self, classes: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("names", torch.zeros(classes, dim))
        self.register_buffer("temperature", torch.tensor(_TEMPERATURE))

    @torch.no_grad()
    def set_names(self, vectors: Tensor) -> None:
        """Use the vectors (classes, dim) of the class names in the shared space."""
        self.names.copy_(vectors - _COMMON_PART * vectors.mean(dim=0))

    def forward(self, logits: Tensor) -> Tensor:
        """(n, classes) → (n, dim)."""
        return (logits / self.temperature).softmax(dim=-1) @ self.names


def word_map(width: int, text_map: nn.Linear) -> nn.Linear:
    """A fixed map of a value's own features (…, width), followed by the text encoder's features of its words.

    It is the text encoder's own space, plus a little of the value itself, which distinguishes values without words.
    """
    linear = nn.Linear(width + text_map.in_features, text_map.out_features, bias=False).requires_grad_(False)
    with torch.no_grad():
        linear.weight[:, :width] = _SHARE_OF_VALUES * isometry(width, text_map.out_features).weight
        linear.weight[:, width:] = text_map.weight
    return linear


def constant_map(width: int, dim: int) -> PictureMap:
    """A trainable map that gives the same unit vector for all features, so that untrained it prefers no item."""
    vector = torch.randn(dim, generator=torch.Generator().manual_seed(dim))
    return PictureMap.from_weights(torch.zeros(dim, width), functional.normalize(vector, dim=0))


class KernelMap(nn.Module):
    """x → base(x) + weight · k(x, examples) + bias, with k(x, e) = exp(-|u(x) - u(e)|²).

    u standardises every feature and scales the vector to unit length, so k is an exponential of the cosine. Examples
    and their statistics stand still; weight and bias can train on.

    Attributes:
        base: a linear map to which the kernel is added; None: there is none.
        examples: (n, width) of unit length, as u sees them.
    """

    centre: Tensor
    scale: Tensor
    examples: Tensor

    def __init__(self, width: int, dim: int, examples: int, base: nn.Linear | None = None) -> None:
        super().__init__()
        self.base = base
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("examples", torch.zeros(examples, width))
        self.weight = nn.Parameter(torch.zeros(dim, examples))
        self.bias = nn.Parameter(torch.zeros(dim))

    @property
    def in_features(self) -> int:
        """The width of what it reads, as a linear map names it."""
        return self.examples.shape[1]

    def forward(self, features: Tensor) -> Tensor:
        """(…, width) → (…, dim)."""
        mapped = functional.linear(self.similarities(features), self.weight, self.bias)
        return mapped if self.base is None else mapped + self.base(features)

    def similarities(self, features: Tensor) -> Tensor:
        """k(x, e) of every example: (…, width) → (…, n)."""
        cosines = functional.normalize((features - self.centre) / self.scale, dim=-1) @ self.examples.T
        return torch.exp(2 * (cosines - 1))


def empty_map(weights: Mapping[str, Tensor], module: str, dim: int) -> KernelMap | None:
    """A map with room for what these weights hold of a `KernelMap`; None where they hold none to this `dim`.

    It takes no more memory than the weights do, which may come from anyone.
    """
    examples, weight = weights.get(f"{module}.examples"), weights.get(f"{module}.weight")
    if examples is None or weight is None or examples.ndim != 2 or weight.shape != (dim, len(examples)):
        return None
    if not len(examples):  # of no bytes, whatever its width
        return None
    return KernelMap(examples.shape[1], dim, len(examples))


class ResidualHead(nn.Module):
    """A head whose output is the sum of a base map and a residual, scaled to unit length.

    Attributes:
        base: from the head's summary of the features to the shared space.
        residual: ends in a linear layer that starts at zero.
    """

    base: nn.Linear | KernelMap
    residual: nn.Sequential

    @property
    def _last_layer(self) -> nn.Linear:
        return cast(nn.Linear, self.residual[-1])

    @property
    def offset(self) -> Tensor:
        """(dim,) the bias of the residual, which is added to every output."""
        return self._last_layer.bias

    @torch.no_grad()
    def scale_residual(self, share: float) -> None:
        """Multiply the residual by a share."""
        self._last_layer.weight.mul_(share)
        self._last_layer.bias.mul_(share)

    def zero_shot_vectors(self, features: Tensor) -> Tensor:
        """(n, dim) what is added to the base map's output without any training: 0."""
        return features.new_zeros(len(features), self._last_layer.out_features)


class VectorHead(ResidualHead):
    """Pooled features (n, width) → unit vectors (n, dim): `base` plus a zero-initialised two-layer residual."""

    def __init__(self, width: int, dim: int, base: nn.Linear | None = None, dropout: float = 0.1) -> None:
        super().__init__()
        self.base = PictureMap(width, dim) if base is None else base
        self.residual = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, dim // 2),
            nn.GELU(),
            nn.Dropout(dropout),
            _zero(nn.Linear(dim // 2, dim)),
        )

    def summary(self, features: Tensor) -> Tensor:
        """What the base map reads: the features themselves."""
        return features

    def forward(
        self,
        features: Tensor,
        patches: Tensor | None = None,
        *,
        mapped: Tensor | None = None,
        shift: Shift | None = None,
    ) -> Tensor:
        """What cross-fitting needs: `mapped` (n, dim) stands in for the base map's answers, or `shift` adds to them."""
        own = self.base(features) if mapped is None else mapped
        if shift is not None:
            own = own + shift(features)
        return functional.normalize(own + self.residual(features), dim=-1)


class GridHead(ResidualHead):
    """Patch tokens (n, tokens, width) → unit vectors (n, dim).

    A summary of the tokens goes through the starting map: their mean and their standard deviation (statistics pooling;
    Snyder et al. 2018), or where there is a CLS token that and the mean. In addition, learned queries attend over the
    tokens (attention pooling, one softmax per query) and their pooled features add a zero-initialised residual.

    Where the prefix holds the logits of a classifier, all of this is added to what its class names say, and the
    starting map is 0 until training replaces it.

    Attributes:
        class_names: None where there is no classifier.
    """

    def __init__(
        self, width: int, dim: int, prefix: int = 0, queries: int = 8, dropout: float = 0.1, classes: int = 0
    ) -> None:
        super().__init__()
        self.prefix = prefix
        self.class_names = ClassNameMap(classes, dim) if classes else None
        self.base = PictureMap(2 * width, dim)
        self.queries = nn.Parameter(torch.randn(queries, width) * 0.02)
        per_query = dim // queries
        self.values = nn.Parameter(torch.randn(queries, width, per_query) * width**-0.5)
        self.dropout = nn.Dropout(dropout)
        self.residual = nn.Sequential(
            nn.LayerNorm(queries * per_query), nn.GELU(), _zero(nn.Linear(queries * per_query, dim))
        )
        if classes:
            self.base = PictureMap.from_weights(torch.zeros(dim, 2 * width), torch.zeros(dim))

    def summary(self, features: Tensor) -> Tensor:
        """What the base map reads: (n, 2 · width)."""
        return self._summary(features, self._mean_weights(features, None))

    def zero_shot_vectors(self, features: Tensor) -> Tensor:
        """(n, dim) the mean of the class names' vectors, to which the base map's output is added; 0 without classes."""
        if self.class_names is None:
            return super().zero_shot_vectors(features)
        logits = features[:, : self.prefix].flatten(1)[:, : len(self.class_names.names)]
        mapped: Tensor = self.class_names(logits)
        return mapped

    def forward(self, features: Tensor, patches: Tensor | None = None, *, shift: Shift | None = None) -> Tensor:
        """`patches` (n, tokens) bool: the tokens that are seen, all of them without it.

        `shift` adds to what the base map makes of the summary, as cross-fitting needs.
        """
        weights = self._mean_weights(features, patches)
        summary = self.dropout(self._summary(features, weights))
        own = self.base(summary) if shift is None else self.base(summary) + shift(summary)
        if self.class_names is not None:
            own = own + self.zero_shot_vectors(features)
            features = features[:, self.prefix :]
            patches = None if patches is None else patches[:, self.prefix :]
        logits = features @ self.queries.T
        if patches is not None:
            logits = logits.masked_fill(~patches[..., None], float("-inf"))
        pooled = logits.softmax(dim=1).transpose(1, 2) @ features
        attended = functional.layer_norm(pooled, features.shape[-1:])
        values = torch.einsum("nqw,qwd->nqd", attended, self.values).flatten(1)
        return functional.normalize(own + self.residual(values), dim=-1)

    def _mean_weights(self, features: Tensor, seen: Tensor | None) -> Tensor:
        """(n, 1, tokens): the same for every patch that is seen, 0 for tokens before the grid."""
        weights = torch.ones(features.shape[:2], dtype=features.dtype, device=features.device)
        if seen is not None:
            weights = weights * seen
        weights[:, : self.prefix] = 0
        return (weights / weights.sum(dim=1, keepdim=True))[:, None]

    def _summary(self, features: Tensor, weights: Tensor) -> Tensor:
        mean = (weights @ features)[:, 0]
        if self.prefix and self.class_names is None:
            return torch.cat([features[:, 0], mean], dim=-1)
        variance = (weights @ features.square())[:, 0] - mean.square()
        return torch.cat([mean, variance.clamp(min=_LEAST_VARIANCE).sqrt()], dim=-1)
