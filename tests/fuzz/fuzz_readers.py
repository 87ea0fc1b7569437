"""Fuzz the readers for as long as you like: `make fuzz MINUTES=60`.

Each reader has a process of its own, guided by coverage (atheris). What a reader fails on is kept in tests/fuzz/corpus,
where the tests find it; inputs that reach new code are kept in .fuzz, from where the next run goes on.
"""

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests")]
_SLOWEST = 20  # seconds for one input
_MOST_MEMORY = 1_500  # MB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="for each reader")
    parser.add_argument("--readers", nargs="*", help="default: all")
    parser.add_argument("--only", help=argparse.SUPPRESS)  # the one that a process of its own fuzzes
    arguments = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        sys.exit("atheris is not installed: pip install atheris")
    if arguments.only:
        _fuzz(arguments.only, arguments.minutes)
        return
    from fuzz.readers import READERS

    unknown = set(arguments.readers or ()) - set(READERS)
    if unknown:
        sys.exit(f"there is no reader {sorted(unknown)[0]!r}; there are: {', '.join(READERS)}")
    failed = []
    for name in arguments.readers or READERS:
        sys.stderr.write(f"== {name}, {arguments.minutes:g} minutes\n")
        command = [sys.executable, __file__, "--only", name, "--minutes", str(arguments.minutes)]
        if subprocess.run(command).returncode:
            failed.append(name)
    sys.exit(f"failed, see tests/fuzz/corpus: {', '.join(failed)}" if failed else 0)


def _fuzz(name: str, minutes: float) -> None:
    import atheris

    with atheris.instrument_imports(include=["likewise"]):
        from fuzz.readers import CORPUS, READERS

    reader, folder = READERS[name], name.replace(" ", "-")
    found, grown = CORPUS / folder, ROOT / ".fuzz" / folder
    for path in (found, grown):
        path.mkdir(parents=True, exist_ok=True)
    for number, example in enumerate(reader.examples()):
        (grown / f"example-{number}").write_bytes(example)
    options = [f"-max_total_time={int(60 * minutes)}", f"-timeout={_SLOWEST}", f"-rss_limit_mb={_MOST_MEMORY}"]
    options += [f"-artifact_prefix={found}/", "-max_len=100000", "-print_final_stats=1", "-verbosity=0"]
    atheris.Setup([__file__, *options, str(grown), str(found)], reader.try_bytes)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
