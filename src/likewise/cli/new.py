"""The command that makes a run without a training."""

from likewise.cli.options import CatalogOptions, Device, Run
from likewise.progress import say


def new(run: Run, /, *, preset: str = "lite", device: Device = "auto") -> None:
    """Make a run with an untrained model, which finds items by what its encoders know already.

    Example: likewise new runs/photos

    Parameters
    ----------
    preset
        Encoders to use: lite (default), scratch, multilingual, e5, dinov2, clip or siglip2.
    """
    from likewise.catalog.catalog import default_cache
    from likewise.evaluation.untrained_run import create_run, warn_of_limits

    cache = CatalogOptions().find_cache() or default_cache()
    model = create_run(run, preset, device=device, cache=cache)
    say(f"{run} is ready, with nothing trained: fill it with likewise index {run} --data CATALOGUE")
    warn_of_limits(model, preset)
