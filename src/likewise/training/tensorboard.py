"""The training history as TensorBoard events, where the user wants them."""

from pathlib import Path
from types import TracebackType
from typing import Any

from likewise.errors import MissingExtraError

_SHOWN = ("loss", "validation", "learning_rate", "temperature")


class EpochLog:
    """A context manager that receives every entry of the history."""

    def __init__(self, run: Path, enabled: bool) -> None:
        self._writer: Any = None
        if enabled:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise MissingExtraError("tensorboard", "tensorboard") from None
            self._writer = SummaryWriter(str(run / "training" / "tensorboard"))

    def __enter__(self) -> "EpochLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def __call__(self, entry: dict[str, Any]) -> None:
        if self._writer is not None:
            for name in _SHOWN:
                if name in entry:
                    self._writer.add_scalar(name, entry[name], entry["epoch"])
