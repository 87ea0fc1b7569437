"""What a cell of the image column is taken for."""

import base64
import tracemalloc
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.catalog.images.picture import PictureError
from likewise.catalog.images.sources import InlinePicture, LocalFile, WebAddress, parse_source
from likewise.catalog.report import PICTURE_CAUSES


@pytest.fixture
def folder(tmp_path):
    for name in ("a.jpg", "sub/b.jpg", "with space.jpg", "100%.jpg", "odd:name.jpg", "ümlaut.jpg"):
        path = tmp_path / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (tmp_path / "shop/link.jpg").symlink_to(tmp_path / "secret.jpg")
    (tmp_path / "shop/inside.jpg").symlink_to(tmp_path / "shop/a.jpg")
    (tmp_path / "shop/parent").symlink_to(tmp_path)
    return tmp_path / "shop"


def parse(text, folder, root=None, max_bytes=1000):
    return parse_source(text, base=folder, root=root, max_bytes=max_bytes)


def cause_of(*arguments, **options):
    with pytest.raises(PictureError) as error:
        parse(*arguments, **options)
    return error.value.cause


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a.jpg", "a.jpg"),
        ("  a.jpg\n", "a.jpg"),
        ("./sub/b.jpg", "sub/b.jpg"),
        ("sub\\b.jpg", "sub/b.jpg"),
        (".\\sub\\b.jpg", "sub/b.jpg"),
        ("with%20space.jpg", "with space.jpg"),
        ("100%.jpg", "100%.jpg"),
        ("odd:name.jpg", "odd:name.jpg"),
        ("%C3%BCmlaut.jpg", "ümlaut.jpg"),
        ("file:sub/b.jpg", "sub/b.jpg"),
        ("file:{folder}/a.jpg", "a.jpg"),
        ("file://{folder}/with%20space.jpg", "with space.jpg"),
        ("FILE://LocalHost{folder}/a.jpg", "a.jpg"),
        ("{folder}/a.jpg", "a.jpg"),
    ],
)
def test_local_files_are_found_as_people_write_them(text, name, folder):
    source = parse(text.replace("{folder}", str(folder)), folder)
    assert isinstance(source, LocalFile)
    assert source.path.samefile(folder / name)


def test_the_image_root_confines_local_files(folder):
    assert isinstance(parse("a.jpg", folder, root=folder), LocalFile)
    assert isinstance(parse("inside.jpg", folder, root=folder), LocalFile)
    assert isinstance(parse("sub/../a.jpg", folder, root=folder), LocalFile)
    outside = (
        "../secret.jpg",
        "link.jpg",
        "parent/secret.jpg",
        "/etc/passwd",
        "file:///etc/passwd",
        "%2e%2e/secret.jpg",
    )
    for text in outside:
        assert cause_of(text, folder, root=folder) == "outside-root", text
    assert isinstance(parse("../secret.jpg", folder), LocalFile)  # no root, no confinement


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://Example.com/A.jpg", "http://example.com/A.jpg"),
        ("HTTPS://example.com:443/a b.jpg#part", "https://example.com/a%20b.jpg"),
        ("https://user:word@example.com/a.jpg", "https://example.com/a.jpg"),
        ("//cdn.example.com/a.jpg", "https://cdn.example.com/a.jpg"),
        ("https://bücher.example/ü.jpg?q=ü", "https://xn--bcher-kva.example/%C3%BC.jpg?q=%C3%BC"),
        ("http:\\\\example.com\\a.jpg", "http://example.com/a.jpg"),
    ],
)
def test_addresses_are_written_in_one_way(text, url, folder):
    assert parse(text, folder) == WebAddress(url)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("ftp://example.com/a.jpg", "unknown-scheme"),
        ("s4://bucket/a.jpg", "unknown-scheme"),
        ("s3://bucket", "malformed-source"),
        ("javascript:alert(1)", "unknown-scheme"),
        ("file://server/share/a.jpg", "network-path"),
        ("\\\\server\\share\\a.jpg", "network-path"),
        ("http:///a.jpg", "malformed-source"),
        ("http://[::1/a.jpg", "malformed-source"),
        ("http://example.com:99999/", "malformed-source"),
        ("http://exa\x00mple.com/", "malformed-source"),
        ("https://example.com/" + "a" * 10_000, "malformed-source"),
        ("nul\x00.jpg", "malformed-source"),
        ("data:image/png;base64", "malformed-source"),
        ("data:image/png;base64,####", "malformed-source"),
        ("data:,", "empty-file"),
        ("data:;base64," + "A" * 5000, "too-large"),
        ("data:," + "%41" * 1001, "too-large"),
    ],
)
def test_what_cannot_be_a_picture_has_a_cause(text, cause, folder):
    assert cause_of(text, folder) == cause


@pytest.mark.parametrize(
    ("uri", "cause"),
    [
        ("data:;base64," + "A" * 60_000_000, "too-large"),
        ("data:," + "%41" * 19_000_000, None),
        ("data:;base64," + "A " * 13_000_000, None),
        ("https://example.com/" + "a/" * 31_000_000, "too-large"),
        ("a/" * 20_000_000, "malformed-source"),
        ("x" * 60_000_000 + ":", "malformed-source"),
    ],
    ids=["base64", "percent", "blanks", "address", "path", "scheme"],
)
def test_a_huge_source_takes_no_more_than_its_bytes(uri, cause, folder):
    tracemalloc.start()
    try:
        if cause is None:
            assert isinstance(parse(uri, folder, max_bytes=20_000_000), InlinePicture)
        else:
            assert cause_of(uri, folder, max_bytes=20_000_000) == cause
        assert tracemalloc.get_traced_memory()[1] < (4 * len(uri) if cause is None else 100_000)
    finally:
        tracemalloc.stop()


def test_percent_encoding_is_decoded_as_browsers_do(folder):
    for head, tail in (
        (b"", b""),
        (b"x" * ((1 << 20) - 1), b"tail"),
        (b"y" * ((1 << 20) - 2), b"%4"),
        (b"%" * 7, b"%zz%"),
    ):
        body = (head + b"%41%4a%4A%%41%4" + tail).decode()
        assert parse(f"data:,{body}", folder, max_bytes=2**22) == InlinePicture(unquote_to_bytes(body))


@given(st.binary(min_size=1, max_size=200))
@settings(deadline=None)
def test_data_uris_give_their_bytes_back(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp()
    plain = base64.b64encode(data).decode()
    for body in (plain, base64.urlsafe_b64encode(data).decode(), plain.rstrip("="), f" {plain[:7]}\n {plain[7:]}"):
        assert parse(f"data:image/png;base64,{body}", folder) == InlinePicture(data)
    percent = "".join(f"%{byte:02X}" for byte in data)
    assert parse(f"DATA:image/png,{percent}", folder) == InlinePicture(data)


@given(st.text(max_size=60), st.sampled_from(["", "http://", "https:", "file:", "file://", "data:", "//", "x:"]))
@settings(deadline=None)
def test_any_text_is_a_source_or_a_cause(tmp_path_factory, text, start):
    folder = tmp_path_factory.getbasetemp()
    for root in (None, folder):
        try:
            source = parse(start + text, folder, root=root)
        except PictureError as error:
            assert error.cause in PICTURE_CAUSES
            continue
        if isinstance(source, LocalFile) and root is not None:
            assert source.path.resolve().is_relative_to(root.resolve())


def test_the_guide_explains_every_cause():
    guide = (Path(__file__).parents[2] / "docs/images.md").read_text(encoding="utf-8")
    for cause, meaning in PICTURE_CAUSES.items():
        assert f"| `{cause}` | {meaning} |" in guide
