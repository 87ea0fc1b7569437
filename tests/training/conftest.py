"""One tiny training for all tests that only look at a finished run."""

import pytest
import torch
from model.shape_catalogue import write_catalogue

from likewise.catalog.catalog import Catalog
from likewise.config import ModelSettings, TrainConfig
from likewise.progress import quiet
from likewise.training.train import train

TINY = TrainConfig(
    model=ModelSettings(text_encoder="scratch-text", image_encoder="scratch-image", dim=64),
    split="part",
    epochs=12,
    batch_size=16,
    precision="float32",
    device="cpu",
    threads=1,
)


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """Threads that wait for each other make tiny matrices slow, most of all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """The catalogue of shapes; its cache is shared, so that pictures are encoded once."""
    folder = tmp_path_factory.mktemp("shapes")
    return Catalog.read(write_catalogue(folder), cache=folder / "cache")


@pytest.fixture(scope="session")
def tiny():
    """Settings of a training that takes a few seconds."""
    return TINY


@pytest.fixture(scope="session")
def trained(shapes, tiny, tmp_path_factory):
    """A finished training on the shapes. Do not change its folder."""
    with quiet():
        return train(shapes, tmp_path_factory.mktemp("runs") / "shapes", tiny)
