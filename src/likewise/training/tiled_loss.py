"""Sums over all pairs of two sides, taken tile by tile: memory grows with the rows and columns, not with their product.

The logits of rows x and columns y are xᵢ·yⱼ (the temperature is a factor of x, so that autograd gives its gradient,
too). A tile of them is computed, reduced along both sides and forgotten; the backward pass computes it again. That
makes four matrix products where a loss over the whole matrix needs three, and saves every pass over a matrix that no
cache holds. Gradients are exact. The running log-sum-exp is the one of online softmax (Milakov and Gimelshein 2018,
https://arxiv.org/abs/1805.02867); tiles of a contrastive loss: https://arxiv.org/abs/2410.17243.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

NO_PAIRS = -1e4  # the log-sum-exp of nothing: finite, so that it can be added to others without NaN in their gradients
_NOTHING = -1  # a code that shares with nothing
_NEITHER = -2  # what it becomes on one side, so that equality alone decides
_TILES = {"cpu": (512, 2048), "other": (4096, 8192)}


@dataclass(frozen=True)
class Block:
    """Identities and grades of some rows and columns.

    The weight of a pair of positives is 1, or the relevance of one side where the other is graded; a pair of
    weight 0 is a negative.

    Attributes:
        rows, columns: identity codes, same (n, kinds) and related (n, other kinds), int64.
        row_graded, column_graded: (n,) bool.
        row_relevance, column_relevance: (n,) how relevant it is to what is graded.
        tile: (rows, columns) at a time; None: fit for the device.
    """

    rows: tuple[Tensor, Tensor]
    columns: tuple[Tensor, Tensor]
    row_graded: Tensor | None = None
    column_graded: Tensor | None = None
    row_relevance: Tensor | None = None
    column_relevance: Tensor | None = None
    tile: tuple[int, int] | None = None


@dataclass(frozen=True)
class SpecialPairs:
    """The pairs of a tile that are not negatives, each once.

    Attributes:
        row, column: (pairs,) places within the tile.
        same: (pairs,) bool: the two are positives; otherwise they are ignored.
    """

    row: Tensor
    column: Tensor
    same: Tensor


class PairFinder:
    """Finds the positives and the ignored pairs of any tile of rows × columns, by a sorted join.

    Almost all pairs of a batch share no identity. So a tile of the similarity matrix needs no mask, only a list of its
    few special pairs. Sorting the columns' codes once makes that list cost O((rows + columns) log columns + pairs) a
    tile, where comparing all codes costs O(rows · columns) for every kind.

    A row and a column are *the same* if they share a code of any kind in `same`, else *related* if they share one of
    any kind in `related`, else negatives.

    Args:
        rows: the codes (rows, kinds) int64 of the rows: same, and related.
        columns: those of the columns, with the same kinds.
        tile: columns per tile.
    """

    def __init__(self, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor], tile: int) -> None:
        self._same_kinds = rows[0].shape[1]
        self._rows = torch.cat(rows, dim=1).T.contiguous()
        self._rows[self._rows == _NOTHING] = _NEITHER
        self._columns = torch.cat(columns, dim=1).T.contiguous()
        self._tile = tile
        self._sorted = [part.sort(dim=1, stable=True) for part in self._columns.split(tile, dim=1)]

    def find(self, rows: slice, columns: slice) -> SpecialPairs:
        """The special pairs of one tile; `columns` must be one that the given tile size makes."""
        asked = self._rows[:, rows].contiguous()
        held = self._columns[:, columns]
        in_order, place = self._sorted[columns.start // self._tile]
        first = torch.searchsorted(in_order, asked)
        counts = torch.searchsorted(in_order, asked, right=True) - first
        found_rows, found_columns, found_same = [], [], []
        for kind in counts.any(dim=1).nonzero()[:, 0].tolist():
            row = torch.arange(asked.shape[1], device=asked.device).repeat_interleave(counts[kind])
            before = counts[kind].cumsum(0) - counts[kind]
            within = torch.arange(len(row), device=row.device) - before[row]
            column = place[kind][first[kind][row] + within]
            for earlier in range(kind):  # a pair counts at the first kind that it shares
                new = asked[earlier][row] != held[earlier][column]
                row, column = row[new], column[new]
            found_rows.append(row)
            found_columns.append(column)
            found_same.append(torch.full_like(row, kind < self._same_kinds, dtype=torch.bool))
        if not found_rows:
            none = torch.empty(0, dtype=torch.long, device=asked.device)
            return SpecialPairs(none, none, none.bool())
        return SpecialPairs(torch.cat(found_rows), torch.cat(found_columns), torch.cat(found_same))


@dataclass(frozen=True)
class _Tile:
    """A tile of logits and its special pairs; `same` and `ignored` are flat places in it."""

    rows: slice
    columns: slice
    logits: Tensor
    same_row: Tensor
    same_column: Tensor
    same: Tensor
    weight: Tensor
    ignored_row: Tensor
    ignored_column: Tensor
    ignored: Tensor


class _Tiles:
    """The tiles of a block, one after the other in one piece of memory."""

    def __init__(self, rows: Tensor, columns: Tensor, block: Block) -> None:
        default = _TILES["cpu" if rows.device.type == "cpu" else "other"]
        self.height, self.width = block.tile or default
        self.rows, self.columns, self.block = rows, columns, block
        self.pairs = PairFinder(block.rows, block.columns, self.width)
        size = min(self.height, len(rows)) * min(self.width, len(columns))
        self._logits, self._scratch = (torch.empty(size, dtype=rows.dtype, device=rows.device) for _ in range(2))

    def scratch(self, tile: Tensor) -> Tensor:
        """Memory of the tile's shape."""
        return self._scratch[: tile.numel()].view_as(tile)

    def __iter__(self) -> Iterator[_Tile]:
        for rows in _slices(len(self.rows), self.height):
            for columns in _slices(len(self.columns), self.width):
                shape = (rows.stop - rows.start, columns.stop - columns.start)
                logits = self._logits[: shape[0] * shape[1]].view(shape)
                torch.mm(self.rows[rows], self.columns[columns].T, out=logits)
                found = self.pairs.find(rows, columns)
                place = found.row * shape[1] + found.column
                weight = self._weights(rows, columns, found)
                same, ignored = found.same & (weight > 0), ~found.same
                yield _Tile(
                    rows,
                    columns,
                    logits,
                    found.row[same],
                    found.column[same],
                    place[same],
                    weight[same],
                    found.row[ignored],
                    found.column[ignored],
                    place[ignored],
                )

    def _weights(self, rows: slice, columns: slice, found: SpecialPairs) -> Tensor:
        block = self.block
        weight = torch.ones(len(found.row), dtype=self.rows.dtype, device=found.row.device)
        if block.row_graded is not None and block.column_relevance is not None:
            relevance = block.column_relevance[columns][found.column]
            weight = torch.where(block.row_graded[rows][found.row], relevance.to(weight), weight)
        if block.column_graded is not None and block.row_relevance is not None:
            relevance = block.row_relevance[rows][found.row]
            weight = torch.where(block.column_graded[columns][found.column], relevance.to(weight), weight)
        return weight


