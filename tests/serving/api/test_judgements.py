"""Judging over HTTP: what is said of hits is kept and can be taken back, and what makes no sense is refused."""

import base64
import io
import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from serving.api.examples import png
from serving.api.servers import serving_fruit

from likewise.evaluation.judgments.qrels import read_queries
from likewise.serving.api.server import Protection
from likewise.serving.judging.judging import JudgingSettings
from likewise.serving.keys import Keys

READ, WRITE = "read-key-0123456789", "write-key-0123456789"
JUDGEMENTS = "/v1/judgements"
RED = {"query": {"text": "red"}, "id": "0", "relevance": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fruit")


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    (folder / "asked.csv").write_text("query,count\nred,7\ngreen pear,3\nsomething blue,1\n")
    settings = JudgingSettings(folder / "judgements.jsonl", judge=True, queries=folder / "asked.csv")
    with serving_fruit(folder, judging=settings, image_bytes=400_000) as address:
        yield address


@pytest.fixture
def client(url: str, folder: Path, capfd: pytest.CaptureFixture[str], caplog: Any) -> Iterator[httpx.Client]:
    """A client of a server without judgements, which has reported no defect afterwards."""
    (folder / "judgements.jsonl").write_bytes(b"")
    with httpx.Client(base_url=url, trust_env=False, timeout=20) as opened:
        yield opened
        assert opened.get("/readyz").status_code == 200
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert "Traceback" not in capfd.readouterr().err


def check_problem(answer: httpx.Response, *statuses: int) -> str:
    assert answer.status_code in statuses, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert 5 < len(answer.json()["detail"]) < 600
    assert "site-packages" not in answer.text
    return answer.json()["detail"]


def data_url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def test_what_is_said_is_kept_and_the_last_word_counts(client: httpx.Client, folder: Path) -> None:
    first = client.post(JUDGEMENTS, json=RED).json()
    assert first["judgements"] == 1
    client.post(JUDGEMENTS, json={**RED, "id": "3", "relevance": 0, "note": "a shirt"})
    again = client.post(JUDGEMENTS, json={**RED, "query": {"text": "  red "}, "relevance": 2}).json()
    assert again == {"judgements": 2, "judgement": first["judgement"]}
    client.post(JUDGEMENTS, json={**RED, "query": {"text": "blue"}, "id": "2"})
    listed = client.get(JUDGEMENTS).json()
    assert listed["total"] == 3
    shown = [(one["query"], one["id"], one["relevance"], one["note"]) for one in listed["judgements"]]
    assert shown == [("red", "0", 2, None), ("red", "3", 0, "a shirt"), ("blue", "2", 1, None)]
    assert client.get(JUDGEMENTS, params={"query": "blue"}).json()["total"] == 1
    part = client.get(JUDGEMENTS, params={"limit": 1, "offset": 1}).json()
    assert (part["total"], [one["id"] for one in part["judgements"]]) == (3, ["3"])
    assert client.delete(f"{JUDGEMENTS}/{first['judgement']}").status_code == 204
    check_problem(client.delete(f"{JUDGEMENTS}/{first['judgement']}"), 404)
    queries = read_queries(folder / "judgements.jsonl", [str(number) for number in range(6)])
    assert [rows.tolist() for rows in queries.relevant] == [[], [2]]


def test_queries_without_judgement_are_listed_by_how_often_they_were_asked(client: httpx.Client) -> None:
    found = client.get(f"{JUDGEMENTS}/queries").json()
    assert [(one["text"], one["asked"]) for one in found["queries"]] == [
        ("red", 7),
        ("green pear", 3),
        ("something blue", 1),
    ]
    assert (found["judged"], found["total"]) == (0, 3)
    client.post(JUDGEMENTS, json={**RED, "query": {"text": "Green  Pear"}})
    found = client.get(f"{JUDGEMENTS}/queries", params={"limit": 1}).json()
    assert ([one["text"] for one in found["queries"]], found["judged"], found["total"]) == (["red"], 1, 3)


def test_the_picture_of_a_query_is_kept_small_and_without_what_the_camera_notes(
    client: httpx.Client, folder: Path
) -> None:
    photo = Image.effect_noise((1600, 1200), 5).convert("RGB")
    exif = Image.Exif()
    exif[0x010F] = "a camera that tells where it was"
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=30, exif=exif)
    given = {"query": {"image": data_url(file.getvalue())}, "id": "0", "relevance": 1}
    names = {client.post(JUDGEMENTS, json=given).json()["judgement"] for _ in range(2)}
    assert len(names) == 1
    [judged] = client.get(JUDGEMENTS).json()["judgements"]
    kept = (folder / judged["image"]).read_bytes()
    assert b"camera" not in kept
    assert max(Image.open(io.BytesIO(kept)).size) <= 768
    assert judged["query"] is None
    both = {**RED, "query": {"text": "in red", "image": data_url(png())}}
    assert client.post(JUDGEMENTS, json=both).json()["judgements"] == 2


