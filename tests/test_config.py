"""Settings: YAML in and out, mistakes in one sentence, defaults that depend on the data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.config import ImageSettings, ModelSettings, TrainConfig, add_fields
from likewise.errors import UserError


@given(st.integers(0, 500), st.floats(1e-6, 1.0), st.sampled_from(["frozen", "full"]), st.text(max_size=20))
def test_what_is_written_is_read_back(tmp_path_factory, epochs, rate, regime, where):
    path = tmp_path_factory.mktemp("config") / "c.yaml"
    config = TrainConfig.parse(
        {"epochs": epochs, "learning_rate": rate, "regime": regime, "data": {"where": where, "images": {"per_item": 2}}}
    )
    config.write(path)
    assert TrainConfig.read(path) == config


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("epoch: 3", "unknown key epoch; did you mean epochs?"),
        ("data: {images: {per_itm: 2}}", "unknown key data.images.per_itm; did you mean per_item?"),
        ("zzz: 1", "unknown key zzz; known keys: model, data"),
        ("epochs: many", "epochs: "),
        ("- 1", "must hold keys and values"),
        ("a: [", "is not valid YAML"),
    ],
)
def test_a_mistake_in_a_file_is_one_sentence(tmp_path, content, says):
    path = tmp_path / "c.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError) as error:
        TrainConfig.read(path)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.yaml"):
        TrainConfig.read(tmp_path / "nowhere.yaml")


def test_defaults_depend_on_the_data_and_given_values_win():
    many, own = TrainConfig().filled_in(titles_repeat=True), TrainConfig().filled_in(titles_repeat=False)
    assert many.total_epochs > own.total_epochs > 0
    assert many.text_lr_scale > own.text_lr_scale > 0 and own.title_negatives > 0
    stacked = TrainConfig().filled_in(titles_repeat=False, stacked=True)
    assert own.text_lr_scale > stacked.text_lr_scale > 0 and stacked.title_negatives == 0
    given_by_user = TrainConfig(epochs=0, text_lr_scale=0.0, title_negatives=7)
    assert given_by_user.filled_in(titles_repeat=True, stacked=True) == given_by_user
    assert TrainConfig(regime="full").filled_in(titles_repeat=True).total_epochs < own.total_epochs


def test_fields_are_names_or_kinds_and_are_saved_in_one_form():
    assert ModelSettings().fields == {"title": "text", "description": "text", "image": "image"}  # no price
    assert ModelSettings(fields=["title", "brand"]).model_dump()["fields"] == ["title", "brand"]
    assert ModelSettings(fields={"title": "text", "brand": "text"}).model_dump()["fields"] == ["title", "brand"]
    typed = {"title": "text", "price": "number"}
    assert ModelSettings(fields=typed).model_dump()["fields"] == typed
    assert "encoders" not in ModelSettings().model_dump()  # fingerprints of models that were saved before stay the same


@pytest.mark.parametrize("kind", ["text", "image"])
def test_encoders_of_texts_and_pictures_have_their_own_keys(kind):
    with pytest.raises(UserError, match=f"model.encoders: name the {kind} encoder with {kind}_encoder instead"):
        TrainConfig.parse({"model": {"encoders": {kind: "nonsense"}}})


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (["title", "title"], "named twice"),
        ({"title": "category"}, "the field title is always of the kind text"),
        ({"photo": "image"}, "--map image_url=column"),
        ({"price": "Number!"}, "price"),
        ({"": "number"}, "at least 1 character"),
    ],
)
def test_fields_that_cannot_be_are_one_sentence(fields, says):
    with pytest.raises(UserError, match=says):
        ModelSettings.parse({"fields": fields})


def test_fields_of_the_command_line_are_added():
    added = add_fields(["title", "image"], ["price=number", "brand", "a=b=category"])
    assert added == {"title": "text", "image": "image", "price": "number", "brand": "text", "a=b": "category"}
    assert add_fields({"price": "number"}, ["price=category"]) == {"price": "category"}
    for wrong in ("", "=number", "price="):
        with pytest.raises(UserError, match="write it as price=number"):
            add_fields([], [wrong])


def test_settings_do_not_change():
    with pytest.raises(ValueError, match="frozen"):
        ImageSettings().per_item = 3
