"""serving.md and the README's part on HTTP, run as they stand there, against a server over a run that was trained."""

import contextlib
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cli.commands import run_command
from conftest import one_torch_thread, require
from playwright._impl._driver import compute_driver_executable
from retrieval.shop_catalogue import QUICK_TRAINING, write_shop
from serving.api.test_openapi_document import OPERATIONS
from serving.documented_requests import README, ROOT, at, blocks, curls, run_curl, run_python, served_run

GUIDE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with products.csv, photo.jpg and a run that was trained and indexed by the commands."""
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder)
    (folder / "quick.yaml").write_text(QUICK_TRAINING, encoding="utf-8")
    with one_torch_thread(), contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIKEWISE_CACHE", str(folder / "cache"))
        run_command("train", "products.csv", "--output", "runs/products", "--config", "quick.yaml")
        run_command("index", "runs/products", "--data", "products.csv")
    return folder


@pytest.fixture(scope="module")
def address(shop: Path) -> Iterator[str]:
    with served_run("runs/products", shop, "--judge") as address:
        yield address


@pytest.mark.parametrize("command", curls(GUIDE) + curls(README))
def test_a_curl_command_is_answered(command: str, address: str, shop: Path) -> None:
    answer = json.loads(run_curl(command, address, shop))
    if "prise" in command:
        [shown] = [json.loads(block) for block in blocks(GUIDE, "json") if "prise" in block]
        changing = ("title",)
        assert {key: answer[key] for key in answer if key not in changing} == {
            key: shown[key] for key in shown if key not in changing
        }
    elif "/v1/judgements" in command:
        assert answer.get("judgement") or "queries" in answer or answer["total"] == 2
    elif "/v1/columns" in command:
        assert {"brand", "price"} <= {column["name"] for column in answer["columns"] if column["filter"]}
    elif "/v1/comparison" in command:
        assert answer["state"] in ("building", "ready")
    elif "/v1/compare" in command:
        assert {"trained", "bm25"} <= {system["system"] for system in answer["systems"]}
    elif "heatmap" in command:
        assert max(abs(value) for row in answer["values"] for value in row) == 1.0
    else:
        assert 1 <= len(answer["hits"]) <= 10
        assert all(hit["id"].startswith("sku-") for hit in answer["hits"])
        assert ("facets" not in command) or answer["facets"]["brand"]


def test_the_page_is_there_and_titled_by_the_catalogue(address: str) -> None:
    answer = httpx.get(address, trust_env=False)
    assert "<title>products</title>" in answer.text
    assert "gradio" not in answer.text


def test_the_untrained_model_is_built_beside_the_trained_one(address: str) -> None:
    with httpx.Client(base_url=address, trust_env=False, timeout=30) as client:
        state = client.post("/v1/comparison").json()
        while state["state"] == "building":
            time.sleep(0.1)
            state = client.get("/v1/comparison").json()
        assert (state["state"], state["encoded"], state["detail"]) == ("ready", 30, None)
        systems = client.post("/v1/compare", json={"text": "red shirt", "k": 5}).json()["systems"]
        assert [system["system"] for system in systems] == ["trained", "untrained", "bm25"]
        scores = [[hit["score"] for hit in system["hits"]] for system in systems]
        assert scores[0] != scores[1]


@pytest.mark.parametrize("page", ["serving.md", "README.md"])
def test_the_python_of_a_page_finds_items(page: str, address: str, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = blocks(GUIDE, "python") if page == "serving.md" else blocks(README, "py")
    assert examples
    monkeypatch.chdir(shop)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    names: dict[str, object] = {}
    for example in examples:
        printed = run_python(example, address, names)
        if "httpx" in example:
            assert printed.count("sku-") > 2
        else:
            vectors = names["vectors"]
            assert isinstance(vectors, list)
            assert [len(vector) for vector in vectors] == [32, 32]


def test_the_javascript_of_the_guide_finds_items(address: str, shop: Path, tmp_path: Path) -> None:
    node = shutil.which("node") or compute_driver_executable()[0]  # Playwright brings one
    [example] = blocks(GUIDE, "javascript")
    (tmp_path / "search.mjs").write_text(at(address, example), encoding="utf-8")
    done = subprocess.run([str(node), tmp_path / "search.mjs"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("sku-") == 3


def test_every_operation_is_in_the_guide(address: str) -> None:
    document = httpx.get(f"{address}/openapi.json", trust_env=False).json()
    described = {operation["operationId"] for path in document["paths"].values() for operation in path.values()}
    assert described >= OPERATIONS
    table = GUIDE.partition("## Endpoints")[2].partition("\n## ")[0]
    assert {name for name in described if f"`{name}`" not in table} == set()


def test_limits_are_those_of_the_guide() -> None:
    from likewise.serving.api.schemas import LONGEST_TEXT, MOST_HITS, MOST_OFFSET, MOST_SEARCHES, MOST_TERMS
    from likewise.serving.connection_bounds import LONGEST_LINE_AND_HEADERS, MOST_CONNECTIONS, ConnectionBounds
    from likewise.serving.service import Limits

    table = GUIDE.partition("## Limits")[2].partition("\n## ")[0]
    limits = Limits()
    for said in (
        f"| {limits.seconds:.0f} s |",
        f"{MOST_HITS:,}, {MOST_OFFSET:,}",
        f"{LONGEST_TEXT:,} characters",
        f"| {MOST_TERMS} |",
        f"{MOST_SEARCHES}; 512",
        f"{limits.image_bytes // 1_000_000} MB, {limits.image_pixels // 1_000_000} million pixels",
        f"{LONGEST_LINE_AND_HEADERS // 1024} KB, within {ConnectionBounds.seconds['headers']:.0f} s",
        f"time of a body to arrive | {ConnectionBounds.seconds['body']:.0f} s",
        f"{MOST_CONNECTIONS}; those that wait",
    ):
        assert said in table, said


def test_the_script_of_the_guide_makes_the_file_that_it_says(tmp_path: Path) -> None:
    require(shutil.which("bash"), "the guide's scripts need bash")
    scripts = [block for block in blocks(GUIDE, "bash") if "urandom" in block]
    assert len(scripts) == 1
    subprocess.run(["bash", "-euc", scripts[0]], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    password = r"(?P<password>[A-Za-z0-9]{20,})"
    assert re.fullmatch(
        rf"MINIO_ROOT_USER=milvus\nMINIO_ROOT_PASSWORD={password}\n"
        r"MINIO_ACCESS_KEY_ID=milvus\nMINIO_SECRET_ACCESS_KEY=(?P=password)\n",
        (tmp_path / "milvus.env").read_text(),
    )


def test_files_and_arguments_of_deployments_exist() -> None:
    for name in ("compose.yaml", "deploy/likewise.service", "constraints.txt"):
        assert name in GUIDE
        assert (ROOT / name).exists()
    arguments = re.findall(r"^ARG (\w+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.M)
    assert set(re.findall(r"--build-arg (\w+)=", GUIDE)) <= set(arguments)
    compose = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    for variable in re.findall(r"`(LIKEWISE_(?:RUN|CATALOGUE|MEMORY|CPUS))`", GUIDE):
        assert f"${{{variable}:-" in compose
