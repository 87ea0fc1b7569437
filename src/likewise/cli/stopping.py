"""What a command says when Ctrl+C has stopped it."""

from collections.abc import Sequence


def stop_sentence(arguments: Sequence[str]) -> str:
    """The sentence for a command line, which tells how a training goes on."""
    if not arguments or arguments[0] != "train":
        return "likewise: stopped"
    command = "the same command without --restart" if "--restart" in arguments else "the same command again"
    return f"likewise: stopped; run {command} to continue the training"
