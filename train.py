"""Learn from a catalogue, encode its items, and save all that demo.py needs as one file.

python train.py --data path/to/products.csv
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))  # works without `pip install .`, too

from likewise.interruption import exit_on_interrupt, explain_interrupt

if __name__ == "__main__":
    exit_on_interrupt("train.py: stopped")

from likewise.catalog.catalog import Catalog
from likewise.catalog.columns import parse_mapping
from likewise.config import OWN_FIELDS, TrainConfig, add_fields
from likewise.errors import UserError
from likewise.evaluation.results import RunMetrics
from likewise.files import explain_system_error
from likewise.model.model import Model
from likewise.model.portable import EncodedItems, save_portable
from likewise.progress import print_logs, report_error, say
from likewise.training.train import train


def main(arguments: list[str] | None = None) -> int:
    """Run the script; returns the exit status."""
    options = _parser().parse_args(arguments)
    print_logs()
    try:
        with explain_interrupt(f"train.py: stopped; {options.output} is as it was"):
            run(options)
    except UserError as error:
        report_error("train.py", error)
        return 2
    except OSError as error:
        if (explained := explain_system_error(error)) is None:
            raise
        report_error("train.py", explained)
        return 2
    return 0


def run(options: argparse.Namespace) -> RunMetrics:
    """Train afresh in a temporary folder; only a finished training replaces the weights. Returns its figures."""
    if not options.output.absolute().parent.is_dir():
        raise UserError(f"there is no folder {options.output.parent} to save {options.output.name} in")
    settings = {name: getattr(options, name) for name in ("epochs", "batch_size", "seed", "device")}
    model = {"fields": add_fields(OWN_FIELDS, options.field)}
    config = TrainConfig.parse(settings | {"model": model}, source="options")
    columns = parse_mapping(options.map)
    catalog = Catalog.read(options.data, columns=columns, max_items=options.max_samples, seed=options.seed)
    for line in catalog.report.lines():
        say(line)
    with TemporaryDirectory(prefix="likewise-training-") as folder:
        trained = train(catalog, Path(folder) / options.output.stem, config)
        model = Model.load(trained.path, options.device)
        vectors = model.encode_items(catalog)
        pictures = [shown[0] if shown else None for shown in catalog.pictures]
        save_portable(options.output, model, EncodedItems(vectors, catalog.table, pictures), cache=catalog.cache)
    say(f"Saved the weights and {len(catalog):,} encoded items as {options.output}; see them with python demo.py")
    return trained.metrics


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        report_error(self.prog, f"{message} (--help says more)")
        self.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = _OneLineParser(prog="train.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="CSV, TSV, Parquet or JSON Lines")
    parser.add_argument(
        "--map", action="append", default=[], metavar="OURS=THEIRS", help="such as title=product_name (repeatable)"
    )
    parser.add_argument(
        "--field", action="append", default=[], metavar="NAME=KIND", help="such as price=number (repeatable)"
    )
    parser.add_argument("--epochs", type=int, default=2, help="passes over the samples (2)")
    parser.add_argument("--batch_size", "--batch-size", type=int, default=8, help="samples per step (8)")
    parser.add_argument("--max_samples", "--max-samples", type=int, default=2000, help="drawn with the seed (2000)")
    parser.add_argument("--seed", type=int, default=0, help="decides samples, split and training (0)")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto", help="where to compute")
    parser.add_argument(
        "--output", type=Path, default=Path("model_weights.pt"), metavar="FILE", help="the weights (model_weights.pt)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
