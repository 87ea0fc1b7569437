"""Words of any language, without case and accents."""

import pytest

from likewise.catalog.text import split_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Crème BRÛLÉE, 250g", ["creme", "brulee", "250g"]),
        ("snake_case C", ["snake", "case", "c"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("東京都の茶", ["東京", "京都", "都の", "の茶"]),
        ("茶", ["茶"]),
        ("빨간 구두", ["빨간", "구두"]),
        ("น้ำแข็ง", None),
        ("Straße", ["strasse"]),
        ("", []),
    ],
)
def test_words_of_many_scripts(text, words):
    found = split_words(text)
    assert found == words if words is not None else len(found) > 1
