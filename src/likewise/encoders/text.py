"""Any Hugging Face text model, with the pooling, prompts and length that its sentence-transformers files name."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from transformers import AutoModel, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from likewise.encoders.base import Description, Modality
from likewise.encoders.hub import guard_remote_code, load_network, model_folder, read_config
from likewise.encoders.hugging_face import HuggingFaceEncoder, Width
from likewise.encoders.sentence_modules import (
    ACTIVATIONS,
    POOLING_MODES,
    SentenceHead,
    load_dense_weights,
    read_description,
)
from likewise.encoders.single_text import can_run_single_text, run_single_text
from likewise.encoders.tokenizing import BatchTokenizer
from likewise.errors import UserError

_NO_LIMIT = 1_000_000  # tokenizers without a limit say 10^30


class DenseDescription(Description):
    """The arguments of `sentence_modules.Dense`."""

    width_in: Width
    width_out: Width
    bias: bool
    activation: Literal[tuple(ACTIVATIONS)]  # type: ignore[valid-type]


class TextDescription(Description):
    """See `sentence_modules.read_description`."""

    pooling: Annotated[list[Literal[POOLING_MODES]], Field(min_length=1, max_length=len(POOLING_MODES))]  # type: ignore[valid-type]
    layers: Annotated[list[Literal["normalize"] | DenseDescription], Field(max_length=64)]
    include_prompt: bool
    max_length: Annotated[int, Field(ge=1, le=_NO_LIMIT)]
    lower_case: bool
    prompts: dict[str, str]
    default_prompt: str | None
    tokenizer: str
    architecture: dict[str, Any]


class TextEncoder(HuggingFaceEncoder):
    """Texts to (width,): a Transformer, pooled (and normalised) as its own configuration says."""

    family = "text"
    saved = TextDescription

    def __init__(self, name: str, network: Any, tokenizer: BatchTokenizer, description: dict[str, Any]) -> None:
        head = SentenceHead(description)
        width = head.width(network.config.hidden_size)
        super().__init__(name, "text", network, tokenizer.tokenizer, description, width=width)
        self.head = head
        self.tokenizer = tokenizer
        self.eval()

    @classmethod
    def from_pretrained(cls, name: str, source: str | None = None) -> Self:
        """Load a folder or hub id.

        Args:
            name: what the user called the encoder.
            source: where it is, if `name` is only an alias.

        Raises:
            UserError: the model cannot be found or loaded.
        """
        folder = model_folder(source or name)
        config = read_config(folder, name)
        description = guard_remote_code(name, lambda: read_description(folder, name))
        network = load_network(AutoModel, folder, name, config, **without_pooler(config))
        tokenizer = load_tokenizer(folder, name)
        description["max_length"] = description["max_length"] or maximal_length(network, tokenizer)
        batch_tokenizer = BatchTokenizer(tokenizer, description["max_length"])
        description["tokenizer"] = batch_tokenizer.digest()
        description["architecture"] = architecture(config)
        encoder = cls(name, network, batch_tokenizer, description)
        guard_remote_code(name, lambda: load_dense_weights(encoder.head, folder))
        return encoder

    @classmethod
    def restore(cls, folder: Path, name: str, modality: Modality, description: dict[str, Any]) -> Self:
        config = read_config(folder, name)
        options = without_pooler(config)
        network = AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False, **options)
        tokenizer = BatchTokenizer(load_tokenizer(folder, name), description["max_length"])
        return cls(name, network, tokenizer, description)

    def prepare(self, values: Sequence[str], prompt: str | None = None) -> dict[str, Tensor]:
        """Token ids and masks, padded to the longest of the batch and cut at the model's own length."""
        prefix = self.prompt(prompt)
        inputs = self.tokenizer([self._clean(prefix + value) for value in values])
        if prefix and not self._description["include_prompt"]:
            inputs["pooling_mask"] = self._without_prompt(inputs["attention_mask"], prefix)
        return inputs

    def prompt(self, name: str | None) -> str:
        """The text that goes before every text of this kind; empty where the model names none."""
        prompts = self._description["prompts"]
        return prompts.get(name, prompts.get(self._description["default_prompt"], ""))

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        tokens = {key: value for key, value in inputs.items() if key != "pooling_mask"}
        if can_run_single_text(self.network, tokens):
            states = run_single_text(self.network, tokens)
        else:
            states = self.network(**tokens).last_hidden_state
        return self.head(states.float(), inputs.get("pooling_mask", inputs["attention_mask"]))

    def find_offsets(self, text: str, prompt: str) -> list[tuple[int, int]] | None:
        """Where each token that the model reads of a text stands in prompt and text (start, end).

        None where the tokenizer does not say, or where the text changes its length before it is cut into tokens.
        """
        whole = self.prompt(prompt) + text
        return self.tokenizer.find_offsets(self._clean(whole)) if len(self._clean(whole)) == len(whole) else None

    def count_truncated(self, texts: Sequence[str]) -> int:
        return self.tokenizer.count_truncated([self._clean(text) for text in texts])

    def knows_word(self, word: str) -> bool:
        return self.tokenizer.knows_word(word)

    def unknown_share(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.tokenizer.unknown_shares([self._clean(text) for text in texts])

    def _clean(self, text: str) -> str:
        return text.strip().lower() if self._description["lower_case"] else text.strip()

    def _without_prompt(self, mask: Tensor, prefix: str) -> Tensor:
        position = mask.cumsum(dim=1)  # 1 at the first token, whichever side is padded
        return mask * (position > self.tokenizer.length(prefix))


def load_tokenizer(folder: Path, name: str) -> Any:
    """The tokenizer that lies in a model's folder.

    Raises:
        UserError: there is none, or it needs a library that is not installed.
    """
    tokenizer = guard_remote_code(
        name, lambda: AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    )
    if tokenizer is None:
        raise UserError(f"the encoder {name} holds no tokenizer: copy tokenizer.json into its folder")
    return tokenizer


def maximal_length(network: Any, tokenizer: Any) -> int:
    """Tokens that a model reads: the less of what tokenizer and position table allow, 512 if neither says."""
    limits = [tokenizer.model_max_length]
    positions = getattr(network.config, "max_position_embeddings", None)
    if positions and positions > 0:
        table = next((m for key, m in network.named_modules() if key.endswith("position_embeddings")), None)
        padding = getattr(table, "padding_idx", None)  # RoBERTa counts positions from behind its padding index
        limits.append(positions if padding is None else positions - padding - 1)
    limits = [limit for limit in limits if limit < _NO_LIMIT]
    return min(limits, default=512)


def architecture(config: Any) -> dict[str, Any]:
    """A configuration without what does not change the features: where it came from and who wrote it."""
    values = config.to_dict()
    return {key: values[key] for key in sorted(values) if key not in _UNIMPORTANT}


_UNIMPORTANT = {
    "_name_or_path",
    "transformers_version",
    "dtype",
    "torch_dtype",
    "architectures",
    "id2label",
    "label2id",
}


def without_pooler(config: Any) -> dict[str, Any]:
    """BERT and its kin carry a pooler that sentence models never read."""
    model_class = MODEL_MAPPING.get(type(config), None)
    if model_class is None or isinstance(model_class, tuple):
        return {}
    takes_it = "add_pooling_layer" in inspect.signature(model_class.__init__).parameters
    return {"add_pooling_layer": False} if takes_it else {}
