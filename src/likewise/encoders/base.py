"""What every encoder is: raw values of one modality in, features out, and all that it needs to be opened again."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

Modality = Literal["text", "image"]

DESCRIPTION_FILE = "encoder.json"


class Encoder(nn.Module):
    """A backbone with its own preprocessing.

    `prepare` runs on the CPU, in any thread; `forward` runs where the weights are. A child class sets `family`, and
    defines `prepare`, `forward`, `description`, `save_files` and `restore`.

    Attributes:
        name: the string that chose this encoder.
        modality: "text" or "image".
        width: last dimension of the features.
        grid: (rows, columns) of the patches that stand behind the prefix tokens; None for pooled features.
        prefix: tokens before the grid (1 for a CLS token).
        minimum_side: image encoders: pixels that the shorter side of a picture needs, for decoding at a reduced scale.
        dual: one half of a model that already holds texts and pictures in one space (CLIP, SigLIP).
    """

    family: ClassVar[str]

    def __init__(
        self,
        *,
        name: str,
        modality: Modality,
        width: int,
        grid: tuple[int, int] | None = None,
        prefix: int = 0,
        minimum_side: int | None = None,
        dual: bool = False,
    ) -> None:
        super().__init__()
        self.name = name
        self.modality: Modality = modality
        self.width = width
        self.grid = grid
        self.prefix = prefix
        self.minimum_side = minimum_side
        self.dual = dual
        self._fingerprint: tuple[object, str] | None = None

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """(width,) for pooled features, (prefix + rows · columns, width) for a patch grid."""
        if self.grid is None:
            return (self.width,)
        return (self.prefix + self.grid[0] * self.grid[1], self.width)

    def prepare(self, values: Sequence[Any], prompt: str | None = None) -> dict[str, Tensor]:
        """Turn texts or RGB pictures into the tensors that `forward` reads, on the CPU; safe in several threads.

        Args:
            values: n texts (str) or n pictures (PIL.Image, RGB).
            prompt: text encoders: the name of one of the model's own prompts, such as "query" or "document".
                A model without a prompt of that name gets the bare text.
        """
        raise NotImplementedError

    def prompt(self, name: str | None) -> str:
        """The text that `prepare` puts before every text of this kind; empty for most encoders."""
        return ""

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Features: (batch, *feature_shape) float32."""
        raise NotImplementedError

    def pool(self, features: Tensor) -> Tensor:
        """The encoder's own pooled embedding (of a grid: the mean): (batch, *feature_shape) → (batch, width)."""
        return features if self.grid is None else features[:, self.prefix :].mean(dim=1)

    def count_truncated(self, texts: Sequence[str]) -> int:
        """How many of `texts` are longer than the encoder reads."""
        return 0

    def description(self) -> dict[str, Any]:
        """All that decides the features beside the weights (not the name), as JSON values; `restore` gets it back."""
        raise NotImplementedError

    def save_files(self, folder: Path) -> None:
        """Write tokenizer, processor and configuration files to `folder`; nothing by default."""

    @classmethod
    def restore(cls, folder: Path, name: str, modality: Modality, description: dict[str, Any]) -> Self:
        """The architecture as `save` left it, with random weights."""
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        """Write everything but the weights to `folder`, for `registry.restore_encoder`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.save_files(folder)
        content: dict[str, Any] = {"family": self.family, "name": self.name, "modality": self.modality}
        content["description"] = self.description()
        (folder / DESCRIPTION_FILE).write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")

    def fingerprint(self) -> str:
        """sha256 (hex) over the weights and `description`; computed again only when a weight has changed."""
        version = self.weights_version()
        if self._fingerprint is None or self._fingerprint[0] != version:
            self._fingerprint = (version, self._hash())
        return self._fingerprint[1]

    def weights_version(self) -> tuple[tuple[int, int], ...]:
        """Changes whenever a weight or buffer is written to or moved; cheap enough for every forward pass."""
        tensors = [*self.parameters(), *self.buffers()]
        return tuple((tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in tensors)

    def _hash(self) -> str:
        digest = hashlib.sha256(json.dumps([self.family, self.description()], sort_keys=True).encode())
        for key, tensor in sorted(self.state_dict().items()):
            digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy())
        return digest.hexdigest()
