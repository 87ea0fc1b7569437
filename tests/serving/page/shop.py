"""What the tests of the page do with it, and the model of its shop."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, expect
from retrieval.fakes import FakeCatalog, FakeModel


class FusingModel(FakeModel):
    """A fake model whose hits can be explained, and which hears: every recording is red."""

    def encode_field_texts(self, field: str, texts: Sequence[str]) -> np.ndarray:
        return self.encode_queries(list(texts))

    def encode_audio(self, sounds: Sequence[object]) -> np.ndarray:
        return self.encode_queries(["red"] * len(sounds))

    def fuse_fields(self, vectors: np.ndarray, fields: Sequence[str]) -> np.ndarray:
        sums = np.nansum(vectors, axis=1)
        with np.errstate(invalid="ignore"):
            return (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)


class TitleModel(FakeModel):
    """A fake model that sees titles alone, and for which all words but the first count four times."""

    fields = ("title",)

    def encode_items(self, catalog: FakeCatalog) -> np.ndarray:
        return self.encode_queries([str(title) for title in catalog.table["title"]])

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        return super().encode_queries([f"{text} {' '.join(text.split()[1:] * 3)}" for text in texts])


def titles(page: Page) -> list[str]:
    """The titles of the results, in order."""
    return page.locator("#found .card .title").all_inner_texts()


def search(page: Page, words: str, first: str | None = None) -> None:
    """Type words, and wait for the first result."""
    page.get_by_label("Search words").fill(words)
    expect(page.locator(".heading")).to_be_visible()
    if first is not None:
        expect(page.locator("#found .card .title").first).to_have_text(first)


def draw(path: Path, colour: tuple[int, int, int]) -> Path:
    """A picture of one colour in a file."""
    Image.new("RGB", (300, 200), colour).save(path)
    return path


def upload(page: Page, path: Path) -> None:
    """Search with a picture from a file."""
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Search with a picture").click()
    chooser.value.set_files(path)
    expect(page.locator(".chip.pictures").first).to_be_visible()
