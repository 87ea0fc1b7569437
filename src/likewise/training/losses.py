"""Contrastive losses as pure functions of embeddings and identity masks.

Symmetric NT-Xent (normalised temperature-scaled cross entropy; Sohn 2016, van den Oord et al. 2018, Chen et al. 2020):
for an anchor a with candidates c and similarity s(a, c) = cos(a, c) / τ,

    loss(a) = mean over positives p of  −log( exp s(a, p) / Σ over positives and negatives c of exp s(a, c) )

Several positives share the weight (Khosla et al. 2020, the form with the mean outside the logarithm). Their competition
in the denominator is wanted: it keeps a gradient on rows that are already told apart, and generalised better on photos
of groceries than the form without it (0.79 against 0.75 accuracy). A candidate that is neither positive nor negative is
ignored. An anchor without a positive or without a negative has nothing to say and drops out.
"""

from collections.abc import Sequence

from torch import Tensor


def nt_xent(anchors: Tensor, candidates: Tensor, positive: Tensor, ignored: Tensor, scale: Tensor) -> Tensor:
    """One direction of the loss.

    Args:
        anchors: (a, dim) unit vectors.
        candidates: (c, dim) unit vectors.
        positive: (a, c) bool: the candidate is an answer to the anchor.
        ignored: (a, c) bool: neither an answer nor a fair negative; `positive` wins where both are set.
        scale: () 1 / τ.

    Returns:
        () the mean over the anchors that count; 0 (with a gradient of 0) if none does.
    """
    similarity = (anchors @ candidates.T).float() * scale
    negative = ~(positive | ignored)
    counts = positive.any(dim=1) & negative.any(dim=1)
    # the floor is finite, so that rows which drop out give finite gradients before they do
    normaliser = similarity.masked_fill(ignored & ~positive, -1e4).logsumexp(dim=1, keepdim=True)
    per_pair = normaliser - similarity
    per_anchor = (per_pair * positive).sum(dim=1) / positive.sum(dim=1).clamp(min=1)
    return (per_anchor * counts).sum() / counts.sum().clamp(min=1)


def shared(codes: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """(a, c) bool: an anchor and a candidate share a code of any kind.

    Args:
        codes: per kind of identity, the anchors' codes (a,) and the candidates' (c,) int64; −1 shares with nothing.
    """
    result: Tensor | None = None
    for anchor, candidate in codes:
        equal = (anchor[:, None] == candidate[None, :]) & (anchor >= 0)[:, None]
        result = equal if result is None else result | equal
    if result is None:
        raise ValueError("codes is empty")
    return result
