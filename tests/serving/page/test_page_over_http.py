"""What the server says of the page, its files and its columns, without a browser."""

import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import httpx
import pytest
from serving.page.conftest import serving_shop

from likewise.serving.api.server import Protection
from likewise.serving.keys import Keys

READ = "read-key-0123456789"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with serving_shop(tmp_path_factory.mktemp("open")) as url, httpx.Client(base_url=url, trust_env=False) as opened:
        yield opened


def files_of(page: str) -> list[str]:
    return re.findall(r'(?:href|src)="(/page/[^"]+)"', page)


def test_the_page_allows_its_own_files_alone(client: httpx.Client) -> None:
    answer = client.get("/")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["img-src"] == "'self' blob:"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "DENY"
    assert "camera=(self)" in answer.headers["permissions-policy"]
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=|https?://", answer.text)


def test_files_are_kept_for_good_and_the_page_is_asked_for_anew(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.headers["cache-control"] == "private, no-cache"
    again = client.get("/", headers={"If-None-Match": f'"other", W/{page.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    paths = files_of(page.text)
    assert {path.rpartition(".")[2] for path in paths} == {"js", "css", "svg"}
    assert len(paths) > 15
    for path in paths:
        file = client.get(path)
        assert file.status_code == 200
        assert file.headers["cache-control"] == "private, max-age=31536000, immutable"
        assert client.get(path, headers={"If-None-Match": file.headers["etag"]}).status_code == 304
    script = next(path for path in paths if path.endswith("main.js"))
    assert client.get(script).headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize(
    "path",
    ["/page/0/main.js", "/page/{version}/", "/page/{version}/routes.py", "/page/{version}/..%2fassets.py", "/page/"],
)
def test_other_files_are_not_answered(client: httpx.Client, path: str) -> None:
    version = files_of(client.get("/").text)[0].split("/")[2]
    answer = client.get(path.replace("{version}", version))
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_the_page_knows_the_catalogue_and_what_the_server_can_do(client: httpx.Client) -> None:
    found = re.search(r'<meta name="settings" content="([^"]*)">', client.get("/").text)
    assert found
    settings = json.loads(unescape(found[1]))
    assert (settings["title"], settings["items"], settings["audio"]) == ("Fruit & chairs", 14, True)
    assert settings["image_bytes"] == 20_000_000
    assert settings["signed_in"] is False
    assert settings["explains"] is True
    assert settings["features"]["comparison"] is True


def test_with_keys_nothing_of_the_page_is_answered_before_the_sign_in(tmp_path: Path) -> None:
    with (
        serving_shop(tmp_path, Protection(Keys.collect(READ))) as url,
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        visit = client.get("/", headers={"Accept": "text/html"})
        assert (visit.status_code, visit.headers["location"]) == (303, "/sign-in")
        page = client.get("/", headers={"X-API-Key": READ})
        for path in (*files_of(page.text), "/v1/columns", "/v1/comparison"):
            assert client.get(path).status_code == 401, path
        client.post("/sign-in", data={"key": READ}, headers={"Origin": url})
        assert "&#34;signed_in&#34;:true" in client.get("/").text
        assert client.get(files_of(page.text)[0]).status_code == 200


@pytest.mark.parametrize("path", ["/v1/columns", "/v1/comparison", "file"])
def test_other_sites_get_nothing(client: httpx.Client, path: str) -> None:
    asked = files_of(client.get("/").text)[0] if path == "file" else path
    foreign = {"Origin": "https://evil.example"}
    embedded = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}
    assert client.get(asked, headers=foreign).status_code == 403
    assert client.get(asked, headers=embedded).status_code == 403
    assert client.get("/", headers=foreign).status_code == 403
