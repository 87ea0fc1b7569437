"""A catalogue with a price, a category and tags, some of them missing: trained, searched, updated and evaluated."""

import json
import shutil

import numpy as np
import polars as pl
import pytest
import torch

from likewise.catalog.catalog import Catalog
from likewise.catalog.field_inference import suggest_config
from likewise.config import ModelSettings, TrainConfig
from likewise.errors import UserError
from likewise.evaluation.evaluate import embed_start, evaluate_run
from likewise.evaluation.run_comparison import compare_runs
from likewise.evaluation.task import TaskOptions
from likewise.files import read_record
from likewise.model.field_encoders import name_module
from likewise.model.model import Model
from likewise.model.portable import EncodedItems, load_portable, save_portable
from likewise.model.run_folder import seal_run
from likewise.retrieval.index import Index
from likewise.training import field_weights, refit
from likewise.training import train as training
from likewise.training.features import LiveFeatures, cache_features
from likewise.training.train import train
from likewise.training.views import RowTexts

COLOURS, THINGS = ("red", "blue", "green", "black"), ("shirt", "hat", "mug", "lamp", "bag", "shoe")
FIELDS = {
    "title": "text",
    "description": "text",
    "category": "category",
    "price": "number",
    "tags": "tags",
    "type": "text",  # a name that PyTorch's modules have, too
}
MODEL = ModelSettings(text_encoder="scratch-text", image_encoder="scratch-image", dim=32, fields=FIELDS)
TINY = TrainConfig(model=MODEL, epochs=1, precision="float32", device="cpu", threads=1)


