"""The regimes are one idea, a cut: what lies before it is frozen and read from disk, what lies behind it trains."""

import copy
from collections.abc import Collection

from likewise.catalog.catalog import Catalog
from likewise.config import TrainConfig
from likewise.encoders.base import Encoder
from likewise.encoders.lora import add_lora, has_lora, merge_lora
from likewise.errors import UserError
from likewise.model.model import Model
from likewise.model.network import Network
from likewise.training.features import CachedFeatures, Features, LiveFeatures
from likewise.training.split_features import PartialFeatures, cut_pictures
from likewise.training.views import RowTexts

_OF_FEW_VALUES = ("category", "tags", "number", "date", "boolean")  # kinds of columns


def cut_encoders(
    model: Model, catalog: Catalog, texts: RowTexts, cached: CachedFeatures, config: TrainConfig
) -> Features:
    """Freeze the encoders up to the cut, and give what a training step reads its features from.

    Args:
        model: its encoders' parameters require gradients behind the cut, and nowhere else.
        cached: the features of the untrained encoders.
        config: regime, image_cut, hflip_augment, patch_area.

    Raises:
        UserError: the picture encoder cannot be cut there, there is none, or the disk has no room for the activations.
    """
    for encoder in model.network.encoders.values():
        encoder.requires_grad_(config.regime == "full")
    if config.regime == "frozen":
        return cached
    if config.regime == "full":
        return LiveFeatures(model, catalog, texts.texts, config.augment, texts.values)
    if "image" not in model.fields:
        raise UserError("regime partial trains the image encoder, but fields has no image: use frozen or full")
    encoder = model.encoder("image")
    cut = encoder.blocks - 1 if config.image_cut is None else config.image_cut
    mirror = config.hflip_augment or model.network.hflip_tta
    pictures = cut_pictures(model, catalog, cut, mirror=mirror, smallest=config.patch_area)
    _train_above(encoder, cut, config)
    return PartialFeatures(cached, pictures)


def keep_columns_at_start(network: Network, started: Collection[str], config: TrainConfig) -> None:
    """Freeze the heads of columns that start at a closed form or at the text encoder's own space.

    Numbers and categories have few values. Where all encoders stay as they are, their heads would take time, and find
    no more.

    Args:
        started: the fields that start at a closed form.
        config: of the training; most plans of an effort train encoders.
    """
    if config.regime == "frozen" and config.effort in (None, "quick"):
        for field in network.further_fields:
            still = network.kinds[field] in _OF_FEW_VALUES and (field in started or network.reads_words(field))
            network.head(field).requires_grad_(not still)


def _train_above(encoder: Encoder, cut: int, config: TrainConfig) -> None:
    if config.lora is None:
        encoder.train_above(cut)
    elif not has_lora(encoder):  # it has where the stage before this one had the same cut
        add_lora(encoder, config.lora, cut=cut, seed=config.seed)


def merge_lora_maps(model: Model) -> None:
    """Let low-rank maps become part of plain weights."""
    for encoder in model.encoders.values():
        if has_lora(encoder):
            merge_lora(encoder)


def build_saved_model(model: Model) -> Model:
    """The model as it may be saved while it trains: a copy without low-rank maps, where there are any."""
    if not any(has_lora(encoder) for encoder in model.encoders.values()):
        return model
    plain = Model(copy.deepcopy(model.network), model.settings, model.device, model.precision)
    merge_lora_maps(plain)
    return plain
