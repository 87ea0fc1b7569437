"""Downloads from a server that behaves well or badly end in a picture or in one cause, and always end."""

import asyncio
import io
import socket
import time

import httpcore
import pytest
from catalog.picture_files import PNG, encoded, photo
from catalog.picture_server import PictureServer

from likewise.catalog.images.decode import check_picture
from likewise.catalog.images.download import Download, download
from likewise.config import ImageSettings
from likewise.errors import UserError

IN_A_HURRY = {"timeout": 1.0, "max_bytes": 300_000, "retries": 1, "allow_private_hosts": True}


@pytest.fixture
def server():
    with PictureServer() as running:
        yield running


def fetch(*urls, keep=None, first_pause=0.01, per_host=8, resolve=None, inner=None, **changes) -> dict[str, Download]:
    kept = keep or (lambda data: (str(len(data)), check_picture(io.BytesIO(data))))
    settings = ImageSettings(**{**IN_A_HURRY, **changes})
    results = download(urls, settings, kept, per_host=per_host, first_pause=first_pause, resolve=resolve, inner=inner)
    return {result.url: result for result in results}


def cause_of(url, **options):
    return fetch(url, **options)[url].cause


@pytest.mark.parametrize(
    ("path", "cause", "requests"),
    [
        ("/absent", "http-404", 1),
        ("/page", "not-a-picture", 1),
        ("/circle", "too-many-redirects", 6),
        ("/endless", "too-large", 1),
        ("/promises-much", "too-large", 1),
        ("/promises-more", "connection-broken", 2),
        ("/drip", "timeout", 1),
        ("/silent", "timeout", 1),
        ("/gzip-bomb", "compressed-answer", 1),
        ("/always-500", "http-500", 2),
        ("/busy-for-an-hour", "http-503", 1),
        ("/nonsense", "connection-broken", 2),
        ("/huge-headers", "connection-broken", 2),
        ("/redirect?http://169.254.169.254/latest/meta-data/", "address-refused", 1),
        ("/redirect?http://127.0.0.1:22/", "port-refused", 1),
        ("/redirect?file:///etc/passwd", "unknown-scheme", 1),
        ("/redirect?//:0:0/", "connection-broken", 1),
    ],
)
def test_a_bad_server_gives_a_cause_and_an_end(server, path, cause, requests):
    start = time.monotonic()
    assert cause_of(server.url(path)) == cause
    assert sum(server.asked.values()) == requests
    assert time.monotonic() - start < 4


def test_a_good_picture_arrives_and_says_that_it_came_from_a_private_host(server):
    url = server.url("/good/1")
    result = fetch(url)[url]
    assert (result.cause, result.private, result.measure) == (None, True, 64 * 48)
    assert result.size == len(encoded(photo(seed=sum(b"/good/1"))))


def test_private_hosts_are_refused_unless_allowed(server):
    assert cause_of(server.url("/good/1"), allow_private_hosts=False) == "address-refused"
    assert cause_of(server.url("/good/1", host="localhost"), allow_private_hosts=False) == "address-refused"
    assert not server.asked


class _Redirecting(httpcore.AsyncMockBackend):
    """A public host that redirects every request to one place."""

    def __init__(self, target):
        answer = f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        super().__init__([answer.encode()])


async def _public(host, port):
    return ["93.184.216.34"] if host.endswith(".example") else [host]


@pytest.mark.parametrize(
    ("start", "target", "cause"),
    [
        ("http", "http://127.0.0.1:{port}/good/1", "address-refused"),
        ("http", "http://[::ffff:127.0.0.1]:{port}/good/1", "address-refused"),
        ("http", "http://10.1.2.3/", "address-refused"),
        ("http", "http://169.254.169.254/latest/", "address-refused"),
        ("https", "http://shop.example/a.jpg", "insecure-redirect"),
    ],
)
def test_a_public_host_cannot_redirect_to_a_private_one(server, start, target, cause):
    target = target.replace("{port}", str(server.port))
    url = f"{start}://shop.example/a.jpg"
    assert cause_of(url, allow_private_hosts=False, resolve=_public, inner=_Redirecting(target)) == cause
    assert not server.asked


def test_redirects_are_followed_with_relative_targets(server):
    url = server.url("/redirect?/redirect?/good/1")
    assert fetch(url)[url].cause is None
    assert server.asked["/good/1"] == 1


def test_failures_that_pass_are_tried_again(server):
    assert cause_of(server.url("/flaky")) is None
    assert cause_of(server.url("/flaky/2"), retries=0) == "http-500"
    start = time.monotonic()
    assert cause_of(server.url("/patient")) is None
    assert time.monotonic() - start >= 1.0  # the server asked for one second


def test_a_dead_host_is_given_up_after_some_failures():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    urls = [f"http://127.0.0.1:{port}/{number}" for number in range(30)]
    causes = [result.cause for result in fetch(*urls, per_host=2, retries=0, max_host_failures=5).values()]
    assert set(causes) == {"connection-failed", "host-given-up"}
    assert causes.count("connection-failed") <= 6


def test_concurrency_is_bounded_in_total_and_for_each_host(server):
    urls = [server.url(f"/slow/{number}") for number in range(16)]
    assert all(result.cause is None for result in fetch(*urls, concurrency=3).values())
    assert server.most_at_once == 3
    server.most_at_once = 0
    more = [server.url(f"/slow/{number}") for number in range(16, 32)]
    assert all(result.cause is None for result in fetch(*more, per_host=2).values())
    assert server.most_at_once == 2


def test_no_cookie_password_or_compression_is_sent(server):
    fetch(server.url("/good/1"), server.url("/good/2"), server.url("/good/3"), per_host=1)
    assert len(server.headers) == 3
    for headers in server.headers:
        assert {"cookie", "authorization", "referer"}.isdisjoint(headers)
        assert headers["accept-encoding"] == "identity"


def test_it_works_inside_a_running_loop(server):
    async def notebook():
        return fetch(server.url("/good/1"))

    assert [result.cause for result in asyncio.run(notebook()).values()] == [None]


def test_closing_the_iterator_stops_the_downloads(server):
    urls = [server.url("/good/1"), *(server.url(f"/drip/{number}") for number in range(20))]
    results = download(urls, ImageSettings(**{**IN_A_HURRY, "timeout": 60}), lambda data: ("key", 1))
    assert next(results).key == "key"
    start = time.monotonic()
    results.close()
    assert time.monotonic() - start < 2


def test_a_cache_that_cannot_be_written_ends_the_run(server):
    def full(data):
        raise UserError("the disk is full")

    with pytest.raises(UserError, match="the disk is full"):
        fetch(server.url("/good/1"), server.url("/good/2"), keep=full)


def test_the_picture_bytes_are_what_the_server_sent(server):
    seen = []
    fetch(server.url("/flaky"), keep=lambda data: (seen.append(data), ("key", 1))[1])
    assert seen == [PNG]
