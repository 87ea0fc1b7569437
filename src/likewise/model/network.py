"""The multi-tower network: features of queries and fields in, unit vectors of the shared space out."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from likewise.config import OWN_FIELDS, ModelSettings
from likewise.encoders.base import Encoder
from likewise.errors import UserError
from likewise.model.field_encoders import name_encoder, name_module
from likewise.model.fusion import MaskedFusion
from likewise.model.heads import ClassNameMap, GridHead, KernelMap, VectorHead, constant_map, isometry, word_map

PictureHead = GridHead | VectorHead

_LEAST_OWN = 1e-3  # length of what a recording says itself


class Network(nn.Module):
    """Encoders, one head per tower, and the fusion.

    Attributes:
        encoders: "text" and "image" (all text towers share the one text encoder), and those of other kinds of fields.
        dim: the width of the shared space.
        hflip_tta: a picture's vector is the mean of how it looks and how its mirror image looks.
        fields: the item's fields, in the order of the fusion.
        kinds: the kind of each field, such as "text" or "number".
        aligned: whether both encoders already share a space (two halves of one CLIP or SigLIP model).
        recording_fields: those of the kind audio.
        recording_centres: (recording fields, dim) what the recordings that trained have in common, as queries.
    """

    recording_centres: Tensor

    def __init__(
        self, settings: ModelSettings, text: Encoder, image: Encoder, further: Mapping[str, Encoder] | None = None
    ) -> None:
        """Build heads for encoders.

        Args:
            settings: fields, dim.
            text, image: their encoders.
            further: the encoders of all other fields (`field_encoders.build_encoders`).
        """
        super().__init__()
        self.encoders = nn.ModuleDict({"text": text, "image": image, **(further or {})})
        self.kinds = dict(settings.fields)
        self.fields = tuple(self.kinds)
        self._encoder_names = {field: name_encoder(settings, field) for field in self.fields}
        self.aligned = text.dual and image.dual and text.name == image.name
        self.hflip_tta = bool(settings.hflip_tta)
        self.dim = _dim(settings, text)
        text_map = isometry(text.width, self.dim)
        self.query_head = VectorHead(text.width, self.dim, base=text_map)
        self._head_names = {field: name_module(field) for field in self.fields}
        self.heads = nn.ModuleDict(
            {name: self._build_head(field, text_map) for field, name in self._head_names.items()}
        )
        self.fusion = MaskedFusion(len(self.fields), self.dim)
        self.recording_fields = tuple(field for field in self.fields if self.kinds[field] == "audio")
        if self.recording_fields:
            self.register_buffer("recording_centres", torch.zeros(len(self.recording_fields), self.dim))

    def _build_head(self, field: str, text_map: nn.Linear) -> PictureHead:
        encoder = self.encoder(field)
        if self.kinds[field] == "text":
            return VectorHead(encoder.width, self.dim, base=text_map)
        if self.kinds[field] == "image":
            if encoder.grid is not None:
                return GridHead(encoder.width, self.dim, prefix=encoder.prefix, classes=encoder.classes)
            return VectorHead(encoder.width, self.dim, base=text_map if self.aligned else None)
        if encoder.reads_words:
            return VectorHead(encoder.width + text_map.in_features, self.dim, base=word_map(encoder.width, text_map))
        return VectorHead(encoder.width, self.dim, base=constant_map(encoder.width, self.dim))

    def train(self, mode: bool = True) -> Self:
        """As of any module; a network that is in the mode already is left alone, as its encoders have many parts."""
        return self if self.training == mode else super().train(mode)

    def encoder(self, field: str) -> Encoder:
        """The encoder that a field's head follows."""
        return cast(Encoder, self.encoders[self._encoder_names[field]])

    def encoder_name(self, field: str) -> str:
        """The key in `encoders` of the encoder that a field's head follows."""
        return self._encoder_names[field]

    def head(self, field: str) -> PictureHead:
        """The head of a field's tower."""
        return cast(PictureHead, self.heads[self._head_names[field]])

    def reads_words(self, field: str) -> bool:
        """Whether a head begins at the text encoder's own space: those of texts, categories and tags."""
        return self.kinds[field] == "text" or (self.kinds[field] != "image" and self.encoder(field).reads_words)

    @property
    def text_fields(self) -> tuple[str, ...]:
        """Those that hold words: texts, categories and tags."""
        return tuple(field for field in self.fields if self.reads_words(field))

    @property
    def further_fields(self) -> tuple[str, ...]:
        """Those besides title, description and image."""
        return tuple(field for field in self.fields if field not in OWN_FIELDS)

    def query(self, features: Tensor) -> Tensor:
        """Text features (n, width) → query embeddings (n, dim)."""
        vectors: Tensor = self.query_head(features)
        return vectors

    def tower(self, field: str, features: Tensor, patches: Tensor | None = None) -> Tensor:
        """Features of one field (n, *feature_shape) → (n, dim); `patches` (n, tokens) bool hides patch tokens."""
        vectors: Tensor = self.head(field)(features, patches)
        return vectors

    @property
    def picture_head(self) -> PictureHead:
        """The head of the picture tower."""
        return self.head("image")

    @property
    def class_names(self) -> ClassNameMap | None:
        """What the picture tower knows of the names of a classifier's classes; None where there is no classifier."""
        head = self.head("image") if "image" in self.fields else None
        return head.class_names if isinstance(head, GridHead) else None

    @property
    def zero_shot(self) -> bool:
        """Whether pictures are found by words without any training."""
        return self.aligned or self.class_names is not None

    def centre_recordings(self, field: str, vectors: Tensor) -> Tensor:
        """Recordings (n, dim) of a field as queries: without what all of them have in common.

        What little a recording says is hidden behind it, and items near to it would be found by all recordings alike.
        One that says nothing else stays as it is.
        """
        own = vectors - self.recording_centres[self.recording_fields.index(field)]
        return torch.where(own.norm(dim=-1, keepdim=True) > _LEAST_OWN, functional.normalize(own, dim=-1), vectors)

    def fuse(self, towers: Tensor, present: Tensor, fields: Sequence[str] | None = None) -> Tensor:
        """Towers (n, fields, dim) and their presence (n, fields) → item embeddings (n, dim).

        Args:
            fields: those given, where the others are absent; None: all are given, in the network's order.
        """
        numbers = None if fields is None else [self.fields.index(field) for field in fields]
        vectors: Tensor = self.fusion(towers, present, numbers)
        return vectors

    def base_map(self, field: str) -> nn.Linear | KernelMap:
        """The map from features to the space to which a head adds its residual."""
        return self.head(field).base

    def set_base_map(self, field: str, base: nn.Linear | KernelMap) -> None:
        """Replace the base map of a head; a kernel is added to the text encoder's own space where the head has that."""
        head = self.head(field)
        if isinstance(base, KernelMap) and self.reads_words(field):
            base.base = head.base.base if isinstance(head.base, KernelMap) else head.base
        head.base = base.to(self.fusion.gates.device)

    @property
    def text_heads(self) -> dict[str, VectorHead]:
        """The heads of the query tower, the title and the description, by tower."""
        fields = [field for field in self.fields if field in ("title", "description")]
        return {"query": self.query_head} | {field: cast(VectorHead, self.head(field)) for field in fields}

    def copy_heads(self) -> nn.ModuleDict:
        """A copy of all heads and the fusion, for `restore_heads`."""
        return deepcopy(nn.ModuleDict({"query": self.query_head, "fields": self.heads, "fusion": self.fusion}))

    def restore_heads(self, copied: nn.ModuleDict, shared: Collection[str] = ()) -> None:
        """Replace all heads and the fusion by a copy of those of `copy_heads`.

        Args:
            shared: fields whose heads are not copied, because nobody changes or runs them before the next call.
        """
        heads = cast(nn.ModuleDict, copied["fields"])
        kept = {self._head_names[field]: heads[self._head_names[field]] for field in shared}
        again = deepcopy(copied, {id(head): head for head in kept.values()})
        self.query_head = cast(VectorHead, again["query"])
        self.heads = cast(nn.ModuleDict, again["fields"])
        self.fusion = cast(MaskedFusion, again["fusion"])
        again.train(self.training)

    def restore_head(self, field: str, copied: nn.ModuleDict) -> None:
        """Replace the head of one field by a copy of that of `copy_heads`; heads of texts go on sharing their map."""
        name, query = self._head_names[field], cast(VectorHead, copied["query"])
        head = deepcopy(cast(nn.ModuleDict, copied["fields"])[name], {id(query.base): self.query_head.base})
        self.heads[name] = head.train(self.training)

    @contextmanager
    def with_base_maps(self, maps: Mapping[str, nn.Linear | KernelMap]) -> Iterator[None]:
        """Use some fields' base maps inside the block; with an untrained network, that is a closed-form baseline."""
        own = {field: self.base_map(field) for field in maps}
        try:
            for field, base in maps.items():
                self.set_base_map(field, base)
            yield
        finally:
            for field, base in own.items():
                self.set_base_map(field, base)

    def check_fields(self, fields: Sequence[str] | None) -> tuple[str, ...]:
        """The named fields in the network's order, all of them for None.

        Raises:
            UserError: a field that this network does not have.
        """
        if fields is None:
            return self.fields
        unknown = [field for field in fields if field not in self.fields]
        if unknown:
            raise UserError(f"unknown field {unknown[0]!r}; this model's fields are: {', '.join(self.fields)}")
        if not fields:
            raise UserError(f"give at least one field; this model's fields are: {', '.join(self.fields)}")
        return tuple(field for field in self.fields if field in fields)


def _dim(settings: ModelSettings, text: Encoder) -> int:
    if settings.dim == "auto":
        return text.width
    if settings.dim % 8:
        raise UserError(f"dim must be a multiple of 8, or auto (it is {settings.dim})")
    return settings.dim
