"""Settings of a training that change what trains, on what, and how: each in a whole training, as a user asks for it."""

from unittest import mock

import numpy as np
import pytest
import torch
from conftest import require_library
from encoders.tiny_models import save_vit
from model.shape_catalogue import catalogue_of
from safetensors.torch import load_file

from likewise.errors import UserError
from likewise.model.model import Model
from likewise.progress import quiet
from likewise.training import freezing
from likewise.training.train import train


@pytest.fixture(autouse=True)
def silence():
    with quiet():
        yield


def brief(tiny, **changes):
    return tiny.model_copy(update={"epochs": 2, **changes})


def test_low_rank_maps_train_and_end_as_plain_weights(shapes, tiny, tmp_path):
    require_library("peft")
    vit = str(save_vit(tmp_path / "vit"))
    model = tiny.model.model_copy(update={"image_encoder": vit})
    config = brief(
        tiny, model=model, regime="partial", image_cut=1, lora=2, hflip_augment=False, encoder_learning_rate=1e-2
    )
    kept = []
    save = Model.save
    with mock.patch.object(Model, "save", lambda self, run: (kept.append(self), save(self, run))):
        run = train(shapes, tmp_path / "run", config)
    before = Model.create(model, "cpu", {"text": "float32", "image": "float32"}).network.state_dict()
    after = load_file(run.path / "model.safetensors")
    assert not [name for name in after if "lora" in name]
    moved = {
        name for name in after if name.startswith("encoders.image.") and not torch.equal(after[name], before[name])
    }
    assert moved and all(".layers.1." in name and name.endswith("weight") for name in moved), moved
    loaded, saved = Model.load(run.path, "cpu"), kept[-1]
    assert np.allclose(loaded.encode_queries(["red circle"]), saved.encode_queries(["red circle"]), atol=1e-6)
    assert run.metrics.history[-1].loss < run.metrics.history[1].loss * 1.5


def test_low_rank_maps_for_an_encoder_without_linear_layers_of_its_own_are_refused(shapes, tiny, tmp_path):
    with pytest.raises(UserError, match="LoRA is for encoders from Hugging Face"):
        train(shapes, tmp_path / "run", brief(tiny, regime="partial", lora=2))


def test_both_sides_of_a_picture_make_its_vector(shapes, tiny, tmp_path):
    hflip_tta = tiny.model.model_copy(update={"hflip_tta": True})
    run = train(shapes, tmp_path / "run", brief(tiny, model=hflip_tta))
    model = Model.load(run.path, "cpu")
    rows = [row for row, shown in enumerate(shapes.pictures) if shown][:6]
    images = [shapes.open_picture(shapes.pictures[row][0], None) for row in rows]
    mirrored = [image.transpose(0) for image in images]
    both = model.encode_images(images)
    assert np.allclose(both, model.encode_images(mirrored), atol=1e-5), "a picture and its mirror image are one"
    model.network.hflip_tta = False
    sides = model.encode_images(images) + model.encode_images(mirrored)
    assert np.allclose(both, sides / np.linalg.norm(sides, axis=1, keepdims=True), atol=1e-5)
    model.network.hflip_tta = True
    items = model.encode_items(shapes, ["image"])[rows]
    assert np.allclose(items, both, atol=0.01), "cached features are of half precision"


def test_validation_and_report_see_both_sides_as_the_model_does(shapes, tiny, tmp_path):
    hflip_tta = tiny.model.model_copy(update={"hflip_tta": True})
    seen = []
    cut = freezing.cut_encoders

    def noted(*arguments):
        features = cut(*arguments)
        pictures = features.pictures

        def counted(rows, mirror=None, rng=None):
            seen.append((rng is None, mirror is not None and bool(mirror.all())))
            return pictures(rows, mirror, rng)

        features.pictures = counted
        return features

    with mock.patch("likewise.training.train.cut_encoders", noted):
        train(shapes, tmp_path / "run", brief(tiny, model=hflip_tta))
    evaluated = [mirrored for evaluating, mirrored in seen if evaluating]
    fitted = 1  # the closed form that may take the head's place is fitted to pictures as they are
    assert evaluated.count(True) == evaluated.count(False) - fitted > 2


