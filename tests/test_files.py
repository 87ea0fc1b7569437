"""A file is written whole or not at all, and a damaged record is never read."""

import contextlib
import csv
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from likewise.errors import UserError
from likewise.files import (
    DamageError,
    FormatError,
    NewerFormatError,
    cannot_write,
    explain_system_error,
    read_record,
    replace_file,
    replace_tree,
    temporary_folder,
    write_csv,
    write_file,
    write_record,
)

# Writes a file that is larger than the system allows.
_TOO_LARGE = """
import resource, signal, sys
from pathlib import Path
from likewise.errors import UserError
from likewise.files import write_file
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_file(Path(sys.argv[1]), b"x" * 200_000)
except UserError as error:
    print(error)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_that_does_not_fit_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    write_file(tmp_path / "file", "old")
    said = subprocess.run([sys.executable, "-c", _TOO_LARGE, tmp_path / "file"], capture_output=True, text=True)
    way_out = "raise the limit of file sizes (ulimit -f), or use a folder on another disk"
    assert said.stdout == f"cannot write {tmp_path / 'file'}: File too large; {way_out}\n", said.stderr
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "No space left on device; free some space there, or use a folder on another disk"),
        (errno.EROFS, "Read-only file system; use a folder that you may write to"),
        (errno.EACCES, "Permission denied; use a folder that you may write to"),
        (errno.ENAMETOOLONG, "File name too long; use a shorter name"),
    ],
)
def test_every_way_to_learn_of_an_error_says_the_way_out(tmp_path: Path, number: int, says: str) -> None:
    plain = OSError(number, os.strerror(number))
    rust = Exception(f"{os.strerror(number)} (os error {number})")  # tokenizers
    torch = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 768 vs 662")
    torch.__context__ = plain
    for error in (plain, rust, torch):
        assert str(cannot_write(tmp_path, error)) == f"cannot write {tmp_path}: {says}"
        with pytest.raises(UserError, match="cannot write "), replace_file(tmp_path / "file"):
            raise error
        with pytest.raises(UserError, match="cannot write "), temporary_folder(tmp_path):
            raise error
        assert says in str(explain_system_error(error))
    assert says in str(explain_system_error(OSError(number, "…", "some/file")))
    assert "some/file" in str(explain_system_error(OSError(number, "…", "some/file")))
    assert names(tmp_path) == []


def test_mistakes_of_ours_are_not_explained_away(tmp_path: Path) -> None:
    refused = UserError("no row has a title")
    refused.__context__ = OSError(errno.ENOSPC, "…")
    for error in (refused, KeyError("x"), OSError(errno.ECONNREFUSED, "…"), RuntimeError("mat1 and mat2")):
        assert explain_system_error(error) is None
    with pytest.raises(UserError, match="no row has a title"), temporary_folder(tmp_path):
        raise refused


@pytest.mark.parametrize("name", ["x" * 255, "ö" * 127, "[a]*?.json", " "])
def test_any_name_that_a_file_can_have_will_do(tmp_path: Path, name: str) -> None:
    for content in ("old", "new"):
        write_file(tmp_path / name, content)
        assert (tmp_path / name).read_text() == content
    assert names(tmp_path) == [name]


def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    write_file(tmp_path / "file", "old")
    with pytest.raises(ZeroDivisionError), replace_file(tmp_path / "file") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_library_that_cannot_write_is_one_sentence(tmp_path: Path) -> None:
    full = RuntimeError("PytorchStreamWriter failed writing file data/0: No space left on device\nat …")
    with (
        pytest.raises(UserError, match=r"cannot write .*file: No space left on device"),
        replace_file(tmp_path / "file", RuntimeError),
    ):
        raise full
    with pytest.raises(RuntimeError), replace_file(tmp_path / "file"):
        raise RuntimeError("a mistake of ours")


def test_what_a_killed_process_left_is_removed_by_the_next_writer(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f".file.{dead.pid}-0123abcd.tmp").write_text("half")
    (tmp_path / f".file.{os.getppid()}-0123abcd.tmp").write_text("being written")
    (tmp_path / f".other.{dead.pid}-0123abcd.tmp").write_text("not ours")
    write_file(tmp_path / "file", "new")
    assert names(tmp_path) == [f".file.{os.getppid()}-0123abcd.tmp", f".other.{dead.pid}-0123abcd.tmp", "file"]


def test_a_folder_takes_over_what_another_holds(tmp_path: Path) -> None:
    target = tmp_path / "target"
    for name, text in {"same": "1", "changed": "2", "gone": "3", "sub/gone": "4"}.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        write_file(target / name, text)
    untouched = (target / "same").stat().st_ino
    with temporary_folder(tmp_path) as source:
        (source / "new").mkdir()
        for name, text in {"same": "1", "changed": "two", "new/file": "5"}.items():
            (source / name).write_text(text)
        replace_tree(source, target)
    found = {path.relative_to(target).as_posix(): path.read_text() for path in target.rglob("*") if path.is_file()}
    assert found == {"same": "1", "changed": "two", "new/file": "5"}
    assert (target / "same").stat().st_ino == untouched
    assert names(tmp_path) == ["target"]


def test_a_spreadsheet_runs_no_cell_and_numbers_stay_numbers(tmp_path: Path) -> None:
    formulas = [
        "=1+1",
        "+1+1",
        "-1+1",
        "@SUM(A1)",
        "\tx",
        "\rx",
        "\nx",
        "＝1",
        "-",
        "--1",
        "+x",
        "-3.5.1",
        "=cmd|' /C calc'!A0",
    ]
    plain = ["-3.5", "+4", "-1e-3", "007", "a=b", "'x", "", "x,y", 'say "hi"']
    write_csv(tmp_path / "a.csv", ("=id",), [(cell,) for cell in formulas + plain])
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        assert [cell for (cell,) in csv.reader(file)] == [f"'{cell}" for cell in ("=id", *formulas)] + plain


def test_a_leftover_of_no_possible_process_stops_no_write(tmp_path: Path) -> None:
    leftover = tmp_path / f".a.txt.{'9' * 30}-0123abcd.tmp"
    leftover.touch()
    write_file(tmp_path / "a.txt", "new")
    assert names(tmp_path) == ["a.txt"]


def test_a_record_comes_back(tmp_path: Path) -> None:
    content = {"uri": "faiss:größe", "numbers": [1, 2.5, None], "nested": {"a": True}}
    write_record(tmp_path / "record.json", content, format=3)
    assert read_record(tmp_path / "record.json", format=3) == content
    with pytest.raises(NewerFormatError, match="newer version of likewise: update likewise"):
        read_record(tmp_path / "record.json", format=2)
    with pytest.raises(FormatError, match="older version of likewise"):
        read_record(tmp_path / "record.json", format=4)
    with pytest.raises(FileNotFoundError):
        read_record(tmp_path / "none.json", format=3)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"format": 3}', "[" * 100_000, "\x00" * 50, "1e999"])
def test_what_is_no_record_is_damage(tmp_path: Path, content: str) -> None:
    (tmp_path / "record.json").write_text(content)
    with pytest.raises(DamageError):
        read_record(tmp_path / "record.json", format=3)


@settings(max_examples=200, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_never_read(tmp_path_factory: pytest.TempPathFactory, place: float, bit: int) -> None:
    path = tmp_path_factory.mktemp("record") / "record.json"
    content = {"uri": "qdrant://host:6333?collection=likewise", "threads": 2, "share": 0.25}
    write_record(path, content, format=1)
    damaged = bytearray(path.read_bytes())
    damaged[int(place * len(damaged))] ^= 1 << bit
    path.write_bytes(damaged)
    with contextlib.suppress(DamageError):
        assert read_record(path, format=1) == content, "white space may change"
