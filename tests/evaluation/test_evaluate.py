"""Runs on a small catalogue: beside baselines, by parts of the fields, with pictures as queries, and two compared."""

import io

import numpy as np
import polars as pl
import pytest
from conftest import one_torch_thread
from model.shape_catalogue import write_catalogue

from likewise.catalog.catalog import Catalog
from likewise.config import ModelSettings
from likewise.errors import UserError
from likewise.evaluation.embeddings import embed_queries, embed_task
from likewise.evaluation.evaluate import evaluate_run
from likewise.evaluation.report import space_map
from likewise.evaluation.report.evaluation_report import write_evaluation
from likewise.evaluation.run_comparison import compare_runs, run_comparison_table
from likewise.evaluation.task import TaskOptions
from likewise.model.model import Model
from likewise.progress import Terminal

SETTINGS = ModelSettings(text_encoder="scratch-text", image_encoder="scratch-image", dim=64)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    with one_torch_thread():
        yield


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    return Catalog.read(write_catalogue(folder), cache=folder / "cache")


@pytest.fixture(scope="module")
def models():
    precision = {"text": "float32", "image": "float32"}
    return [Model.create(SETTINGS, "cpu", precision, seed=seed) for seed in (0, 1)]


def judged(catalog, text, **options):
    path = catalog.source.parent / "judged.csv"
    path.write_text(text, encoding="utf-8")
    return TaskOptions(catalog, SETTINGS.fields, str(path), **options).build()


def test_any_fields_are_fused_as_the_model_itself_would(catalog, models):
    items = models[0].encode_fields(catalog)
    for fields in (["image"], ["title", "image"], ["title", "description", "image"]):
        assert items.fuse(models[0].network, fields) == pytest.approx(
            models[0].encode_items(catalog, fields), abs=1e-5, nan_ok=True
        )


def test_a_query_by_words_and_picture_lies_halfway(catalog, models):
    picture = catalog.pictures[20][0]
    words, image, both, nothing = embed_queries(
        models[0], catalog, ["a red circle", None, "a red circle", None], [None, picture, picture, None]
    )
    assert words == pytest.approx(models[0].encode_queries(["a red circle"])[0], abs=1e-6)
    assert image == pytest.approx(models[0].encode_items(catalog, ["image"])[20], abs=1e-5)
    assert both @ words == pytest.approx(both @ image, abs=1e-5)
    assert np.linalg.norm(both) == pytest.approx(1, abs=1e-5)
    assert np.isnan(nothing).all()


def test_a_picture_query_finds_its_own_picture(catalog, models):
    task = judged(catalog, "query,image,id\n,20.png,s20\n,21.png,s21\n,gone.png,s2\n", fields=["image"])
    metrics = embed_task(models[0], task).evaluate("trained", task.list_subsets(ablations=False))["all"].metrics
    assert metrics["recall@1"][:2].tolist() == [1, 1]
    assert np.isnan(metrics["recall@1"][2])
    assert "1 queries have a picture that cannot be used and are not measured" in catalog.report.notes


def test_an_item_with_the_query_s_own_picture_is_left_out_unless_it_answers(catalog):
    task = judged(catalog, "image,id\n20.png,s21\n19.png,s19\n30.png,s30\n", fields=["image"])
    # the items 18 and 19 share a picture
    assert [row.tolist() for row in task.exclude] == [[20], [18], []]
    assert judged(catalog, "query,id\na,s1\n").exclude is None


def test_ablations_show_each_field_alone_and_each_left_out(catalog, models, tmp_path):
    task = TaskOptions(catalog, SETTINGS.fields, queries="column:part").build()
    assert task.hidden is None or "part" not in task.fields
    result = evaluate_run(tmp_path, models[0], task, ablations=True)
    assert [subset.subset for subset in result.comparison.subsets] == [
        "all", "only-title", "only-description", "only-image", "without-title", "without-description", "without-image",
    ]  # fmt: skip
    by_key = {subset.subset: subset for subset in result.comparison.subsets}
    assert by_key["without-image"].label == "title and description, without the picture, asked for by part"
    assert [system.name for system in by_key["all"].systems] == ["trained", "untrained", "BM25"]
    assert [system.name for system in by_key["only-image"].systems] == ["trained", "untrained"]
    # this model is the untrained one, so that nothing can tell them apart
    assert by_key["only-image"].differences["map"].mean == 0
    figures = result.as_dict()
    assert figures["view"] == "all"
    assert len(figures["ablations"]) == 6


