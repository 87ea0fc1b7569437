"""A trained model and its encoded items as one file, which opens with `torch.load(path, weights_only=True)`.

Unlike a run folder it carries the items, too: vectors, ids, titles, metadata and small pictures. Whoever has the file
can search, with neither the catalogue nor the packages that the encoders' weights came from.
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal, Self

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError, model_validator
from torch import Tensor

from likewise.catalog.columns import check_ids
from likewise.catalog.images.picture import KEY_PATTERN, Picture, PictureError
from likewise.catalog.images.thumbnails import add_thumbnail, make_thumbnail, thumbnail_path
from likewise.catalog.parquet import read_parquet
from likewise.checksums import verify_archive
from likewise.config import Device, ModelSettings
from likewise.encoders.building import bound_parameters
from likewise.encoders.device import has_native_bfloat16, resolve_device
from likewise.encoders.saved_files import is_known_kind
from likewise.errors import UserError
from likewise.files import replace_file
from likewise.model.checkpoint import distinct_weights, set_weights
from likewise.model.field_encoders import restore_encoders
from likewise.model.model import Model
from likewise.model.network import Network
from likewise.progress import track

Key = Annotated[str, StringConstraints(pattern=f"^{KEY_PATTERN}$")]  # it becomes a file's name
Precision = Literal["float32", "bfloat16"]
_FILE_NAME = re.compile(r"[\w.\- ]+(/[\w.\- ]+)*", re.ASCII)
_FORMAT = 1
_OWN = ("id", "title")  # columns that the table of the others does not have
_AGAIN = "make it again with python train.py"


@dataclass(frozen=True)
class EncodedItems:
    """A catalogue after encoding.

    Attributes:
        vectors: (n, dim) float32; a NaN row is an item with nothing to encode.
        table: n rows: "id" (unique strings), "title", and all other columns.
        pictures: one for each row, None where an item has none.
    """

    vectors: NDArray[np.float32]
    table: pl.DataFrame
    pictures: Sequence[Picture | None]


class _PortableFile(BaseModel):
    """What is in the file: tensors, strings, numbers, lists and dictionaries of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    likewise: Literal[1]  # _FORMAT
    settings: ModelSettings
    precision: dict[str, Precision]  # by encoder, of those that are not fitted to a column
    weights: dict[str, Tensor]
    encoders: dict[str, Tensor]  # "text/tokenizer.json" → the file's bytes
    vectors: Tensor
    ids: list[str]
    titles: list[str | None]
    metadata: Tensor  # the other columns, as the bytes of a Parquet file
    pictures: list[Key | None]  # which picture each item shows
    thumbnails: dict[Key, Tensor]  # the bytes of JPEGs

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.vectors.ndim == 2 or not self.vectors.is_floating_point():
            raise ValueError("the vectors are no table of numbers")
        if not len(self.vectors) == len(self.ids) == len(self.titles) == len(self.pictures):
            raise ValueError("vectors, ids, titles and pictures are of different lengths")
        if len(set(self.ids)) < len(self.ids):
            raise ValueError("an id occurs more than once")
        for name in self.encoders:
            if not _FILE_NAME.fullmatch(name) or ".." in PurePosixPath(name).parts or not is_known_kind(name):
                raise ValueError(f"a file of an encoder is called {name[:100]!r}")
        if any(not tensor.is_contiguous() or tensor.device.type != "cpu" for tensor in self.weights.values()):
            raise ValueError("the weights are no plain tables of numbers")
        for tensor in (self.metadata, *self.encoders.values(), *self.thumbnails.values()):
            if tensor.dtype != torch.uint8 or tensor.ndim != 1:
                raise ValueError("the bytes of a file are none")
        return self


def save_portable(path: Path | str, model: Model, items: EncodedItems, *, cache: Path) -> None:
    """Write model and items to one file; an old one is replaced atomically.

    Args:
        path: such as model_weights.pt.
        items: encoded by this model.
        cache: the catalogue's cache folder, where thumbnails are made or found.

    Raises:
        UserError: an id comes twice, or the file cannot be written.
    """
    path = Path(path)
    check_ids(items.table["id"])
    shown, thumbnails = _thumbnails(items.pictures, cache)
    content: dict[str, Any] = {
        "likewise": _FORMAT,
        "settings": model.settings.model_dump(mode="json"),
        "precision": dict(model.precision),
        "weights": distinct_weights(model.network),
        "encoders": _encoder_files(model),
        "vectors": torch.from_numpy(items.vectors),
        "ids": items.table["id"].to_list(),
        "titles": items.table["title"].to_list(),
        "metadata": _parquet(items.table.drop("id", "title")),
        "pictures": shown,
        "thumbnails": thumbnails,
    }
    with replace_file(path, RuntimeError) as temporary, temporary.open("wb") as file:
        torch.save(content, file)


