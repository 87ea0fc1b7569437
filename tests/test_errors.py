"""A message is one sentence on one line, whatever it quotes."""

import pytest

from likewise.catalog.filters import parse_filter
from likewise.errors import UserError
from likewise.retrieval.boost import parse_boost


@pytest.mark.parametrize("parse", [parse_filter, parse_boost])
@pytest.mark.parametrize("sign", ["\n", "\r\n", "\x1b[31m", "\x85", "\u2028", "\0"])
def test_no_sign_of_what_is_quoted_breaks_a_line_or_colours_it(parse, sign):
    with pytest.raises(UserError) as caught:
        parse(f"price {sign} ? stock")
    message = str(caught.value)
    assert message.isprintable() and "price" in message and "stock" in message
