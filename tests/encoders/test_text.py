"""Text encoders give what sentence-transformers' files ask for."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import transformers
from encoders.tiny_models import TEXTS, least_cosine, save_bert, save_sentence_model, save_vit
from safetensors.torch import load_file

from likewise.encoders.registry import load_encoder, restore_encoder
from likewise.errors import UserError


def states_of(folder, texts, max_length=12):
    """The backbone's states and mask, by transformers alone."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(texts, padding=True, truncation=True, max_length=max_length, return_tensors="pt")
    with torch.no_grad():
        return transformers.AutoModel.from_pretrained(folder).eval()(**inputs).last_hidden_state, inputs.attention_mask


def expected_pooling(mode, states, mask):
    rows = [row[keep.bool()] for row, keep in zip(states, mask, strict=True)]
    weights = [torch.arange(1.0, len(row) + 1).unsqueeze(1) for row in rows]
    return {
        "mean": lambda: torch.stack([row.mean(0) for row in rows]),
        "cls": lambda: torch.stack([row[0] for row in rows]),
        "max": lambda: torch.stack([row.amax(0) for row in rows]),
        "lasttoken": lambda: torch.stack([row[-1] for row in rows]),
        "mean_sqrt_len_tokens": lambda: torch.stack([row.sum(0) / len(row) ** 0.5 for row in rows]),
        "weightedmean": lambda: torch.stack([(r * w).sum(0) / w.sum() for r, w in zip(rows, weights, strict=True)]),
    }[mode]()


def encode(encoder, texts, **options):
    with torch.no_grad():
        return encoder(encoder.prepare(texts, **options))


OLD_NAMES = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens", "weightedmean": "weightedmean_tokens"}


@pytest.mark.parametrize("mode", ["mean", "cls", "max", "lasttoken", "mean_sqrt_len_tokens", "weightedmean"])
@pytest.mark.parametrize("flags", [True, False], ids=["old files", "new files"])
def test_pooling_follows_the_module_files(tmp_path, mode, flags):
    pooling = {f"pooling_mode_{OLD_NAMES.get(mode, mode)}": True} if flags else {"pooling_mode": mode}
    folder = save_sentence_model(tmp_path, pooling, normalize=False)
    encoder = load_encoder(str(folder), "text")
    expected = expected_pooling(mode, *states_of(folder, TEXTS))
    assert encoder.feature_shape == (32,) and encoder.grid is None
    assert torch.allclose(encode(encoder, TEXTS), expected, atol=1e-5)


def test_two_pooling_modes_stand_side_by_side(tmp_path):
    folder = save_sentence_model(tmp_path, {"pooling_mode": ["cls", "mean"]}, normalize=False)
    encoder = load_encoder(str(folder), "text")
    states, mask = states_of(folder, TEXTS)
    expected = torch.cat([expected_pooling("cls", states, mask), expected_pooling("mean", states, mask)], dim=1)
    assert encoder.width == 64
    assert torch.allclose(encode(encoder, TEXTS), expected, atol=1e-5)


def test_dense_layer_and_normalisation(tmp_path):
    folder = save_sentence_model(tmp_path, {"pooling_mode": "mean"}, dense=True)
    encoder = load_encoder(str(folder), "text")
    layer = load_file(folder / "2_Dense" / "model.safetensors")
    pooled = expected_pooling("mean", *states_of(folder, TEXTS))
    expected = torch.nn.functional.normalize(torch.tanh(pooled @ layer["linear.weight"].T + layer["linear.bias"]))
    assert encoder.width == 20
    assert torch.allclose(encode(encoder, TEXTS), expected, atol=1e-5)


def test_a_bare_transformer_is_pooled_by_the_mean(tmp_path):
    folder = save_bert(tmp_path)
    encoder = load_encoder(str(folder), "text")
    assert torch.allclose(encode(encoder, TEXTS), expected_pooling("mean", *states_of(folder, TEXTS, 16)), atol=1e-5)


def test_equals_sentence_transformers(tmp_path):
    import sentence_transformers  # comes with the package of MiniLM

    folder = save_sentence_model(tmp_path, {"pooling_mode_mean_tokens": True}, dense=True)
    theirs = sentence_transformers.SentenceTransformer(str(folder), device="cpu").encode(TEXTS, convert_to_tensor=True)
    assert least_cosine(encode(load_encoder(str(folder), "text"), TEXTS), theirs) > 0.9999


def test_prompts_are_those_of_the_model(tmp_path):
    prompts = {"prompts": {"query": "photo of ", "document": ""}}
    encoder = load_encoder(str(save_sentence_model(tmp_path, {"pooling_mode": "mean"}, **prompts)), "text")
    assert torch.equal(encode(encoder, ["cat"], prompt="query"), encode(encoder, ["photo of cat"]))
    assert torch.equal(encode(encoder, ["cat"], prompt="document"), encode(encoder, ["cat"]))
    assert torch.equal(encode(encoder, ["cat"], prompt="unheard of"), encode(encoder, ["cat"]))


