"""The guide to search, run as it stands there: every command, every line of Python."""

import re
import shlex
from pathlib import Path

import polars as pl
import pytest
from conftest import one_torch_thread
from retrieval.shop_catalogue import write_shop, write_untrained_run

from likewise.cli.app import main
from likewise.retrieval.query import Query
from likewise.stores.engines import ENGINES

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = (DOCS / "search.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, flags=re.DOTALL)


@pytest.fixture(scope="module", autouse=True)
def shop(tmp_path_factory: pytest.TempPathFactory):
    """A folder with products.csv, photo.jpg and runs/products, as a reader of the guide has it."""
    folder = tmp_path_factory.mktemp("guide")
    write_shop(folder)
    rules = re.search(r"```\n(# synonyms\.txt\n.*?)```", GUIDE, flags=re.DOTALL)[1]
    (folder / "synonyms.txt").write_text(rules)
    write_untrained_run(folder / "runs" / "products")
    with one_torch_thread(), pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield folder


def test_every_command_of_the_guide_runs(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = [line for block in blocks("console") for line in block.splitlines()]
    assert len(commands) > 25
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "likewise"
        if arguments[0] == "demo":
            arguments += ["--check", "--port", "0"]
        capsys.readouterr()
        try:
            main(arguments)
        except SystemExit as end:
            assert not end.code, f"{command}: {capsys.readouterr().err}"
        if arguments[0] == "search" and "--offset" not in arguments:
            assert "sku-" in capsys.readouterr().out, f"{command} finds nothing"
    assert pl.read_parquet(shop / "similar.parquet").columns == ["id", "rank", "similar_id", "score"]


def test_every_part_of_a_query_is_shown_as_a_command() -> None:
    """A new kind of query needs an example."""
    commands = "\n".join(blocks("console")) + (DOCS / "audio.md").read_text(encoding="utf-8")
    options = {
        "texts": "--text",
        "images": "--image",
        "likes": "--like",
        "duplicate_threshold": "--hide-duplicates",
        "sounds": "--audio",
        "facets": "--facet",
        "k": "-k",
        "auto_threshold": "--min-score auto",
    }
    for part in Query.__dataclass_fields__:
        assert options.get(part, f"--{part.replace('_', '-')}") in commands, part


def test_the_python_of_the_guide_runs(shop: Path) -> None:
    main_ok("index", "runs/products", "--data", "products.csv")
    served: list[object] = []
    names: dict[str, object] = {"served": served}
    for block in blocks("python"):
        code = block.replace("serve(page, port=7860)", "served.append(page)")  # which would go on until Ctrl+C
        exec(compile(code, "search.md", "exec"), names)
    assert len(served) == 1
    assert len(names["index"]) == len(names["in_memory"]) == 30


def main_ok(*arguments: str) -> None:
    try:
        main(list(arguments))
    except SystemExit as end:
        assert not end.code


def test_the_guide_to_stores_names_every_engine() -> None:
    guide = (DOCS / "stores" / "README.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"`([a-z+]+):", guide))
    assert shown == set(ENGINES) - {"postgres"}, "which is only another word for postgresql"


def test_links_of_the_guides_lead_somewhere() -> None:
    for guide in (DOCS / "search.md", DOCS / "stores" / "lancedb.md"):
        targets = re.findall(r"\]\(((?!http)[^)#]+)\)", guide.read_text(encoding="utf-8"))
        missing = [target for target in targets if not (guide.parent / target).exists()]
        assert not missing, guide
