"""The commands that index, search, recommend and serve, as a person types them."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from cli.commands import run_command
from retrieval.shop_catalogue import write_shop, write_untrained_run

from likewise.cli.app import main
from likewise.model.model import Model
from likewise.progress import console
from likewise.retrieval.thresholds import ThresholdRule, Thresholds
from likewise.stores.registry import remembered_store


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    """A folder with products.csv, an indexed run and a cache."""
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder)
    write_untrained_run(folder / "run")
    run_command("index", folder / "run", "--data", folder / "products.csv", "--cache", folder / "cache")
    return folder


def printed(capsys, *arguments: object) -> str:
    capsys.readouterr()
    run_command(*arguments)
    return capsys.readouterr().out


def hits(capsys, *arguments: object) -> list[dict]:
    return json.loads(printed(capsys, "search", *arguments, "--json"))


def said(capsys, *arguments: object) -> str:
    capsys.readouterr()
    console.file = None
    run_command(*arguments)
    return capsys.readouterr().err


def refused(capsys, *arguments: object) -> str:
    """The one line with which a mistake is refused."""
    capsys.readouterr()
    console.file = None
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    assert end.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("likewise: ")
    assert "Traceback" not in "\n".join(lines)
    return lines[-1]


def test_search_takes_every_kind_of_query(shop, capsys):
    run, photo = shop / "run", shop / "photo.jpg"
    assert len(hits(capsys, run, "red circle")) == 10
    assert len(hits(capsys, run, "--text", "red", "--text", "circle^0.5", "-k", 3)) == 3
    assert len(hits(capsys, run, "red", "--image", photo, "--image", f"{photo}^0.1", "--image-weight", "0.8")) == 10
    like = [hit["id"] for hit in hits(capsys, run, "--like", "sku-1003", "-k", 30)]
    assert len(like) == 29
    assert "sku-1003" not in like
    plain, minus = (hits(capsys, run, "red shirt", *more) for more in ((), ("--minus", "leather^2")))
    assert [hit["score"] for hit in plain] != [hit["score"] for hit in minus]


def test_search_chooses_among_the_hits(shop, capsys):
    run = shop / "run"
    everything = [hit["id"] for hit in hits(capsys, run, "red circle", "-k", 30)]
    assert [hit["id"] for hit in hits(capsys, run, "red circle", "-k", 5, "--offset", 5)] == everything[5:10]
    cheap = hits(capsys, run, "red circle", "-k", 30, "--where", "price < 20")
    assert {hit["id"] for hit in cheap} == {"sku-1001", "sku-1002", "sku-1003"}
    assert len(hits(capsys, run, "red circle", "-k", 30, "--group-by", "brand")) == 3 + 7
    least = hits(capsys, run, "red circle")[3]["score"]
    assert len(hits(capsys, run, "red circle", "--min-score", least - 1e-5)) == 4
    assert len(hits(capsys, run, "red circle", "--min-score", "-1")) == 10
    popular = hits(capsys, run, "red circle", "-k", 1, "--boost", "popularity * 10")
    assert popular[0]["score"] > 150
    assert hits(capsys, run, "red circle", "--diversity", "0.9") != hits(capsys, run, "red circle")
    assert len(hits(capsys, run, "red circle", "-k", 30, "--hide-duplicates")) <= 30


@pytest.mark.parametrize("more", [(), ("--fusion", "ranks", "--words-weight", "0.99"), ("--words-weight", "0.8")])
def test_hybrid_finds_model_numbers_ids_and_brands(shop, capsys, more):
    run = shop / "run"
    assert hits(capsys, run, "xj 917b", "--hybrid", "-k", 1, *more)[0]["id"] == "sku-1017"
    assert hits(capsys, run, "1023", "--hybrid", "-k", 1, *more)[0]["id"] == "sku-1023"


def test_a_misspelt_word_is_corrected_and_said_so(shop, capsys):
    run = shop / "run"
    found = json.loads(printed(capsys, "search", run, "red shrit", "--hybrid", "--json"))
    assert found["did_you_mean"] == [{"given": "red shrit", "searched": "red shirt"}]
    sentence = said(capsys, "search", run, "red shrit", "--hybrid")
    assert 'Searched for "red shirt"' in sentence
    assert '"red shrit" (--no-correct searches for it as it is)' in " ".join(sentence.split())
    assert isinstance(hits(capsys, run, "red shrit", "--hybrid", "--no-correct"), list)
    assert "Searched" not in said(capsys, "search", run, "red shrit", "--hybrid", "--no-correct")


def test_synonyms_come_with_a_query_or_with_the_index(shop, capsys, tmp_path):
    run = shutil.copytree(shop / "run", tmp_path / "run")
    (tmp_path / "synonyms.txt").write_text("blot, bolt\nnothing\n")
    search = ("search", run, "blot", "--hybrid", "--words-weight", "1", "-k", "1")
    assert "1 line of" in said(capsys, *search, "--synonyms", tmp_path / "synonyms.txt")
    assert hits(capsys, *search[1:], "--synonyms", tmp_path / "synonyms.txt")[0]["id"] in {
        f"sku-{1000 + number}" for number in range(1, 30, 4)
    }
    data = ("--data", shop / "products.csv", "--cache", shop / "cache", "--update")
    said(capsys, "index", run, *data, "--synonyms", tmp_path / "synonyms.txt")
    assert isinstance(hits(capsys, *search[1:]), list), "no longer a misspelling of Bolt"


def test_hits_are_explained(shop, capsys):
    query = ("red XJ-917B", "--hybrid", "--boost", "popularity * 0.01", "--explain")
    for hit in hits(capsys, shop / "run", *query):
        why = hit["explanation"]
        assert set(why["fields"]) == {"title", "description", "image"}
        total = sum(why["fields"].values()) + sum(term["share"] for term in why["terms"]) + why["boost"]
        assert total == pytest.approx(hit["score"], abs=1e-4)
    shown = printed(capsys, "search", shop / "run", *query, "-k", 1)
    assert "why" in shown
    assert "boost +0." in " ".join(shown.split())
    assert "explanation" not in hits(capsys, shop / "run", "red")[0]


def test_facets_stand_beside_the_hits(shop, capsys):
    found = json.loads(printed(capsys, "search", shop / "run", "red", "-k", 2, "--facet", "brand", "--json"))
    assert len(found["hits"]) == 2
    assert found["facets"]["brand"] == [
        {"value": "Acme", "count": 8},
        {"value": "Bolt", "count": 8},
        {"value": "Cord", "count": 7},
    ]
    shown = printed(
        capsys, "search", shop / "run", "red", "--facet", "brand", "--facet", "stock", "--group-by", "model"
    )
    assert "Acme   8" in shown
    assert "stock" in shown
    assert "XJ-9" in shown


HOSTILE_TITLES = (
    "Cable [/HDMI]",
    "[new] red [bold]shirt[/bold]",
    "[link=https://example.org]red[/link] :smile:",
    "red \x9b31m shirt \x9d0;title\x9c",
    "red \u202egnp.trihs\u202c",
)


def test_what_a_catalogue_holds_is_shown_and_never_obeyed(capsys, tmp_path):
    run, data, cache = tmp_path / "run", tmp_path / "\x1b[31mproducts.csv", tmp_path / "cache"
    write_untrained_run(run)
    column = "\x1b]0;brand\x07 [b]"
    rows = {
        "id": [f"{row} [/] \x85" for row in range(5)],
        "title": HOSTILE_TITLES,
        column: ["[/a]", "\x9b1m"] * 2 + [""],
    }
    pl.DataFrame(rows).write_csv(data)
    outputs = [said(capsys, "index", run, "--data", data, "--cache", cache)]
    search = ("search", run, "red shirt", "--facet", column, "--group-by", column)
    outputs += [printed(capsys, *search), printed(capsys, *search, "--json")]
    outputs += [printed(capsys, "doctor", data), printed(capsys, "doctor", data, "--json")]
    outputs += [refused(capsys, "search", run, "red", "--facet", "\x1b[31m [/x]")]
    outputs += [refused(capsys, "doctor", tmp_path / "\x1b[31m \u202e.csv")]
    for output in outputs:
        assert not {"\x1b", "\x07", "\x85", "\x9b", "\x9c", "\u202e"} & set(output), ascii(output)
    shown = printed(capsys, "search", run, "red shirt")
    for words in ("Cable [/HDMI]", "[new] red [bold]shirt[/bold]", "[link=https://example.org]red[/link] :smile:"):
        assert words in shown
    assert "red \\u202egnp.trihs\\u202c" in shown
    assert {hit["title"] for hit in hits(capsys, run, "red shirt")} == set(HOSTILE_TITLES)


def test_an_update_says_what_it_did(shop, capsys, tmp_path, monkeypatch):
    run = shutil.copytree(shop / "run", tmp_path / "run")
    for file in shop.glob("*.png"):
        shutil.copy(file, tmp_path)
    table = pl.read_csv(shop / "products.csv")
    changed = table.with_columns(
        title=pl.when(pl.col("id") == "sku-1003").then(pl.lit("a new name")).otherwise("title"),
        price=pl.when(pl.col("id") == "sku-1004").then(1.0).otherwise("price"),
    ).filter(pl.col("id") != "sku-1005")
    changed.write_csv(tmp_path / "products.csv")
    # pictures lie elsewhere now, which is metadata; only the new title is new to the model
    encoded: list[str] = []
    encode = Model.encode_items_with_fields
    monkeypatch.setattr(
        Model,
        "encode_items_with_fields",
        lambda self, catalog: (encoded.extend(catalog.ids), encode(self, catalog))[1],
    )
    sentence = said(capsys, "index", run, "--data", tmp_path / "products.csv", "--update", "--cache", shop / "cache")
    assert "0 new, 1 changed, 28 with other metadata, 1 removed, 0 unchanged" in sentence
    assert "29 items can be searched" in sentence
    assert encoded == ["sku-1003"]
    sentence = said(capsys, "index", run, "--data", tmp_path / "products.csv", "--update", "--cache", shop / "cache")
    assert "0 new, 0 changed, 0 with other metadata, 0 removed, 29 unchanged" in sentence
    assert encoded == ["sku-1003"]


def test_a_store_of_choice_is_remembered(shop, capsys, tmp_path):
    run = tmp_path / "run"
    write_untrained_run(run)
    index = ("index", run, "--data", shop / "products.csv", "--cache", shop / "cache")
    assert "30 items can be searched; 0 have no content" in said(capsys, *index, "--store", "lancedb:items")
    assert str(remembered_store(run)) == "lancedb:items"
    assert len(hits(capsys, run, "red")) == 10
    assert len(hits(capsys, run, "red", "--store", "lancedb:items", "--hybrid")) == 10
    assert "there is no store" in refused(capsys, "search", run, "red", "--store", "lancedb:elsewhere")
    assert "has no index yet" in refused(capsys, "search", run, "red", "--store", "faiss:index")
    said(capsys, *index, "--update")
    said(capsys, *index, "--where", "price < 30")
    assert not (run / "index").exists()
    output = tmp_path / "similar.parquet"
    said(capsys, "recommend", run, "--output", output, "--store", "lancedb:items", "-k", 2)
    assert len(pl.read_parquet(output)) == 2 * pl.read_parquet(output)["id"].n_unique()


def test_what_the_faiss_store_should_aim_at_is_remembered(shop, capsys, tmp_path):
    run = tmp_path / "run"
    write_untrained_run(run)
    said(
        *(capsys, "index", run, "--data", shop / "products.csv", "--cache", shop / "cache"),
        *("--target-recall", "0.9", "--memory", "2GB"),
    )
    assert str(remembered_store(run)) == "faiss:index?target_recall=0.9&memory=2GB"
    assert len(hits(capsys, run, "red")) == 10


def test_recommend_writes_similar_items(shop, capsys, tmp_path):
    output = tmp_path / "deep" / "similar.parquet"
    sentence = said(capsys, "recommend", shop / "run", "--output", output, "-k", 3, "--where", "stock > 0")
    assert "90 recommendations for 30 of 30 items" in sentence
    table = pl.read_parquet(output)
    assert table.columns == ["id", "rank", "similar_id", "score"]
    assert not (table["id"] == table["similar_id"]).any()
    sold_out = {f"sku-{1000 + row}" for row in range(0, 30, 5)}
    assert not sold_out & set(table["similar_id"])
    said(capsys, "recommend", shop / "run", "--output", output, "--hide-duplicates")
    assert len(pl.read_parquet(output)) <= 300


def test_demo_serves_the_page_over_a_store(shop, capsys):
    sentence = said(
        *(capsys, "demo", shop / "run", "--port", "0", "--check", "--store", "faiss:index"),
        *("--cache", shop / "cache"),
    )
    assert "The page answers on http://127.0.0.1:" in sentence


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("search", "{run}"), "give words, a picture or both"),
        (("search", "{run}", "red", "-k", "0"), "k must be at least 1"),
        (("search", "{run}", "red", "--offset", "-2"), "offset must be at least 0"),
        (("search", "{run}", "--text", "red^0"), "a weight must be a number above 0"),
        (("search", "{run}", "--image", "{data}"), "picture"),
        (("search", "{run}", "--like", "sku-1"), "no item 'sku-1'"),
        (("search", "{run}", "red", "--where", "prise < 3"), "did you mean price?"),
        (("search", "{run}", "red", "--where", "price <"), "syntax error in the filter at the arrow"),
        (("search", "{run}", "red", "--group-by", "brnd"), "did you mean brand?"),
        (("search", "{run}", "red", "--facet", "brnd"), "did you mean brand?"),
        (("search", "{run}", "red", "--boost", "brand * 2"), "holds no numbers"),
        (("search", "{run}", "red", "--boost", "price *"), "syntax error in the boost at the arrow"),
        (("search", "{run}", "red", "--diversity", "1"), "diversity must be at least 0 and below 1"),
        (("search", "{run}", "red", "--image-weight", "2"), "between 0 and 1"),
        (("search", "{run}", "red", "--hybrid", "--words-weight", "2"), "weight of the words must be between 0 and 1"),
        (("search", "{run}", "red", "--hybrid", "--fusion", "luck"), "fusion"),
        (("search", "{run}", "--like", "sku-1003", "--hybrid"), "a hybrid search needs words"),
        (("search", "{run}", "red", "--no-correct"), "apply to keyword search: also give --hybrid"),
        (("search", "{run}", "red", "--hybrid", "--synonyms", "{new}/no.txt"), "no.txt cannot be read"),
        (("index", "{run}", "--data", "{data}", "--synonyms", "{folder}/photo.jpg"), "are no text in UTF-8"),
        (
            ("search", "{run}", "red", "--store", "oracle://host"),
            "there is no store oracle: installed are faiss, lancedb",
        ),
        (("search", "{run}", "red", "--store", "somewhere"), "a store is named by a URI"),
        (("index", "{run}", "--data", "{data}", "--store", "lancedb:x", "--memory", "2GB"), "are for the faiss store"),
        (("index", "{new}", "--data", "{data}", "--update"), "has no index yet"),
        (("recommend", "{run}", "--output", "{folder}"), "is a folder"),
        (("recommend", "{run}", "--output", "{new}/x.parquet", "-k", "0"), "k must be at least 1"),
        (("recommend", "{run}", "--output", "{new}/x.parquet", "--where", "stok > 1"), "did you mean stock?"),
        (("demo", "{new}"), "has no index yet"),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_2(shop, capsys, tmp_path, arguments, says):
    write_untrained_run(tmp_path / "new")
    places = {"data": shop / "products.csv", "run": shop / "run", "new": tmp_path / "new", "folder": shop}
    assert says in refused(capsys, *(argument.format(**places) for argument in arguments))


def test_credentials_come_from_the_environment_and_are_written_nowhere(shop, capsys, monkeypatch, tmp_path):
    from likewise.stores import registry

    asked: list[object] = []
    find_engine = registry._find_engine

    def watched(*arguments):
        engine, location, given = find_engine(*arguments)

        class Watching:
            def open_store(self, location, credentials):
                asked.append(credentials)
                return engine.open_store(location, credentials)

        return Watching(), location, given

    monkeypatch.setattr(registry, "_find_engine", watched)
    monkeypatch.setenv("LIKEWISE_STORE_USER", "me")
    monkeypatch.setenv("LIKEWISE_STORE_PASSWORD", "hush hush")
    hits(capsys, shop / "run", "red")
    assert asked[0].user == "me"
    assert asked[0].password == "hush hush"
    assert not any("hush" in file.read_text(errors="ignore") for file in (shop / "run").rglob("*.json"))


def test_a_suggested_filter_is_printed_and_applied_only_when_asked_for(shop, capsys):
    run = shop / "run"
    assert len(hits(capsys, run, "red circle under 20", "-k", 30)) == 30
    line = said(capsys, "search", run, "red circle under 20", "--json")
    assert line == "Suggested filter: price < 20, as “under 20” is read as price < 20; --parse-query applies it\n"
    assert "filter" not in said(capsys, "search", run, "red circle", "--parse-query")
    found = hits(capsys, run, "red circle under 20", "-k", 30, "--parse-query", "--where", "stock > 1")
    plain = hits(capsys, run, "red circle", "-k", 30, "--where", "stock > 1 and price < 20")
    assert found == plain
    assert {hit["id"] for hit in found} == {"sku-1002", "sku-1003"}
    assert "Applied the filter brand == " in said(capsys, "search", run, "shirt by acme", "--parse-query", "--json")


def test_hits_that_are_less_likely_are_marked_and_none_is_dropped(shop, capsys):
    run = shop / "run"
    assert "No hit is marked as less likely" in said(capsys, "search", run, "red circle", "--min-score", "auto")
    assert json.loads(printed(capsys, "search", run, "red", "--min-score", "auto", "--json"))["threshold"] is None
    scores = [hit["score"] for hit in hits(capsys, run, "red circle", "-k", "5")]
    for level, words in (((scores[1] + scores[2]) / 2, "less likely:"), (1.5, "most likely nothing fits")):
        rule = ThresholdRule(level, 0.0, 0.0, 0.0, 0.0, level, level, 0.5, 0.05, 0.5, 0.4, 100)
        Thresholds(32, {"words": rule}).write(run)
        try:
            lines = printed(capsys, "search", run, "red circle", "-k", "5", "--min-score", "auto")
            found = json.loads(printed(capsys, "search", run, "red circle", "-k", "5", "--min-score", "auto", "--json"))
        finally:
            (run / "thresholds.json").unlink()
        assert words in lines and lines.count("sku-") == 5
        assert [hit["likely"] for hit in found["hits"]] == [score >= level for score in scores]
        assert found["threshold"] == {"score": pytest.approx(level, abs=1e-6), "kind": "words"}
