"""Every command and every example of the README and the guides runs, or is listed here with the reason why not."""

import doctest
import importlib.util
import re
import shlex
import shutil
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import polars as pl
import pytest
import torch
import yaml
from encoders.tiny_models import save_clip
from retrieval.shop_catalogue import QUICK_TRAINING, write_shop

import likewise as lw
from likewise.cli.app import app, main
from likewise.encoders import registry
from likewise.serving.judging.store import JudgementStore

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAMS = ("likewise", "python", "pip", "make", "docker", "psql", "curl", "bash", "export", "torchrun")

# Commands that are not run, and why. Their options are looked at all the same.
NOT_RUN = {
    r"likewise .*--store (qdrant|milvus|mongodb|postgresql):": "needs a server",
    r"likewise (doctor|train) \S+://": "needs a bucket; tests/catalog/test_catalog_guide.py has one",
    r"likewise photos ": "answers until it is stopped; tests/cli/test_photos.py asks for its page",
    r"likewise train .*--effort standard": "plans minutes of training; tests/training/test_planner.py runs one",
    r"likewise .*runs/colours": "needs the example package; run by tests/encoders/test_extending.py",
    r"likewise .*tuxpaint": "needs a Debian package; run by tests/retrieval/test_audio_guide.py on a few stamps",
    r"apt-get ": "another program",
    r"likewise serve ": "answers until it is stopped; tests/serving/api asks such a server",
    r"pip install": "needs the network",
    r"likewise serve": "run by tests/serving/test_serving_guide.py",
    r"make ": "sets up an environment first",
    r"python (train|demo)\.py": "run by test_two_scripts.py",
    r"python benchmarks/": "takes hours",
    r"(LIKEWISE_TEST_\w+=\S+ )python -m pytest": "needs a server",
    r"(docker|psql|curl|bash|export) ": "another program",
}
# Pages whose Python, and commands if there are any, are run by a test of their own.
OWN_TESTS = {
    "audio.md": "tests/retrieval/test_audio_guide.py",
    "README.md": "tests/test_readme.py",
    "catalog.md": "tests/catalog/test_catalog_guide.py",
    "extending.md": "tests/encoders/test_extending.py",
    "evaluation.md": "tests/evaluation/test_evaluation_guide.py",
    "search.md": "tests/retrieval/test_search_guide.py",
    "serving.md": "tests/serving/test_serving_guide.py",
}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)


def commands(page: Path) -> list[str]:
    """Lines of ```console blocks, and indented lines that begin with a program's name or a variable."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(rf"^ {{4,6}}((?:[A-Z_]+=\S+ )*(?:{'|'.join(PROGRAMS)}) .*)$", text, flags=re.M)
    lines += [line.strip() for block in blocks(page, "console") for line in block.splitlines() if line.strip()]
    return list(dict.fromkeys(re.sub(r"\s{2,}# .*$", "", line) for line in lines))


ELSEWHERE = set(commands(ROOT / "docs" / "search.md"))  # test_search_guide.py
ALL = {  # command → the first page that shows it
    command: page.relative_to(ROOT).as_posix()
    for page in reversed(PAGES)
    for command in commands(page)
    if command not in ELSEWHERE
}


def reason_not_to_run(command: str) -> str | None:
    return next((reason for pattern, reason in NOT_RUN.items() if re.match(pattern, command)), None)


@pytest.fixture(scope="module", autouse=True)
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with products.csv, photo.jpg, judged.csv and trained, indexed runs, as a reader has it."""
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder)
    table = pl.read_csv(folder / "products.csv").with_columns(category=pl.col("title").str.split(" ").list.get(1))
    table.write_csv(folder / "products.csv")
    (folder / "judged.csv").write_text("query,id\nred circle,sku-1000\nblue,sku-1007|sku-1008\n", encoding="utf-8")
    (folder / "quick.yaml").write_text(QUICK_TRAINING, encoding="utf-8")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        run("train", "products.csv", "--output", "runs/products", "--config", "quick.yaml")
        run("index", "runs/products", "--data", "products.csv")
        judgements = JudgementStore(folder / "runs" / "products" / "judgements.jsonl")
        judgements.add("red circle", None, "sku-1000", 2)
        for copy in ("runs/old", "runs/new", "demo/run"):
            shutil.copytree("runs/products", copy)
        yield folder
    torch.set_num_threads(threads)


def run(*arguments: str) -> None:
    try:
        main(list(arguments))
    except SystemExit as end:
        assert not end.code, shlex.join(arguments)


def test_the_pages_show_commands() -> None:
    assert len(ALL) > 40
    assert len(ELSEWHERE) > 25
    for pattern in NOT_RUN:
        assert any(re.match(pattern, command) for command in ALL), f"{pattern} excuses nothing"


