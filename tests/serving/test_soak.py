"""A real server under load, with rebuilds, writes and vanishing clients: LIKEWISE_SOAK_SECONDS=600 for ten minutes."""

import os
import sys

import pytest
from serving.soak import Soak, resident_megabytes, serving_run, write_catalogues

from likewise.model.model import Model
from likewise.retrieval.index import Index

SECONDS = float(os.environ.get("LIKEWISE_SOAK_SECONDS", "60"))
MOST_GROWTH = 40.0  # megabytes in the second half: below it, what allocators keep hides everything else


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads memory from /proc")
def test_a_server_bears_load_rebuilds_writes_and_vanishing_clients(tmp_path):
    run, catalogues = build_run(tmp_path)
    log = tmp_path / "serve.log"
    with serving_run(run, log) as (port, pid):
        before = resident_megabytes(pid)
        report = Soak(port, pid, run, catalogues, SECONDS).go()
    counts = f"{report.rebuilds} rebuilds, {report.writes} writes, {report.growth:.1f} MB more"
    sys.stdout.write(f"{counts}, {dict(report.outcomes)}\n")
    assert not report.errors
    assert not report.server_errors, log.read_text(encoding="utf-8")[-3000:]
    assert report.outcomes[("search", "200")] > 10 * SECONDS
    assert report.rebuilds >= 2
    assert not report.failed_rebuilds
    assert not report.lost
    assert report.writes != 0, "nothing was written after the last rebuild"
    assert report.is_ready
    assert report.growth < MOST_GROWTH, (before, report.memory)
    assert "Traceback" not in log.read_text(encoding="utf-8")


def build_run(folder):
    """A run with a tiny model and an index of the first catalogue."""
    import likewise as lw

    catalogues = write_catalogues(folder)
    run = folder / "run"
    Model.create("scratch", "cpu").save(run)
    with Index.build(Model.load(run), lw.Catalog.read(catalogues[0]), run):
        return run, catalogues
