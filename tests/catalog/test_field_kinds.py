"""Columns that identify items are refused as fields; columns that describe them are not."""

import random
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from catalog.product_words import WORDS

from likewise.catalog.field_kinds import check_field_leakage, compute_information
from likewise.catalog.typed_values import FieldKind
from likewise.errors import UserError

ITEMS = 400
DRAW = random.Random(0)
START = datetime(2024, 1, 1)


def draw(*choices: Any) -> list[Any]:
    return [DRAW.choice(choices) for _ in range(ITEMS)]


def name() -> str:
    return "".join(DRAW.choice("bdfgklmnprst") + DRAW.choice("aeiou") for _ in range(3)).title()


IDENTIFYING: dict[str, tuple[FieldKind, Sequence[Any], str]] = {
    "SKU": ("category", [f"XJ-{DRAW.randrange(10**6)}{DRAW.choice('ABC')}" for _ in range(ITEMS)], "codes"),
    "numbered word": ("text", [f"item-{number:05d}" for number in range(ITEMS)], "codes and not words"),
    "UUID": ("text", [str(uuid.UUID(int=DRAW.getrandbits(128))) for _ in range(ITEMS)], "codes and not words"),
    "letters": ("text", ["".join(DRAW.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=7)) for _ in range(ITEMS)], "not words"),
    "address": ("text", [f"https://shop.example/red-shoes/{number}" for number in range(ITEMS)], "are addresses"),
    "EAN": ("number", [float(DRAW.randrange(4 * 10**12, 5 * 10**12)) for _ in range(ITEMS)], "number or encode them"),
    "EAN as text": ("category", [str(DRAW.randrange(4 * 10**12, 5 * 10**12)) for _ in range(ITEMS)], "not words"),
    "running number": ("number", [float(number) for number in range(1, ITEMS + 1)], "number or encode them"),
    "shuffled number": ("number", [float(number) for number in DRAW.sample(range(ITEMS), ITEMS)], "number or encode"),
    "number with gaps": ("number", sorted(map(float, DRAW.sample(range(2 * ITEMS), ITEMS))), "number or encode them"),
    "every tenth": ("number", [10.0 * number for number in range(ITEMS)], "number or encode them"),
    "time of insertion": ("date", [START + timedelta(seconds=37 * row) for row in range(ITEMS)], "time of a single"),
    "epoch": ("number", [1.7e9 + 37 * row for row in range(ITEMS)], "number or encode them"),
    "tags with a code": ("tags", [(DRAW.choice(WORDS), f"c{row}") for row in range(ITEMS)], "400 of its 400 cells"),
}  # fmt: skip

DESCRIBING: dict[str, tuple[FieldKind, Sequence[Any]]] = {
    "brand": ("category", draw("Acme", "Bolt", "Zeta Co", "Ümlaut", None)),
    "brands, each once": ("category", [name() for _ in range(ITEMS)]),
    "aisle": ("category", [f"A{DRAW.randrange(50)}" for _ in range(ITEMS)]),
    "price": ("number", [round(DRAW.uniform(1, 500), 2) for _ in range(ITEMS)]),
    "whole price": ("number", [float(DRAW.randrange(1, 5000)) for _ in range(ITEMS)]),
    "sorted price": ("number", sorted(float(DRAW.randrange(1, 5000)) for _ in range(ITEMS))),
    "population": ("number", [float(round(10 ** DRAW.uniform(7, 9.5))) for _ in range(ITEMS)]),
    "rating": ("number", [float(DRAW.randrange(1, 6)) for _ in range(ITEMS)]),
    "constant": ("number", [5.0] * ITEMS),
    "title": ("text", [" ".join(DRAW.sample(WORDS, 5)) for _ in range(ITEMS)]),
    "title with a code": ("text", [f"{' '.join(DRAW.sample(WORDS, 3))} XJ{row}" for row in range(ITEMS)]),
    "Japanese title": ("text", [f"赤い靴{chr(0x4E00 + row)}" for row in range(ITEMS)]),
    "release": ("date", [START - timedelta(days=DRAW.randrange(9000)) for _ in range(ITEMS)]),
    "tags": ("tags", [tuple(DRAW.sample(WORDS, 3)) for _ in range(ITEMS)]),
    "stock": ("boolean", draw(True, False)),
    "blank": ("text", [None] * ITEMS),
}


@pytest.mark.parametrize("column", IDENTIFYING)
def test_identifying_columns_are_refused_with_a_way_out(column: str) -> None:
    kind, values, reason = IDENTIFYING[column]
    with pytest.raises(UserError, match=r"leave it out of model\.fields") as error:
        check_field_leakage(column, values, kind, np.arange(ITEMS))
    assert f'the column "{column}" cannot be a field: ' in str(error.value)
    assert reason in str(error.value)


@pytest.mark.parametrize("column", DESCRIBING)
def test_describing_columns_are_fields(column: str) -> None:
    kind, values = DESCRIBING[column]
    check_field_leakage(column, values, kind, np.arange(ITEMS))


def test_a_code_of_things_with_several_rows_is_refused() -> None:
    identity = np.repeat(np.arange(ITEMS // 4), 4)
    groups = [f"G{7919 * thing % 100_003}" for thing in identity]
    with pytest.raises(UserError, match="100 different values for 100 items"):
        check_field_leakage("parent", groups, "category", identity)


def test_a_few_items_and_unknown_identities_are_not_judged() -> None:
    check_field_leakage("sku", [f"S-{row}" for row in range(9)], "category", np.arange(9))
    check_field_leakage("sku", [f"S-{row}" for row in range(99)], "category", np.full(99, -1))


def test_information_is_that_of_the_textbook() -> None:
    identity = np.arange(8)
    assert compute_information(identity, identity) == pytest.approx(np.log(8))
    assert compute_information(identity // 2, identity) == pytest.approx(np.log(4))
    assert compute_information(np.zeros(8, int), identity) == pytest.approx(0)
    assert compute_information(identity % 2, identity // 2) == pytest.approx(0)
