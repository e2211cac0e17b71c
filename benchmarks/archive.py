"""How fast archive.py is beside test.py.

    python -m benchmarks.archive --photos 1500

Photos are made from those that ship with the project.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.timing import measure_command, print_table
from common.command_line import parse, run
from common.images import read_photo, write_photo
from common.options import Count
from configs import SAMPLES
from data.photos import cut, scale_to_cover


@dataclass(frozen=True)
class Options:
    """Measures the throughput of archive.py and test.py."""

    photos: Count = 5000
    """Photos to colorize."""


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


def main():
    options = parse(Options, "-m benchmarks.archive")
    rows, rates = [], {}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        make_photos(folder / "in", options.photos)
        for script, arguments in (("test.py", ["--output"]), ("archive.py", [])):
            seconds, _ = measure_command([sys.executable, script, folder / "in", *arguments, folder / script])
            rates[script] = rate(folder / script)
            share = rates[script] / rates["test.py"]
            rows.append([script, f"{rates[script]:.1f}", f"{seconds:.0f} s", f"{share:.2f}"])
    print_table(["", "photos a second", "with start and end", "of test.py's rate"], rows)


if __name__ == "__main__":
    run(main)
