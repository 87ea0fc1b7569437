"""How fast queries become vectors on the CPU: by stage, packed beside unpacked weights, and through an encode lane.

python benchmarks/query_encoding.py [--onnx]

Every figure is a median of rounds in which the ways take turns. `--onnx` adds ONNX Runtime in float32 (pip install
onnx onnxruntime), which likewise does not use.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import options, record
from torch import Tensor, nn

from likewise.catalog.catalog import Catalog
from likewise.encoders.packed_text import PackedText
from likewise.model.model import Model
from likewise.serving.lanes import EncodeLane

_FLOAT32 = {"text": "float32", "image": "float32"}
_QUERY_WORDS = 5
_BATCHES = {1: 60, 8: 20, 16: 20, 32: 12, 64: 12}  # texts in a batch → rounds
_TEXTS = 1000

Way = Callable[[dict[str, Tensor]], object]


def main() -> None:
    parser = options(__doc__.splitlines()[0])
    parser.add_argument("--onnx", action="store_true", help="also measure ONNX Runtime")
    parser.add_argument("--torch-threads", type=int, help="threads of every way (default: PyTorch's own)")
    arguments = parser.parse_args()
    if arguments.torch_threads:
        torch.set_num_threads(arguments.torch_threads)
    texts = _real_texts(arguments.data)
    model = Model.create("lite", device="cpu", precision=_FLOAT32)
    packed = PackedText.build(model.encoder("text"))
    if packed is None:
        raise SystemExit("this processor does not multiply bfloat16: nothing is packed here")
    ways: dict[str, Way] = {"float32": model.encoder("text"), "packed": packed}
    if arguments.onnx:
        ways["ONNX Runtime"] = _onnx(model.encoder("text"))
    figures = {
        "one query by stage, ms": _stages(model, packed, texts),
        "text to features, ms, and times as fast as float32": _batches(model, ways, texts),
        "packed beside float32": _agreement(texts),
        "one query at a time through a lane, ms": asyncio.run(_lane(model, texts)),
    }
    record("query_encoding", figures)


def _real_texts(data: Path) -> list[str]:
    """Runs of five words from titles and descriptions, all different, in no order."""
    catalog = Catalog.read(data)
    sentences = {text for field in ("title", "description") for text in catalog.texts(field) if text}
    words = [text.split() for text in sorted(sentences)]
    runs = {" ".join(of[i : i + _QUERY_WORDS]) for of in words for i in range(max(1, len(of) - _QUERY_WORDS + 1))}
    return [str(text) for text in np.random.default_rng(0).permutation(sorted(runs))]


def _stages(model: Model, packed: PackedText, texts: Sequence[str]) -> dict[str, float]:
    """The parts of `encode_queries`, each on its own, and all of it."""
    encoder, times = model.encoder("text"), dict[str, list[float]]()
    both = {"encode_queries": model, "encode_queries, packed": Model.create("lite", device="cpu", precision=_FLOAT32)}
    both["encode_queries, packed"].pack_texts()
    for text in texts[:100]:
        inputs = encoder.prepare([text], prompt="query")
        with torch.inference_mode():
            features = encoder(inputs)
            parts: dict[str, Callable[[], object]] = {
                "tokenizer": lambda text=text: encoder.prepare([text], prompt="query"),
                "encoder": lambda inputs=inputs: encoder(inputs),
                "encoder, packed": lambda inputs=inputs: packed(inputs),
                "query head": lambda features=features: model.network.query(features),
                **{name: lambda text=text, each=each: each.encode_queries([text]) for name, each in both.items()},
            }
            for name, part in parts.items():
                times.setdefault(name, []).append(_seconds(part))
    return {name: _milliseconds(measured) for name, measured in times.items()}


def _batches(model: Model, ways: dict[str, Way], texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    found = {}
    random = np.random.default_rng(1)
    for size, rounds in _BATCHES.items():
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            inputs = model.encoder("text").prepare([str(text) for text in random.choice(texts, size, replace=False)])
            with torch.inference_mode():
                for name, way in ways.items():
                    times[name].append(_seconds(lambda way=way, inputs=inputs: way(inputs)))
        medians = {name: statistics.median(measured) for name, measured in times.items()}
        found[f"batch of {size}"] = {
            name: [round(1e3 * seconds, 2), round(medians["float32"] / seconds, 2)] for name, seconds in medians.items()
        }
    return found


def _agreement(texts: Sequence[str]) -> dict[str, float]:
    """Cosines of 1,000 query vectors, and whether the same ten of the other texts are nearest."""
    model = Model.create("lite", device="cpu", precision=_FLOAT32)
    others = model.encode_queries(texts[_TEXTS:])
    plain = model.encode_queries(texts[:_TEXTS])
    model.pack_texts()
    packed = model.encode_queries(texts[:_TEXTS])
    cosines = (plain * packed).sum(axis=1)
    top = [np.argsort(-vectors @ others.T, axis=1, kind="stable")[:, :10] for vectors in (plain, packed)]
    shared = [len(set(one) & set(two)) / 10 for one, two in zip(*top, strict=True)]
    return {
        "texts": len(plain),
        "least cosine": round(float(cosines.min()), 6),
        "others": len(others),
        "share of the ten nearest that are the same": round(float(np.mean(shared)), 4),
        "same nearest": round(float(np.mean(top[0][:, 0] == top[1][:, 0])), 4),
    }


async def _lane(model: Model, texts: Sequence[str]) -> dict[str, float]:
    """The time beyond that of the encoder, of a lane and of asyncio's own executor."""
    inside: list[float] = []

    def encode(values: list[str]) -> np.ndarray:
        started = time.perf_counter()
        vectors = model.encode_queries(values)
        inside.append(time.perf_counter() - started)
        return vectors

    lane = EncodeLane[str](encode, name="queries", largest_batch=32, most_waiting=256)
    pool, loop = ThreadPoolExecutor(1), asyncio.get_running_loop()
    beyond: dict[str, list[float]] = {"lane": [], "run_in_executor": []}
    for text in texts[-300:]:
        for name, measured in beyond.items():
            value = f"{text} {name}"  # not one whose features are known already
            started = time.perf_counter()
            if name == "lane":
                await lane.encode([value], deadline=time.monotonic() + 10)
            else:
                await loop.run_in_executor(pool, encode, [value])
            measured.append(time.perf_counter() - started - inside[-1])
    lane.close()
    pool.shutdown()
    return {"encoder": _milliseconds(inside)} | {
        f"beyond the encoder, {name}": _milliseconds(measured) for name, measured in beyond.items()
    }


def _onnx(encoder: Any) -> Way:
    import onnxruntime

    class States(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = encoder.network

        def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
            return self.network(input_ids=ids, attention_mask=mask).last_hidden_state

    inputs = encoder.example(2)
    free = {0: "texts", 1: "tokens"}
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "text.onnx"
        torch.onnx.export(
            States().eval(),
            (inputs["input_ids"], inputs["attention_mask"]),
            file,
            input_names=["ids", "mask"],
            output_names=["states"],
            dynamic_axes={"ids": free, "mask": free, "states": free},
            opset_version=17,
            dynamo=False,
        )
        session = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])

    def run(inputs: dict[str, Tensor]) -> Tensor:
        given = {"ids": inputs["input_ids"].numpy(), "mask": inputs["attention_mask"].numpy()}
        return encoder.head(torch.from_numpy(session.run(None, given)[0]), inputs["attention_mask"])

    return run


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _milliseconds(seconds: Sequence[float]) -> float:
    return round(1e3 * statistics.median(seconds), 3)


if __name__ == "__main__":
    main()