def _slices(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


@dataclass(frozen=True)
class Sums:
    """What one side of a block sums over the other, each (n,).

    Attributes:
        log_sum: log Σ exp(logit) over the same and the negatives; `NO_PAIRS` if there are none.
        same: Σ weight · logit over the same.
        all: Σ logit over the same and the negatives; 0 unless asked for.
        same_weight: Σ weight over the same.
        negatives: how many.
        pairs: how many that are not ignored.
    """

    log_sum: Tensor
    same: Tensor
    all: Tensor
    same_weight: Tensor
    negatives: Tensor
    pairs: Tensor

    def __add__(self, other: "Sums") -> "Sums":
        """Over further candidates, too."""
        return Sums(
            torch.logaddexp(self.log_sum, other.log_sum),
            self.same + other.same,
            self.all + other.all,
            self.same_weight + other.same_weight,
            self.negatives + other.negatives,
            self.pairs + other.pairs,
        )


def log_sums(rows: Tensor, columns: Tensor, block: Block, *, with_all: bool = False) -> tuple[Sums, Sums]:
    """The sums of a softmax loss, of every row and of every column, differentiable in both.

    Args:
        rows: (rows, dim) vectors, times the scale.
        columns: (columns, dim) vectors.
        block: identities and weights.
        with_all: sum all logits, too.
    """
    results = _LogSums.apply(rows, columns, block, with_all)
    return Sums(*results[:6]), Sums(*results[6:])


class _RunningSums:
    """Running sums of the rows, or of the columns."""

    def __init__(self, vectors: Tensor, others: int) -> None:
        self.peak = torch.full_like(vectors[:, 0], float("-inf"))
        self.total, self.same, self.all, self.same_weight = (torch.zeros_like(self.peak) for _ in range(4))
        self.pairs = torch.full((len(vectors),), others, device=vectors.device)
        self.answers = torch.zeros_like(self.pairs)

    def add(self, part: slice, dim: int, logits: Tensor, scratch: Tensor) -> None:
        """Add a tile, with −∞ at what is ignored, to the running log-sum-exp."""
        peak = torch.maximum(self.peak[part], logits.amax(dim=dim))
        safe = peak.masked_fill(peak.isinf(), 0.0)
        torch.sub(logits, safe.unsqueeze(dim), out=scratch).exp_()
        self.total[part] = self.total[part] * (self.peak[part] - safe).exp() + scratch.sum(dim=dim)
        self.peak[part] = peak

    def count(self, part: slice, same: Tensor, weight: Tensor, logits: Tensor, ignored: Tensor) -> None:
        """Count the special pairs of a tile: places and weights of the positives, and places of what is ignored."""
        self.same[part].index_add_(0, same, weight * logits)
        self.same_weight[part].index_add_(0, same, weight)
        self.answers[part].index_add_(0, same, torch.ones_like(same))
        self.pairs[part].index_add_(0, ignored, -torch.ones_like(ignored))

    def results(self) -> tuple[Tensor, ...]:
        log_sum = torch.where(self.total > 0, self.peak + self.total.log(), NO_PAIRS)
        return log_sum, self.same, self.all, self.same_weight, self.pairs - self.answers, self.pairs


class _LogSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, columns: Tensor, block: Block, with_all: bool) -> tuple[Tensor, ...]:
        tiles = _Tiles(rows, columns, block)
        row_side, column_side = _RunningSums(rows, len(columns)), _RunningSums(columns, len(rows))
        for tile in tiles:
            flat = tile.logits.view(-1)
            logits = flat[tile.same]
            row_side.count(tile.rows, tile.same_row, tile.weight, logits, tile.ignored_row)
            column_side.count(tile.columns, tile.same_column, tile.weight, logits, tile.ignored_column)
            if with_all:
                flat[tile.ignored] = 0.0
                row_side.all[tile.rows] += tile.logits.sum(dim=1)
                column_side.all[tile.columns] += tile.logits.sum(dim=0)
            flat[tile.ignored] = float("-inf")
            scratch = tiles.scratch(tile.logits)
            row_side.add(tile.rows, 1, tile.logits, scratch)
            column_side.add(tile.columns, 0, tile.logits, scratch)
        results = (*row_side.results(), *column_side.results())
        ctx.save_for_backward(rows, columns, results[0], results[6])
        ctx.block, ctx.with_all = block, with_all
        ctx.mark_non_differentiable(*results[3:6], *results[9:])
        ctx.set_materialize_grads(True)
        return results

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        rows, columns, row_log_sum, column_log_sum = ctx.saved_tensors
        of_row, same_of_row, all_of_row = gradients[:3]
        of_column, same_of_column, all_of_column = gradients[6:9]
        for_rows, for_columns = torch.zeros_like(rows), torch.zeros_like(columns)
        tiles = _Tiles(rows, columns, ctx.block)
        for tile in tiles:
            own, other = tile.rows, tile.columns
            slope = tiles.scratch(tile.logits)
            torch.sub(tile.logits, row_log_sum[own, None], out=slope).exp_().mul_(of_row[own, None])
            # the logits are not needed again
            tile.logits.sub_(column_log_sum[other]).exp_().mul_(of_column[other])
            slope.add_(tile.logits)
            if ctx.with_all:
                slope.add_(all_of_row[own, None]).add_(all_of_column[other])
            pull = same_of_row[own][tile.same_row] + same_of_column[other][tile.same_column]
            slope.view(-1)[tile.same] += tile.weight * pull
            slope.view(-1)[tile.ignored] = 0.0
            for_rows[own].addmm_(slope, columns[other])
            for_columns[other].addmm_(slope.T, rows[own])
        return for_rows, for_columns, None, None


