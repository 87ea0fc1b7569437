"""The grammar of filters: what it means, and how it says no."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.catalog.filters import And, Compare, Condition, IsNull, Not, OneOf, Or, parse_filter
from likewise.errors import UserError


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("price < 20", Compare("price", "<", 20)),
        ("price=-1.5e3", Compare("price", "==", -1500.0)),
        ("a != 'it\\'s' ", Compare("a", "!=", "it's")),
        ('`main colour` == "x \\\\ y"', Compare("main colour", "==", "x \\ y")),
        ("`a``b` IS NULL", IsNull("a`b")),
        ("größe is not null", Not(IsNull("größe"))),
        ("split in ['train', \"iconic\",]", OneOf("split", ("train", "iconic"))),
        ("split NOT IN (1, 2.5, true)", Not(OneOf("split", (1, 2.5, True)))),
        ("a == 1 and b == 2 or c == 3",
         Or((And((Compare("a", "==", 1), Compare("b", "==", 2))), Compare("c", "==", 3)))),
        ("a == 1 and (b == 2 or not c == false)",
         And((Compare("a", "==", 1), Or((Compare("b", "==", 2), Not(Compare("c", "==", False))))))),
        ("(((a > 1)))", Compare("a", ">", 1)),
        ("order == 1 and android == 2 or inside == 3",
         Or((And((Compare("order", "==", 1), Compare("android", "==", 2))), Compare("inside", "==", 3)))),
    ],
)  # fmt: skip
def test_meaning(text: str, tree: Condition) -> None:
    assert parse_filter(text) == tree


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("price >> 5", "price > --> > 5; expected a quoted text, a number or true or false"),
        ("price >", "(its end)"),
        ("price == 1 prize == 2", '--> prize == 2; expected "and" or "or"'),
        ("(price == 1", 'expected ")"'),
        ("price # 3", "price  --> # 3"),
        ("name == 'open", "unclosed quotation mark: 'open"),
        ("__import__('os').system('x')", "--> ('os')"),
        ("5 < price", "expected a column"),
        ("", "is empty"),
        ("a == 1e999", "too large"),
        ("x == 1 or " * 2000 + "x == 1", "the limit is 10,000"),
        ("(" * 2000 + "x == 1" + ")" * 2000, "nested more than 50"),
        ("not " * 2000 + "x == 1", "nested more than 50"),
        ("not (" * 1000 + "x == 1" + ")" * 1000, "nested more than 50"),
    ],
)
def test_mistakes_are_one_sentence(text: str, words: str) -> None:
    with pytest.raises(UserError) as error:
        parse_filter(text)
    assert words in str(error.value)
    assert len(str(error.value)) < 400


def test_long_flat_filters_are_fine() -> None:
    tree = parse_filter(" and ".join(["x not in ['a']"] * 500))
    assert isinstance(tree, And)
    assert len(tree.parts) == 500


NAMES = st.text(min_size=1, max_size=6) | st.sampled_from(["price", "not", "In", "a b", "`", "5"])
VALUES = (
    st.text(max_size=6)
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.floats(allow_nan=False, allow_infinity=False)
)
LEAVES = (
    st.builds(Compare, NAMES, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), VALUES)
    | st.builds(OneOf, NAMES, st.lists(VALUES, max_size=3).map(tuple))
    | st.builds(IsNull, NAMES)
)


def _joined(kind: type[And] | type[Or], parts: list[Condition]) -> Condition:
    return kind(tuple(part for one in parts for part in (one.parts if isinstance(one, kind) else (one,))))


TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.builds(Not, inner)
        | st.lists(inner, min_size=2, max_size=3).map(lambda parts: _joined(And, parts))
        | st.lists(inner, min_size=2, max_size=3).map(lambda parts: _joined(Or, parts))
    ),
    max_leaves=8,
)


@given(TREES)
def test_printed_filters_parse_to_themselves(tree: Condition) -> None:
    again = parse_filter(str(tree))
    assert again == tree
    assert repr(again) == repr(tree)  # tells 1 from True and 1.0


@given(st.text(alphabet="ab1.'\"`()[],<>=! \\notin&|", max_size=40))
def test_any_text_parses_or_is_refused_politely(text: str) -> None:
    try:
        tree = parse_filter(text)
    except UserError as error:
        assert str(error)
    else:
        assert parse_filter(str(tree)) == tree