def load_portable(path: Path | str, unpacked: Path, device: Device = "auto") -> tuple[Model, EncodedItems]:
    """Open a file of `save_portable`.

    Args:
        unpacked: an empty folder, which becomes the cache folder of the items' thumbnails and must outlive them.

    Raises:
        UserError: there is no such file, it is damaged, or it is something else.
    """
    content = _read(Path(path))
    try:
        model = _restore(content, device, source=str(path))
        table = read_parquet(_bytes(content.metadata))
        titled = pl.DataFrame({"id": content.ids, "title": content.titles}, schema=dict.fromkeys(_OWN, pl.String))
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path} is damaged ({_first_line(error)}): {_AGAIN}") from None
    fits = len(table) in (0, len(content.ids)) and not any(name in table.columns for name in _OWN)
    if model.dim != content.vectors.shape[1] or not fits:
        raise UserError(f"{path} is damaged (its items do not fit its model): {_AGAIN}")
    table = titled.hstack(table) if table.width else titled
    shown = {key for key, jpeg in content.thumbnails.items() if add_thumbnail(key, _bytes(jpeg), unpacked)}
    pictures = [Picture(key, thumbnail_path(key, unpacked)) if key in shown else None for key in content.pictures]
    return model, EncodedItems(content.vectors.float().numpy(), table, pictures)


def _read(path: Path) -> _PortableFile:
    if not path.is_file():
        raise UserError(f"there is no {path} yet: make it with python train.py --data FILE.csv")
    try:
        verify_archive(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except Exception:  # torch raises whatever its unpickler stumbles over
        raise UserError(f"{path} is damaged, or not a file of weights: {_AGAIN}") from None
    if not isinstance(loaded, dict) or "likewise" not in loaded:
        raise UserError(f"{path} holds weights that are not from likewise: {_AGAIN}")
    if isinstance(loaded["likewise"], int) and loaded["likewise"] > _FORMAT:
        raise UserError(f"{path} was written by a newer version of likewise: update likewise")
    try:
        return _PortableFile.model_validate(loaded)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        what = ".".join(map(str, first["loc"][:1])) or first["msg"].removeprefix("Value error, ")
        raise UserError(f"{path} is damaged, or of another version of likewise ({what}): {_AGAIN}") from None


def _restore(content: _PortableFile, device: Device, source: str) -> Model:
    place = resolve_device(device)
    with TemporaryDirectory(prefix="likewise-encoders-") as temporary:
        for name, packed in content.encoders.items():
            file = Path(temporary, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(_bytes(packed))
        with bound_parameters(_numbers(content.weights), len(content.weights), source):
            encoders = restore_encoders(content.settings, Path(temporary))
            shared = [name for name, encoder in encoders.items() if not encoder.fitted]
            missing = [name for name in shared if name not in content.precision]
            if missing:
                raise ValueError(f"the precision of the {missing[0]} encoder is missing")
            network = Network(content.settings, encoders.pop("text"), encoders.pop("image"), encoders)
    set_weights(network, content.weights, source)
    precision: dict[str, str] = {
        name: chosen if chosen == "float32" or has_native_bfloat16(place) else "float32"
        for name, chosen in content.precision.items()
    }
    return Model(network, content.settings, place, precision)


def _numbers(weights: Mapping[str, Tensor]) -> int:
    """How many numbers the weights hold; several tensors can be the same memory."""
    bytes_held = {tensor.data_ptr(): tensor.nbytes for tensor in weights.values()}
    return sum(bytes_held.values()) // min((tensor.element_size() for tensor in weights.values()), default=1)


def _encoder_files(model: Model) -> dict[str, Tensor]:
    with TemporaryDirectory(prefix="likewise-encoders-") as temporary:
        for name, encoder in model.encoders.items():
            encoder.save(Path(temporary, name))
        files = sorted(file for file in Path(temporary).rglob("*") if file.is_file())
        return {file.relative_to(temporary).as_posix(): _tensor(file.read_bytes()) for file in files}


def _thumbnails(pictures: Sequence[Picture | None], cache: Path) -> tuple[list[str | None], dict[str, Tensor]]:
    made: dict[str, Tensor] = {}
    distinct = {picture.key: picture for picture in pictures if picture is not None}
    for key, picture in track(distinct.items(), "Making thumbnails", len(distinct)):
        try:
            made[key] = _tensor(make_thumbnail(picture, cache).read_bytes())
        except PictureError:  # it was not encoded either; its item is shown without
            continue
    return [picture.key if picture and picture.key in made else None for picture in pictures], made


def _parquet(table: pl.DataFrame) -> Tensor:
    file = io.BytesIO()
    table.write_parquet(file)
    return _tensor(file.getvalue())


def _tensor(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.numpy().tobytes()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
