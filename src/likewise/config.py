"""Typed settings of every stage; YAML in and out; an unknown key is an error that names the nearest known one."""

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from likewise.errors import UserError
from likewise.files import write_file
from likewise.parsing import read_yaml

Device = Literal["auto", "cpu", "cuda", "mps"]
Regime = Literal["frozen", "partial", "full"]
Effort = Literal["quick", "standard", "best"]
Quantization = Literal["int8", "binary"]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


MOST_PIXELS = 4_096  # of a picture's side, as an encoder sees it
_LONGEST_QUOTE = 100
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*([smh])")


class Settings(BaseModel):
    """The base of all settings: immutable, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read settings from a YAML file.

        Raises:
            UserError: the file is missing, is not YAML, is out of bounds (see `parsing.read_yaml`), or holds an unknown
                key or a value of the wrong kind.
        """
        values = read_yaml(Path(path))
        if values is not None and not isinstance(values, dict):
            raise UserError(f"the config file {path} must hold keys and values, such as 'epochs: 10'")
        return cls.parse(values or {}, source=str(path))

    @classmethod
    def parse(cls, values: dict[str, Any], source: str = "settings") -> Self:
        """Check `values`; like the constructor, with an error that a person can act on."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise UserError(f"{source}: {_explain(cls, error)}") from None

    def write(self, path: str | Path) -> None:
        """Write the settings as YAML, defaults included.

        Raises:
            UserError: the file cannot be written.
        """
        write_file(Path(path), yaml.dump(self.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False))


class _Dumper(yaml.SafeDumper):
    """Writes values that several keys share once for each, since `Settings.read` takes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _explain(settings: type[BaseModel], error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{_shortened(key)}: {first['msg'].lower()} (it is {_shortened(repr(first.get('input')))})"
    known = _keys_at(settings, first["loc"][:-1])
    near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}"
    return f"unknown key {_shortened(key)}; {hint}"


def _shortened(text: str) -> str:
    """A text that stays part of one sentence, whoever wrote it."""
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…"


