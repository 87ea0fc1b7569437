"""Runs on a small catalogue: with baselines, by parts of the fields, with pictures as queries, and two compared."""

import io

import numpy as np
import polars as pl
import pytest
import torch
from conftest import one_torch_thread
from encoders.tiny_models import save_bert, save_clip, save_siglip, save_vit
from model.shape_catalogue import write_catalogue

from likewise.catalog.catalog import Catalog
from likewise.config import ModelSettings
from likewise.errors import UserError
from likewise.evaluation import evaluate
from likewise.evaluation.embeddings import embed_queries, embed_task
from likewise.evaluation.evaluate import evaluate_run
from likewise.evaluation.report import space_map
from likewise.evaluation.report.evaluation_report import write_evaluation
from likewise.evaluation.run_comparison import compare_runs, run_comparison_table
from likewise.evaluation.task import TaskOptions
from likewise.evaluation.zero_shot import load_zero_shot
from likewise.model.closed_forms import save_closed_forms
from likewise.model.heads import KernelMap, PictureMap
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
    # this model is the untrained one, so that both are equal
    assert by_key["only-image"].differences["map"].mean == 0
    figures = result.as_dict()
    assert figures["view"] == "all"
    assert len(figures["ablations"]) == 6
    assert [worth["field"] for worth in figures["worths"]] == ["title", "description", "image"]
    whole, without = (by_key[key].trained.metrics[result.comparison.metric].mean for key in ("all", "without-image"))
    assert figures["worths"][2]["gain"]["mean"] == pytest.approx(whole - without)


def test_two_fields_need_only_two_ablations(catalog):
    task = TaskOptions(catalog, SETTINGS.fields).build()
    assert [subset.key for subset in task.list_subsets(ablations=True)] == ["all", "only-description", "only-image"]
    assert [subset.key for subset in task.list_subsets(ablations=False)] == ["all"]


def kept_forms(run, model):
    """Save closed forms in a run: random maps; the start has the kernel of pictures alone. Returns them."""
    network, generator = model.network, torch.Generator().manual_seed(3)
    weights = [torch.randn(size, generator=generator) for size in ((64, network.base_map("image").in_features), (64,))]
    kernels = {field: KernelMap(network.base_map(field).in_features, 64, 9) for field in ("image", "description")}
    for kernel in kernels.values():
        for value in (kernel.examples, kernel.weight.data, kernel.bias.data):
            value.normal_(generator=generator)
        kernel.examples.copy_(kernel.examples.half())  # as they are kept
    forms = {"ridge": {"image": PictureMap.from_weights(*weights)}, "kernel ridge": kernels}
    forms["start"] = {"image": kernels["image"]}
    save_closed_forms(run, forms)
    return forms


@pytest.mark.parametrize("pictured", [False, True], ids=["by words", "by pictures, too"])
@pytest.mark.parametrize("fields", [["description", "image"], ["description"]], ids=["both", "texts alone"])
def test_closed_forms_and_the_start_of_a_run_are_measured_as_if_they_were_the_model(
    catalog, models, tmp_path, pictured, fields
):
    forms = kept_forms(tmp_path, models[0])
    rows = [f"word {row},{f'{row + 20}.png' if pictured else ''},s{row}" for row in range(12)]
    task = judged(catalog, "\n".join(["query,image,id", *rows]), fields=fields)
    result = evaluate_run(tmp_path, models[0], task).comparison.subsets[0]
    assert [system.name for system in result.systems[1:]] == ["untrained", "BM25", "ridge", "kernel ridge", "start"]
    subsets = task.list_subsets(ablations=False)
    for name, maps in forms.items():
        with models[0].network.with_base_maps(maps):
            expected = embed_task(models[0], task).evaluate(name, subsets)["all"].metrics
        for metric in ("mrr", "map"):
            assert result.system(name).metrics[metric].mean == pytest.approx(np.nanmean(expected[metric]), abs=1e-6), (
                name
            )
    told = {result.system(name).metrics["mrr"].mean for name in ("untrained", "kernel ridge")}
    assert len(told) == 2, "the maps make a difference"


def test_a_start_that_is_one_of_the_closed_forms_is_measured_once(catalog, models, tmp_path, monkeypatch):
    forms = kept_forms(tmp_path, models[0])
    save_closed_forms(tmp_path, forms | {"start": forms["kernel ridge"]})
    embedded = []
    monkeypatch.setattr(evaluate, "embed_task", lambda *args: embedded.append(args) or embed_task(*args))
    result = evaluate_run(tmp_path, models[0], TaskOptions(catalog, SETTINGS.fields).build()).comparison.subsets[0]
    assert len(embedded) == 1 + 2 + 1  # untrained, ridge, kernel ridge; trained
    assert result.system("start").metrics == result.system("kernel ridge").metrics
    assert result.baseline != "start"


def test_what_training_added_stands_in_the_json(catalog, models, tmp_path):
    kept_forms(tmp_path, models[0])
    task = TaskOptions(catalog, SETTINGS.fields).build()
    evaluation = evaluate_run(tmp_path, models[0], task)
    figures, subset = evaluation.as_dict(), evaluation.comparison.subsets[0]
    assert figures["training_difference"] == subset.gains[task.metric].model_dump()
    assert figures["training_verdict"] == evaluation.comparison.training_verdict
    assert figures["baselines"]["start"]["mrr"]["mean"] == subset.system("start").metrics["mrr"].mean
    empty = tmp_path / "no start"
    empty.mkdir()
    unknown = evaluate_run(empty, models[0], task).as_dict()
    assert unknown["training_difference"] is None and unknown["training_verdict"] is None


