"""Closed forms in a run: they come back as they were, each is kept once, and a file from a stranger is checked."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from likewise.config import ModelSettings
from likewise.errors import UserError
from likewise.model.closed_forms import load_closed_forms, load_start_logits, save_closed_forms
from likewise.model.heads import KernelMap, PictureMap
from likewise.model.model import Model
from likewise.model.run_folder import CLOSED_FORMS, check_run, seal_run

DIM = 32


@pytest.fixture(scope="module")
def network():
    settings = ModelSettings(text_encoder="scratch-text", image_encoder="scratch-image", dim=DIM)
    return Model.create(settings, "cpu", {"text": "float32", "image": "float32"}).network


@pytest.fixture
def forms(network):
    """Ridge and kernel ridge; the start takes pictures from the one and descriptions from the other."""
    width = network.base_map("image").in_features
    linear = PictureMap.from_weights(torch.randn(DIM, width), torch.randn(DIM))
    kernels = {field: KernelMap(network.base_map(field).in_features, DIM, 5) for field in ("image", "description")}
    for kernel in kernels.values():
        for value in kernel.state_dict().values():
            value.uniform_(0.5, 1.5)
    start = {"image": linear, "description": kernels["description"]}
    return {"ridge": {"image": linear}, "kernel ridge": kernels, "start": start}


def test_they_come_back_and_what_is_shared_is_kept_once(tmp_path, network, forms):
    with network.with_base_maps(forms["start"]):  # a kernel that is added to the text space takes no copy of that along
        save_closed_forms(tmp_path, forms)
    loaded = load_closed_forms(tmp_path, network)
    assert {name: maps.keys() for name, maps in loaded.items()} == {name: maps.keys() for name, maps in forms.items()}
    for name, maps in forms.items():
        for field, base in maps.items():
            features = torch.randn(7, network.base_map(field).in_features)
            with torch.inference_mode(), network.with_base_maps({field: base}):
                expected = network.base_map(field)(features)
            with torch.inference_mode(), network.with_base_maps({field: loaded[name][field]}):
                assert torch.allclose(network.base_map(field)(features), expected, rtol=1e-3, atol=1e-3)
    assert loaded["start"]["image"] is loaded["ridge"]["image"]
    assert torch.equal(loaded["ridge"]["image"].weight, forms["ridge"]["image"].weight)
    saved = load_file(tmp_path / CLOSED_FORMS)
    assert len(saved) == 2 + 5 + 5
    assert {tensor.dtype for name, tensor in saved.items() if name.endswith("examples")} == {torch.float16}


def test_the_weights_of_the_start_come_back_and_are_checked(tmp_path, network, forms):
    assert torch.equal(load_start_logits(tmp_path, network), torch.zeros(3))
    save_closed_forms(tmp_path, forms)
    assert torch.equal(load_start_logits(tmp_path, network), torch.zeros(3))
    logits = torch.tensor([0.0, -1.5, -2.0])
    save_closed_forms(tmp_path, forms, logits)
    assert torch.equal(load_start_logits(tmp_path, network), logits)
    assert load_closed_forms(tmp_path, network).keys() == forms.keys()
    for wrong in (torch.zeros(2), torch.tensor([0.0, 0.0, float("nan")])):
        save_closed_forms(tmp_path, forms, wrong)
        with pytest.raises(UserError, match="belongs to another architecture"):
            load_start_logits(tmp_path, network)


def test_a_start_without_maps_differs_from_no_start(tmp_path, network):
    assert load_closed_forms(tmp_path, network) == {}
    save_closed_forms(tmp_path, {"start": {}})
    assert load_closed_forms(tmp_path, network) == {"start": {}}


def test_maps_are_put_back_after_the_block(network, forms):
    own = {field: network.base_map(field) for field in network.fields}
    with pytest.raises(RuntimeError, match="stop"), network.with_base_maps(forms["kernel ridge"]):
        assert network.base_map("image") is forms["kernel ridge"]["image"]
        raise RuntimeError("stop")
    assert {field: network.base_map(field) for field in network.fields} == own


def rewrite(run, change):
    """Save the file again after `change` was made to its tensors and its names of maps."""
    path = run / CLOSED_FORMS
    with safe_open(path, "pt") as file:
        places = json.loads(file.metadata()["closed_forms"])
    tensors = load_file(path)
    metadata = change(tensors, places)
    save_file(tensors, path, {"closed_forms": json.dumps(places)} if metadata is None else metadata)


def wide(tensors, places):
    """Of almost no bytes, but as wide as would fill the memory."""
    examples = next(name for name in tensors if name.endswith("examples"))
    tensors[examples] = torch.zeros(0, 10**13, dtype=torch.float16)
    tensors[examples.replace("examples", "weight")] = torch.zeros(DIM, 0)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, places: places.update(other={"image": "0"}),
        lambda tensors, places: places["ridge"].update(smell="0"),
        lambda tensors, places: places["ridge"].update(image="9"),
        lambda tensors, places: places["ridge"].update(image=""),
        lambda tensors, places: places["start"].update(description="0"),  # the pictures' map is wider
        lambda tensors, places: tensors.__delitem__("0.bias"),
        lambda tensors, places: tensors.update({"0.bias": torch.zeros(DIM, 1)}),
        lambda tensors, places: tensors.update({"0.bias": torch.zeros(DIM, dtype=torch.int64)}),
        lambda tensors, places: tensors.update({"1.centre": torch.zeros(1)}),
        wide,
    ],
)
def test_what_does_not_fit_the_network_is_refused(tmp_path, network, forms, change):
    save_closed_forms(tmp_path, forms)
    rewrite(tmp_path, change)
    with pytest.raises(UserError, match=r"belongs to another architecture: train the model again$"):
        load_closed_forms(tmp_path, network)


@pytest.mark.parametrize(
    "metadata", [{}, {"other": "x"}, {"closed_forms": "{"}, {"closed_forms": "[1]"}, {"closed_forms": '{"ridge": 3}'}]
)
def test_a_damaged_file_is_one_sentence(tmp_path, network, forms, metadata):
    save_closed_forms(tmp_path, forms)
    rewrite(tmp_path, lambda tensors, places: metadata)
    with pytest.raises(UserError, match=r"is damaged: train the model again$"):
        load_closed_forms(tmp_path, network)
    (tmp_path / CLOSED_FORMS).write_bytes(b"")
    with pytest.raises(UserError, match=r"is damaged: train the model again$"):
        load_closed_forms(tmp_path, network)


def test_it_is_no_link_out_of_the_run(tmp_path, network, forms):
    save_closed_forms(tmp_path / "other", forms)
    (tmp_path / "run" / "training").mkdir(parents=True)
    (tmp_path / "run" / CLOSED_FORMS).symlink_to(tmp_path / "other" / CLOSED_FORMS)
    with pytest.raises(UserError, match="link that points outside"):
        load_closed_forms(tmp_path / "run", network)


def test_the_manifest_covers_it(tmp_path, forms):
    save_closed_forms(tmp_path, forms)
    (tmp_path / "encoders").mkdir()
    seal_run(tmp_path)
    content = bytearray((tmp_path / CLOSED_FORMS).read_bytes())
    content[-1] ^= 1
    (tmp_path / CLOSED_FORMS).write_bytes(content)
    with pytest.raises(UserError, match="closed_forms"):
        check_run(tmp_path)
