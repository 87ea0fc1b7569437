"""The settings of a training that takes a few seconds, for tests and for the programs that tests start."""

from likewise.config import ModelSettings, TrainConfig

TINY = TrainConfig(
    model=ModelSettings(text_encoder="scratch-text", image_encoder="scratch-image", dim=64),
    split="part",
    epochs=12,
    batch_size=16,
    precision="float32",
    device="cpu",
    threads=1,
    refit=False,
)