WRONG = {
    "no query": {"id": "0", "relevance": 1},
    "an empty query": {**RED, "query": {}},
    "a blank query": {**RED, "query": {"text": " \n\t "}},
    "a query that is a text": {**RED, "query": "red"},
    "a query of 10,001 characters": {**RED, "query": {"text": "x" * 10_001}},
    "an unknown field": {**RED, "judge": "somebody else"},
    "an unknown field of the query": {**RED, "query": {"text": "red", "where": "x"}},
    "no id": {"query": {"text": "red"}, "relevance": 1},
    "an empty id": {**RED, "id": ""},
    "an id that is a number": {**RED, "id": 0},
    "an id of 1,001 characters": {**RED, "id": "x" * 1_001},
    "no relevance": {"query": {"text": "red"}, "id": "0"},
    **{
        f"the relevance {value!r}": {**RED, "relevance": value}
        for value in (-1, 11, 0.5, "1", True, None, [1], 10**400)
    },
    "a huge note": {**RED, "note": "x" * 2_001},
    "a note that is a list": {**RED, "note": ["x"]},
    "no picture": {**RED, "query": {"image": "data:image/png;base64,AAAA"}},
    "an address": {**RED, "query": {"image": "https://127.0.0.1/x.png"}},
    "a path": {**RED, "query": {"image": "../../etc/passwd"}},
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG)
def test_what_makes_no_sense_is_refused_and_not_kept(client: httpx.Client, folder: Path, body: dict[str, Any]) -> None:
    content = json.dumps(body).encode()
    check_problem(client.post(JUDGEMENTS, content=content, headers={"Content-Type": "application/json"}), 400, 422)
    assert (folder / "judgements.jsonl").read_bytes() == b""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"query": {"text": "\\ud800"}, "id": "0", "relevance": 1}',
        b'{"query": {"text": "red"}, "id": "\\udfff", "relevance": 1}',
        b'{"query": {"text": "red"}, "id": "0", "relevance": 1, "note": "\\ud800"}',
        b'{"query": {"text": "red"}, "id": "0", "relevance": NaN}',
        b'{"query": {"text": "red"}, "id": "0", "relevance": 1}{}',
        '{"query": {"text": "é"}, "id": "0", "relevance": 1}'.encode("latin-1"),
    ],
)
def test_json_that_is_broken_is_refused(client: httpx.Client, folder: Path, body: bytes) -> None:
    check_problem(client.post(JUDGEMENTS, content=body, headers={"Content-Type": "application/json"}), 400, 422)
    check_problem(client.post(JUDGEMENTS, content=body, headers={"Content-Type": "text/plain"}), 415)
    assert (folder / "judgements.jsonl").read_bytes() == b""


def test_an_item_that_is_not_there(client: httpx.Client) -> None:
    assert "nobody" in check_problem(client.post(JUDGEMENTS, json={**RED, "id": "nobody"}), 404)


def test_a_body_that_is_too_large(client: httpx.Client) -> None:
    picture = data_url(os.urandom(700_000))
    check_problem(client.post(JUDGEMENTS, json={**RED, "query": {"image": picture}}), 413, 422)
    check_problem(client.post(JUDGEMENTS, content=b"x" * 2_000_000), 413)


@pytest.mark.parametrize(
    "text", ["\0\x1b[31m\x07", '{"query": "x"}\n{"id": "y"}', "‮ ​ \u2028", "a\r\nb", "𝕏 🧢", "'; drop table --"]
)
def test_odd_characters_stay_one_line_and_come_back(client: httpx.Client, folder: Path, text: str) -> None:
    answer = client.post(JUDGEMENTS, json={**RED, "query": {"text": text}, "note": text})
    assert answer.status_code == 200
    [judged] = client.get(JUDGEMENTS).json()["judgements"]
    assert (judged["query"], judged["note"]) == (" ".join(text.split()), text.strip())
    assert (folder / "judgements.jsonl").read_bytes().count(b"\n") == 1
    assert read_queries(folder / "judgements.jsonl", ["0"]).relevant[0].tolist() == [0]


@pytest.mark.parametrize(
    "path", ["?limit=0", "?limit=10001", "?limit=x", "?offset=-1", "?query=" + "x" * 10_001, "/queries?limit=0"]
)
def test_parameters_that_make_no_sense(client: httpx.Client, path: str) -> None:
    check_problem(client.get(JUDGEMENTS + path), 422)


@pytest.mark.parametrize("name", ["nothing", "queries", "..%2F..%2Fetc%2Fpasswd", "%00", "%ff", "x" * 200])
def test_judgements_that_are_not_there(client: httpx.Client, name: str) -> None:
    check_problem(client.delete(f"{JUDGEMENTS}/{name}"), 404, 405, 422)


