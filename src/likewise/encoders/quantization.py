"""Weights of 4 bits in the format Q4_0 of GGML, and a table of embeddings that stays in it.

32 numbers of a row are one block of 18 bytes: a float16, by which all are scaled, then 16 bytes, of which byte i holds
number i in its lower half and number i + 16 in its upper half, each plus 8.
"""

import torch
from torch import Tensor, nn

BLOCK, BLOCK_BYTES = 32, 18
_SCALE_BYTES, _OFFSET = 2, 8


def dequantize(blocks: Tensor) -> Tensor:
    """(…, blocks, 18) uint8 → (…, 32 · blocks) float32."""
    scales = blocks[..., :_SCALE_BYTES].contiguous().view(torch.float16).float()
    halves = blocks[..., _SCALE_BYTES:]
    numbers = torch.cat([halves & 0x0F, halves >> 4], dim=-1).float()
    return ((numbers - _OFFSET) * scales).flatten(-2)


class QuantizedEmbedding(nn.Module):
    """Embeddings of words with 4.5 bits a number, of which only the rows that are looked up become float32.

    The table of a vocabulary of 250,000 words takes 54 MB instead of 384. It stands still in any training.
    """

    blocks: Tensor

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.register_buffer("blocks", torch.zeros(words, width // BLOCK, BLOCK_BYTES, dtype=torch.uint8))

    def forward(self, ids: Tensor) -> Tensor:
        """(…) ids → (…, width) float32."""
        return dequantize(self.blocks[ids])
