"""Detection of the character encoding of text files."""

import codecs
import io
import re
from collections.abc import Iterator

from charset_normalizer import from_bytes

_BOMS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it starts with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_UTF8_SEQUENCE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_HIGH_BYTE = re.compile(rb"[\x80-\xff]")
_LINE_WITH_HIGH_BYTES = re.compile(rb"[^\n\x80-\xff]{0,200}[\x80-\xff][^\n]{0,400}")
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
_SAMPLE_BYTES = 64_000
_FEW_BYTES = 6  # too few to tell the alphabets of the world apart
# What catalogues are written in besides Unicode; fewer candidates, fewer wild guesses on short texts.
_LEGACY = ["cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp932", "euc_jp", "cp949", "gb18030", "big5"]
_MULTIBYTE = frozenset({"utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp932", "euc_jp", "cp949", "gb18030", "big5"})


def detect_encoding(data: bytes) -> str:
    """Detect the codec of `data`: by byte order mark, then validity as UTF-8, then statistics.

    Mostly valid UTF-8 with some stray bytes is still UTF-8; `decode_lines` repairs the rest.
    """
    for mark, name in _BOMS.items():
        if data.startswith(mark):
            return name
    head = data[:4096]
    if head.count(0) > len(head) // 4:  # Latin letters in UTF-16 without a mark: every second byte is zero
        return "utf-16-le" if head[1::2].count(0) >= head[::2].count(0) else "utf-16-be"
    if _is_utf8(data):
        return "utf-8"
    sample = _sample_lines(data)
    high_bytes = len(_HIGH_BYTE.findall(sample))
    sequences = _UTF8_SEQUENCE.findall(sample)
    if len(sequences) >= high_bytes - sum(map(len, sequences)):
        return "utf-8"
    return _guess_legacy(sample) if high_bytes >= _FEW_BYTES else "cp1252"


def decode_lines(data: bytes, encoding: str) -> "DecodedLines":
    """Iterate over the lines of `data`, including line ends; stray bytes are read as Windows-1252."""
    return DecodedLines(data, encoding)


class DecodedLines(Iterator[str]):
    """Iterator over decoded lines; `repaired` counts those so far with bytes that are invalid in the encoding."""

    def __init__(self, data: bytes, encoding: str) -> None:
        self.repaired = 0
        self._multibyte = encoding in _MULTIBYTE
        errors = "replace" if self._multibyte else "surrogateescape"
        self._stream = io.TextIOWrapper(io.BytesIO(data), encoding=encoding, errors=errors, newline="")

    def __next__(self) -> str:
        line = next(self._stream)
        if line.isascii():
            return line
        if self._multibyte:
            self.repaired += "\ufffd" in line
            return line
        fixed, count = _ESCAPED_BYTE.subn(_read_as_windows, line)
        self.repaired += count > 0
        return fixed


def _read_as_windows(match: re.Match[str]) -> str:
    return bytes([ord(match[0]) - 0xDC00]).decode("cp1252", errors="replace")


def _is_utf8(data: bytes) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(data)
    try:
        for start in range(0, len(view), 1 << 20):  # in pieces, so that no second copy of the file exists
            decoder.decode(view[start : start + (1 << 20)])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _sample_lines(data: bytes) -> bytes:
    pieces: list[bytes] = []
    size = 0
    for match in _LINE_WITH_HIGH_BYTES.finditer(data):
        pieces.append(match[0])
        size += len(match[0])
        if size > _SAMPLE_BYTES:
            break
    return b"\n".join(pieces)


def _guess_legacy(sample: bytes) -> str:
    matches = from_bytes(sample, cp_isolation=_LEGACY, threshold=0.3, preemptive_behaviour=False)
    best = matches.best()
    if best is None:
        return "cp1252"
    for match in matches:
        alike = match.chaos <= best.chaos + 0.02 and match.coherence >= best.coherence - 0.02
        if alike and "cp1252" in match.could_be_from_charset:
            return "cp1252"  # by far the most frequent, so it wins ties with its neighbours
    return best.encoding
