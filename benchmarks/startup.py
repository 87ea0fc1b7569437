"""`import likewise` and `likewise --help` beside `import torch`, each the median of several processes, in turns."""

import statistics
import sys

from measuring import record, run

_ROUNDS = 7


def main() -> None:
    commands = {
        "import torch": (sys.executable, "-c", "import torch"),
        "import likewise": (sys.executable, "-c", "import likewise"),
        "likewise --help": (sys.executable, "-m", "likewise.cli", "--help"),
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(_ROUNDS):
        for name, command in commands.items():
            times[name].append(run(*command).seconds)
    seconds = {name: round(statistics.median(measured), 3) for name, measured in times.items()}
    torch = seconds["import torch"]
    ratios = {name: round(value / torch, 2) for name, value in seconds.items() if name != "import torch"}
    record("startup", {"seconds": seconds, "ratio to import torch (at most 0.5)": ratios})


if __name__ == "__main__":
    main()
