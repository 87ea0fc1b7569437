"""A host that hangs, fails or is slow is given up within its budget, and other hosts are served in full."""

import io
import socket
import time
from collections import Counter

import pytest
from catalog.picture_server import PictureServer

from likewise.catalog.images.decode import check_picture
from likewise.catalog.images.download import Download, download
from likewise.catalog.images.hosts import Hosts
from likewise.catalog.images.resolve import resolve_pictures
from likewise.catalog.report import Report
from likewise.config import ImageSettings
from likewise.progress import quiet

ROWS = 10_000


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://shop.example:8443/a.jpg", "shop.example:8443"),
        ("s3://1.2.3.999/x.jpg", "s3://1.2.3.999"),  # a bucket may be called so, a host may not
        ("s3://shop/a/b.jpg", "s3://shop"),
        ("gs://shop/a/b.jpg", "gs://shop"),
        ("hf://datasets/owner/name/a/b.jpg", "hf://datasets/owner/name"),
        ("hf://owner/name/a/b.jpg", "hf://owner/name"),
    ],
)
def test_a_bucket_or_a_repository_is_a_host(url: str, name: str) -> None:
    assert Hosts(ImageSettings()).find(url).name == name


@pytest.fixture
def server():
    with PictureServer() as running:
        yield running


class Fetched:
    """Downloads from names that all lead to this machine; seconds are a fiftieth of what they are by default."""

    def __init__(self, urls, first_pause=0.01, **changes):
        limits = {"timeout": 1.0, "max_host_seconds": 12.0, "max_run_seconds": 36.0, "allow_private_hosts": True}
        settings = ImageSettings(**{**limits, **changes})
        self.told: list[str] = []
        started = time.monotonic()
        self.results: list[Download] = list(
            download(
                urls,
                settings,
                lambda data: (str(len(data)), check_picture(io.BytesIO(data))),
                hosts=Hosts(settings, self.told.append),
                first_pause=first_pause,
                resolve=_loopback,
            )
        )
        self.seconds = time.monotonic() - started
        assert Counter(result.url for result in self.results) == Counter(urls)

    def causes(self, host=""):
        return Counter(result.cause for result in self.results if f"//{host}" in result.url)


async def _loopback(host, port):
    return ["127.0.0.1"]


def addresses(server, host, path, count):
    return [server.url(f"{path}/{number}", host) for number in range(count)]


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("/silent", "timeout"),
        ("/drip", "timeout"),
        ("/always-500", "http-500"),
        ("/busy-for-an-hour", "http-503"),
        ("/nonsense", "connection-broken"),
    ],
)
def test_a_bad_host_of_thousands_of_rows_is_given_up_and_a_good_one_is_served(path, cause, server):
    bad, good = addresses(server, "bad.example", path, ROWS), addresses(server, "good.example", "/good", 300)
    fetched = Fetched([*bad, *good])
    assert fetched.causes("good.example") == {None: 300}
    causes = fetched.causes("bad.example")
    assert set(causes) == {cause, "host-given-up"}
    assert 20 <= causes[cause] <= 20 + 8
    (told,) = fetched.told
    assert told.startswith(f"Gave up on bad.example:{server.port}, since 20 downloads in a row failed: 9,9")
    assert told.endswith(" other pictures will not be asked for in this run")
    assert fetched.seconds < 15


