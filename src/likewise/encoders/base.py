"""What every encoder is: raw values of one modality in, features out, and all that it needs to be opened again."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from likewise.encoders.activation import Activation
from likewise.errors import UserError

Modality = str  # "text", "image", or another kind of field (see modalities.py)

DESCRIPTION_FILE = "encoder.json"
_SAMPLE_TEXTS = ("a warm waterproof jacket with two pockets, for walks in the rain", "red shoes")


class Description(BaseModel):
    """The keys and kinds of values of an encoder's `description`, as a saved one has to have them."""

    model_config = ConfigDict(strict=True, extra="forbid")


class Encoder(nn.Module):
    """A backbone with its own preprocessing.

    `prepare` runs on the CPU, in any thread; `forward` runs where the weights are. A child class sets `family`, and
    defines `prepare`, `forward`, `description`, `save_files` and `restore`. A picture encoder that can be cut between
    two of its blocks also defines `blocks`, `forward_to` and `forward_from`. An encoder of another modality defines
    `build` and `example`, or sets `fitted` and defines `fit`: then every field has one, fitted to its column.

    Attributes:
        name: the string that chose this encoder.
        modality: "text", "image" or another kind of field.
        width: last dimension of the features.
        grid: (rows, columns) of the patches that stand behind the prefix tokens; None for pooled features.
        prefix: tokens before the grid (1 for a CLS token).
        classes: of a classifier, whose logits then are the first numbers of the prefix tokens; 0: there is none.
        minimum_side: image encoders: pixels that the shorter side of a picture needs, for decoding at a reduced scale.
        licence: of the weights, as their authors name it; None where it is not known.
        dual: one half of a model that already holds texts and pictures in one space (CLIP, SigLIP).
    """

    family: ClassVar[str]
    saved: ClassVar[type[Description] | None] = None  # what `restore` can rely on; None: nothing is checked
    learning_rate: ClassVar[float] = 2e-5  # at which the pretrained weights keep what they know, for batches of 128
    licence: str | None = None
    fitted: ClassVar[bool] = False  # to the values of one column
    most_fitted: ClassVar[int | None] = None  # values that `fit` looks at, where opening them is costly; None: all
    reads_words: ClassVar[bool] = False  # the text encoder's features of `words` follow its own features
    prepared_batch: ClassVar[int] = (
        256  # values of other kinds than texts and pictures that are opened and prepared at once
    )
    cpu_batch: ClassVar[int | None] = None  # inputs whose activations fit a processor's cache; None: it does not matter

    def __init__(
        self,
        *,
        name: str,
        modality: Modality,
        width: int,
        grid: tuple[int, int] | None = None,
        prefix: int = 0,
        classes: int = 0,
        minimum_side: int | None = None,
        dual: bool = False,
    ) -> None:
        super().__init__()
        self.name = name
        self.modality: Modality = modality
        self.width = width
        self.grid = grid
        self.prefix = prefix
        self.classes = classes
        self.minimum_side = minimum_side
        self.dual = dual
        self._fingerprint: tuple[object, str] | None = None
        self._activations: dict[int, Activation] = {}

    @classmethod
    def build(cls, seed: int) -> Self:
        """The encoder with its weights; `seed` decides random ones."""
        raise NotImplementedError

    @classmethod
    def fit(cls, values: Sequence[Any], seed: int) -> Self:
        """An encoder that is fitted to a column.

        Args:
            values: of the rows that train, at least one, repeated as often as they occur; as `condense` returns them.
            seed: decides random weights.
        """
        raise NotImplementedError

    @classmethod
    def condense(cls, value: Any) -> Any:
        """What `fit` needs of a value as the modality's reader opens it, so that not all of them are in memory."""
        return value

    def words(self, value: Any) -> tuple[str, ...]:
        """What a value, as the modality's reader opens it, says in words, for the text encoder; nothing by default."""
        return ()

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """(width,) for pooled features, (prefix + rows · columns, width) for a patch grid."""
        if self.grid is None:
            return (self.width,)
        return (self.prefix + self.grid[0] * self.grid[1], self.width)

    def prepare(self, values: Sequence[Any], prompt: str | None = None) -> dict[str, Tensor]:
        """Turn texts or RGB pictures into the tensors that `forward` reads, on the CPU; safe in several threads.

        Args:
            values: n texts (str), n pictures (PIL.Image, RGB), or n values as the modality's reader opens them.
            prompt: text encoders: the name of one of the model's own prompts, such as "query" or "document".
                A model without a prompt of that name gets the bare text.
        """
        raise NotImplementedError

    def with_resolution(self, side: int) -> Self:
        """The same encoder, looking at pictures of `side` × `side` pixels instead of the size it has learned at.

        Raises:
            UserError: it cannot.
        """
        raise UserError(f"the encoder {self.name} has one input size only: omit resolution")

    def without_classes(self) -> Self:
        """The same encoder without its classifier; itself where it has none."""
        return self

    def read_class_names(self) -> list[str]:
        """The names of the classifier's `classes`, in the order of its logits.

        Raises:
            UserError: they are not installed.
        """
        return []

    def prompt(self, name: str | None) -> str:
        """The text that `prepare` puts before every text of this kind; empty for most encoders."""
        return ""

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Features: (batch, *feature_shape) float32."""
        raise NotImplementedError

    def forward_seen(self, inputs: dict[str, Tensor], seen: Tensor) -> Tensor:
        """Features of one picture for heads that see some of its patches, from one pass.

        Args:
            inputs: of one picture.
            seen: (n, rows · columns) bool, at least one of each row.

        Returns:
            (n, prefix + rows · columns, width) float32: the patches are those of the whole picture, which the head
            masks; prefix tokens that are a plain function of patches are made of those that are seen.
        """
        return self(inputs).expand(len(seen), -1, -1)

    def find_box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The part of a picture that the grid covers (left, top, right, bottom), in pixels; all of it by default."""
        return 0.0, 0.0, float(width), float(height)

    def pool(self, features: Tensor) -> Tensor:
        """The encoder's own pooled embedding (of a grid: the mean): (batch, *feature_shape) → (batch, width)."""
        return features if self.grid is None else features[:, self.prefix :].mean(dim=1)

    @property
    def blocks(self) -> int:
        """How many blocks there are to cut before: a cut is 0 (behind stem and embeddings) … blocks − 1."""
        return 0

    def forward_to(self, inputs: dict[str, Tensor], cut: int) -> Tensor:
        """The states that block `cut` reads: (batch, *activation(cut).shape) float32.

        A map is (batch, rows, columns, channels), a sequence (batch, tokens, width).
        """
        raise NotImplementedError

    def forward_from(self, states: Tensor, cut: int) -> Tensor:
        """From what `forward_to` gave to the features: together they equal `forward`.

        Rectangles of the grid (see `Activation`) give fewer tokens: (batch, prefix + rows · columns, width).
        """
        raise NotImplementedError

    def activation(self, cut: int) -> Activation:
        """Shape and size of what lies before block `cut`.

        Raises:
            UserError: the encoder cannot be cut there.
        """
        self.check_cut(cut)
        if cut not in self._activations:
            self._activations[cut] = self.measure(cut)
        return self._activations[cut]

    def measure(self, cut: int) -> Activation:
        """`activation`, found out by running an example; maps and unpooled grids by default."""
        with torch.inference_mode():
            shape = tuple(self.forward_to(self.example_here(1), cut).shape[1:])
        if self.grid is None:
            return Activation(shape)
        if len(shape) == 3:
            return Activation(shape, (shape[0], shape[1]), step=max(1, shape[0] // self.grid[0]))
        return Activation(shape, self.grid, extra=shape[0] - self.grid[0] * self.grid[1])

    def check_cut(self, cut: int) -> None:
        """Raises UserError where there is no block `cut`."""
        if not self.blocks:
            raise UserError(
                f"the encoder {self.name} cannot be cut between blocks; train it with --regime frozen or full"
            )
        if not 0 <= cut < self.blocks:
            raise UserError(
                f"the encoder {self.name} has {self.blocks} blocks: cut it at 0 to {self.blocks - 1}, not {cut}"
            )

    def train_above(self, cut: int) -> list[str]:
        """Freeze everything but what `forward_from` uses behind the cut; the names of those that train.

        Which these are is seen from where the gradient arrives, so it holds for any architecture. What both sides share
        (such as position biases) stays frozen: cached activations would no longer be true.
        """
        self.check_cut(cut)
        self.requires_grad_(True)
        named = dict(self.named_parameters())
        with torch.enable_grad():
            states = self.forward_to(self.example_here(2), cut)
            below = _find_reached(states, named)
            above = _find_reached(self.forward_from(states.detach(), cut), named)
        trained = [name for name in named if name in above - below]
        self.requires_grad_(False)
        for name in trained:
            named[name].requires_grad_(True)
        return trained

    def example(self, count: int) -> dict[str, Tensor]:
        """Prepared inputs to try the encoder on."""
        if self.modality == "text":
            return self.prepare([_SAMPLE_TEXTS[number % 2] for number in range(count)])
        if self.modality != "image":
            raise NotImplementedError
        return self.prepare([Image.linear_gradient("L").convert("RGB").rotate(number) for number in range(count)])

    def example_here(self, count: int) -> dict[str, Tensor]:
        """`example`, where the weights are."""
        device = next(self.parameters()).device
        return {key: tensor.to(device) for key, tensor in self.example(count).items()}

    def count_truncated(self, texts: Sequence[str]) -> int:
        """How many of `texts` are longer than the encoder reads."""
        return 0

    def knows_word(self, word: str) -> bool:
        """Whether a word is one piece for the tokenizer, as common words of its languages are; False without one."""
        return False

    def unknown_share(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n,) for every text the share of its letters in words of languages that the encoder has not learned.

        An estimate from how the tokenizer spells them; 0 for encoders of any language. To an English model about half
        of the letters of German and all of Russian are unknown, but brand names, too: a single text says little.
        """
        return np.zeros(len(texts), np.float32)

    def description(self) -> dict[str, Any]:
        """All that decides the features except the weights (not the name), as JSON values; `restore` gets it back."""
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
        if self.licence is not None:
            content["licence"] = self.licence
        text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)
        (folder / DESCRIPTION_FILE).write_text(text, encoding="utf-8")

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


def _find_reached(output: Tensor, named: dict[str, nn.Parameter]) -> set[str]:
    """The names of the parameters that `output` depends on."""
    if not output.requires_grad:
        return set()
    gradients = torch.autograd.grad(output.sum(), list(named.values()), allow_unused=True)
    return {name for name, gradient in zip(named, gradients, strict=True) if gradient is not None}
