"""Contrastive losses as pure functions of embeddings, identity codes and grades.

**NT-Xent** (normalised temperature-scaled cross entropy; Sohn 2016, van den Oord et al. 2018, Chen et al. 2020). For an
anchor a with candidates c and logits s(a, c) = cos(a, c) / τ,

    loss(a) = Σ over positives p of  q(p) · −log( exp s(a, p) / Σ over positives and negatives c of exp s(a, c) )

Positives share the weight, q(p) = w(a, p) / Σ w(a, p′) (Khosla et al. 2020, https://arxiv.org/abs/2004.11362, the form
with the sum outside the logarithm). Their competition in the denominator is wanted: it keeps a gradient on rows that
are already told apart, and generalised better on photos of groceries than the form without it (0.79 against 0.75
accuracy). Label smoothing ε (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567) takes a share ε of q and spreads it
evenly over all positives and negatives.

**Sigmoid** (SigLIP, Zhai et al. 2023, https://arxiv.org/abs/2303.15343). Every pair is a question of its own, with a
learned bias b:

    loss(a) = − Σ over positives p of w(a, p) · log σ(s(a, p) + b)  −  Σ over negatives n of log σ(−s(a, n) − b)

Label smoothing ε moves the labels 1 and 0 to 1 − ε/2 and ε/2.

**Grades.** w(a, p) is 1, or the relevance of the item to the anchor's query where that is graded, as clicks are
(generalised contrastive learning, Zhu et al. 2024, https://arxiv.org/abs/2404.08535). An item of relevance 0 does not
answer; a pair of relevance 0 is as good as absent.

Both losses are symmetric: the mean over the anchors and the mean over the items, halved, where NT-Xent's means are
weighted by the relevance of graded pairs. A candidate that is neither the same nor different enough is ignored. An
anchor without a positive or without a negative has nothing to say and drops out; the loss of nothing is 0.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from likewise.training.contrast import Contrast, Side
from likewise.training.forms import Form
from likewise.training.tiled_loss import Block, Sums, log_sums, sigmoid_sums

_TINY = 1e-12


def symmetric_nt_xent(
    contrast: Contrast, scale: Tensor, *, smoothing: float = 0.0, tile: tuple[int, int] | None = None
) -> Tensor:
    """NT-Xent, both ways.

    Args:
        contrast: what is told apart.
        scale: () 1 / τ.
        smoothing: ε.
        tile: rows and columns of the similarity matrix that are in memory at a time; None: fit for the device.

    Returns:
        () the loss; the share of this process in it where `contrast.own` is set.
    """

    def sums(rows: Side, columns: Side, block: Block) -> tuple[Sums, Sums]:
        return log_sums(rows.vectors * scale, columns.vectors, block, with_all=smoothing > 0)

    def loss(of: Sums) -> Tensor:
        answers = of.same / of.same_weight.clamp(min=_TINY)
        if smoothing:
            answers = (1 - smoothing) * answers + smoothing * of.all / of.pairs.clamp(min=1)
        return of.log_sum - answers

    contrast = contrast.without_absent()
    weight = None if contrast.grades is None else contrast.grades.weight[contrast.own or slice(None)]
    of_anchors, of_items = _sums(contrast, sums, tile)
    return (
        _mean(loss(of_anchors), of_anchors, weight, contrast) + _mean(loss(of_items), of_items, weight, contrast)
    ) / 2


def pairwise_sigmoid(
    contrast: Contrast, scale: Tensor, bias: Tensor, *, smoothing: float = 0.0, tile: tuple[int, int] | None = None
) -> Tensor:
    """The pairwise sigmoid loss, both ways; see `symmetric_nt_xent`.

    Args:
        bias: () b, which starts low, as almost all pairs are negatives.
    """

    def sums(rows: Side, columns: Side, block: Block) -> tuple[Sums, Sums]:
        return sigmoid_sums(rows.vectors * scale, columns.vectors, bias, block, smoothing=smoothing)

    contrast = contrast.without_absent()
    of_anchors, of_items = _sums(contrast, sums, tile)
    return (_mean(of_anchors.all, of_anchors, None, contrast) + _mean(of_items.all, of_items, None, contrast)) / 2


def in_every_form(loss: Callable[[Contrast], Tensor], contrast: Contrast, forms: Sequence[Form]) -> Tensor:
    """() the mean of a loss over the forms in which vectors will be kept."""
    return torch.stack([loss(contrast.in_form(form)) for form in forms]).mean()


def _sums(
    contrast: Contrast, sums: Callable[[Side, Side, Block], tuple[Sums, Sums]], tile: tuple[int, int] | None
) -> tuple[Sums, Sums]:
    """What every own anchor, and every own item, sums over its candidates."""
    anchors, items, own = contrast.anchors, contrast.items, contrast.own
    graded, relevance = (None, None) if contrast.grades is None else (contrast.grades.graded, contrast.grades.relevance)

    def block(rows: Side, columns: Side, **grades: Tensor | None) -> Block:
        return Block((rows.same, rows.related), (columns.same, columns.related), tile=tile, **grades)

    if own is None:
        known = block(anchors, items, row_graded=graded, column_relevance=relevance)
        of_anchors, of_items = sums(anchors, items, known)
    else:
        asking, answering = anchors[own], items[own]
        known = block(asking, items, row_graded=graded if graded is None else graded[own], column_relevance=relevance)
        of_anchors, _ = sums(asking, items, known)
        known = block(
            answering, anchors, column_graded=graded, row_relevance=relevance if relevance is None else relevance[own]
        )
        of_items, _ = sums(answering, anchors, known)
        anchors, items = asking, answering
    if contrast.beside_items is not None and len(contrast.beside_items):
        of_anchors += sums(anchors, contrast.beside_items, block(anchors, contrast.beside_items))[0]
    if contrast.beside_anchors is not None and len(contrast.beside_anchors):
        of_items += sums(items, contrast.beside_anchors, block(items, contrast.beside_anchors))[0]
    return of_anchors, of_items


def _mean(losses: Tensor, sums: Sums, weight: Tensor | None, contrast: Contrast) -> Tensor:
    """() the weighted mean over those that have an answer and a negative; 0 if none has."""
    counts = ((sums.same_weight > 0) & (sums.negatives > 0)).to(losses)
    if weight is not None:
        counts = counts * weight.to(losses)
    return (losses * counts).sum() / contrast.summed(counts.sum()).clamp(min=_TINY)
