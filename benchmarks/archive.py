"""How fast archive.py is beside test.py, and the memory of its driver.

    python -m benchmarks.archive --photos 1500 --parts throughput

Photos are made from those that ship with the project.
"""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from benchmarks.timing import measure_command, print_table
from common.command_line import parse, run
from common.images import read_photo, write_photo
from common.options import Count
from configs import SAMPLES
from data.photos import cut, scale_to_cover

Part = Literal["throughput", "memory"]
# Empty files that are listed to measure the driver's memory.
EMPTY_FILES = 1_000_000


@dataclass(frozen=True)
class Options:
    """Measures the throughput of archive.py, and the memory of its driver."""

    photos: Count = 5000
    """Photos to colorize."""
    parts: tuple[Part, ...] = get_args(Part)
    """What to measure."""


def make_photos(folder, count):
    """Writes photos of a third of a megapixel, random crops of the sample photos, into a hundred folders."""
    samples = [read_photo(path) for path in sorted(SAMPLES.glob("*.jpg"))]
    random = np.random.default_rng(0)
    for number in range(count):
        size = (480, 640) if number % 4 else (640, 480)
        photo = scale_to_cover(samples[number % len(samples)], size, margin=2)
        write_photo(folder / f"{number % 100:02}" / f"{number:06}.png", cut(photo, size, *random.random(2)))


def rate(folder):
    """Photos a second, from the times of the middle four fifths of the results, so without start and end."""
    times = np.sort([path.stat().st_mtime for path in folder.rglob("*.png")])
    first, last = len(times) // 10, len(times) * 9 // 10
    return (last - first) / (times[last] - times[first])


def measure_throughput(folder, count):
    """Prints photos a second of test.py and archive.py on the same photos."""
    make_photos(folder / "in", count)
    rows, rates = [], {}
    for script, options in (("test.py", ["--output"]), ("archive.py", [])):
        seconds, _ = measure_command([sys.executable, script, folder / "in", *options, folder / script])
        rates[script] = rate(folder / script)
        share = rates[script] / rates["test.py"]
        rows.append([script, f"{rates[script]:.1f}", f"{seconds:.0f} s", f"{share:.2f}"])
    print_table(["", "photos a second", "with start and end", "of test.py's rate"], rows)


def measure_memory(folder):
    """Prints the peak memory of the driver of an archive of empty files, which all fail."""
    for number in range(EMPTY_FILES):
        path = folder / "empty" / f"{number // 1000:04}" / f"scan-{number:07}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    listing = [sys.executable, "archive.py", folder / "empty", folder / "listed"]
    seconds, peak = measure_command(listing, status=1, stderr=subprocess.DEVNULL)
    print(f"{EMPTY_FILES} empty files: {seconds:.0f} s, {1000 * peak:.0f} MB in the driver at most")


def main():
    options = parse(Options, "-m benchmarks.archive")
    with tempfile.TemporaryDirectory() as folder:
        if "throughput" in options.parts:
            measure_throughput(Path(folder), options.photos)
        if "memory" in options.parts:
            measure_memory(Path(folder))


if __name__ == "__main__":
    run(main)
