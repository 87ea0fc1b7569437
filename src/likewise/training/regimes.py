"""The regimes are one idea, a cut: what lies before it is frozen and read from disk, what lies behind it trains."""

import copy

from likewise.catalog.catalog import Catalog
from likewise.config import TrainConfig
from likewise.encoders.base import Encoder
from likewise.encoders.lora import add_lora, has_lora, merge_lora
from likewise.model.model import MODALITIES, Model
from likewise.training.features import CachedFeatures, Features, LiveFeatures
from likewise.training.partial import PartialFeatures, cut_pictures, cut_texts
from likewise.training.views import RowTexts


def cut_encoders(
    model: Model, catalog: Catalog, texts: RowTexts, cached: CachedFeatures, config: TrainConfig
) -> Features:
    """Freeze the encoders up to the cut, and give what a training step reads its features from.

    Args:
        model: its encoders' parameters require gradients behind the cut, and nowhere else.
        cached: the features of the untrained encoders.
        config: regime, image_cut, text_cut, mirror, patch_area.

    Raises:
        UserError: an encoder cannot be cut there, or the disk has no room for the activations.
    """
    for encoder in model.network.encoders.values():
        encoder.requires_grad_(config.regime == "full")
    if config.regime == "frozen":
        return cached
    if config.regime == "full":
        return LiveFeatures(model, catalog, texts.texts)
    features = PartialFeatures(cached, cached)
    image_cut, text_cut = cuts(model, config)
    if image_cut is not None:
        mirror = config.mirror or config.model.flips
        features.picture_features = cut_pictures(model, catalog, image_cut, mirror=mirror, smallest=config.patch_area)
        _train_above(model.encoder("image"), image_cut, config)
    if text_cut is not None:
        features.text_features = cut_texts(model, catalog, text_cut, texts.texts)
        _train_above(model.encoder("text"), text_cut, config)
    return features


def _train_above(encoder: Encoder, cut: int, config: TrainConfig) -> None:
    if config.lora is None:
        encoder.train_above(cut)
    elif not has_lora(encoder):  # it has where the stage before this one had the same cut
        add_lora(encoder, config.lora, cut=cut, seed=config.seed)


def saved_model(model: Model) -> Model:
    """The model as it is saved: low-rank maps become part of plain weights, in a copy."""
    if not any(has_lora(model.encoder(name)) for name in MODALITIES):
        return model
    plain = Model(copy.deepcopy(model.network), model.settings, model.device, model.precision)
    for name in MODALITIES:
        merge_lora(plain.encoder(name))
    return plain


def cuts(model: Model, config: TrainConfig) -> tuple[int | None, int | None]:
    """Where the regime partial cuts the picture and the text encoder; None: one stays frozen as a whole.

    Without a word about either, the last block of the picture encoder trains, or that of the text encoder where the
    items have no pictures.
    """
    pictures = "image" in model.fields
    image_cut = config.image_cut if pictures else None
    if image_cut is not None or config.text_cut is not None:
        return image_cut, config.text_cut
    last = model.encoder("image" if pictures else "text").blocks - 1
    return (last, None) if pictures else (None, last)