def test_a_default_prompt_goes_before_every_text(tmp_path):
    files = {"prompts": {"all": "photo of "}, "default_prompt_name": "all"}
    encoder = load_encoder(str(save_sentence_model(tmp_path, {"pooling_mode": "mean"}, **files)), "text")
    assert encoder.prompt(None) == "photo of "


def test_a_prompt_can_be_left_out_of_the_pooling(tmp_path):
    files = {"prompts": {"query": "photo of "}}
    pooling = {"pooling_mode": "mean", "include_prompt": False}
    folder = save_sentence_model(tmp_path, pooling, normalize=False, **files)
    states, mask = states_of(folder, ["photo of red cat", "photo of kitten"])
    mask[:, :3] = 0  # [CLS] photo of
    got = encode(load_encoder(str(folder), "text"), ["red cat", "kitten"], prompt="query")
    assert torch.allclose(got, expected_pooling("mean", states, mask), atol=1e-5)


def test_long_texts_are_cut_and_counted(tmp_path):
    encoder = load_encoder(str(save_sentence_model(tmp_path, {"pooling_mode": "mean"})), "text")
    fits, too_long = " ".join(["cat"] * 10), " ".join(["cat"] * 11)  # 12 tokens with [CLS] and [SEP]
    assert encoder.count_truncated([fits, too_long, "cat", ""]) == 1
    assert encoder.prepare([too_long])["input_ids"].shape == (1, 12)
    assert encoder.prepare(["cat", "red cat"])["input_ids"].shape == (2, 4)
    assert torch.isfinite(encode(encoder, ["", too_long])).all()


def test_prepare_may_run_in_many_threads(tmp_path):
    encoder = load_encoder(str(save_sentence_model(tmp_path, {"pooling_mode": "mean"})), "text")
    batches = [[text] * (1 + number % 3) for number in range(40) for text in TEXTS]
    with ThreadPoolExecutor(8) as threads:
        counting = [threads.submit(encoder.count_truncated, batch) for batch in batches]
        together = list(threads.map(encoder.prepare, batches))
    assert all(future.exception() is None for future in counting)
    assert all(
        torch.equal(inputs["input_ids"], encoder.prepare(batch)["input_ids"])
        for inputs, batch in zip(together, batches, strict=True)
    )


def test_reopened_without_the_original(tmp_path):
    folder = save_sentence_model(
        tmp_path / "original", {"pooling_mode": "mean"}, dense=True, prompts={"query": "photo "}
    )
    encoder = load_encoder(str(folder), "text")
    encoder.save(tmp_path / "saved")
    folder.rename(tmp_path / "gone")
    reopened = restore_encoder(tmp_path / "saved", "text")
    reopened.load_state_dict(encoder.state_dict())
    assert torch.equal(encode(reopened, TEXTS, prompt="query"), encode(encoder, TEXTS, prompt="query"))
    assert reopened.fingerprint() == encoder.fingerprint()
    assert reopened.name == encoder.name


def test_fingerprint_heeds_preprocessing(tmp_path):
    folder = save_sentence_model(tmp_path, {"pooling_mode": "mean"})
    before = load_encoder(str(folder), "text").fingerprint()
    assert load_encoder(str(folder), "text").fingerprint() == before
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 8}))
    assert load_encoder(str(folder), "text").fingerprint() != before


def test_unknown_modules_are_refused(tmp_path):
    folder = save_sentence_model(tmp_path, {"pooling_mode": "mean"})
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 3, "name": "3", "path": "3_LSTM", "type": "sentence_transformers.models.LSTM"})
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(UserError, match="LSTM"):
        load_encoder(str(folder), "text")


def test_a_vision_model_is_no_text_encoder(tmp_path):
    with pytest.raises(UserError):
        load_encoder(str(save_vit(tmp_path)), "text")


def test_pickled_weights_are_refused(tmp_path):
    folder = save_bert(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="safetensors"):
        load_encoder(str(folder), "text")


def test_incomplete_weights_are_refused(tmp_path):
    folder = save_bert(tmp_path)
    from safetensors.torch import save_file

    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.attention.self.query.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="incomplete"):
        load_encoder(str(folder), "text")


def test_a_broken_file_is_one_sentence(tmp_path):
    folder = save_bert(tmp_path)
    (folder / "model.safetensors").write_bytes(b"not weights at all")
    with pytest.raises(UserError, match="cannot be loaded"):
        load_encoder(str(folder), "text")


def test_remote_code_is_never_run(tmp_path):
    folder = save_bert(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own_kind", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text("raise SystemExit('executed')")
    with pytest.raises(UserError):
        load_encoder(str(folder), "text")
