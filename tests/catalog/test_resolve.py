"""Image cells become pictures: good ones are found, bad ones are counted, and the run always finishes."""

import base64
import hashlib
import os

import pytest
from catalog.picture_files import BAD_FILES, JPEG, PNG, encoded, photo
from catalog.picture_server import PictureServer
from PIL import Image

from likewise.catalog.images import finder as finder_module
from likewise.catalog.images.decode import open_picture
from likewise.catalog.images.picture import PictureError
from likewise.catalog.images.resolve import resolve_pictures
from likewise.catalog.report import Report
from likewise.config import ImageSettings
from likewise.progress import quiet


def causes(report):
    return report.as_dict()["problems"]


@pytest.fixture
def shop(tmp_path):
    folder = tmp_path / "shop"
    (folder / "images").mkdir(parents=True)
    for number in range(3):
        (folder / f"images/{number}.png").write_bytes(encoded(photo(seed=number)))
    return folder


@pytest.fixture
def resolve(shop, tmp_path):
    def run(*rows, names=None, **settings):
        report = Report()
        with quiet():
            pictures = resolve_pictures(
                rows,
                base=shop,
                settings=ImageSettings(**settings),
                cache=tmp_path / "cache",
                report=report,
                names=names,
            )
        return pictures, report

    return run


@pytest.fixture
def server():
    with PictureServer() as running:
        yield running


def test_local_pictures_stay_where_they_are_and_are_named_by_content(resolve, shop):
    (first, none), report = resolve(["images/0.png"], [])
    assert none == ()
    assert first[0].path == shop / "images/0.png"
    assert first[0].key == hashlib.sha256((shop / "images/0.png").read_bytes()).hexdigest()
    assert not causes(report)


def test_the_first_usable_pictures_of_a_row_are_taken(resolve):
    row = ["absent.png", " ", "images/0.png", "images/1.png", "images/2.png", "never-looked-at.png"]
    (one,), report = resolve(row)
    assert [picture.path.name for picture in one] == ["0.png"]
    assert causes(report) == {"no-file": 1}
    (two,), report = resolve(row, per_item=2)
    assert [picture.path.name for picture in two] == ["0.png", "1.png"]
    (three,), report = resolve(row, per_item=5)
    assert [picture.path.name for picture in three] == ["0.png", "1.png", "2.png"]
    assert causes(report) == {"no-file": 2}


def test_the_same_picture_counts_once_for_a_row(resolve, shop):
    (shop / "copy.png").write_bytes((shop / "images/0.png").read_bytes())
    (pictures,), _ = resolve(["images/0.png", "copy.png", "images/1.png"], per_item=2)
    assert [picture.path.name for picture in pictures] == ["0.png", "1.png"]


def test_every_failing_source_is_counted_with_its_row(resolve):
    rows = [["absent.png"], ["images/0.png"], ["absent.png", "ftp://a/b.jpg"]]
    _, report = resolve(*rows, names=["first", "second", "third"])
    assert causes(report) == {"no-file": 2, "unknown-scheme": 1}
    assert report.problems["no-file"].examples == ["first", "third"]


def test_a_changed_file_is_read_again(resolve, shop):
    path = shop / "images/0.png"
    (before,), _ = resolve(["images/0.png"])
    path.write_bytes(encoded(photo(seed=9)))
    (after,), _ = resolve(["images/0.png"])
    assert before[0].key != after[0].key
    path.write_bytes(b"no longer a picture")
    (gone,), report = resolve(["images/0.png"])
    assert gone == ()
    assert causes(report) == {"not-a-picture": 1}


