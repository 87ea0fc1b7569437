"""Damage to a file is noticed: when a folder is opened, or when rows of a large file are read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from likewise.checksums import (
    BLOCK,
    MANIFEST,
    IndexManifest,
    run_files,
    verify_archive,
    verify_run,
    write_index_manifest,
    write_run_manifest,
)
from likewise.files import DamageError, FormatError, write_record

SIZES = {"empty": 0, "tiny": 1, "block": BLOCK, "more": BLOCK + 1, "sub/large": 40 * BLOCK + 17}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    chance = np.random.default_rng(0)
    for name, size in SIZES.items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(chance.bytes(size))
    return tmp_path / "folder"


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 16
    path.write_bytes(content)


def verify_index(folder: Path) -> None:
    IndexManifest(folder).verify()


def write_manifest_of_a_run(folder: Path) -> None:
    write_run_manifest(folder, list(SIZES))


def test_a_whole_folder_is_whole(folder: Path) -> None:
    write_index_manifest(folder, ["tiny"])
    manifest, read = IndexManifest(folder), []
    assert manifest.names == ["block", "empty", "more", "sub/large"]
    assert manifest.verify(progress=read.append) == set()
    assert sum(read) == sum(SIZES.values()) - 1
    assert manifest.verify(limit=2 * BLOCK + 1) == {"sub/large"}
    write_manifest_of_a_run(folder)
    assert verify_run(folder) == run_files(folder) == list(SIZES)


@pytest.mark.parametrize("name", [name for name, size in SIZES.items() if size])
@pytest.mark.parametrize("damage", ["first", "middle", "last", "shorter", "longer", "gone", "link"])
@pytest.mark.parametrize(
    ("write", "verify"), [(write_index_manifest, verify_index), (write_manifest_of_a_run, verify_run)]
)
def test_every_damage_is_noticed(
    folder: Path, name: str, damage: str, write: Callable[[Path], None], verify: Callable[[Path], object]
) -> None:
    write(folder)
    path = folder / name
    if damage == "gone":
        path.unlink()
    elif damage == "link":
        path.rename(folder.parent / "elsewhere")
        path.symlink_to(folder.parent / "elsewhere")
    elif damage == "shorter":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "longer":
        path.write_bytes(path.read_bytes() + b"x")
    else:
        flip(path, {"first": 0, "middle": SIZES[name] // 2, "last": -1}[damage])
    with pytest.raises(DamageError, match=name):
        verify(folder)


def test_a_manifest_that_is_damaged_or_gone_is_noticed(folder: Path) -> None:
    write_index_manifest(folder)
    flip(folder / MANIFEST, 200)
    with pytest.raises(DamageError, match=MANIFEST):
        IndexManifest(folder)
    (folder / MANIFEST).unlink()
    with pytest.raises(FormatError, match="older version"):
        IndexManifest(folder)


def test_a_manifest_names_no_file_outside_of_its_folder(folder: Path) -> None:
    for name in ("../secret", "/etc/passwd"):
        write_record(folder / MANIFEST, {"files": {name: {"bytes": 1, "sha256": ""}}}, format=1)
        with pytest.raises(DamageError, match="outside"):
            verify_run(folder)


def test_nothing_else_may_lie_in_a_closed_folder(folder: Path) -> None:
    write_manifest_of_a_run(folder)
    (folder / "note").write_text("anywhere else")
    verify_run(folder, folders=["sub"])
    (folder / "sub" / "evil.py").write_text("import os")
    with pytest.raises(DamageError, match=r"evil\.py does not belong to the run"):
        verify_run(folder, folders=["sub"])


def test_rows_of_a_large_file_are_checked_as_they_are_read(folder: Path) -> None:
    write_index_manifest(folder)
    path = folder / "sub/large"
    flip(path, 7 * BLOCK + 5)
    blocks = IndexManifest(folder).blocks("sub/large", path.read_bytes())
    blocks.check(np.array([0, 8 * BLOCK]), np.array([7 * BLOCK, SIZES["sub/large"]]))
    blocks.check(np.empty(0, np.int64), np.empty(0, np.int64))
    with pytest.raises(DamageError, match="large is damaged"):
        blocks.check(np.array([30, 6 * BLOCK]), np.array([40, 7 * BLOCK + 1]))


def test_files_that_came_and_went_are_listed_after_a_refresh(folder: Path) -> None:
    write_index_manifest(folder)
    (folder / "block").unlink()
    (folder / "sub" / "new").write_bytes(b"new")
    (folder / "lock").touch()
    IndexManifest(folder).refresh(["lock"])
    manifest = IndexManifest(folder)
    assert manifest.names == ["empty", "more", "sub/large", "tiny", "sub/new"]
    assert manifest.verify() == set()


def test_an_archive_of_tensors_is_verified_although_pytorch_does_not(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    torch.save({"weights": torch.arange(1000.0), "step": 3}, path)
    verify_archive(path)
    content = path.read_bytes()
    place = content.index(np.arange(10, 14, dtype=np.float32).tobytes())
    flip(path, place)
    assert torch.load(path, weights_only=True)["weights"][10] != 10, "PyTorch reads it all the same"
    with pytest.raises(DamageError):
        verify_archive(path)
    for damaged in (b"", content[: len(content) // 2], content[:-1], b"PK" + content[2:1000]):
        path.write_bytes(damaged)
        with pytest.raises(DamageError):
            verify_archive(path)
