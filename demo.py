"""Open the search page on the file that train.py saved.

python demo.py
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))  # works without `pip install .`, too

from likewise.interruption import exit_on_interrupt, explain_interrupt

if __name__ == "__main__":
    exit_on_interrupt("demo.py: stopped")

from likewise.errors import UserError
from likewise.files import explain_system_error
from likewise.model.portable import load_portable
from likewise.progress import print_logs, report_error, say
from likewise.retrieval.index import Index
from likewise.serving.gradio_page.page import create_page
from likewise.serving.gradio_page.server import serve
from likewise.serving.thumbnails import thumbnails_in


def main(arguments: list[str] | None = None) -> int:
    """Run the script; returns the exit status."""
    options = _parser().parse_args(arguments)
    print_logs()
    try:
        with explain_interrupt("demo.py: stopped"):
            run(options)
    except UserError as error:
        report_error("demo.py", error)
        return 2
    except OSError as error:
        if (explained := explain_system_error(error)) is None:
            raise
        report_error("demo.py", explained)
        return 2
    return 0


def run(options: argparse.Namespace) -> None:
    """Serve the items as they were encoded, until Ctrl+C."""
    with TemporaryDirectory(prefix="likewise-demo-") as folder:
        model, items = load_portable(options.weights, Path(folder), options.device)
        index = Index.from_vectors(model, items.vectors, items.table, pictures=items.pictures)
        say(f"Opened {len(index):,} encoded items from {options.weights}")
        page = create_page(index, examples=index.example_titles(), thumbnails=thumbnails_in(Path(folder)))
        serve(page, options.host, options.port, open_browser=not options.no_browser)


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        report_error(self.prog, f"{message} (--help says more)")
        self.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = _OneLineParser(prog="demo.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--weights",
        type=Path,
        default=Path("model_weights.pt"),
        metavar="FILE",
        help="from train.py (model_weights.pt)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="an address of this machine (127.0.0.1)")
    parser.add_argument("--port", type=int, default=7860, help="0 takes any that is free (7860)")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto", help="where to compute")
    parser.add_argument("--no-browser", "--no_browser", action="store_true", help="only serve the page")
    return parser


if __name__ == "__main__":
    sys.exit(main())
