"""A folder of photos from the command to the first answer, and pictures from a bucket compared with http.

python benchmarks/photos.py            the stamps of Tux Paint (apt-get install tuxpaint-stamps-default)
python benchmarks/photos.py --bucket   10,000 pictures from a stand-in for S3, which runs in a process of its own
"""

import argparse
import io
import json
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from catalogues.stamps import STAMPS
from measuring import HERE, kept, likewise, record
from PIL import Image

sys.path.insert(0, str(HERE.parent / "tests"))  # the stand-in for S3

from catalog.s3_server import S3Server

from likewise.catalog.images.resolve import resolve_pictures
from likewise.catalog.report import Report
from likewise.config import ImageSettings
from likewise.progress import quiet

_QUERY = "a horse"
_SIDE = 160  # pixels; about 10 KB a picture, so that requests count and not bytes


def main() -> None:
    arguments = _arguments()
    figures = kept("photos")
    if arguments.bucket:
        figures["bucket"] = measure_bucket(arguments.pictures, arguments.rounds)
    else:
        figures["folder"] = measure_folder(arguments.folder)
    record("photos", {name: figures[name] for name in ("folder", "bucket") if name in figures})


def measure_folder(folder: Path) -> dict[str, Any]:
    """Seconds from the command to a page that answers, then to the hits of a search, with an empty cache and again."""
    with TemporaryDirectory() as cache:
        run = Path(cache, "run")
        command = ("photos", folder, "--output", run, "--cache", cache, "--check", "--port", "0")
        before = _measure_work()
        first = likewise(*command)
        search = likewise("search", run, _QUERY, "-k", "3", "--json")
        work = _measure_work() - before
        second = likewise(*command)
    return {
        "pictures": sum(path.suffix == ".png" for path in folder.rglob("*")),
        "command to a page that answers, seconds": round(first.seconds, 1),
        "the same again, seconds": round(second.seconds, 1),
        "a search by words in a process of its own, seconds": round(search.seconds, 1),
        "command to first answer, seconds (at most 90)": round(first.seconds + search.seconds, 1),
        "command to first answer, seconds of one core": round(work, 1),
        "load of the machine": round(os.getloadavg()[0], 1),
        "titles found": [hit["title"] for hit in json.loads(search.output)],
    }


def _measure_work() -> float:
    """Seconds of a core that child processes have taken, which others on a busy machine hardly change."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure_bucket(pictures: int, rounds: int) -> dict[str, Any]:
    """Pictures per second over http and from the bucket, in turns; the median of the ratios."""
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=_serve, args=(pictures, theirs), daemon=True)
    server.start()
    environment: dict[str, str] = ours.recv()
    os.environ.update(environment)
    url = environment["AWS_ENDPOINT_URL"]
    rates: dict[str, list[float]] = {"http": [], "s3": []}
    for _ in range(rounds):
        rates["http"].append(_measure_rate(pictures, lambda number: f"{url}/public/{number}.jpg"))
        rates["s3"].append(_measure_rate(pictures, lambda number: f"s3://shop/{number}.jpg"))
    ours.send(None)
    server.join()
    ratios = [s3 / http for s3, http in zip(rates["s3"], rates["http"], strict=True)]
    return {
        "pictures": pictures,
        "pictures per second": {way: [round(rate, 1) for rate in found] for way, found in rates.items()},
        "ratio of the rates (at least 0.9)": round(statistics.median(ratios), 2),
    }


def _measure_rate(pictures: int, address: Callable[[int], str]) -> float:
    settings = ImageSettings(allow_private_hosts=True, allow_buckets=True)
    with TemporaryDirectory() as cache, quiet():
        started = time.perf_counter()
        found = resolve_pictures(
            [[address(number)] for number in range(pictures)],
            base=Path(),
            settings=settings,
            cache=Path(cache),
            report=(report := Report()),
        )
        seconds = time.perf_counter() - started
    if not all(found):
        sys.exit(f"not all pictures came: {report.as_dict()['problems']}")
    return pictures / seconds


def _serve(pictures: int, connection: Connection) -> None:
    """The stand-in, with the same pictures in a bucket that needs a signature and in one that does not."""
    noise = np.random.default_rng(0)
    with S3Server() as server:
        for number in range(pictures):
            file = io.BytesIO()
            small = noise.integers(0, 255, (_SIDE // 4, _SIDE // 4, 3), dtype=np.uint8)
            Image.fromarray(small).resize((_SIDE, _SIDE)).save(file, "JPEG")
            server.objects[f"shop/{number}.jpg"] = server.objects[f"public/{number}.jpg"] = file.getvalue()
        connection.send(server.environment)
        connection.recv()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=STAMPS, help="folder of pictures (the stamps)")
    parser.add_argument("--bucket", action="store_true", help="measure pictures from a bucket instead")
    parser.add_argument("--pictures", type=int, default=10_000, help="in the bucket (10,000)")
    parser.add_argument("--rounds", type=int, default=3, help="in turns over http and from the bucket (3)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