def sigmoid_sums(
    rows: Tensor, columns: Tensor, bias: Tensor, block: Block, *, smoothing: float = 0.0
) -> tuple[Sums, Sums]:
    """The sums of a sigmoid loss: `all` holds Σ of the pairs' cross entropies, `log_sum` and `same` nothing.

    Args:
        rows: (rows, dim) vectors, times the scale.
        columns: (columns, dim) vectors.
        bias: () added to every logit.
        block: identities and weights.
        smoothing: the share of a label that goes half to the other one.
    """
    row, row_weight, row_negatives, row_pairs, column, column_weight, column_negatives, column_pairs = (
        _SigmoidSums.apply(rows, columns, bias, block, smoothing)
    )
    none, other_none = torch.zeros_like(row), torch.zeros_like(column)
    return (
        Sums(none, none, row, row_weight, row_negatives, row_pairs),
        Sums(other_none, other_none, column, column_weight, column_negatives, column_pairs),
    )


class _SigmoidSums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, columns: Tensor, bias: Tensor, block: Block, smoothing: float
    ) -> tuple[Tensor, ...]:
        tiles = _Tiles(rows, columns, block)
        row_side, column_side = _RunningSums(rows, len(columns)), _RunningSums(columns, len(rows))
        for tile in tiles:
            logits = tile.logits.add_(bias)
            same = logits.view(-1)[tile.same]
            row_side.count(tile.rows, tile.same_row, tile.weight, same, tile.ignored_row)
            column_side.count(tile.columns, tile.same_column, tile.weight, same, tile.ignored_column)
            # −y log σ(l) − (1 − y) log(1 − σ(l)) = log(1 + exp l) − y l
            losses = functional.softplus(logits).sub_(logits, alpha=smoothing / 2)
            losses.view(-1)[tile.same] = tile.weight * (functional.softplus(same) - (1 - smoothing / 2) * same)
            losses.view(-1)[tile.ignored] = 0.0
            row_side.all[tile.rows] += losses.sum(dim=1)
            column_side.all[tile.columns] += losses.sum(dim=0)
        ctx.save_for_backward(rows, columns, bias)
        ctx.block, ctx.smoothing = block, smoothing
        results = (*row_side.results()[2:], *column_side.results()[2:])
        ctx.mark_non_differentiable(*results[1:4], *results[5:])
        ctx.set_materialize_grads(True)
        return results

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        rows, columns, bias = ctx.saved_tensors
        of_row, of_column = gradients[0], gradients[4]
        for_rows, for_columns, for_bias = torch.zeros_like(rows), torch.zeros_like(columns), torch.zeros_like(bias)
        tiles = _Tiles(rows, columns, ctx.block)
        for tile in tiles:
            slope = tile.logits.add_(bias).sigmoid_()
            pull = tile.weight * (slope.view(-1)[tile.same] - (1 - ctx.smoothing / 2))
            slope.sub_(ctx.smoothing / 2)
            slope.view(-1)[tile.same] = pull
            slope.view(-1)[tile.ignored] = 0.0
            each = torch.add(of_row[tile.rows, None], of_column[tile.columns], out=tiles.scratch(slope))
            slope.mul_(each)
            for_rows[tile.rows].addmm_(slope, columns[tile.columns])
            for_columns[tile.columns].addmm_(slope.T, rows[tile.rows])
            for_bias += slope.sum()
        return for_rows, for_columns, for_bias, None, None
