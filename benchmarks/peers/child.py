"""One system in a process of its own: it learns on its clock, answers the test questions and writes both down."""

import argparse
import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system")
    parser.add_argument("file", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--started", type=float, default=time.time())
    parser.add_argument("--budget", type=float, required=True)
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--settings", type=json.loads, default={})
    parser.add_argument("--options", default=None, help="of likewise train, for a system that is likewise")
    parser.add_argument("--cache", type=Path, default=None, help="features that other trainings use, too")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # before torch is imported, here and in child processes
    if arguments.clock == "processor":
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # threads that spin while others use the processor would be counted
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["HF_HUB_OFFLINE"] = "1"

    from likewise.errors import UserError
    from peers.clock import Clock, processor_seconds
    from peers.task import Task

    shared_by = arguments.threads if arguments.clock == "processor" else None
    clock = Clock(arguments.started, arguments.budget, shared_by)
    task = Task(arguments.file, arguments.work, clock, arguments.seed, arguments.threads, arguments.cache)
    try:
        seen, notes = _train(arguments.system, task, arguments.settings, arguments.options)
    except UserError as error:
        sys.exit(str(error))
    seen.write(arguments.work / "seen.npz")
    notes |= {"wall seconds": time.time() - arguments.started, "processor seconds": processor_seconds()}
    (arguments.work / "notes.json").write_text(json.dumps(notes), encoding="utf-8")


def _train(system, task, settings, options):  # types would import torch before its threads are set
    """The system's answers, and notes on how it went."""
    from likewise.errors import MissingExtraError

    if options is not None:
        from peers import ours

        return ours.train(task, options, nameless=system == "likewise without class names")
    if system == "BM25":
        from peers import words

        return words.bm25(task)
    if system in ("untrained", "ridge", "kernel ridge"):
        from peers import simple

        return getattr(simple, system.replace(" ", "_"))(task)
    from peers.settings import PeerSettings

    if system == "two-tower":
        from peers import two_tower as peer
    else:
        try:
            from peers import sentences as peer
        except ImportError as error:
            raise MissingExtraError(error.name or "sentence-transformers", "benchmarks") from None
    return peer.train(task, PeerSettings.parse(settings))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main()
