"""Models by hub id: what is in the local cache works offline, all else is one quick sentence."""

import time

import huggingface_hub
import pytest
from encoders.tiny_models import save_bert
from huggingface_hub.errors import RepositoryNotFoundError

from likewise.encoders import hub
from likewise.encoders.registry import load_encoder
from likewise.errors import UserError


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    """A Hugging Face cache of its own, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "snapshot_download", _in(tmp_path / "cache"))
    return tmp_path / "cache"


def _in(cache):
    def snapshot_download(*arguments, **options):
        return huggingface_hub.snapshot_download(*arguments, cache_dir=cache, **options)

    return snapshot_download


def _put(cache, save):
    """A model in the cache's own layout, as a download leaves it."""
    repository = cache / "models--someone--tiny"
    save(repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    return repository / "snapshots" / ("0" * 40)


def test_a_downloaded_model_needs_no_network(empty_cache, monkeypatch):
    _put(empty_cache, save_bert)
    encoder = load_encoder("someone/tiny", "text")
    assert (encoder.name, encoder.width) == ("someone/tiny", 32)


def test_no_network_is_said_at_once(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    start = time.monotonic()
    with pytest.raises(UserError, match=r"not in the local cache .* give the folder of a copy"):
        load_encoder("someone/absent", "text")
    assert time.monotonic() - start < 5


def test_half_a_model_in_the_cache_does_not_pass_for_one(empty_cache, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    (_put(empty_cache, save_bert) / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"safetensors|not in the local cache"):
        load_encoder("someone/tiny", "text")


def test_an_unknown_model_is_named(monkeypatch):
    def answer(*arguments, local_files_only=False, **options):
        if local_files_only:
            raise huggingface_hub.errors.LocalEntryNotFoundError("empty")
        error = RepositoryNotFoundError.__new__(RepositoryNotFoundError)
        raise error

    monkeypatch.setattr(hub, "snapshot_download", answer)
    with pytest.raises(UserError, match="no public model 'someone/tpyo'"):
        load_encoder("someone/tpyo", "text")
