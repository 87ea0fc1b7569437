"""The contract test for encoders: features that depend on the value alone, and saved files that can be trusted.

A test module imports everything from here and says which encoder it is about; pytest then runs the whole suite on it:

    import pytest
    from likewise.testing.encoders import *
    from likewise.testing.encoders import Subject

    @pytest.fixture(scope="module")
    def subject() -> Subject:
        return Subject("mine", "my-kind", [first_value, second_value, third_value])

Install it with `pip install 'likewise[testing]'`. For failures that show values, call
`pytest.register_assert_rewrite("likewise.testing.encoders")` in conftest.py.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from likewise.encoders.base import DESCRIPTION_FILE, Encoder
from likewise.encoders.registry import find_fitted, load_encoder, restore_encoder
from likewise.encoders.saved_files import check_saved_files
from likewise.errors import MissingExtraError, UserError

try:
    import pytest
except ImportError as error:
    raise MissingExtraError(str(error.name), "testing") from None


@dataclass(frozen=True)
class Subject:
    """An encoder under test.

    Attributes:
        name: under which it is registered.
        modality: the kind of field that it is for.
        values: at least three that mean different things, as the modality's reader opens them.
    """

    name: str
    modality: str
    values: Sequence[Any]

    def build(self, seed: int = 0) -> Encoder:
        """The encoder, found by its name; fitted to the values where it is one that is fitted."""
        fitted = find_fitted(self.name, self.modality)
        return load_encoder(self.name, self.modality, seed=seed) if fitted is None else fitted.fit(self.values, seed)


def encode(encoder: Encoder, values: Sequence[Any]) -> Tensor:
    """Features of some values."""
    with torch.inference_mode():
        return encoder(encoder.prepare(values))


@pytest.fixture(scope="module")
def encoder(subject: Subject) -> Encoder:
    return subject.build()


def test_features_are_finite_and_have_the_promised_shape(subject: Subject, encoder: Encoder) -> None:
    features = encode(encoder, subject.values)
    assert features.shape == (len(subject.values), *encoder.feature_shape)
    assert features.dtype == torch.float32
    assert features.isfinite().all()
    assert features.half().isfinite().all(), "features are cached in half precision"


def test_it_says_what_it_is(subject: Subject, encoder: Encoder) -> None:
    assert encoder.modality == subject.modality
    assert not encoder.training, "an encoder is in evaluation mode"


def test_different_values_have_different_features(subject: Subject, encoder: Encoder) -> None:
    assert len(subject.values) >= 3
    features = encode(encoder, subject.values).flatten(1)
    assert len(features.unique(dim=0)) == len(subject.values)


def test_a_value_has_the_same_features_in_any_batch(subject: Subject, encoder: Encoder) -> None:
    together = encode(encoder, subject.values)
    alone = torch.cat([encode(encoder, [value]) for value in subject.values])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(encode(encoder, subject.values[::-1]).flip(0), together, rtol=1e-3, atol=1e-4)


def test_values_are_prepared_in_several_threads(subject: Subject, encoder: Encoder) -> None:
    expected = encoder.prepare(subject.values)
    with ThreadPoolExecutor(4) as pool:
        for prepared in pool.map(encoder.prepare, [subject.values] * 16):
            assert prepared.keys() == expected.keys()
            assert all(torch.equal(prepared[key], expected[key]) for key in expected)


def test_the_seed_decides_all_weights(subject: Subject, encoder: Encoder) -> None:
    torch.manual_seed(123)
    again = subject.build()
    assert again.fingerprint() == encoder.fingerprint()
    assert torch.equal(encode(again, subject.values), encode(encoder, subject.values))


def test_what_is_saved_is_restored(subject: Subject, encoder: Encoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "saved")
    check_saved_files(tmp_path / "saved")
    restored = restore_encoder(tmp_path / "saved", subject.modality)
    restored.load_state_dict(encoder.state_dict())
    assert restored.fingerprint() == encoder.fingerprint()
    assert torch.equal(encode(restored.eval(), subject.values), encode(encoder, subject.values))


def test_the_description_is_json_and_says_what_it_may_hold(encoder: Encoder) -> None:
    assert json.loads(json.dumps(encoder.description())) == encoder.description()
    assert encoder.saved is not None, "`saved` is the Description that a stranger's run folder is checked against"
    encoder.saved.model_validate(encoder.description())


def test_a_description_with_something_else_is_refused(subject: Subject, encoder: Encoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "saved")
    file = tmp_path / "saved" / DESCRIPTION_FILE
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(content | {"description": {**content["description"], "unheard-of": 1}}))
    with pytest.raises(UserError, match="damaged"):
        restore_encoder(tmp_path / "saved", subject.modality)
    with pytest.raises(UserError, match=f"is for {subject.modality}, not for"):
        file.write_text(json.dumps(content))
        restore_encoder(tmp_path / "saved", "text" if subject.modality != "text" else "image")


def test_a_changed_weight_changes_the_fingerprint(encoder: Encoder) -> None:
    weight = next(iter(encoder.parameters()), None)
    if weight is None:
        return  # it has none, and all that it is lies in its description
    before = encoder.fingerprint()
    with torch.no_grad():
        weight.add_(1.0)
    changed = encoder.fingerprint()
    with torch.no_grad():
        weight.sub_(1.0)
    assert changed != before


def test_examples_can_be_encoded(encoder: Encoder) -> None:
    with torch.inference_mode():
        assert encoder(encoder.example(2)).shape == (2, *encoder.feature_shape)


def test_words_are_texts(subject: Subject, encoder: Encoder) -> None:
    for value in subject.values:
        words = encoder.words(value)
        assert isinstance(words, tuple)
        assert all(isinstance(word, str) and word.strip() for word in words)
    assert encoder.reads_words or not any(encoder.words(value) for value in subject.values)