def test_figures_of_another_version_are_refused(catalog, models, tmp_path):
    (tmp_path / "metrics.json").write_text('{"format": 2}')
    task = TaskOptions(catalog, SETTINGS.fields).build()
    with pytest.raises(UserError, match="not a metrics file of this version of likewise; train the run again"):
        evaluate_run(tmp_path, models[0], task)


@pytest.mark.parametrize("save", [save_clip, save_siglip], ids=["clip", "siglip"])
def test_a_zero_shot_model_is_one_more_line(catalog, models, tmp_path, save):
    folder = save(tmp_path / "tiny-dual")
    task = TaskOptions(catalog, SETTINGS.fields).build()
    result = evaluate_run(tmp_path, models[0], task, zero_shot=[str(folder)]).comparison.subsets[0]
    assert [system.name for system in result.systems] == ["trained", "untrained", "BM25", "tiny-dual"]
    settings = ModelSettings(text_encoder=str(folder), image_encoder=str(folder), dim="auto")
    backbone = Model.create(settings, "cpu", models[0].precision)
    expected = embed_task(backbone, task).evaluate("", task.list_subsets(ablations=False))["all"].metrics
    assert result.system("tiny-dual").metrics["mrr"].mean == pytest.approx(expected["mrr"].mean(), abs=0.02)


def test_a_folder_named_like_another_system_is_shown_by_its_path(catalog, models, tmp_path):
    folder = save_clip(tmp_path / "untrained")
    task = TaskOptions(catalog, SETTINGS.fields).build()
    result = evaluate_run(tmp_path, models[0], task, zero_shot=[str(folder)]).comparison.subsets[0]
    assert result.systems[-1].name == str(folder.resolve())


def test_a_model_of_other_fields_has_no_zero_shot_baseline(tmp_path):
    settings = SETTINGS.model_copy(update={"fields": {"brand": "text"}})
    model = Model.create(settings, "cpu", {"text": "float32", "image": "float32"})
    with pytest.raises(UserError, match="reads title, description and image, and the model's fields are brand"):
        load_zero_shot(str(save_clip(tmp_path / "clip")), model)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no-such-folder", "there is no folder 'no-such-folder': give the folder of a model, or a Hugging Face id"),
        ("./no/such/folder", "is a folder that does not exist"),
        ("lite-text", "lite-text is not a dual encoder: a zero-shot baseline is a CLIP or SigLIP model"),
        (save_bert, "is not a dual encoder"),
        (save_vit, "is not a dual encoder"),
    ],
)
def test_what_is_no_zero_shot_model_is_one_sentence(catalog, models, tmp_path, name, message):
    name = name if isinstance(name, str) else str(name(tmp_path / "encoder"))
    task = TaskOptions(catalog, SETTINGS.fields).build()
    with pytest.raises(UserError, match=message) as error:
        evaluate_run(tmp_path, models[0], task, zero_shot=[name])
    assert "\n" not in str(error.value)


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


def test_two_runs_are_shown_with_what_their_training_added(catalog, models, tmp_path):
    task = TaskOptions(catalog, SETTINGS.fields).build()
    old, new = (tmp_path / "old", models[0]), (tmp_path / "new", models[1])
    save_closed_forms(tmp_path / "old", {"start": {}})  # the first model, which is untrained, as it is
    forms = kept_forms(tmp_path / "new", models[0])
    result = compare_runs(task, old, new)
    assert [[system.name for system in own.systems] for own in result.starts] == [
        ["new", "start of new"], ["old", "start of old"]
    ]  # fmt: skip
    assert result.starts[1].gains[task.metric].mean == 0
    with models[0].network.with_base_maps(forms["start"]):
        begun = embed_task(models[0], task).evaluate("", task.list_subsets(ablations=False))["all"].metrics["mrr"]
    assert result.starts[0].system("start of new").metrics["mrr"].mean == pytest.approx(begun.mean(), abs=1e-6)
    console = Terminal(io.StringIO(), width=80)
    console.print(run_comparison_table(result))
    text = " ".join(console.file.getvalue().split())
    for sentence in result.training_sentences:
        assert " ".join(sentence.split()) in text
    assert result.training_sentences[0].startswith(f"Training of new changed {task.metric} by ")
    assert result.training_sentences[1].endswith("over its start: no measurable difference")


def test_a_run_compared_with_itself_shows_no_difference(catalog, models, tmp_path):
    task = TaskOptions(catalog, SETTINGS.fields).build()
    result = compare_runs(task, (tmp_path / "a" / "run", models[0]), (tmp_path / "b" / "run", models[0]))
    assert result.verdict == "no difference"
    assert result.wins == result.losses == 0
    assert result.names == (str(tmp_path / "a" / "run"), str(tmp_path / "b" / "run"))


def test_a_run_without_pictures_can_be_compared_with_one_that_has_them(catalog, models, tmp_path):
    texts = Model.create(
        SETTINGS.model_copy(update={"fields": {"title": "text", "description": "text"}}), "cpu", models[0].precision
    )
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
