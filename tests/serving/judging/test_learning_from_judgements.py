"""From a judgement over HTTP to figures and a training: both commands read the file that `serve --judge` keeps."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cli.commands import run_command
from conftest import one_torch_thread
from retrieval.shop_catalogue import QUICK_TRAINING, write_indexed_run

from likewise.catalog.catalog import Catalog
from likewise.serving.api.server import ServerSettings, serving_run
from likewise.serving.judging.judging import FILE_NAME, JudgingSettings
from likewise.serving.listening import listen
from likewise.training.views import RowTexts


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A shop whose hits somebody has judged, over HTTP."""
    folder = tmp_path_factory.mktemp("shop")
    run = write_indexed_run(folder)
    (folder / "quick.yaml").write_text(QUICK_TRAINING, encoding="utf-8")
    judging = JudgingSettings(run / FILE_NAME, judge=True, collect=True)
    settings = ServerSettings(run, folder / "cache", page=False, judging=judging)
    with (
        one_torch_thread(),
        listen("127.0.0.1", 0) as listener,
        serving_run(settings, listener) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
    ):
        for text, answers in JUDGED.items():
            hits = client.get("/v1/search", params={"q": text, "k": 3}).json()["hits"]
            assert len(hits) == 3
            for id, relevance in answers.items():
                said = {"query": {"text": text}, "id": id, "relevance": relevance}
                assert client.post("/v1/judgements", json=said).status_code == 200
        picture = {"query": {"image": DOT}, "id": "sku-1000", "relevance": 1}
        assert client.post("/v1/judgements", json=picture).status_code == 200
        mistake = {"query": {"text": "for a sailor"}, "id": "sku-1029", "relevance": 2}
        name = client.post("/v1/judgements", json=mistake).json()["judgement"]
        assert client.delete(f"/v1/judgements/{name}").status_code == 204
    with one_torch_thread(), contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIKEWISE_CACHE", str(folder / "cache"))
        yield folder


JUDGED = {
    "something round": {"sku-1000": 2, "sku-1005": 1, "sku-1001": 0},
    "for a sailor": {"sku-1007": 1, "sku-1008": 1, "sku-1000": 0},
    "nothing fits": {"sku-1003": 0},
}
DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEklEQVR4nGP4z8CAFWEXHbQSACj/P8Fu7N9hAAAA"
    "AElFTkSuQmCC"
)


def test_evaluation_measures_what_was_judged(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_command("evaluate", "run", "--data", "products.csv", "--queries", "run/judgements.jsonl", "--json")
    told = capsys.readouterr()
    figures = json.loads(told.out)
    assert figures["queries"] == 3  # two by words and one by a picture; nothing answers the third by words
    assert "judgements.jsonl" in figures["on"]
    assert "1 queries have no answer in the catalogue and are not measured" in " ".join(told.err.split())


def test_training_learns_from_what_was_judged(shop: Path) -> None:
    file = shop / "run" / "judgements.jsonl"
    catalog = Catalog.read(shop / "products.csv", cache=shop / "cache")
    texts = RowTexts.collect(catalog, ("title",), seed=0, log=file)
    log = texts.query_log
    pairs = {
        (texts.texts[text], catalog.ids[row]): weight
        for text, row, weight in zip(log.text, log.row, log.weight, strict=True)
    }
    assert pairs == {
        ("something round", "sku-1000"): 2.0,
        ("something round", "sku-1005"): 1.0,
        ("for a sailor", "sku-1007"): 1.0,
        ("for a sailor", "sku-1008"): 1.0,
    }
    options = ("--output", "learned", "--queries", "run/judgements.jsonl", "--config", "quick.yaml")
    run_command("train", "products.csv", *options)
    report = (shop / "learned" / "report.html").read_text(encoding="utf-8")
    assert "1 queries have a picture and are left out: training learns from texts" in report
    settings = (shop / "learned" / "config.yaml").read_text(encoding="utf-8")
    assert "judgements.jsonl" in settings


def test_what_was_asked_was_collected(shop: Path) -> None:
    kept = json.loads((shop / "run" / "judgements-queries.json").read_text(encoding="utf-8"))["queries"]
    assert {row[0] for row in kept} == set(JUDGED)
