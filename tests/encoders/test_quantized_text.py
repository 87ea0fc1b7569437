"""The text encoder whose words stay in 4 bits: equal to what transformers makes of its weights, saved and trained."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from encoders.packed_bert import INNER, LAYERS, POSITIONS, WIDTH, WORDS, save_packed_bert

from likewise.encoders.packed_text import PackedText
from likewise.encoders.quantization import dequantize
from likewise.encoders.quantized_text import QuantizedTextEncoder
from likewise.encoders.registry import restore_encoder
from likewise.errors import UserError

TEXTS = ["red shoes", "Schuhe", "a 犬 with red shoes", "", "ca\u0301fe", "ｒｅｄ\u00a0\u3000shoe ☃" * 9]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> QuantizedTextEncoder:
    return QuantizedTextEncoder.from_file("tiny", save_packed_bert(tmp_path_factory.mktemp("packed")))


def embed(encoder: QuantizedTextEncoder, texts: list[str], prompt: str | None = None) -> torch.Tensor:
    with torch.inference_mode():
        return encoder(encoder.prepare(texts, prompt))


def test_it_is_a_bert_pooled_by_the_mean(encoder: QuantizedTextEncoder) -> None:
    config = transformers.BertConfig(
        vocab_size=WORDS,
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=INNER,
        max_position_embeddings=POSITIONS,
        pad_token_id=1,
    )
    plain = transformers.BertModel(config, add_pooling_layer=False).eval()
    weights = encoder.network.state_dict()
    words = dequantize(weights.pop("embeddings.word_embeddings.blocks"))
    plain.load_state_dict(weights | {"embeddings.word_embeddings.weight": words})
    inputs = encoder.tokenizer([f"query: {text}".strip() for text in TEXTS])
    with torch.no_grad():
        states = plain(**inputs).last_hidden_state
    mask = inputs["attention_mask"][..., None]
    expected = torch.nn.functional.normalize((states * mask).sum(dim=1) / mask.sum(dim=1), dim=-1)
    torch.testing.assert_close(embed(encoder, TEXTS, "query"), expected, atol=1e-5, rtol=1e-4)


def test_a_text_alone_has_the_vector_that_it_has_in_a_batch(encoder: QuantizedTextEncoder) -> None:
    alone = torch.cat([embed(encoder, [text]) for text in TEXTS])
    torch.testing.assert_close(embed(encoder, TEXTS), alone, atol=1e-5, rtol=1e-4)
    packed = PackedText.build(encoder)
    if packed is not None:  # where the processor has bfloat16
        cosines = torch.cosine_similarity(packed(encoder.prepare(TEXTS)), alone)
        assert float(cosines.min()) > 0.999


def test_texts_are_normalised_and_split_as_the_vocabulary_has_them(encoder: QuantizedTextEncoder) -> None:
    def split(text: str) -> list[str]:
        ids = encoder.prepare([text], "query")["input_ids"][0]
        return encoder.tokenizer.tokenizer.convert_ids_to_tokens(ids.tolist())

    assert split("ｒｅｄ\u00a0\u3000shoes") == ["<s>", "▁query", ":", "▁red", "▁shoe", "s", "</s>"]
    assert split("Schuhe") == ["<s>", "▁query", ":", "▁Schuh", "e", "</s>"]
    assert split("☃☃")[3:] == ["▁", "<unk>", "</s>"]
    assert (encoder.prompt("query"), encoder.prompt(None)) == ("query: ", "passage: ")
    assert encoder.count_truncated(["a " * 50, "a"]) == 1
    assert encoder.knows_word("red") and not encoder.knows_word("der")


def test_it_is_restored_as_it_was_saved(encoder: QuantizedTextEncoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "text")
    again = restore_encoder(tmp_path / "text", "text")
    again.load_state_dict(encoder.state_dict())
    assert again.fingerprint() == encoder.fingerprint()
    assert torch.equal(embed(again, TEXTS), embed(encoder, TEXTS))
    assert sum(tensor.nbytes for tensor in encoder.buffers() if tensor.dtype == torch.uint8) == WORDS * WIDTH * 18 // 32


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("hidden_size", 48, "in blocks of 32"),
        ("model_type", "roberta", "no embeddings of a BERT"),
        ("vocab_size", 2**31, "vocab_size is 2147483648"),
        ("vocab_size", 0, "is damaged"),
    ],
)
def test_a_saved_one_that_asks_for_something_else_is_refused(
    key: str, value: object, says: str, encoder: QuantizedTextEncoder, tmp_path: Path
) -> None:
    encoder.save(tmp_path / "text")
    file = tmp_path / "text" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with pytest.raises(UserError, match=says):
        restore_encoder(tmp_path / "text", "text")


def test_its_layers_train_and_its_words_stand_still(tmp_path: Path) -> None:
    encoder = QuantizedTextEncoder.from_file("tiny", save_packed_bert(tmp_path))
    assert encoder.blocks == LAYERS
    trained = encoder.train_above(1)
    assert trained and all(name.startswith("network.encoder.layer.1.") for name in trained)
    words = encoder.network.embeddings.word_embeddings.blocks.clone()
    before = encoder.fingerprint()
    encoder.requires_grad_(True)
    encoder(encoder.prepare(TEXTS))[:, 0].sum().backward()
    assert all(weight.grad is not None for weight in encoder.parameters())
    torch.optim.SGD(encoder.parameters(), lr=0.1).step()
    assert torch.equal(encoder.network.embeddings.word_embeddings.blocks, words)
    assert encoder.fingerprint() != before
