"""A small pre-norm Transformer, for the encoders that start from random weights."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Self-attention and a feed-forward layer, each behind a norm and beside a residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.norm_feed_forward = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, length, width), and a (batch, length) bool mask that is true where there is a token."""
        batch, length, width = states.shape
        projected = self.queries_keys_values(self.norm_attention(states))
        queries, keys, values = projected.reshape(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=None if mask is None else mask[:, None, None, :]
        )
        states = states + self.mix(attended.transpose(1, 2).reshape(batch, length, width))
        return states + self.feed_forward(self.norm_feed_forward(states))


class Transformer(nn.Module):
    """`depth` blocks and a last norm."""

    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        return self._run(states, mask, 0)

    def forward_to(self, states: Tensor, cut: int) -> Tensor:
        """The blocks before block `cut`, of states without padding."""
        for block in self.blocks[:cut]:
            states = block(states)
        return states

    def forward_from(self, states: Tensor, cut: int) -> Tensor:
        """The blocks from block `cut` on, and the norm."""
        return self._run(states, None, cut)

    def _run(self, states: Tensor, mask: Tensor | None, start: int) -> Tensor:
        for block in self.blocks[start:]:
            states = block(states, mask)
        return self.norm(states)


def random_positions(length: int, width: int) -> nn.Parameter:
    """A table of learned positions: (length, width)."""
    return nn.Parameter(torch.randn(length, width) * 0.02)
