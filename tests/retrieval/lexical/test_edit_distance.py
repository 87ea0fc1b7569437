"""Edit distances as the textbook computes them, one pair at a time."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from likewise.retrieval.lexical.edit_distance import compute_distances

_words = st.text(st.sampled_from("abcé日"), max_size=12)


def by_textbook(one: str, other: str) -> int:
    """Optimal string alignment, cell by cell."""
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for row in range(len(one) + 1):
        for column in range(len(other) + 1):
            if not row or not column:
                table[row][column] = row + column
                continue
            differs = one[row - 1] != other[column - 1]
            cells = [table[row - 1][column] + 1, table[row][column - 1] + 1, table[row - 1][column - 1] + differs]
            if row > 1 and column > 1 and one[row - 1] == other[column - 2] and one[row - 2] == other[column - 1]:
                cells.append(table[row - 2][column - 2] + 1)
            table[row][column] = min(cells)
    return table[-1][-1]


@settings(deadline=None)
@given(word=_words, others=st.lists(_words, max_size=8), limit=st.integers(1, 3))
@example(word="", others=["", "a", "abca"], limit=1)
@example(word="abcabcabcabc", others=["a", "bacabcabcabc", "abcabcabcabcab"], limit=2)
def test_distances_up_to_the_limit_are_those_of_the_textbook(word: str, others: list[str], limit: int) -> None:
    expected = [min(by_textbook(word, other), limit + 1) for other in others]
    assert compute_distances(word, others, limit).tolist() == expected
