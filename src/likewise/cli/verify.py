"""The command that verifies checksums."""

import sys
from dataclasses import asdict

from likewise.cli.options import AsJson
from likewise.progress import print_json, print_table


def verify(target: str, /, *, as_json: AsJson = False) -> None:
    """Verify the checksums of every file of a run or of a local store; exits with status 1 if one is damaged.

    Example: likewise verify runs/products

    Parameters
    ----------
    target
        Run folder, folder of a store, or URI such as faiss:PATH or lancedb:PATH.
    """
    from rich.table import Table

    from likewise.progress import Bar
    from likewise.retrieval.verification import verify

    with Bar("Verifying bytes", None) as bar:
        parts = verify(target, bar.advance)
    if as_json:
        print_json([{**asdict(part), "folder": str(part.folder)} for part in parts])
    else:
        table = Table("part", "files", "MB", "", box=None, pad_edge=False)
        for part in parts:
            table.add_row(part.part, f"{part.files:,}", f"{part.bytes / 1e6:,.1f}", part.damage or "whole")
        print_table(table)
    if any(part.damage for part in parts):
        sys.exit(1)
