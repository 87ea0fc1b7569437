"""Hugging Face tokenizers, used so that several threads can share one."""

import hashlib
import json
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from likewise.encoders.spelling import unknown_shares


class BatchTokenizer:
    """Texts to padded tensors, cut at `max_length` tokens.

    transformers' tokenizers change their own truncation and padding at every call, which fails ("Already borrowed") in
    threads. Here the Rust tokenizer underneath is set up once and only read from then on.

    Args:
        tokenizer: a transformers tokenizer.
        max_length: tokens that the model reads, special ones included.
        pad_to_maximum: pad every batch to `max_length` (SigLIP is trained so) instead of to its longest text.
    """

    def __init__(self, tokenizer: Any, max_length: int, pad_to_maximum: bool = False) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.pad_to_maximum = pad_to_maximum
        self.names = tuple(tokenizer.model_input_names)
        self._lock = threading.Lock()
        self._backend = _freeze_backend(tokenizer, max_length, pad_to_maximum)

    def __call__(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """{"input_ids": (n, length) int64, "attention_mask": …}, as the model's forward names them."""
        if self._backend is None:
            return self._slowly(texts)
        encodings = self._backend.encode_batch(list(texts))
        columns = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
        return {
            name: torch.from_numpy(np.array([getattr(encoding, attribute) for encoding in encodings], dtype=np.int64))
            for name, attribute in columns.items()
            if name in self.names or name == "attention_mask"
        }

    def count_truncated(self, texts: Sequence[str]) -> int:
        """How many of `texts` have more than `max_length` tokens."""
        if self._backend is not None:
            return sum(bool(encoding.overflowing) for encoding in self._backend.encode_batch(list(texts)))
        with self._lock:
            return sum(len(ids) > self.max_length for ids in self.tokenizer(list(texts))["input_ids"])

    def unknown_shares(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n,) the share of each text's letters in words that the tokenizer does not know."""
        if self._backend is None:
            return np.zeros(len(texts), np.float32)
        return unknown_shares(self._backend, self.tokenizer.unk_token_id, texts)

    def knows_word(self, word: str) -> bool:
        """Whether a word is one piece; some tokenizers have another piece for a word that follows a blank."""
        if self._backend is None:
            return False
        for text in (word, f" {word}"):
            encoding = self._backend.encode(text, add_special_tokens=False)
            pieces = [piece for piece, is_read in zip(encoding.ids, encoding.attention_mask, strict=True) if is_read]
            if len(pieces) == 1 and pieces[0] != self.tokenizer.unk_token_id:
                return True
        return False

    def find_offsets(self, text: str) -> list[tuple[int, int]] | None:
        """Where each token of a text stands in it (start, end), equal for special ones; None where it does not say."""
        if self._backend is None:
            return None
        offsets: list[tuple[int, int]] = self._backend.encode(text).offsets
        return offsets

    def length(self, text: str) -> int:
        """Tokens of `text`, without those that end a sequence (a prompt that more text follows)."""
        with self._lock:
            ids = self.tokenizer(text)["input_ids"]
        ends = {self.tokenizer.eos_token_id, self.tokenizer.sep_token_id}
        return len(ids) - (len(ids) > 0 and ids[-1] in ends)

    def digest(self) -> str:
        """sha256 (hex) of everything that decides how texts become tokens."""
        if self._backend is not None:
            content = self._backend.to_str()
        else:
            content = json.dumps(sorted(self.tokenizer.get_vocab().items()))
        return hashlib.sha256(content.encode()).hexdigest()

    def _slowly(self, texts: Sequence[str]) -> dict[str, Tensor]:
        padding = "max_length" if self.pad_to_maximum else "longest"
        with self._lock:
            batch = self.tokenizer(
                list(texts),
                padding=padding,
                truncation=True,
                max_length=self.max_length,
                return_attention_mask=True,
                return_tensors="pt",
            )
        return dict(batch)


def _freeze_backend(tokenizer: Any, max_length: int, pad_to_maximum: bool) -> Tokenizer | None:
    if not tokenizer.is_fast:
        return None
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.enable_truncation(max_length, direction=tokenizer.truncation_side)
    if tokenizer.pad_token_id is None:  # models with causal attention often have none; masked positions are never read
        pad_id, pad_token = tokenizer.eos_token_id or 0, tokenizer.eos_token or ""
    else:
        pad_id, pad_token = tokenizer.pad_token_id, tokenizer.pad_token
    backend.enable_padding(
        direction=tokenizer.padding_side,
        pad_id=pad_id,
        pad_type_id=tokenizer.pad_token_type_id,
        pad_token=pad_token,
        length=max_length if pad_to_maximum else None,
    )
    return backend