def test_a_file_replaced_by_one_of_its_size_and_time_is_read_again(resolve, shop):
    path = shop / "images/0.bmp"
    path.write_bytes(encoded(photo(seed=1), "BMP"))
    status = path.stat()
    (before,), _ = resolve(["images/0.bmp"])
    path.write_bytes(encoded(photo(seed=2), "BMP"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    (after,), _ = resolve(["images/0.bmp"])
    assert before[0].key != after[0].key


@pytest.mark.parametrize("source", ["loop.png", "there/a.png", "file:loop.png"])
def test_a_loop_of_links_below_the_root_is_one_unusable_picture(source, resolve, shop):
    (shop / "loop.png").symlink_to("loop.png")
    (shop / "there").symlink_to("back")
    (shop / "back").symlink_to("there")
    (good, bad), report = resolve(["images/0.png"], [source], root=shop)
    assert (len(good), bad) == (1, ())
    assert causes(report) == {"no-file": 1}


def test_a_picture_swapped_for_a_link_after_the_check_of_the_root_is_not_read(resolve, shop, monkeypatch):
    (shop.parent / "secret").mkdir()
    (shop.parent / "secret/0.png").write_bytes(encoded(photo(seed=7)))
    opened = finder_module.open_regular_file

    def swap(path, root):
        (shop / "images").rename(shop / "before")
        (shop / "images").symlink_to(shop.parent / "secret")
        return opened(path, root)

    monkeypatch.setattr(finder_module, "open_regular_file", swap)
    (pictures,), report = resolve(["images/0.png"], root=shop)
    assert pictures == ()
    assert causes(report) == {"no-file": 1}


def test_data_uris_become_files_of_the_cache(resolve, tmp_path):
    uri = "data:image/png;base64," + base64.b64encode(PNG).decode()
    (pictures,), _ = resolve([uri])
    assert pictures[0].path.is_relative_to(tmp_path / "cache")
    assert pictures[0].path.read_bytes() == PNG


def test_the_second_run_downloads_nothing(resolve, server):
    rows = [[server.url(path)] for path in ("/good/1", "/good/2", "/absent", "/page", "/redirect?/good/3", "/good/1")]
    first, counted = resolve(*rows, allow_private_hosts=True, retries=0)
    asked = dict(server.asked)
    assert asked["/good/1"] == 1
    assert causes(counted) == {"http-404": 1, "not-a-picture": 1}
    second, counted_again = resolve(*rows, allow_private_hosts=True, retries=0)
    assert second == first
    assert server.asked == asked
    assert causes(counted_again) == causes(counted)
    assert counted_again.notes == [
        "2 pictures that could not be downloaded in an earlier run were not tried again; --retry-failed tries them"
    ]


def test_failures_are_retried_on_request(resolve, server):
    (pictures,), report = resolve([server.url("/flaky")], allow_private_hosts=True, retries=0)
    assert pictures == ()
    assert causes(report) == {"http-500": 1}
    (pictures,), report = resolve([server.url("/flaky")], allow_private_hosts=True, retries=0, retry_failed=True)
    assert pictures[0].path.read_bytes() == PNG
    assert not causes(report)
    assert not report.notes


def test_a_failure_of_our_own_limits_ends_with_the_limit(resolve, server):
    row = [server.url("/good/1")]
    for changes, cause in (
        ({"allow_private_hosts": False}, "address-refused"),
        ({"allow_private_hosts": True, "max_bytes": 100}, "too-large"),
        ({"allow_private_hosts": True, "max_pixels": 100}, "too-many-pixels"),
    ):
        (pictures,), report = resolve(row, **changes)
        assert pictures == ()
        assert causes(report) == {cause: 1}
    (pictures,), _ = resolve(row, allow_private_hosts=True)
    assert len(pictures) == 1
    (pictures,), report = resolve(row, allow_private_hosts=True, max_pixels=100)
    assert causes(report) == {"too-many-pixels": 1}


def test_what_came_from_a_private_host_is_not_handed_to_runs_that_may_not_ask_it(resolve, server):
    resolve([server.url("/good/1")], allow_private_hosts=True)
    (pictures,), report = resolve([server.url("/good/1")])
    assert pictures == ()
    assert causes(report) == {"address-refused": 1}


def test_only_as_much_is_downloaded_as_a_row_needs(resolve, server):
    rows = [["images/0.png", server.url("/good/1")], [server.url("/absent"), server.url("/good/2")]]
    pictures, _ = resolve(*rows, allow_private_hosts=True)
    assert [len(row) for row in pictures] == [1, 1]
    assert set(server.asked) == {"/absent", "/good/2"}


HOSTILE_SOURCES = {
    "a folder": ("images", "not-a-file"),
    "a device": ("/dev/zero", "not-a-file"),
    "a pipe": ("pipe.jpg", "not-a-file"),
    "a file that is not there": ("absent.jpg", "no-file"),
    "a loop of links": ("loop.jpg", "no-file"),
    "a name with a NUL byte": ("a\0.jpg", "malformed-source"),
    "a path above the root": ("../secret.png", "outside-root"),
    "an absolute path": ("/etc/passwd", "outside-root"),
    "a link out of the root": ("link.png", "outside-root"),
    "a file URI out of the root": ("file:///etc/passwd", "outside-root"),
    "a file on another machine": ("file://server/share/a.jpg", "network-path"),
    "a Windows share": ("\\\\server\\share\\a.jpg", "network-path"),
    "an unknown scheme": ("gopher://example.com/a.jpg", "unknown-scheme"),
    "a program in a URI": ("javascript:alert(1)", "unknown-scheme"),
    "a broken data URI": ("data:image/png;base64,!!!", "malformed-source"),
    "a text as data URI": ("data:image/png,hello", "not-a-picture"),
    "a huge data URI": ("data:;base64," + "A" * 2_000_000, "too-large"),
    "a metadata service": ("http://169.254.169.254/latest/meta-data/", "address-refused"),
    "a metadata service in IPv6": ("http://[::ffff:169.254.169.254]/", "address-refused"),
    "a loopback address": ("http://127.0.0.1:8000/a.jpg", "address-refused"),
    "a loopback address as a number": ("http://2130706433/a.jpg", "address-refused"),
    "a private address": ("https://10.0.0.1/a.jpg", "address-refused"),
    "a mail server": ("http://192.0.2.7:25/", "port-refused"),
    "a broken address": ("http://[::1/", "malformed-source"),
}


@pytest.mark.parametrize("name", [*HOSTILE_SOURCES, *BAD_FILES])
def test_hostile_input_gives_a_counted_reason_and_a_finished_run(name, resolve, shop):
    (shop.parent / "secret.png").write_bytes(PNG)
    (shop / "link.png").symlink_to(shop.parent / "secret.png")
    (shop / "loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(shop / "pipe.jpg")
    for file, (data, _) in BAD_FILES.items():
        (shop / file).write_bytes(data)
    confined = name in HOSTILE_SOURCES and HOSTILE_SOURCES[name][1] == "outside-root"
    source, cause = HOSTILE_SOURCES[name] if name in HOSTILE_SOURCES else (name, BAD_FILES[name][1])
    (good, bad), report = resolve(["images/0.png"], [source], max_bytes=1_000_000, root=shop if confined else None)
    assert len(good) == 1
    assert bad == ()
    assert causes(report) == {cause: 1}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_on_the_web_is_counted_like_one_on_disk(name, resolve, monkeypatch):
    data, cause = BAD_FILES[name]
    uri = "data:;base64," + base64.b64encode(data).decode()
    (pictures,), report = resolve([uri])
    assert pictures == ()
    assert causes(report) == {cause: 1}


def test_a_jpeg_without_its_end_mark_is_used_if_it_decodes(resolve, shop):
    (shop / "cut.jpg").write_bytes(JPEG[:-2])
    (shop / "padded.jpg").write_bytes(JPEG + bytes(70_000))
    (cut, padded), report = resolve(["cut.jpg"], ["padded.jpg"])
    assert len(padded) == 1
    try:
        decodes = open_picture(shop / "cut.jpg").size == (200, 160)
    except PictureError:
        decodes = False
    assert len(cut) == int(decodes)
    assert sum(causes(report).values()) == int(not decodes)


def test_many_rows_share_one_look_at_a_picture(resolve, server):
    pictures, _ = resolve(*[[server.url("/good/1")]] * 500, allow_private_hosts=True)
    assert server.asked["/good/1"] == 1
    assert len({row[0] for row in pictures}) == 1
    with Image.open(pictures[0][0].path) as image:
        assert image.size == (64, 48)