def write_shop(path, rows=84):
    """Every field is missing in some rows; the last row has nothing but tags besides its title."""
    noise = np.random.default_rng(5)
    table = []
    for row in range(rows):
        colour, thing = COLOURS[int(noise.integers(4))], THINGS[row % 6]
        table.append(
            {
                "id": f"item-{row}",
                "title": f"{colour} {thing} {row}",
                "description": f"A {thing} for every day." if row % 5 else "",
                "category": thing if row % 4 else "",
                "price": f"{10 * (row % 6) + 5},50 €" if row % 7 else ("free" if row % 2 else ""),
                "tags": f"{colour}|{thing}" if row % 3 else "",
                "type": "new" if row % 2 else "used",
            }
        )
    pl.DataFrame(table).write_csv(path)
    return path


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The folder of a trained run, and its catalogue."""
    folder = tmp_path_factory.mktemp("typed")
    catalog = Catalog.read(write_shop(folder / "shop.csv"), cache=folder / "cache")
    train(catalog, folder / "run", TINY)
    return folder, catalog


@pytest.fixture(scope="module")
def model(shop):
    return Model.load(shop[0] / "run", "cpu")


def test_every_field_has_a_tower_where_the_item_has_it(shop, model):
    catalog = shop[1]
    embeddings = model.encode_fields(catalog)
    assert embeddings.fields == tuple(FIELDS)
    table = catalog.table
    expected = {
        "category": table["category"].is_not_null(),
        "tags": table["tags"].is_not_null(),
        "price": table["price"].str.contains("€").fill_null(False),
        "type": table["type"].is_not_null(),
    }
    for field, present in expected.items():
        assert embeddings.presence[:, embeddings.fields.index(field)].tolist() == present.to_list(), field
    norms = np.linalg.norm(embeddings.vectors[embeddings.presence], axis=-1)
    np.testing.assert_allclose(norms, 1.0, atol=1e-5)
    assert any("1 × not a number" in note or "× not a number" in note for note in catalog.report.notes)


@pytest.mark.parametrize(("regime", "still"), [("frozen", True), ("full", False)])
def test_heads_of_columns_stay_at_their_start_where_no_encoder_trains(tmp_path, monkeypatch, regime, still):
    """Titles repeat here, so validation rows choose; where titles are unique, no head of a column trains."""
    rows = pl.read_csv(write_shop(tmp_path / "shop.csv"), infer_schema=False)
    rows.with_columns(pl.col("title").str.replace(r" \d+$", "")).write_csv(tmp_path / "shop.csv")
    fitted, fit = list[set[str]](), training.fit

    def spy(objective, *arguments, **options):
        fitted.append({name for name, weight in objective.network.named_parameters() if weight.requires_grad})
        fit(objective, *arguments, **options)

    monkeypatch.setattr(training, "fit", spy)
    monkeypatch.setattr(refit, "fit", spy)
    config = TINY.model_copy(update={"regime": regime})
    train(Catalog.read(tmp_path / "shop.csv", cache=tmp_path / "cache"), tmp_path / "run", config)
    assert len(fitted) == (2 if still else 1), "the fit on all rows, too"
    trained = set.union(*fitted)
    for field in ("category", "price", "tags"):
        assert any(name.startswith(f"heads.{name_module(field)}.") for name in trained) != still, field
    for part in (f"heads.{name_module('type')}.", "heads.title.", "fusion.gates"):
        assert any(name.startswith(part) for name in trained), part


def test_what_is_saved_is_opened_again(shop, model, tmp_path):
    catalog = shop[1].select(range(12))
    before = model.encode_items(catalog)
    model.save(tmp_path / "copy")
    again = Model.load(tmp_path / "copy", "cpu")
    np.testing.assert_array_equal(again.encode_items(catalog), before)
    assert (again.fingerprint, again.settings.fields) == (model.fingerprint, FIELDS)


def test_one_file_holds_the_fitted_encoders(shop, model, tmp_path):
    catalog = shop[1].select(range(12))
    vectors = model.encode_items(catalog)
    items = EncodedItems(vectors, catalog.table, [None] * len(catalog))
    save_portable(tmp_path / "weights.pt", model, items, cache=tmp_path)
    again, _ = load_portable(tmp_path / "weights.pt", tmp_path / "unpacked", "cpu")
    np.testing.assert_array_equal(again.encode_items(catalog), vectors)


def test_values_are_the_same_from_the_cache_and_from_encoders_that_train(shop, model):
    catalog = shop[1]
    texts = RowTexts.collect(catalog, model.fields, 0, kinds=model.network.kinds)
    cached = cache_features(model, catalog, texts.texts, values=texts.values)
    live = LiveFeatures(model, catalog, texts.texts, all_values=texts.values)
    for field in ("category", "price", "tags"):
        numbers = np.array([0, 2, 1, 0])
        with torch.no_grad():
            torch.testing.assert_close(live.values(field, numbers), cached.values(field, numbers), rtol=1e-4, atol=1e-5)


def test_untrained_categories_are_found_by_their_words(shop):
    catalog = shop[1]
    untrained = Model.create(MODEL, "cpu", {"text": "float32", "image": "float32"}, catalog=catalog)
    seen = untrained.encode_items(catalog, fields=["category"])
    scores = np.nan_to_num(seen @ untrained.encode_queries(["lamp"])[0], nan=-1)
    assert catalog.column("category")[int(scores.argmax())] == "lamp"


def test_the_index_searches_filters_and_keeps_field_vectors(shop, model):
    folder, catalog = shop
    with Index.build(model, catalog, folder / "run") as index:
        hits = index.search("red lamp", k=5, where="price < 40", hybrid=True)
        assert hits
        assert all(hit.fields["price"] is not None for hit in hits)
        assert {"lamp"} <= {hit.fields["category"] for hit in index.search("lamp", k=10, hybrid=True)}


def test_an_update_encodes_what_changed_in_a_typed_column(shop, model, tmp_path):
    folder, catalog = shop
    with Index.build(model, catalog, tmp_path / "run"):
        pass
    changed = catalog.table.with_columns(
        category=pl.when(pl.col("id") == "item-2").then(pl.lit("lamp")).otherwise("category")
    )
    changed.drop("image").write_csv(folder / "changed.csv")
    with Index.open(tmp_path / "run", model) as index:
        changes = index.update(Catalog.read(folder / "changed.csv", cache=folder / "cache"))
        assert (len(changes.changed), len(changes.new), len(changes.removed)) == (1, 0, 0)
        assert index.item("item-2").fields["category"] == "lamp"


def test_the_ablations_say_what_each_column_is_worth(shop, model):
    folder, catalog = shop
    task = TaskOptions(catalog, model.fields).build()
    evaluation = evaluate_run(folder / "run", model, task, ablations=True)
    judged = {worth.field: worth.sentence for worth in evaluation.worths}
    assert judged["price"].startswith('"price" ') and "next to the other fields" in judged["price"]
    views = {part["view"] for part in evaluation.as_dict()["ablations"]}
    assert {f"{kind}-{field}" for kind in ("only", "without") for field in ("category", "price", "tags")} <= views


def test_a_run_folder_with_a_damaged_vocabulary_is_refused(shop, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(shop[0] / "run", run)
    file = run / "encoders" / name_module("category") / "encoder.json"
    content = json.loads(file.read_text())
    content["description"]["vocabulary"].append(content["description"]["vocabulary"][0])
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"encoder\.json"):  # by its checksum
        Model.load(run, "cpu")
    seal_run(run)  # as who made it would
    with pytest.raises(UserError, match=r"encoder\.json is damaged \(vocabulary: .*a value occurs twice"):
        Model.load(run, "cpu")
    content["description"]["vocabulary"] = ["one more", *dict.fromkeys(content["description"]["vocabulary"])]
    file.write_text(json.dumps(content))
    seal_run(run)
    with pytest.raises(UserError, match="belongs to another architecture"):
        Model.load(run, "cpu")


def test_the_start_is_measured_again_with_the_weights_of_fields_that_it_had(shop, tmp_path, monkeypatch):
    monkeypatch.setattr(field_weights, "_WEIGHTS", (0.1,))
    table = shop[1].table.drop("image").with_columns(part=pl.Series((["train"] * 4 + ["test"]) * 17).head(84))
    lots = pl.Series([f"lot {37 * row % 84}" for row in range(84)])
    table = table.with_columns(description=lots)  # no two items are equally good
    table.write_csv(tmp_path / "parted.csv")
    catalog = Catalog.read(tmp_path / "parted.csv", cache=tmp_path / "cache")
    run = train(catalog, tmp_path / "run", TINY.model_copy(update={"split": "part", "refit": False}))
    weights = read_record(run.path / field_weights.FILE, 1)["weights"]
    assert max(weights.values()) < 1, "or else they would be equal"
    again, held_out = Model.load(run.path, "cpu"), catalog.where('part == "test"')
    task = TaskOptions(held_out, again.fields).build()
    evaluated = evaluate_run(run.path, again, task).comparison.subsets[0]
    measured = run.metrics.comparison.subsets[0]
    for name in ("untrained", "kernel ridge", "trained", "start"):
        for metric in ("mrr", "map"):
            theirs = measured.system(name).metrics[metric].mean
            assert evaluated.system(name).metrics[metric].mean == pytest.approx(theirs, abs=1e-6), (name, metric)
    begun = embed_start(run.path, again, task, task.fields)
    kept = dict(zip(again.fields, begun.network.fusion.field_logits.exp().tolist(), strict=True))
    assert {field: kept[field] for field in weights} == pytest.approx(weights)
    compared = compare_runs(task, (run.path, again), (run.path, again)).starts[0].systems[-1]
    assert compared.metrics["mrr"].mean == pytest.approx(measured.system("start").metrics["mrr"].mean, abs=1e-6)


def test_titles_that_repeat_train_all_heads(shop, tmp_path):
    table = shop[1].table.with_columns(title=pl.col("title").str.replace(r" \d+$", "")).drop("image")
    table = table.with_columns(part=pl.Series((["train"] * 6 + ["val"] * 3 + ["test"] * 3) * 7))
    table.write_csv(tmp_path / "repeat.csv")
    catalog = Catalog.read(tmp_path / "repeat.csv", cache=tmp_path / "cache")
    config = TINY.model_copy(update={"split": "part", "loss": "sigmoid"})
    config = config.model_copy(update={"queries": None, "hard_negatives": 1, "batch_size": 16})
    trained = Model.load(train(catalog, tmp_path / "run", config).path, "cpu")
    vectors = trained.encode_items(catalog)
    assert np.isfinite(vectors).all()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"title": "text", "colour": "category"}, 'there is no column "colour"'),
        ({"title": "text", "description": "text", "id": "category"}, 'the column "id" cannot be a field'),
        ({"title": "text", "category": "date"}, 'the column "category" has no cell that can be read as date'),
        ({"title": "text", "type": "smell"}, "declared as smell, which is no kind of field"),
    ],
)
def test_a_field_that_cannot_be_one_is_named(shop, tmp_path, fields, said):
    settings = TINY.model.model_copy(update={"fields": fields})
    with pytest.raises(UserError, match=said):
        train(shop[1], tmp_path / "run", TINY.model_copy(update={"model": settings}))


@pytest.mark.parametrize("kind", ["text", "category"])
def test_a_field_that_repeats_the_title_is_refused(shop, tmp_path, kind):
    shouted = pl.col("title").str.to_uppercase()
    table = (
        shop[1].table.drop("image").with_columns(name=pl.when(pl.col("tags").is_null()).then(None).otherwise(shouted))
    )
    table.write_csv(tmp_path / "named.csv")
    settings = TINY.model.model_copy(update={"fields": {"title": "text", "description": "text", "name": kind}})
    with pytest.raises(UserError, match='the column "name" cannot be a field: it repeats the title in 56 of 56 rows'):
        train(Catalog.read(tmp_path / "named.csv"), tmp_path / "run", TINY.model_copy(update={"model": settings}))


def test_the_column_of_queries_is_no_field(shop, tmp_path):
    shop[1].table.drop("image").rename({"type": "query"}).write_csv(tmp_path / "asked.csv")
    settings = TINY.model.model_copy(update={"fields": {"title": "text", "description": "text", "query": "text"}})
    with pytest.raises(UserError, match='the column "query" cannot be a field: it holds the queries'):
        train(Catalog.read(tmp_path / "asked.csv"), tmp_path / "run", TINY.model_copy(update={"model": settings}))


def test_a_suggested_config_trains_as_it_stands(shop, tmp_path):
    text = suggest_config(shop[0] / "shop.csv")
    assert "    # price: number  # 92 % of 78 cells are numbers, with €; a price is a filter" in text
    (tmp_path / "fields.yaml").write_text(text.replace("# price:", "price:"), encoding="utf-8")
    fields = TrainConfig.read(tmp_path / "fields.yaml").model.fields
    expected = {**FIELDS, "description": "text", "type": "category"}
    assert {name: kind for name, kind in fields.items() if name != "image"} == expected
    config = TINY.model_copy(update={"model": TINY.model.model_copy(update={"fields": fields})})
    assert Model.load(train(shop[1], tmp_path / "run", config).path, "cpu").fields == tuple(fields)


def test_validation_rows_weigh_the_fields_where_towers_are_not_stacked(tmp_path, monkeypatch):
    """With a column of queries; the model that is fitted again on all rows begins with the same weights."""
    monkeypatch.setattr(field_weights, "_WEIGHTS", (0.5,))  # few queries lose nothing by any weight
    table = pl.read_csv(write_shop(tmp_path / "shop.csv"))
    table.with_columns(query=pl.col("title").str.split(" ").list.head(2).list.join(" ")).write_csv(
        tmp_path / "asked.csv"
    )
    catalog = Catalog.read(tmp_path / "asked.csv", cache=tmp_path / "cache")
    still = TINY.model_copy(update={"learning_rate": 1e-12, "refit": True})
    run = train(catalog, tmp_path / "run", still)
    assert run.metrics.cross_validation is None and run.metrics.refit_items is not None
    weights = read_record(run.path / field_weights.FILE, 1)["weights"]
    assert weights.keys() == set(FIELDS) - {"title", "description"} and 0.5 in weights.values()
    network = Model.load(run.path, "cpu").network
    fused = dict(zip(network.fields, network.fusion.field_logits.exp().tolist(), strict=True))
    assert fused == pytest.approx({"title": 1.0, "description": 1.0} | weights, rel=1e-3)
    task = TaskOptions(catalog, tuple(FIELDS)).build()
    start = embed_start(run.path, Model.load(run.path, "cpu"), task, task.fields)
    torch.testing.assert_close(start.network.fusion.field_logits, network.fusion.field_logits, rtol=1e-3, atol=1e-3)