def _keys_at(settings: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    for part in path:
        inner = settings.model_fields[str(part)].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        settings = inner
    return list(settings.model_fields)


class ImageSettings(Settings):
    """Where pictures may come from, and how much they may cost."""

    root: Path | None = None  # local pictures must lie below it
    allow_private_hosts: bool = False
    per_item: int = Field(default=1, ge=1, le=16)  # pictures of an item that are averaged
    retry_failed: bool = False
    concurrency: int = Field(default=16, ge=1, le=256)
    timeout: float = Field(default=15.0, gt=0)  # seconds for one whole download
    retries: int = Field(default=2, ge=0, le=10)
    max_bytes: int = Field(default=20_000_000, ge=1)
    max_pixels: int = Field(default=64_000_000, ge=1)


class ModelSettings(Settings):
    """The network: which encoders, how wide the shared space."""

    text_encoder: str = Field(default="lite-text", max_length=4_096)
    image_encoder: str = Field(default="lite-image", max_length=4_096)
    dim: Annotated[int, Field(ge=1, le=65_536)] | Literal["auto"] = 512  # auto: the backbone's own width
    fields: Annotated[tuple[str, ...], Field(max_length=64)] = ("title", "description", "image")
    resolution: int | None = Field(default=None, ge=1, le=MOST_PIXELS)  # pixels of a side; None: as learned
    hflip_tta: bool | None = None  # average a picture and its mirror image, at twice the cost; None: in effort best


PRESETS: dict[str, ModelSettings] = {
    "lite": ModelSettings(),
    "scratch": ModelSettings(text_encoder="scratch-text", image_encoder="scratch-image"),
    "multilingual": ModelSettings(text_encoder="sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"),
    "clip": ModelSettings(
        text_encoder="openai/clip-vit-base-patch32", image_encoder="openai/clip-vit-base-patch32", dim="auto"
    ),
}


class DataSettings(Settings):
    """Which rows of which catalogue were used."""

    file: Path | None = None
    columns: dict[str, str] = {}  # our name → the file's name
    where: str | None = None
    max_items: int | None = Field(default=None, ge=1)
    images: ImageSettings = ImageSettings()


class TrainConfig(Settings):
    """Everything that decides a training, so that `run/config.yaml` reproduces it."""

    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    effort: Effort | None = None  # a recipe of stages, planned from what a step costs here; None: the regime alone
    budget: str = "40m"  # what effort best may take in all, such as 90s, 40m or 1.5h
    regime: Regime = "frozen"
    image_cut: int | None = Field(default=None, ge=0)  # regime partial: frozen before this block; None: the last one
    hflip_augment: bool = True  # regime partial: cache mirror images beside the pictures
    lora: int | None = Field(default=None, ge=1)  # regime partial: low-rank maps of this rank train, not whole blocks
    epochs: int | None = Field(default=None, ge=0)  # None: see `filled_in`
    batch_size: int | None = Field(default=None, ge=2)  # None: 128 for frozen, 64 for partial, 32 for full
    learning_rate: float = Field(default=3e-3, gt=0)  # heads and fusion, at 128 rows; scales with the root of the batch
    accumulate: int = Field(default=1, ge=1)  # parts of a batch, each told apart within itself
    grad_cache_chunk: int | None = Field(default=None, ge=1)  # rows whose activations are in memory at once; None: all
    text_lr_scale: Fraction | None = None  # share of the learning rate for text heads; None: see `filled_in`
    encoder_learning_rate: float | None = Field(default=None, gt=0)  # None: what suits the encoder
    layer_decay: Fraction = 1.0  # an encoder's block learns at so much of the rate of the block after it
    lr_scales: dict[str, Annotated[float, Field(ge=0)] | None] = {}  # pattern of names → times its rate; None freezes
    weight_decay: float = Field(default=0.05, ge=0)
    warmup: Fraction = 0.1  # share of the steps
    loss: Literal["nt-xent", "sigmoid"] = "nt-xent"
    temperature: float = Field(default=0.05, gt=0)  # where the learned temperature starts
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    matryoshka: tuple[Annotated[int, Field(ge=1)], ...] = ()  # shorter vectors that are trained along, such as 256, 128
    quantization: Quantization | None = None  # vectors are trained along with a byte or a bit for each number
    identity: str = "auto"  # which rows are the same thing: auto (by texts and pictures), column:NAME beside, none
    queries: Path | None = None  # a table of query, id and weight, such as clicks; else the column query
    negatives: int = Field(default=128, ge=0)  # candidates per query, at least, where cached features make them cheap
    hard_negatives: int = Field(default=0, ge=0, le=16)  # rows that look alike, put into a row's batch beside it
    title_negatives: int = Field(default=256, ge=0)  # distinct titles that are negatives of every item (regime frozen)
    patch_area: Fraction = 0.2  # smallest share of the patch grid that stands in for a crop; 1 switches it off
    patch_dropout: Fraction = 0.3  # share of the patches that a training step does not see
    augment: bool = True  # regime full: pictures show other sections in another light each time
    patience: int | None = Field(default=None, ge=1)  # evaluations without a better one that end the training
    ema: Fraction = 0.99  # decay of the averaged weights that are evaluated and saved
    split: str | None = None  # column that says which rows train and which validate
    validation: Fraction = 0.1  # share of the rows that choose the best checkpoint
    test: Fraction = 0.1  # share of the rows that only the final report sees
    seed: int = 0
    device: Device = "auto"
    threads: int | None = Field(default=None, ge=1)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    tensorboard: bool = False

    @property
    def model_settings(self) -> ModelSettings:
        """The network, with what the effort decides: best sees every picture from both sides."""
        hflip_tta = self.effort == "best" if self.model.hflip_tta is None else self.model.hflip_tta
        return self.model.model_copy(update={"hflip_tta": hflip_tta})

    def filled_in(self, titles_repeat: bool) -> Self:
        """The settings with the defaults that depend on the data.

        Where titles repeat (many pictures of one thing), new items mostly bear known titles: a long training that moves
        the texts, too, learns these apart. Where every item has a title of its own, new items bear new titles, and text
        heads that move slowly for a short time keep what the text encoder knows of them.
        """
        epochs = {"frozen": 40 if titles_repeat else 16, "partial": 12, "full": 5}[self.regime]
        values = {"epochs": epochs, "text_lr_scale": 1.0 if titles_repeat else 0.1}
        return self.model_copy(update={name: value for name, value in values.items() if getattr(self, name) is None})

    @model_validator(mode="after")
    def _effort_plans_regimes(self) -> Self:
        if self.effort is not None and self.regime != "frozen":
            raise PydanticCustomError("effort", "effort plans the regimes itself: leave regime away")
        return self

    @field_validator("budget")
    @classmethod
    def _is_a_time(cls, budget: str) -> str:
        if not _TIME.fullmatch(budget.strip().lower()):
            raise PydanticCustomError("time", "a time is written as 90s, 40m or 1.5h")
        return budget

    @property
    def budget_minutes(self) -> float:
        """The budget in minutes."""
        number, unit = _TIME.fullmatch(self.budget.strip().lower()).groups()  # type: ignore[union-attr]
        return float(number) * {"s": 1 / 60, "m": 1, "h": 60}[unit]

    @property
    def total_epochs(self) -> int:
        """The number of epochs; of `filled_in` settings."""
        return self.epochs or 0

    @property
    def rows_per_batch(self) -> int:
        """The batch size, with the regime's default filled in."""
        if self.batch_size is not None:
            return self.batch_size
        return {"frozen": 128, "partial": 64, "full": 32}[self.regime]
