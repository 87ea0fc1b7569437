"""Ctrl+C: one sentence on stderr and exit status 130, from the first line of the program on.

Imports nothing that takes time, so that the program can call `exit_on_interrupt` before it imports anything else.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_EXIT_STATUS = 130  # what a shell reports for a program that Ctrl+C has ended


def exit_on_interrupt(sentence: str) -> None:
    """End the process at once on Ctrl+C, as long as there is nothing to finish: while libraries are being imported.

    An exception would not do: C extensions that are interrupted in the middle of their imports turn it into others.
    """

    def end(signal_number: int, frame: FrameType | None) -> None:
        os.write(2, f"\n{sentence}\n".encode())
        os._exit(_EXIT_STATUS)

    signal.signal(signal.SIGINT, end)


@contextmanager
def explain_interrupt(sentence: str) -> Iterator[None]:
    """End the program with a sentence if Ctrl+C stops the block; whatever the block has to finish, it finishes.

    Libraries that the block imports may turn a KeyboardInterrupt into another exception, so any that follows counts.
    """
    interrupted = False

    def interrupt(signal_number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    has_signals = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, interrupt) if has_signals else None
    try:
        yield
    except (KeyboardInterrupt, Exception) as error:
        if not interrupted and not isinstance(error, KeyboardInterrupt):
            raise
        sys.stderr.write(f"\n{sentence}\n")  # noqa: TID251
        sys.exit(_EXIT_STATUS)
    finally:
        if has_signals:
            signal.signal(signal.SIGINT, before)
