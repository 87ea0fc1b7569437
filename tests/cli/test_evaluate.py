"""`likewise evaluate` and `likewise compare` as a person or a pipeline types them."""

import json

import pytest
from encoders.tiny_models import save_clip
from model.shape_catalogue import write_catalogue

from likewise.cli.app import main
from likewise.config import ModelSettings
from likewise.evaluation.report import space_map
from likewise.model.model import Model
from likewise.progress import console


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with the catalogue of shapes and two models."""
    folder = tmp_path_factory.mktemp("evaluate")
    write_catalogue(folder)
    settings = ModelSettings(text_encoder="scratch-text", image_encoder="scratch-image", dim=64)
    for seed, name in enumerate(("old", "new")):
        run = folder / name
        run.mkdir()
        Model.create(settings, "cpu", {"text": "float32", "image": "float32"}, seed=seed).save(run)
    return folder


def run(workplace, capsys, command, *options):
    """(exit status, stdout, stderr)"""
    capsys.readouterr()
    console.file = None
    runs = [workplace / "old"] if command == "evaluate" else [workplace / "old", workplace / "new"]
    arguments = [command, *runs, "--cache", workplace / "cache", *options]
    if "--data" not in options:
        arguments += ["--data", workplace / "shapes.csv"]
    status = 0
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as end:
        status = end.code or 0
    written = capsys.readouterr()
    return status, written.out, written.err


def test_goals_decide_the_exit_status(workplace, capsys):
    status, out, _ = run(workplace, capsys, "evaluate", "--fail-under", "recall@10=0", "--json")
    assert status == 0
    assert json.loads(out)["metrics"]["recall@10"]
    assert 0 <= json.loads(out)["threshold"]["kept"] <= 1
    status, out, err = run(workplace, capsys, "evaluate", "--fail-under", "recall@10=1", "--fail-under", "map=0.999")
    assert status == 1
    assert "Verdict" in out
    assert "most likely means that nothing fits" in " ".join(out.split())
    missed = [line for line in err.splitlines() if line.startswith("likewise: ")]
    assert len(missed) == 2
    assert missed[0].startswith("likewise: recall@10 is 0.")
    assert "below the 1 that it has to reach" in missed[0]


def test_a_goal_is_checked_before_the_work(workplace, capsys):
    status, _, err = run(workplace, capsys, "evaluate", "--fail-under", "speed=3", "--data", "nowhere.csv")
    assert status == 2
    assert "metrics are recall@1" in err


def test_a_report_with_ablations(workplace, capsys, monkeypatch):
    monkeypatch.setattr(space_map, "_umap_is_installed", lambda: False)  # or else it is compiled first
    page = workplace / "reports" / "r.html"
    status, out, err = run(workplace, capsys, "evaluate", "--ablations", "--report", page)
    assert status == 0
    assert str(page) in err.replace("\n", "")
    assert "the picture alone, asked for by title" in page.read_text()
    assert "On the picture alone" in " ".join(out.split())


def test_a_zero_shot_baseline_by_folder(workplace, capsys):
    save_clip(workplace / "tiny-clip")
    status, out, _ = run(workplace, capsys, "evaluate", "--baseline", workplace / "tiny-clip", "--json")
    assert status == 0
    assert set(json.loads(out)["baselines"]) == {"untrained", "BM25", "tiny-clip"}
    status, out, err = run(workplace, capsys, "evaluate", "--baseline", "tiny-clap")
    assert status == 2
    assert "there is no folder 'tiny-clap'" in " ".join(err.split())


def test_trec_files_and_a_beir_folder(workplace, capsys):
    (workplace / "q.txt").write_text("1 0 s0 1\n1 0 s4 2\n2 0 s7 1\n")
    (workplace / "topics.tsv").write_text("1\tred things\n2\ta small bar\n")
    topics = ("--queries", workplace / "q.txt", "--topics", workplace / "topics.tsv")
    _, out, _ = run(workplace, capsys, "evaluate", *topics, "--json")
    assert json.loads(out)["queries"] == 2
    status, _, err = run(workplace, capsys, "evaluate", "--queries", workplace / "q.txt")
    assert status == 2
    assert "--topics" in err
    beir = workplace / "beir"
    (beir / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{number}", "title": "", "text": f"text number {number}"} for number in range(20)]
    (beir / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)))
    (beir / "queries.jsonl").write_text('{"_id": "q", "text": "number 7"}\n{"_id": "r", "text": "number 8"}')
    (beir / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td7\t1\nr\td8\t1\n")
    status, out, _ = run(workplace, capsys, "evaluate", "--data", beir, "--json")
    figures = json.loads(out)
    assert (figures["queries"], figures["candidates"]) == (2, 20)
    assert figures["baselines"]["BM25"]["recall@1"]["mean"] == 1


def test_queries_by_picture_and_what_is_left_out_is_said(workplace, capsys):
    judged = workplace / "pictures.jsonl"
    rows = [{"image": "20.png", "id": "s20"}, {"query": "small", "image": "21.png", "id": ["s21", "nowhere"]}]
    judged.write_text("\n".join(map(json.dumps, rows)))
    _, out, err = run(workplace, capsys, "evaluate", "--queries", judged, "--fields", "image", "--json")
    assert json.loads(out)["metrics"]["recall@1"]["mean"] >= 0.5
    assert "1 answers are not in the catalogue" in err


def test_compare_prints_a_table_and_json(workplace, capsys):
    status, out, _ = run(workplace, capsys, "compare", "--json")
    assert status == 0
    figures = json.loads(out)
    assert [system["name"] for system in figures["subset"]["systems"]] == ["new", "old"]
    _, out, _ = run(workplace, capsys, "compare")
    assert "Verdict: " in out
    assert f"new answers {figures['wins']}" in " ".join(out.split())
