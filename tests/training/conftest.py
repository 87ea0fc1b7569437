"""One tiny training for all tests that only look at a finished run."""

import pytest
from conftest import one_torch_thread
from model.shape_catalogue import write_catalogue
from training.tiny_config import TINY

from likewise.catalog.catalog import Catalog
from likewise.progress import quiet
from likewise.training.train import train


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    with one_torch_thread():
        yield


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
