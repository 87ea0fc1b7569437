"""Any Hugging Face audio encoder: AST, Wav2Vec2, HuBERT, WavLM, the audio half of CLAP…"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoFeatureExtractor, AutoModel, ClapAudioModelWithProjection

from likewise.catalog.audio.decode import Sound
from likewise.encoders.base import Description, Modality
from likewise.encoders.hub import guard_remote_code, load_network, model_folder, read_config
from likewise.encoders.hugging_face import HuggingFaceEncoder, Width
from likewise.encoders.sounds import LONGEST_SECONDS, SOUND_BATCH, make_examples, resample_sounds
from likewise.encoders.text import architecture
from likewise.errors import UserError

_INPUTS = ("input_values", "input_features", "attention_mask")
_LEAST_SECONDS = 0.1  # below it, convolutions of Wav2Vec2 have nothing to look at


class AudioDescription(Description):
    """What is found out by running the model, and what its own files say."""

    width: Width
    rate: Annotated[int, Field(ge=1_000, le=384_000)]
    seconds: Annotated[float, Field(gt=0, le=LONGEST_SECONDS)]
    pooling: Literal["pooler", "mean", "projection"]
    lengths: Literal["fixed", "masked", "own"]
    processor: dict[str, Any]
    architecture: dict[str, Any]


class HuggingFaceAudio(HuggingFaceEncoder):
    """Sounds to (width,): the model's own pooled embedding where it has one, else the mean of its last hidden states.

    No more than the first 15 seconds are read, and no more than the feature extractor takes, so that it has nothing to
    cut off at random. Recordings of different lengths are padded where the model ignores padding; where it would
    hear it (without an attention mask, as with Wav2Vec2 base), each runs at its own length.
    """

    family = "hugging-face-audio"
    saved = AudioDescription
    prepared_batch = SOUND_BATCH

    def __init__(self, name: str, network: Any, extractor: Any, description: dict[str, Any]) -> None:
        super().__init__(name, "audio", network, extractor, description, width=description["width"])
        self._rate, self._seconds = description["rate"], description["seconds"]
        self.eval()

    @classmethod
    def from_pretrained(cls, name: str) -> Self:
        """Load a folder or hub id.

        Raises:
            UserError: the model cannot be found or loaded, or is not for recordings.
        """
        folder = model_folder(name)
        config = read_config(folder, name)
        extractor = _load_extractor(folder, name)
        if config.model_type == "clap":
            network = load_network(ClapAudioModelWithProjection, folder, name, config.audio_config)
        elif getattr(config, "is_encoder_decoder", False):
            raise UserError(f"the encoder {name} is half of a translator from speech; choose an encoder, such as AST")
        else:
            network = load_network(AutoModel, folder, name, config)
        pooling = "projection" if config.model_type == "clap" else "mean"
        description = {
            "width": 1,
            "rate": int(extractor.sampling_rate),
            "seconds": _find_seconds(extractor),
            "pooling": pooling,
            "lengths": _find_lengths(extractor, network, pooling),
            "processor": _describe_extractor(extractor),
            "architecture": architecture(network.config),
        }
        return cls(name, network, extractor, description)._measured()

    def _measured(self) -> Self:
        """With the pooling and width that a run shows."""
        inputs = self.prepare(make_examples(2, self._rate))
        inputs.pop("lengths", None)  # they are equal
        with torch.no_grad():
            output, again = (guard_remote_code(self.name, lambda: self.network(**inputs)) for _ in range(2))
            if getattr(output, "pooler_output", None) is not None and self._description["pooling"] == "mean":
                self._description["pooling"] = "pooler"
            pooled, repeated = self._pool_output(output, inputs), self._pool_output(again, inputs)
        if not torch.allclose(pooled, repeated, rtol=1e-3, atol=1e-4):
            raise UserError(f"the encoder {self.name} is not deterministic; choose another")
        self._description["width"] = self.width = pooled.shape[1]
        return self

    @classmethod
    def restore(cls, folder: Path, name: str, modality: Modality, description: dict[str, Any]) -> Self:
        config = read_config(folder, name)
        extractor = _load_extractor(folder, name)
        if int(extractor.sampling_rate) != description["rate"] or _find_seconds(extractor) < description["seconds"]:
            raise ValueError("its feature extractor is not the one that it was saved with")
        if description["pooling"] == "projection":
            network = ClapAudioModelWithProjection._from_config(config, dtype=torch.float32)
        else:
            network = AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False)
        if _find_lengths(extractor, network, description["pooling"]) != description["lengths"]:
            raise ValueError("its feature extractor is not the one that it was saved with")
        return cls(name, network, extractor, description)

    def prepare(self, values: Sequence[Sound], prompt: str | None = None) -> dict[str, Tensor]:
        """What the model's own feature extractor makes of samples at its rate, in float32.

        Where recordings run at their own lengths, they are zero-padded to (n, longest, …), and "lengths" (n,) int64
        says how much of that each has.
        """
        sounds = resample_sounds(values, self._rate, self._seconds)
        least = int(_LEAST_SECONDS * self._rate)
        padded = [torch.nn.functional.pad(torch.from_numpy(s), (0, max(0, least - len(s)))).numpy() for s in sounds]
        if self._description["lengths"] == "own":
            each = [self._extract([one]) for one in padded]  # one by one, as it normalises over the padding, too
            stacked = {
                name: pad_sequence([made[name][0].float() for made in each], batch_first=True)
                for name in each[0]
                if name != "attention_mask"
            }
            lengths = [len(next(made[name][0] for name in stacked)) for made in each]
            return stacked | {"lengths": torch.tensor(lengths)}
        made = self._extract(padded, **({"padding": True} if self._description["lengths"] == "masked" else {}))
        inputs = {name: made[name] if name == "attention_mask" else made[name].float() for name in made}
        if self._description["pooling"] == "projection":  # the extractor of CLAP calls one long by chance
            inputs["is_longer"] = torch.zeros(len(sounds), 1, dtype=torch.bool)
        return inputs

    def _extract(self, samples: list[NDArray[np.float32]], **options: Any) -> dict[str, Tensor]:
        made = self.preparation(samples, sampling_rate=self._rate, return_tensors="pt", **options)
        return {name: made[name] for name in _INPUTS if name in made}

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        if "lengths" not in inputs:
            return self._pool_output(self.network(**inputs), inputs)
        padded = {name: tensor for name, tensor in inputs.items() if name != "lengths"}
        lengths, features = inputs["lengths"], dict[int, Tensor]()
        for length in lengths.unique().tolist():
            rows = (lengths == length).nonzero()[:, 0]
            whole = {name: tensor[rows, :length] for name, tensor in padded.items()}
            features.update(zip(rows.tolist(), self._pool_output(self.network(**whole), whole), strict=True))
        return torch.stack([features[row] for row in range(len(lengths))])

    def _pool_output(self, output: Any, inputs: dict[str, Tensor]) -> Tensor:
        pooling = self._description["pooling"]
        if pooling == "projection":
            return output.audio_embeds.float()
        if pooling == "pooler":
            return output.pooler_output.float()
        states, mask = output.last_hidden_state.float(), inputs.get("attention_mask")
        if mask is None:
            return states.mean(dim=1)
        kept = self.network._get_feature_vector_attention_mask(states.shape[1], mask)[:, :, None].to(states.dtype)
        return (states * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=1)

    @property
    def blocks(self) -> int:
        return 0  # lengths differ, so that activations cannot be cached

    def example(self, count: int) -> dict[str, Tensor]:
        return self.prepare(make_examples(count, self._rate))


def _load_extractor(folder: Path, name: str) -> Any:
    if not any((folder / file).is_file() for file in ("preprocessor_config.json", "processor_config.json")):
        raise UserError(f"the encoder {name} holds no preprocessor_config.json: it is not for audio, or incomplete")
    extractor = guard_remote_code(
        name, lambda: AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    )
    if not isinstance(getattr(extractor, "sampling_rate", None), int):
        raise UserError(f"the encoder {name} is not for audio: its feature extractor has no sampling rate")
    return extractor


def _find_seconds(extractor: Any) -> float:
    """How much of a recording the extractor takes without cutting it, at most 15 seconds."""
    longest = getattr(extractor, "max_length_s", None)
    if longest is None and isinstance(getattr(extractor, "max_length", None), int):
        longest = extractor.max_length / 100  # frames of AST, 10 ms each
    return min(LONGEST_SECONDS, float(longest)) if longest else LONGEST_SECONDS


def _find_lengths(extractor: Any, network: Any, pooling: str) -> str:
    """Whether the extractor makes all recordings equally long, the model ignores padding, or neither is so.

    Group norm averages over all frames, padding included, whatever the mask.
    """
    if pooling == "projection" or hasattr(extractor, "max_length"):
        return "fixed"
    masked = (
        getattr(extractor, "return_attention_mask", False)
        and hasattr(network, "_get_feature_vector_attention_mask")
        and getattr(network.config, "feat_extract_norm", None) != "group"
    )
    return "masked" if masked else "own"


def _describe_extractor(extractor: Any) -> dict[str, Any]:
    """What a feature extractor does, as JSON values, without who made it and without its filters."""
    values = extractor.to_dict()
    unwanted = ("feature_extractor_type", "processor_class", "mel_filters", "mel_filters_slaney", "window")
    return {key: values[key] for key in sorted(values) if key not in unwanted}
