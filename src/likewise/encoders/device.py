"""Which device, and which precision, an encoder runs on."""

import platform
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from likewise.config import Device
from likewise.encoders.base import Encoder
from likewise.errors import UserError
from likewise.files import DamageError, make_folder, read_record, write_record

_FORMAT = 1  # of the file that remembers precisions
_SPEEDUP_WANTED = 1.3  # below it, the loss of precision buys too little, and a busy machine deceives the clock
_SECONDS_TO_DECIDE = 1.0


def resolve_device(name: Device) -> torch.device:
    """The torch device that `name` stands for; "auto" is the fastest one here.

    Raises:
        UserError: the device is not available on this machine.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device in ("cuda", "mps", "cpu") if available[device])
    if not available.get(name, False):
        here = ", ".join(device for device, present in available.items() if present)
        raise UserError(f"the device {name!r} is not available here (available: {here}); use --device auto")
    return torch.device(name)


def has_native_bfloat16(device: torch.device) -> bool:
    """Whether the processor multiplies bfloat16 itself; where it only emulates that, float32 is many times faster."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return bool(_processor_flags() & {"avx512_bf16", "amx_bf16", "bf16"})
    return False


def inference_dtype(encoder: Encoder, device: torch.device) -> torch.dtype:
    """bfloat16 where the processor has it and a timed batch of this encoder gains more than 30 % by it; else float32.

    The answer depends on how busy the machine is: ask once and record it, since the features differ slightly.

    Args:
        encoder: in evaluation mode, its weights on `device`.
        device: see `resolve_device`.
    """
    if not has_native_bfloat16(device):
        return torch.float32
    inputs = {key: value.to(device) for key, value in encoder.example(8 if encoder.modality == "text" else 4).items()}
    best = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    start = time.perf_counter()
    for _ in range(5):  # in turns, so that a neighbour's burst of work hits both; the first round warms up
        for dtype in best:
            best[dtype] = min(best[dtype], _seconds(encoder, inputs, device, dtype))
        if time.perf_counter() - start > _SECONDS_TO_DECIDE:
            break
    return torch.bfloat16 if best[torch.bfloat16] * _SPEEDUP_WANTED < best[torch.float32] else torch.float32


def precision(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """A context in which an encoder computes in `dtype`."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


def _seconds(encoder: Encoder, inputs: dict[str, torch.Tensor], device: torch.device, dtype: torch.dtype) -> float:
    _wait_for(device)
    start = time.perf_counter()
    with torch.inference_mode(), precision(device, dtype):
        encoder(inputs)
    _wait_for(device)
    return time.perf_counter() - start


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _processor_flags() -> set[str]:
    if not sys.platform.startswith("linux"):
        return set()
    try:
        content = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return set()
    lines = [line for line in content.splitlines() if line.startswith(("flags", "Features"))]
    return set(lines[0].partition(":")[2].split()) if lines else set()


def recall_precision(encoder: Encoder, device: torch.device, cache: Path | None) -> str:
    """`inference_dtype` as "float32" or "bfloat16", timed once per machine if there is a cache folder to remember it.

    Cached features belong to one precision: a choice that changed with the load of the machine would waste them.
    """
    target = cache / "precision.json" if cache is not None else None
    key = f"{encoder.fingerprint()[:32]} {device} {torch.get_num_threads()} {platform.machine()}"
    try:
        remembered = read_record(target, _FORMAT)["chosen"] if target is not None else {}
    except (FileNotFoundError, DamageError, KeyError):
        remembered = {}
    choice = remembered.get(key)
    if choice == "float32" or (choice == "bfloat16" and has_native_bfloat16(device)):
        return str(choice)
    choice = str(inference_dtype(encoder, device)).removeprefix("torch.")
    if target is not None:
        make_folder(target.parent)
        write_record(target, {"chosen": remembered | {key: choice}}, _FORMAT)
    return choice