def test_a_log_of_clicks_is_learned_from(shapes, tiny, tmp_path):
    rows = ["query,id,weight"]
    for number, title in enumerate(shapes.texts("title")):
        wish = "anything" if title is None else title.split()[1]
        rows.append(f"I want {wish} please,{shapes.ids[number]},{1 + number % 3}")
    (tmp_path / "clicks.csv").write_text("\n".join(rows), encoding="utf-8")
    run = train(shapes, tmp_path / "run", brief(tiny, queries=tmp_path / "clicks.csv"))
    assert run.metrics.data.query is None, "the queries come from the log"
    assert run.metrics.comparison.metric == "ndcg@10"


def test_a_log_that_names_no_item_is_one_sentence(shapes, tiny, tmp_path):
    (tmp_path / "clicks.csv").write_text("query,id\nred,nowhere\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"no id in .*clicks\.csv is an id of the catalogue"):
        train(shapes, tmp_path / "run", brief(tiny, queries=tmp_path / "clicks.csv"))


@pytest.fixture
def listings(tmp_path):
    """Twenty things, each listed twice in other words."""
    parts = ["train"] * 14 + ["val"] * 3 + ["test"] * 3
    rows = [
        {"title": f"{word} {n}", "description": f"{n} is a {word}", "thing": f"t{n}", "part": parts[n]}
        for n in range(20)
        for word in ("lamp", "light")
    ]
    return catalogue_of(tmp_path / "items", rows)


def test_a_named_identity_keeps_listings_of_a_thing_together_and_answers_with_all(listings, tiny, tmp_path):
    named = train(listings, tmp_path / "named", brief(tiny, identity="column:thing"))
    assert named.metrics.comparison.metric == "ndcg@10", "a query has two answers"
    alone = train(listings, tmp_path / "alone", brief(tiny, identity="none"))
    assert alone.metrics.comparison.metric == "recall@10"


@pytest.mark.parametrize(
    ("identity", "sentence"),
    [("thing", "identity is auto, none or column:NAME, not 'thing'"), ("column:colour", "no column .*colour")],
)
def test_an_identity_that_is_none_is_one_sentence(listings, tiny, tmp_path, identity, sentence):
    with pytest.raises(UserError, match=sentence):
        train(listings, tmp_path / "run", brief(tiny, split=None, identity=identity))


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "sigmoid"},
        {"label_smoothing": 0.1},
        {"matryoshka": (32, 16)},
        {"quantization": "binary", "matryoshka": (32,)},
        {"accumulate": 2},
        {"grad_cache_chunk": 4},
        {"grad_cache_chunk": 4, "accumulate": 2, "matryoshka": (16,), "loss": "sigmoid", "hard_negatives": 1},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_every_loss_and_memory_setting_learns(shapes, tiny, tmp_path, settings):
    run = train(shapes, tmp_path / "run", tiny.model_copy(update={"epochs": 8, **settings}))
    image = next(subset for subset in run.metrics.comparison.subsets if subset.subset == "image")
    assert image.system("trained").metrics["mrr"].mean > image.system("untrained").metrics["mrr"].mean + 0.1


def test_parts_of_a_step_leave_the_gradients_as_they_were(shapes, tiny, tmp_path):
    """Without dropout a training in parts is the training, but for the shape of its crops (see test_memory_engine)."""
    plain = brief(tiny, patch_area=1.0, patch_dropout=0.0)
    with mock.patch("torch.nn.functional.dropout", lambda states, *arguments, **options: states):
        whole = train(shapes, tmp_path / "whole", plain)
        parts = train(shapes, tmp_path / "parts", plain.model_copy(update={"grad_cache_chunk": 3}))
    losses = [[epoch.loss for epoch in run.metrics.history[1:]] for run in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    ours, theirs = (Model.load(run.path, "cpu").encode_items(shapes) for run in (parts, whole))
    assert (ours * theirs).sum(axis=1).min() > 0.99


def test_a_run_can_be_read_while_it_trains(shapes, tiny, tmp_path, monkeypatch):
    """The best weights so far are on disk, as a model that encodes."""
    monkeypatch.setattr("likewise.training.loop._SHARE_FOR_SAVING", 1e12)

    class StoppedError(Exception):
        pass

    def stop(*arguments):
        raise StoppedError

    monkeypatch.setattr("likewise.training.train.interpolate", stop)
    with pytest.raises(StoppedError):
        train(shapes, tmp_path / "run", brief(tiny))
    model = Model.load(tmp_path / "run", "cpu")
    assert np.isfinite(model.encode_items(shapes)).all()
