"""The training history as TensorBoard events, where the user wants them."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from likewise.errors import MissingExtraError
from likewise.files import cannot_write

_SHOWN = ("loss", "validation", "learning_rate", "temperature")


class EpochLog:
    """A context manager that receives every entry of the history."""

    def __init__(self, run: Path, enabled: bool) -> None:
        self._writer: Any = None
        self._folder = run / "training" / "tensorboard"
        if enabled:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise MissingExtraError("tensorboard", "tensorboard") from None
            with self._naming_errors():
                self._writer = SummaryWriter(str(self._folder))

    def __enter__(self) -> "EpochLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            with self._naming_errors() if error is None else suppress(OSError):
                self._writer.close()

    def __call__(self, entry: dict[str, Any]) -> None:
        if self._writer is not None:
            with self._naming_errors():
                for name in _SHOWN:
                    if name in entry:
                        self._writer.add_scalar(name, entry[name], entry["epoch"])

    @contextmanager
    def _naming_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_write(self._folder, error) from None
