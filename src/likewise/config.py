"""Typed settings of every stage, in YAML. An unknown key is an error that suggests the nearest known one."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from likewise.errors import UserError
from likewise.files import write_file
from likewise.parsing import read_yaml

Device = Literal["auto", "cpu", "cuda", "mps"]
Regime = Literal["frozen", "partial", "full"]
Effort = Literal["quick", "standard", "best"]
Quantization = Literal["int8", "binary"]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


MOST_PIXELS = 4_096  # side length of an encoder's input
_LONGEST_QUOTE = 100
_TIME = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([smh])")


class Settings(BaseModel):
    """The base of all settings: immutable, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

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
        """Validate `values`; like the constructor, but raises a UserError with a readable message."""
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
    """YAML without aliases, which `Settings.read` refuses."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _explain(settings: type[BaseModel], error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{_shorten(key)}: {first['msg'].lower()} (it is {_shorten(repr(first.get('input')))})"
    known = _keys_at(settings, first["loc"][:-1])
    near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}"
    return f"unknown key {_shorten(key)}; {hint}"


def _shorten(text: str) -> str:
    """Truncate a quoted text so that it stays part of one sentence."""
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…"


def _keys_at(settings: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    for part in path:
        inner = settings.model_fields[str(part)].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        settings = inner
    return list(settings.model_fields)


class SourceSettings(Settings):
    """Where the files that a catalogue names may be read from, and the limits on downloading them."""

    root: Path | None = None  # read local files from this folder only
    allow_private_hosts: bool = False
    allow_buckets: bool = False  # s3://, gs:// and hf://, with the credentials of the environment
    per_item: int = Field(default=1, ge=1, le=16)  # files per item, whose features are averaged
    retry_failed: bool = False
    concurrency: int = Field(default=16, ge=1, le=256)
    timeout: float = Field(default=15.0, gt=0)  # seconds per download
    retries: int = Field(default=2, ge=0, le=10)
    max_host_failures: int = Field(default=20, ge=1)  # in a row, after which a host is given up for this run
    max_host_seconds: float = Field(default=600.0, gt=0)  # by which one host may hold up a run
    max_run_seconds: float = Field(default=1800.0, gt=0)  # by which all hosts together may
    max_bytes: int = Field(default=20_000_000, ge=1)


class ImageSettings(SourceSettings):
    """Where pictures may be read from, and the limits on downloading and decoding them.

    Example:
        >>> import likewise as lw
        >>> catalog = lw.Catalog.read("products.csv", images=lw.ImageSettings(per_item=2, timeout=5))
        >>> catalog.images.max_bytes
        20000000
    """

    max_pixels: int = Field(default=64_000_000, ge=1)


class AudioSettings(SourceSettings):
    """Where recordings may be read from, and the limits on downloading and decoding them.

    Example:
        >>> import likewise as lw
        >>> catalog = lw.Catalog.read("products.csv", audio=lw.AudioSettings(max_seconds=30))
        >>> catalog.audio.max_channels
        8
    """

    per_item: int = Field(default=8, ge=1, le=16)
    max_seconds: float = Field(default=600.0, gt=0, le=86_400.0)
    max_channels: int = Field(default=8, ge=1, le=256)

    @classmethod
    def like(cls, images: ImageSettings) -> Self:
        """The default limits, and the places that pictures may come from."""
        shared = SourceSettings.model_fields.keys() - {"per_item", "max_bytes"}
        return cls(**images.model_dump(include=set(shared)))


OWN_FIELDS = {"title": "text", "description": "text", "image": "image"}  # which every catalogue has, and their kinds
_LONGEST_FIELD = 200

FieldName = Annotated[str, StringConstraints(min_length=1, max_length=_LONGEST_FIELD)]
Kind = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,39}$")]


def find_default_kind(field: str) -> str:
    """The kind of a field that is given by its name alone: "image" for image, else "text"."""
    return OWN_FIELDS.get(field, "text")


def _name_kinds(fields: Any) -> Any:
    """A list of names as a mapping from names to their default kinds; anything else as it is."""
    if isinstance(fields, list | tuple) and all(isinstance(name, str) for name in fields):
        if len(set(fields)) < len(fields):
            raise PydanticCustomError("fields", "a field is named twice")
        return {name: find_default_kind(name) for name in fields}
    return fields


def _shorten_fields(fields: dict[str, str]) -> list[str] | dict[str, str]:
    """The canonical form: a list of names where all kinds are the default ones, else a mapping."""
    return list(fields) if all(kind == find_default_kind(name) for name, kind in fields.items()) else dict(fields)


def add_fields(fields: Any, entries: Sequence[str]) -> dict[str, str]:
    """Fields with further ones, as `--field` declares them.

    Args:
        fields: names and kinds, or a list of names.
        entries: such as "price=number", or "brand" for a text.

    Raises:
        UserError: an entry is no name and kind.
    """
    declared = dict(_name_kinds(fields))
    for entry in entries:
        name, equals, kind = (
            (part.strip() for part in entry.rpartition("=")) if "=" in entry else (entry.strip(), "", "")
        )
        if not name or (equals and not kind):
            raise UserError(f"--field {entry}: write it as price=number, or as brand for a text")
        declared[name] = kind or find_default_kind(name)
    return declared


class ModelSettings(Settings):
    """The network: its encoders, its fields and the width of the shared space.

    Fields are columns of the catalogue and their kinds: text, image, audio, number, category, tags, date, boolean, or
    one that an installed package brings. A list of names stands for texts (and the picture, for image).

    Example:
        >>> import likewise as lw
        >>> settings = lw.ModelSettings(text_encoder="scratch-text", image_encoder="scratch-image", dim=64)
        >>> lw.Model.create(settings).dim
        64
        >>> lw.ModelSettings(fields={"title": "text", "price": "number"}).fields["price"]
        'number'
    """

    text_encoder: str = Field(default="lite-text", min_length=1, max_length=4_096)
    image_encoder: str = Field(default="lite-image", min_length=1, max_length=4_096)
    dim: Annotated[int, Field(ge=1, le=65_536)] | Literal["auto"] = 512  # auto: width of the backbone
    fields: Annotated[
        dict[FieldName, Kind],
        Field(min_length=1, max_length=64),
        BeforeValidator(_name_kinds),
        PlainSerializer(_shorten_fields),
    ] = OWN_FIELDS
    encoders: dict[Kind, Annotated[str, Field(min_length=1, max_length=4_096)]] = Field(
        default={}, exclude_if=lambda encoders: not encoders
    )  # kind → encoder, of kinds other than text and image; a kind that is not listed gets its default encoder
    resolution: int | None = Field(default=None, ge=1, le=MOST_PIXELS)  # input side in pixels; None: the encoder's own
    hflip_tta: bool | None = None  # average each picture with its mirror image; None: with effort best only

    @field_validator("fields")
    @classmethod
    def _own_fields_keep_their_kinds(cls, fields: dict[str, str]) -> dict[str, str]:
        for name, kind in fields.items():
            if name in OWN_FIELDS and kind != OWN_FIELDS[name]:
                raise PydanticCustomError("fields", f"the field {name} is always of the kind {OWN_FIELDS[name]}")
            if kind == "image" and name != "image":
                raise PydanticCustomError(
                    "fields", "pictures are the field image: name their column with --map image_url=COLUMN"
                )
        return fields

    @field_validator("encoders")
    @classmethod
    def _texts_and_pictures_have_their_own_keys(cls, encoders: dict[str, str]) -> dict[str, str]:
        for kind in encoders.keys() & {"text", "image"}:
            raise PydanticCustomError("encoders", f"name the {kind} encoder with {kind}_encoder instead")
        return encoders


_SIGLIP2 = "google/siglip2-base-patch16-256"
PRESETS: dict[str, ModelSettings] = {
    "lite": ModelSettings(),
    "multilingual-lite": ModelSettings(text_encoder="multilingual-lite-text"),
    "scratch": ModelSettings(text_encoder="scratch-text", image_encoder="scratch-image"),
    "multilingual": ModelSettings(text_encoder="sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"),
    "e5": ModelSettings(text_encoder="intfloat/multilingual-e5-small"),
    "dinov2": ModelSettings(image_encoder="facebook/dinov2-small"),
    "clip": ModelSettings(
        text_encoder="openai/clip-vit-base-patch32", image_encoder="openai/clip-vit-base-patch32", dim="auto"
    ),
    "siglip2": ModelSettings(text_encoder=_SIGLIP2, image_encoder=_SIGLIP2, dim="auto"),
}


def find_preset(name: str) -> ModelSettings:
    """The settings of a preset.

    Raises:
        UserError: there is no such preset; the message names those that there are.
    """
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"unknown preset {name!r}: {hint}presets are {', '.join(PRESETS)}")
    return PRESETS[name]


class DataSettings(Settings):
    """The catalogue and the rows of it that were used.

    Example:
        >>> import likewise as lw
        >>> lw.Catalog.read("products.csv", where="price < 20").settings.where
        'price < 20'
    """

    file: str | None = None  # path or address
    columns: dict[str, str] = {}  # our name → the file's name
    where: str | None = None
    max_items: int | None = Field(default=None, ge=1)
    images: ImageSettings = ImageSettings()
    audio: AudioSettings | None = Field(default=None, exclude_if=lambda audio: audio is None)  # None: as for pictures


class TrainConfig(Settings):
    """All settings of a training; saved as `run/config.yaml`, which reproduces it.

    Example:
        >>> import likewise as lw
        >>> config = lw.TrainConfig(epochs=20, model=lw.ModelSettings(dim=256))
        >>> config.write("config.yaml")
        >>> lw.TrainConfig.read("config.yaml") == config
        True
        >>> lw.TrainConfig.parse({"epoch": 20})
        Traceback (most recent call last):
        likewise.errors.UserError: settings: unknown key epoch; did you mean epochs?
    """

    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    effort: Effort | None = None  # plan several stages from measured costs; None: one stage of `regime`
    budget: str = "40m"  # total time for effort best, such as 90s, 40m or 1.5h
    regime: Regime = "frozen"
    image_cut: int | None = Field(default=None, ge=0)  # regime partial: first image block to train; None: last
    hflip_augment: bool = True  # regime partial: also cache mirror images
    lora: int | None = Field(default=None, ge=1)  # regime partial: train LoRA adapters of this rank
    epochs: int | None = Field(default=None, ge=0)  # None: see `filled_in`
    batch_size: int | None = Field(default=None, ge=2)  # None: 128 (frozen), 64 (partial) or 32 (full)
    learning_rate: float = Field(default=3e-3, gt=0)  # of heads and fusion at batch size 128; scales with √batch_size
    accumulate: int = Field(default=1, ge=1)  # micro-batches per step, each with its own negatives
    grad_cache_chunk: int | None = Field(default=None, ge=1)  # rows per chunk of the gradient cache; None: no cache
    text_lr_scale: Fraction | None = None  # factor on the learning rate of text heads; None: see `filled_in`
    encoder_learning_rate: float | None = Field(default=None, gt=0)  # None: the encoder's default
    layer_decay: Fraction = 1.0  # factor on the learning rate from each encoder block to the one before
    lr_scales: dict[str, Annotated[float, Field(ge=0)] | None] = {}  # name pattern → factor; None freezes
    weight_decay: float = Field(default=0.05, ge=0)
    warmup: Fraction = 0.1  # fraction of the steps
    loss: Literal["nt-xent", "sigmoid"] = "nt-xent"
    temperature: float = Field(default=0.05, gt=0)  # initial value; it is learned
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    matryoshka: tuple[Annotated[int, Field(ge=1)], ...] = ()  # shorter dimensions to train as well, such as 256, 128
    quantization: Quantization | None = None  # also train for vectors of 8 bits or 1 bit per dimension
    identity: str = "auto"  # same items: auto (equal titles or pictures), column:NAME (that column, too), none
    queries: Path | None = None  # query log: query, id, weight; None: the column `query`, if any
    negatives: int = Field(default=128, ge=0)  # minimum negatives per query, where cached features make them cheap
    hard_negatives: int = Field(default=0, ge=0, le=16)  # hard negatives per row
    title_negatives: int | None = Field(default=None, ge=0)  # titles as extra negatives; None: see `filled_in`
    patch_area: Fraction = 0.2  # minimum area of a random crop of the patch grid; 1 turns it off
    patch_dropout: Fraction = 0.3  # fraction of patches dropped in training
    augment: bool = True  # regime full: random crops and colour changes
    patience: int | None = Field(default=None, ge=1)  # stop after this many evaluations without improvement
    ema: Fraction = 0.99  # decay of the averaged weights, which are evaluated and saved
    split: str | None = None  # column that assigns rows to training, "val" or "test"
    validation: Fraction = 0.1  # fraction of items for choosing the best checkpoint
    test: Fraction = 0.1  # fraction of items for the final report
    refit: bool = True  # fit the final model on all items, once it is measured; where encoders stay frozen
    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    device: Device = "auto"
    threads: int | None = Field(default=None, ge=1)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    tensorboard: bool = False

    @property
    def model_settings(self) -> ModelSettings:
        """The network's settings; effort best turns on `hflip_tta` unless it is set."""
        hflip_tta = self.effort == "best" if self.model.hflip_tta is None else self.model.hflip_tta
        return self.model.model_copy(update={"hflip_tta": hflip_tta})

    def filled_in(self, titles_repeat: bool, stacked: bool = False) -> Self:
        """The settings with defaults that depend on the data filled in.

        If titles repeat (many pictures per title), new items mostly have known titles, so a long training of the text
        heads pays off. If titles are unique, new items have new titles, and a short training with slow text heads
        preserves what the text encoder knows about them. Slower still learn heads above a closed form that stays as it
        is (`stacked`), and titles that ask nothing are no help to them.
        """
        epochs = {"frozen": 40 if titles_repeat else 16, "partial": 12, "full": 5}[self.regime]
        text_lr_scale = 1.0 if titles_repeat else 0.03 if stacked else 0.1
        values = {"epochs": epochs, "text_lr_scale": text_lr_scale, "title_negatives": 0 if stacked else 256}
        return self.model_copy(update={name: value for name, value in values.items() if getattr(self, name) is None})

    @model_validator(mode="after")
    def _effort_plans_regimes(self) -> Self:
        if self.effort is not None and self.regime != "frozen":
            raise PydanticCustomError("effort", "effort chooses the regimes: omit regime")
        return self

    @field_validator("budget")
    @classmethod
    def _is_a_time(cls, budget: str) -> str:
        if not _TIME.fullmatch(budget.strip().lower()):
            raise PydanticCustomError("time", "write a time as 90s, 40m or 1.5h")
        return budget

    @property
    def budget_minutes(self) -> float:
        """The budget in minutes."""
        number, unit = _TIME.fullmatch(self.budget.strip().lower()).groups()  # type: ignore[union-attr]
        return float(number) * {"s": 1 / 60, "m": 1, "h": 60}[unit]

    @property
    def total_epochs(self) -> int:
        """The number of epochs; call on `filled_in` settings."""
        return self.epochs or 0

    @property
    def rows_per_batch(self) -> int:
        """The batch size, with the regime's default filled in."""
        if self.batch_size is not None:
            return self.batch_size
        return {"frozen": 128, "partial": 64, "full": 32}[self.regime]