@pytest.mark.parametrize(("command", "page"), [one for one in ALL.items() if reason_not_to_run(one[0]) is None])
def test_a_command_runs(command: str, page: str, shop: Path, tmp_path: Path) -> None:
    program, name, *arguments = shlex.split(command)
    assert program == "likewise", f"{page}: {command} is neither run nor listed in NOT_RUN"
    match name:
        case "train":  # each into a run folder of its own, quickly
            arguments[arguments.index("--output") + 1] = str(tmp_path / "run")
            arguments = ["5s" if argument == "40m" else argument for argument in arguments]
            if "--config" not in arguments:
                arguments += ["--config", "quick.yaml"]
        case "demo":
            arguments += ["--check", "--port", "0"]
        case "mcp":
            arguments = [*(argument for argument in arguments if argument != "--check"), "--check", "--port", "0"]
        case "index" if "--dim" in arguments:
            arguments[arguments.index("--dim") + 1] = "16"
        case "evaluate" if "--baseline" in arguments:  # without a download
            arguments[arguments.index("--baseline") + 1] = str(save_clip(tmp_path / "clip"))
        case "evaluate" if "--fail-under" in arguments:  # the tiny model reaches no goals
            arguments = [re.sub(r"=0\.\d+$", "=0", argument) for argument in arguments]
    run(name, *arguments)


@pytest.mark.parametrize("command", [command for command in ALL if reason_not_to_run(command) is not None])
def test_a_command_that_is_not_run_could_be(command: str) -> None:
    program, *arguments = [part for part in shlex.split(command) if not re.match(r"[A-Z_]+=", part)]
    match program:
        case "likewise":
            app.parse_args(arguments, print_error=False, exit_on_error=False)
        case "pip":
            project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
            extras = {extra for one in arguments for extra in re.findall(r"\[(\w+)\]", one)}
            assert extras <= set(project["optional-dependencies"])
        case "make":
            assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M)
        case "python" if arguments[0] == "-m":
            assert (ROOT / arguments[2]).exists()
        case "python":
            script = ROOT / arguments[0]
            if script.parent == ROOT:
                load(script)._parser().parse_args(arguments[1:])
            for option in arguments[1:]:
                if re.fullmatch(r"--[\w-]+", option):
                    assert f'"{option}"' in script.read_text(encoding="utf-8")


def load(script: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{script.stem}_documented", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python") and page.name not in OWN_TESTS])
def test_the_python_of_a_page_runs(page: Path, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("index", "runs/products", "--data", "products.csv", "--store", "faiss:index")
    model = lw.Model.load("runs/products")
    mine = SimpleNamespace(MyImage=SimpleNamespace(from_pretrained=lambda: "mine"))
    monkeypatch.setitem(sys.modules, "likewise.encoders.my_image", mine)
    monkeypatch.setattr(registry, "_KNOWN", dict(registry._KNOWN))
    names = {"lw": lw, "model": model, "catalog": lw.Catalog.read("products.csv"), **vars(registry)}
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), names)
    if page.name == "encoders.md":
        assert names["_my_image"](0) == "mine"


@pytest.mark.parametrize("name", lw.__all__)
def test_the_example_of_a_public_name_runs(name: str, shop: Path) -> None:
    run("index", "runs/products", "--data", "products.csv", "--store", "faiss:index")
    value = getattr(lw, name)
    parts = [value, *(part for key, part in vars(value).items() if not key.startswith("_"))]
    examples = doctest.DocTestParser()
    tests = [
        examples.get_doctest(textwrap.dedent(part.__doc__), {}, name, None, None)
        for part in parts
        if part.__doc__ and ">>> " in part.__doc__
    ]
    assert tests, f"{name} shows no example"
    for test in tests:
        said: list[str] = []
        doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append)
        assert not said, "".join(said)


def test_pages_with_tests_of_their_own_have_them() -> None:
    for name, test in OWN_TESTS.items():
        assert name in (ROOT / test).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "yaml")])
def test_settings_on_a_page_are_settings(page: Path) -> None:
    for block in blocks(page, "yaml"):
        lw.TrainConfig.parse(yaml.safe_load(block), source=page.name)


def test_the_forms_of_the_repository_are_whole() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    assert ".ci/run" in [step.get("run") for step in workflow["jobs"]["ci"]["steps"]]
    for form in ("bug", "feature"):
        content = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{form}.yml").read_text(encoding="utf-8"))
        assert {"name", "description", "body"} <= set(content)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "SECURITY.md"])
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    targets = re.findall(r"\]\(((?!http)[^)#]+)\)", prose)
    assert not [target for target in targets if not (page.parent / target).exists()]