def test_two_fields_need_only_two_ablations(catalog):
    task = TaskOptions(catalog, SETTINGS.fields).build()
    assert [subset.key for subset in task.list_subsets(ablations=True)] == ["all", "only-description", "only-image"]
    assert [subset.key for subset in task.list_subsets(ablations=False)] == ["all"]


def test_the_report_shows_worst_queries_with_pictures_and_a_map(catalog, models, tmp_path, monkeypatch):
    monkeypatch.setattr(space_map, "_umap_is_installed", lambda: False)  # the first UMAP takes its time
    for number, options in enumerate(({}, {"answers": "column:title", "fields": ["image"]})):
        task = TaskOptions(catalog, SETTINGS.fields, **options).build()
        evaluation = evaluate_run(tmp_path, models[0], task)
        page = write_evaluation(tmp_path / f"{number}.html", tmp_path / "run", models[0], evaluation).read_text()
        assert "What went worst" in page
        assert "data:image/jpeg;base64," in page
        assert "When nothing fits" in page
        assert ("pip install &#39;likewise[map]&#39;" in page) == (number == 0)
        assert ("Map of the space" in page) == (number == 0)  # there is one kind of points in the second
        assert "How it learned" not in page
        assert "<script" not in page
    with pytest.raises(UserError, match="cannot write "):
        write_evaluation(catalog.source / "x.html", tmp_path, models[0], evaluation)


def test_two_runs_on_the_same_questions(catalog, models, tmp_path):
    task = TaskOptions(catalog, SETTINGS.fields).build()
    old, new = (tmp_path / "old", models[0]), (tmp_path / "new", models[1])
    result, back = compare_runs(task, old, new), compare_runs(task, new, old)
    assert result.names == ("old", "new")
    assert (result.wins, result.losses, result.equal) == (back.losses, back.wins, back.equal)
    assert result.wins + result.losses + result.equal == result.subset.queries
    assert result.subset.differences["map"].mean == pytest.approx(-back.subset.differences["map"].mean)
    assert all(change.after > change.before for change in result.gained)
    assert [change.query for change in result.gained] == [change.query for change in back.lost]
    console = Terminal(io.StringIO(), width=80)
    console.print(run_comparison_table(result))
    text = console.file.getvalue()
    assert "gains most on" in text
    assert " ".join(result.sentence.split()) in " ".join(text.split())


def test_a_run_beside_itself_shows_no_difference(catalog, models, tmp_path):
    task = TaskOptions(catalog, SETTINGS.fields).build()
    result = compare_runs(task, (tmp_path / "a" / "run", models[0]), (tmp_path / "b" / "run", models[0]))
    assert result.verdict == "no difference"
    assert result.wins == result.losses == 0
    assert result.names == (str(tmp_path / "a" / "run"), str(tmp_path / "b" / "run"))


def test_a_run_without_pictures_can_be_compared_with_one_that_has_them(catalog, models, tmp_path):
    texts = Model.create(SETTINGS.model_copy(update={"fields": ("title", "description")}), "cpu", models[0].precision)
    task = TaskOptions(catalog, SETTINGS.fields).build()
    result = compare_runs(task, (tmp_path / "texts", texts), (tmp_path / "both", models[0]))
    assert "description (texts) or description and picture (both)" in result.subset.label


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"topics": "topics.tsv"}, "--topics needs --queries FILE"),
        ({"fields": ["smell"]}, "unknown field 'smell'; this model's fields are: title, description, image"),
        ({"fields": []}, "name at least one field"),
        ({"answers": "column:title", "queries": "column:part"}, "omit --queries"),
        ({"answers": "column:title", "relevance": "part"}, "--relevance applies to --answers items only"),
    ],
)
def test_options_that_do_not_fit_together(catalog, options, message):
    with pytest.raises(UserError, match=message):
        TaskOptions(catalog, SETTINGS.fields, **options).build()


def test_picture_queries_need_a_model_that_sees(catalog):
    pl.DataFrame({"image": ["20.png"], "id": ["s20"]}).write_csv(catalog.source.parent / "p.csv")
    with pytest.raises(UserError, match="this model has no field image"):
        TaskOptions(catalog, ("title",), str(catalog.source.parent / "p.csv")).build()
