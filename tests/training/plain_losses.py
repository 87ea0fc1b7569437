"""The losses over whole matrices and masks, as the formulas are written: what the fast ones must equal."""

import torch
from torch import Tensor
from torch.nn import functional

from likewise.training.losses import CodedEmbeddings, ContrastiveBatch


def shares(rows: Tensor, columns: Tensor) -> Tensor:
    """(rows, columns) bool: they share a code of any kind."""
    equal = rows[:, None, :] == columns[None, :, :]
    return (equal & (rows >= 0)[:, None, :]).any(dim=-1)


def one_way(
    anchors: Tensor,
    candidates: Tensor,
    positive: Tensor,
    ignored: Tensor,
    weight: Tensor,
    scale: Tensor,
    *,
    smoothing: float = 0.0,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The loss (a,) of each anchor and whether it counts; sigmoid with a bias, else NT-Xent.

    Args:
        positive, ignored, weight: (a, c); `positive` wins where `ignored` is set, too.
    """
    logits = scale * anchors @ candidates.T
    answers = positive & (weight > 0)
    valid = positive | ~ignored
    counts = answers.any(dim=1) & (valid & ~answers).any(dim=1)
    if bias is not None:
        labels = answers.to(logits) * (1 - smoothing) + smoothing / 2
        losses = functional.binary_cross_entropy_with_logits(logits + bias, labels, reduction="none")
        return (losses * torch.where(answers, weight, 1.0) * valid).sum(dim=1), counts
    shown = logits.masked_fill(~valid, -1e9)
    cross_entropy = shown.logsumexp(dim=1, keepdim=True) - shown
    share = weight * answers
    share = share / share.sum(dim=1, keepdim=True).clamp(min=1e-12)
    even = valid.to(logits) / valid.sum(dim=1, keepdim=True).clamp(min=1)
    target = (1 - smoothing) * share + smoothing * even
    return (target * cross_entropy).sum(dim=1), counts


def plain(contrast: ContrastiveBatch, scale: Tensor, bias: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """() NT-Xent, or the sigmoid loss where there is a bias, both ways, of one process."""
    own = relevance = torch.ones(len(contrast.items), dtype=contrast.items.vectors.dtype)
    graded = torch.zeros(len(contrast.items), dtype=torch.bool)
    anchors, items = contrast.anchors, contrast.items
    if contrast.grades is not None:
        graded, relevance = contrast.grades.graded, contrast.grades.relevance
        own = torch.where(graded, relevance, 1.0)
        anchors, items, graded, relevance = anchors[own > 0], items[own > 0], graded[own > 0], relevance[own > 0]
        own = own[own > 0]
    weight = torch.where(graded[:, None], relevance[None, :], 1.0)
    total = torch.zeros(())
    for asking, answering, weights, beside in (
        (anchors, items, weight, contrast.extra_items),
        (items, anchors, weight.T, contrast.extra_anchors),
    ):
        candidates = answering if beside is None else CodedEmbeddings.concatenate([answering, beside])
        ones = torch.ones(len(asking), len(candidates) - len(answering)).to(weights)
        losses, counts = one_way(
            asking.vectors,
            candidates.vectors,
            shares(asking.same, candidates.same),
            shares(asking.related, candidates.related),
            torch.cat([weights, ones], dim=1),
            scale,
            smoothing=smoothing,
            bias=bias,
        )
        each = counts * (own if bias is None else torch.ones_like(own))
        total = total + (losses * each).sum() / each.sum().clamp(min=1e-12) / 2
    return total