def test_many_judges_at_once_lose_nothing(client: httpx.Client, url: str) -> None:
    failed: list[str] = []

    def judge(number: int) -> None:
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as one:
            for place in range(10):
                answer = one.post(JUDGEMENTS, json={**RED, "query": {"text": f"query {number} {place}"}})
                if answer.status_code != 200:
                    failed.append(answer.text)

    threads = [threading.Thread(target=judge, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert client.get(JUDGEMENTS).json()["total"] == 60


def test_a_file_that_cannot_be_used_is_a_problem_without_its_path(
    client: httpx.Client, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = folder / "judgements.jsonl"
    client.post(JUDGEMENTS, json=RED)
    kept = file.read_bytes()
    file.unlink()
    file.mkdir()
    try:
        for answer in (client.post(JUDGEMENTS, json=RED), client.get(JUDGEMENTS), client.get(f"{JUDGEMENTS}/queries")):
            assert str(folder) not in check_problem(answer, 507)
        assert str(file) in caplog.text
        assert "red" not in caplog.text.replace(str(file), "")
    finally:
        file.rmdir()
    file.write_bytes(b"nonsense\n")
    check_problem(client.post(JUDGEMENTS, json=RED), 507)
    file.write_bytes(kept)
    assert client.get(JUDGEMENTS).json()["total"] == 1


def test_judging_is_off_unless_it_is_turned_on(tmp_path: Path) -> None:
    with serving_fruit(tmp_path) as url:
        for method, path in (("POST", ""), ("GET", ""), ("GET", "/queries"), ("DELETE", "/x")):
            answer = httpx.request(
                method, url + JUDGEMENTS + path, json=RED if method == "POST" else None, trust_env=False
            )
            assert "likewise serve --judge turns it on" in check_problem(answer, 403)
        assert httpx.get(f"{url}/judge", trust_env=False).status_code == 404
    assert not list(tmp_path.rglob("judgements*"))


def test_keys_say_who_may_judge_and_who_did(tmp_path: Path) -> None:
    settings = JudgingSettings(tmp_path / "judgements.jsonl", judge=True)
    with serving_fruit(tmp_path, Protection(Keys.collect(READ, WRITE)), judging=settings) as url:
        read, write = ({"X-API-Key": key} for key in (READ, WRITE))
        check_problem(httpx.post(url + JUDGEMENTS, json=RED, trust_env=False), 401)
        check_problem(httpx.post(url + JUDGEMENTS, json=RED, headers={"X-API-Key": "x" * 20}, trust_env=False), 401)
        check_problem(httpx.post(url + JUDGEMENTS, json=RED, headers=read, trust_env=False), 403)
        check_problem(httpx.get(f"{url}{JUDGEMENTS}/queries", headers=read, trust_env=False), 403)
        name = httpx.post(url + JUDGEMENTS, json=RED, headers=write, trust_env=False).json()["judgement"]
        [judged] = httpx.get(url + JUDGEMENTS, headers=read, trust_env=False).json()["judgements"]
        assert judged["judge"] == "environment-write-1"
        check_problem(httpx.delete(f"{url}{JUDGEMENTS}/{name}", headers=read, trust_env=False), 403)
        assert httpx.delete(f"{url}{JUDGEMENTS}/{name}", headers=write, trust_env=False).status_code == 204


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_other_sites_may_not_judge(client: httpx.Client, folder: Path, headers: dict[str, str]) -> None:
    check_problem(client.post(JUDGEMENTS, json=RED, headers=headers), 403)
    assert (folder / "judgements.jsonl").read_bytes() == b""


def test_queries_are_collected_where_that_is_asked_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    settings = JudgingSettings(tmp_path / "judgements.jsonl", judge=True, collect=True)
    with (
        serving_fruit(tmp_path, Protection(log_requests=True), judging=settings) as url,
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        client.get("/v1/search?q=ripe+fruit")
        client.post("/v1/search", json={"text": "ripe fruit with a stone"})
        client.post("/v1/search", json={"text": ["lonely hat"]})
        client.post("/v1/search", data={"query": '{"text": "in blue"}'}, files={"image": png()})
        for other in (
            {"text": "second page", "offset": 10},
            {"text": "not", "minus": "that"},
            {"text": "like", "like": "0"},
            {"text": ["two", "texts"]},
            {"text": "wrong", "where": "nothing ="},
        ):
            client.post("/v1/search", json=other)
        client.post("/v1/search/batch", json={"searches": [{"text": "a program"}]})
    kept = json.loads((tmp_path / "judgements-queries.json").read_text())["queries"]
    assert {row[0]: row[1] for row in kept} == {"ripe fruit with a stone": 1, "lonely hat": 1}
    assert "fruit" not in capfd.readouterr().err
    (tmp_path / "again").mkdir()
    with serving_fruit(tmp_path / "again", judging=JudgingSettings(settings.file, judge=True)) as url:
        found = httpx.get(f"{url}{JUDGEMENTS}/queries", trust_env=False).json()
        assert {one["text"] for one in found["queries"]} == {"ripe fruit with a stone", "lonely hat"}
        httpx.get(f"{url}/v1/search?q=green", trust_env=False)
    assert "green" not in (tmp_path / "judgements-queries.json").read_text()