def test_a_host_that_fails_now_and_then_is_bounded_by_seconds(server):
    pairs = zip(
        addresses(server, "bad.example", "/silent", ROWS // 2),
        addresses(server, "bad.example", "/good", ROWS // 2),
        strict=True,
    )
    good = addresses(server, "good.example", "/good", 200)
    fetched = Fetched([*(url for pair in pairs for url in pair), *good], timeout=3.0, max_host_seconds=1.0)
    assert fetched.causes("good.example") == {None: 200}
    assert set(fetched.causes("bad.example")) == {None, "timeout", "host-given-up"}
    assert fetched.told[0].startswith(f"Gave up on bad.example:{server.port}, since it held up the run for 1 second: ")
    assert fetched.seconds < 15


def test_thousands_of_bad_hosts_are_bounded_together(server):
    good = addresses(server, "good.example", "/slow", 300)
    bad = [server.url("/silent", f"bad{number}.example") for number in range(ROWS)]
    fetched = Fetched([*bad, *good], timeout=5.0, max_run_seconds=2.0)
    assert fetched.causes("good.example") == {None: 300}
    assert set(fetched.causes("bad")) == {"timeout", "host-given-up"}
    assert fetched.told == [
        "Hosts that fail or are slow have held up the run for 2 seconds: only hosts that have delivered are still asked"
    ]
    assert fetched.seconds < 30


def test_missing_pictures_do_not_make_a_host_bad(server):
    urls = [*addresses(server, "shop.example", "/absent", 100), *addresses(server, "shop.example", "/page", 100)]
    fetched = Fetched([*urls, *addresses(server, "shop.example", "/good", 100)])
    assert fetched.causes() == {"http-404": 100, "not-a-picture": 100, None: 100}
    assert not fetched.told


def test_a_failure_between_good_pictures_does_not_count_as_a_row(server):
    urls = [server.url(f"/{'always-500' if number % 3 else 'good'}/{number}") for number in range(150)]
    fetched = Fetched(urls, retries=0, max_host_failures=12)
    assert fetched.causes() == {"http-500": 100, None: 50}


def test_a_whole_host_is_left_alone_for_as_long_as_it_asks(server):
    fetched = Fetched(addresses(server, "shop.example", "/patient", 24))
    assert fetched.causes() == {None: 24}
    assert 3.0 <= fetched.seconds < 6.0  # in three rounds of eight, each of which is asked to wait for a second


def test_a_pause_beyond_the_budget_is_not_waited_for(server):
    fetched = Fetched(addresses(server, "shop.example", "/patient", 500), max_host_seconds=0.5)
    assert set(fetched.causes()) == {"host-given-up"}
    assert fetched.told[0].startswith(f"Gave up on shop.example:{server.port}, since it asked for a pause of 1 second")
    assert fetched.seconds < 1.0


def test_a_pause_before_a_retry_ends_when_the_host_is_given_up(server):
    urls = [*addresses(server, "bad.example", "/always-500", 4), *addresses(server, "bad.example", "/silent", 30)]
    fetched = Fetched(urls, timeout=0.5, max_host_failures=4, first_pause=30.0)
    assert set(fetched.causes()) == {"timeout", "host-given-up"}
    assert all(times == 1 for times in server.asked.values())
    assert fetched.seconds < 5


def test_names_that_take_long_to_look_up_do_not_hold_up_pictures_of_others(server, monkeypatch):
    look_up = socket.getaddrinfo

    def slow(host, *arguments, **options):
        if str(host).endswith(".example"):
            time.sleep(2.0)
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    bad = [server.url("/good", f"{number}.example") for number in range(40)]
    settings = ImageSettings(allow_private_hosts=True, concurrency=48, timeout=2.5)
    started = time.monotonic()
    results = download([*bad, *addresses(server, "localhost", "/good", 30)], settings, lambda data: ("key", 1))
    arrived = [time.monotonic() - started for result in results if result.cause is None]
    assert len(arrived) == 30
    assert max(arrived) < 1.5


class TestResolving:
    @pytest.fixture
    def resolve(self, tmp_path):
        def run(*rows, **settings):
            report = Report()
            with quiet():
                found = resolve_pictures(
                    rows,
                    base=tmp_path,
                    settings=ImageSettings(allow_private_hosts=True, **settings),
                    cache=tmp_path / "cache",
                    report=report,
                )
            return found, report

        return run

    def test_what_was_given_up_is_counted_and_asked_for_by_the_next_run(self, resolve, server):
        rows = [[url] for url in addresses(server, "127.0.0.1", "/flaky", 60)]
        found, report = resolve(*rows, retries=0, max_host_failures=10)
        assert not any(found)
        problems = report.as_dict()["problems"]
        assert set(problems) == {"http-500", "host-given-up"}
        assert report.notes == [
            f"gave up on 127.0.0.1:{server.port} after too many failures or too much lost time: "
            f"{problems['host-given-up']} pictures were not asked for; the next run asks for them"
        ]
        found, report = resolve(*rows, retries=1)
        assert all(found)
        assert not report.problems

    def test_a_host_stays_given_up_for_later_sources_of_a_row(self, resolve, server):
        rows = [
            [server.url(f"/silent/{row}/{source}") for source in range(40)] + [server.url(f"/good/{row}", "localhost")]
            for row in range(20)
        ]
        started = time.monotonic()
        found, _ = resolve(*rows, timeout=0.6, max_host_failures=12)
        assert all(found)
        assert sum(path.startswith("/silent") for path in server.asked) <= 20
        assert time.monotonic() - started < 10
