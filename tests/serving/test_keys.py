"""Keys: where they come from, what is refused, and how they are found."""

import hashlib
from pathlib import Path

import pytest

from likewise.errors import UserError
from likewise.serving.keys import Key, Keys, check_binding, new_key

READ, WRITE = "r" * 16, "w" * 16


def sha256(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def test_keys_of_the_environment_have_their_access() -> None:
    keys = Keys.collect(f"{READ}, {'s' * 20},", WRITE)
    assert [(key.name, key.access) for key in keys.all] == [
        ("environment-read-1", "read"),
        ("environment-read-2", "read"),
        ("environment-write-1", "write"),
    ]
    found = keys.find(WRITE.encode())
    assert found is not None and found.access == "write"
    assert READ not in repr(keys.all) and sha256(READ).hex() not in repr(keys.all)


def test_a_key_with_both_kinds_of_access_may_write() -> None:
    for keys in (Keys.collect(READ, READ), Keys(reversed(Keys.collect(READ, READ).all))):
        found = keys.find(READ.encode())
        assert found is not None and found.access == "write"


@pytest.mark.parametrize(
    "presented",
    [
        "",
        READ[:-1],
        READ + "r",
        READ.upper(),
        f" {READ}",
        sha256(READ).hex(),
        "\x00" * 16,
        "ключ-с-буквами-юникода",
        "r" * 10**6,
    ],
)
def test_other_keys_are_not_found(presented: str) -> None:
    assert Keys.collect(READ, WRITE).find(presented.encode()) is None


def test_a_new_key_is_found_by_its_line(tmp_path: Path) -> None:
    key, line = new_key("write", "shop-1")
    file = tmp_path / "keys"
    file.write_text(f"# the shop's\n\n{line}\n{new_key()[1]}\n")
    found = Keys.collect(file=file).find(key.encode())
    assert found is not None and (found.name, found.access) == ("shop-1", "write")
    assert key not in line
    assert [known.name for known in Keys.collect(file=file).all] == ["shop-1", "line-4"]
    assert new_key()[0] != new_key()[0]


@pytest.mark.parametrize("name", ["two words", "a\nwrite sha256:" + "0" * 64, "n" * 65])
def test_a_name_that_the_file_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="the name of a key has at most 64"):
        new_key("read", name)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("secret-key-itself", "line 2 of .* is no key"),
        ("admin sha256:" + "0" * 64, "line 2 of .* is no key"),
        ("read sha256:" + "0" * 63, "line 2 of .* is no key"),
        ("read sha256:" + "0" * 65, "line 2 of .* is no key"),
        ("read md5:" + "0" * 32, "line 2 of .* is no key"),
        ("read sha256:" + "0" * 64 + " two words", "line 2 of .* is no key"),
        ("read sha256:" + "٠" * 64, "line 2 of .* is no key"),
    ],
)
def test_a_line_that_is_no_key_is_one_sentence(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# keys\n{line}\n", encoding="utf-8")
    with pytest.raises(UserError, match=message) as caught:
        Keys.collect(file=file)
    assert "secret-key-itself" not in str(caught.value)


def test_files_that_hold_no_keys_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("# none\n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    (tmp_path / "large").write_bytes(b"#" * 1_000_001)
    twice = new_key("read", "shop")[1] + "\n" + new_key("read", "shop")[1]
    (tmp_path / "twice").write_text(twice)
    for name, message in {
        "empty": "there is no key in",
        "bytes": "it is no UTF-8 text",
        "large": "it is larger than 1,000 KB",
        "twice": 'two keys have the name "shop"',
        "missing": "No such file",
        ".": "it is no plain file",
    }.items():
        with pytest.raises(UserError, match=message):
            Keys.collect(file=tmp_path / name)


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ("r" * 15, "has 15 characters"),
        ("r" * 513, "has 513 characters"),
        ("ключ-с-буквами-юникода", "beyond ASCII"),
        ("with spaces in the key", "has spaces"),
    ],
)
def test_a_weak_key_of_the_environment_is_refused(listed: str, message: str) -> None:
    with pytest.raises(UserError, match=f"key 2 in LIKEWISE_API_KEYS {message}|key 2 .*{message}") as caught:
        Keys.collect(f"{READ},{listed}")
    assert listed not in str(caught.value)


def test_a_file_that_everyone_can_read_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "keys"
    file.write_text(new_key()[1])
    file.chmod(0o600)
    Keys.collect(file=file)
    assert capsys.readouterr().err == ""
    file.chmod(0o644)
    Keys.collect(file=file)
    assert "chmod 600" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", "localhost.example.com", ""])
def test_other_machines_are_listened_to_with_keys_only(host: str) -> None:
    with pytest.raises(UserError, match="--keys FILE"):
        check_binding(host, Keys())
    check_binding(host, Keys([Key("a", "read", sha256(READ))]))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_this_machine_needs_no_key(host: str) -> None:
    check_binding(host, Keys())
