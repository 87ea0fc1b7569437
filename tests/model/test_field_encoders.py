"""Encoders that are fitted to a column: the rows that train count, and values that cannot be opened do not."""

from dataclasses import replace

import numpy as np
import pytest
from model.shape_catalogue import catalogue_of

from likewise.config import ModelSettings
from likewise.encoders.modalities import READERS, UnusableValueError
from likewise.errors import UserError
from likewise.model.field_encoders import build_encoders, name_module

SETTINGS = ModelSettings(
    text_encoder="scratch-text", image_encoder="scratch-image", dim=16, fields={"title": "text", "price": "number"}
)


@pytest.fixture
def catalog(tmp_path):
    prices = ["5", "6", "9", "", "", ""]
    return catalogue_of(tmp_path, [{"title": f"thing {row}", "price": price} for row, price in enumerate(prices)])


@pytest.fixture
def sold_out(monkeypatch):
    """Opening the price 6, or any, fails as it may with the values of an installed kind."""

    def open_price(catalog, value):
        if value in refused:
            raise UnusableValueError("price-sold-out")
        return value

    refused = {6.0}
    monkeypatch.setitem(READERS, "number", replace(READERS["number"], open=open_price))
    return refused


def test_a_value_that_cannot_be_opened_is_left_out(catalog, sold_out):
    fitted = build_encoders(SETTINGS, 0, catalog)[name_module("price")]
    sold_out.clear()
    without = build_encoders(SETTINGS, 0, catalog.select([0, 2, 3, 4, 5]))[name_module("price")]
    assert fitted.fingerprint() == without.fingerprint()
    assert fitted.fingerprint() != build_encoders(SETTINGS, 0, catalog)[name_module("price")].fingerprint()


def test_where_none_can_be_opened_the_column_is_named(catalog, sold_out):
    sold_out |= {5.0, 9.0}
    with pytest.raises(UserError, match=r'the column "price" has.* no cell that can be read as number: leave'):
        build_encoders(SETTINGS, 0, catalog)


def test_values_in_rows_that_do_not_train_are_no_values_and_the_message_says_so(catalog):
    with pytest.raises(UserError, match='the column "price" has, in the rows that train, no cell that can be read as'):
        build_encoders(SETTINGS, 0, catalog, np.array([3, 4]))
    with pytest.raises(UserError, match='the column "price" has no cell that can be read as number'):
        build_encoders(SETTINGS, 0, catalog.select([3, 4, 5]), np.array([0, 1]))
