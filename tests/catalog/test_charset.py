"""Texts arrive as they were written, whatever their bytes."""

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.catalog.charset import decode_lines, detect_encoding

WRITTEN_IN = {
    "cp1252": "Café crème brûlée – “très bon” €5, naïve façade, Müller Straße\n",
    "cp1250": "Žluťoučký kůň úpěl ďábelské ódy\n",
    "cp1251": "Красное платье, очень красивое и удобное\n",
    "cp932": "赤い靴、とても美しいです。カタカナ\n",
    "gb18030": "红色的鞋子，非常漂亮，适合夏天\n",
}


def read(data: bytes) -> str:
    return "".join(decode_lines(data, detect_encoding(data)))


@pytest.mark.parametrize("encoding", WRITTEN_IN)
def test_legacy_encodings_are_recognised(encoding: str) -> None:
    text = "id,title\n" + WRITTEN_IN[encoding] * 20
    assert read(text.encode(encoding)) == text


def test_a_single_accent_is_western() -> None:
    assert read("title\nCafé\n".encode("cp1252")) == "title\nCafé\n"


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (b"", "utf-16-le"),
        (b"", "utf-16-be"),
    ],
)
def test_byte_order_marks_and_utf16(mark: bytes, encoding: str) -> None:
    text = "title,price\nred shoes – größe 5,3 €\n"
    assert read(mark + text.encode(encoding)) == text


def test_stray_bytes_in_utf8_are_read_as_windows_and_counted() -> None:
    data = "title\nCrème\nBrûlée\nÉté\n".encode() + b"Caf\xe9\n\x81odd\n"
    lines = decode_lines(data, detect_encoding(data))
    assert list(lines) == ["title\n", "Crème\n", "Brûlée\n", "Été\n", "Café\n", "\ufffdodd\n"]
    assert lines.repaired == 2


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff\0"), max_size=60))
def test_utf8_is_always_read_exactly(text: str) -> None:
    assert read(text.encode()) == text


@given(st.binary(max_size=200))
def test_any_bytes_give_text(data: bytes) -> None:
    read(data).encode()
