"""What the tests of the API share: a model, pictures."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image
from retrieval.fakes import FakeModel

TITLES = ("red apple", "green pear", "blue berry", "red shirt", "Blue shirt", "crème brûlée")


class FakeTextModel(FakeModel):
    """A fake model that also encodes titles."""

    def encode_field_texts(self, field: str, texts: Sequence[str]) -> np.ndarray:
        assert field == "title"
        return self.encode_queries([f"{text} {text} item" for text in texts])


def png(colour: tuple[int, int, int] = (255, 0, 0), size: tuple[int, int] = (16, 16)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()
