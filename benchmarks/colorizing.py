"""What colorizing costs: large photos in seconds and memory, and many small ones against their limit.

    python -m benchmarks.colorizing --model natural

Each large photo is colorized by test.py in a process of its own, which gives its peak memory. The time for a photo of
one pixel is that of starting; the import of TensorFlow and Keras, most of it, is timed alone, too, without garbage
collection, as the scripts import. Small photos are colorized in this process. Decoding, the network and encoding are
also timed alone, and the sum of the three is given as a share of the whole.
"""

import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from common.command_line import parse, prepare_imports, run

if __name__ == "__main__":
    prepare_imports()

import cv2
import keras
import numpy as np

import models
from benchmarks.timing import Rounds, measure_command, print_table, show, time_rounds
from colorizing.batching import LARGEST, Batcher
from colorizing.conversion import Converter
from colorizing.jobs import plan_jobs, process_photos
from colorizing.photo import Pipeline
from colorizing.pixels import to_gray
from common import images
from common.images import read_photo
from common.options import Model
from configs import MODEL, SAMPLES
from models.precision import choose_policy

PHOTO = SAMPLES / "castle-forest.jpg"
# Times that starting is measured; the fastest counts.
STARTS = 3
# Sizes of the large photos, each as an 8-bit JPEG and as a 16-bit TIFF, and number of the small ones.
MEGAPIXELS = (1, 12, 100)
SMALL_PHOTOS = 1000


@dataclass(frozen=True)
class Options(Rounds):
    """Measures what colorizing large and many photos costs."""

    model: Model = MODEL


def write_gray(path, megapixels, depth=np.uint8):
    """Writes a sample photo in gray, enlarged to a number of megapixels. Returns the path."""
    gray = to_gray(read_photo(PHOTO)).astype(depth) * (np.iinfo(depth).max // 255)
    scale = (megapixels * 1e6 / gray.size) ** 0.5
    images.write_photo(path, cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC))
    return path


def measure_large(folder, model):
    """Prints seconds and peak memory by size."""
    images.write_photo(folder / "pixel.png", np.zeros((1, 1), np.uint8))

    def colorize(path):
        return measure_command([sys.executable, "test.py", path, "-o", folder / "out", "--model", model])

    imports = [sys.executable, "-c", "import gc; gc.disable(); import tensorflow, keras"]
    importing, _ = min(measure_command(imports) for _ in range(STARTS))
    startup, memory = min(colorize(folder / "pixel.png") for _ in range(STARTS))
    print(f"importing TensorFlow and Keras: {importing:.1f} s; start-up: {startup:.1f} s, {memory:.2f} GB\n")
    rows = []
    for megapixels in MEGAPIXELS:
        row = [str(megapixels)]
        for depth, suffix in ((np.uint8, "jpg"), (np.uint16, "tif")):
            seconds, memory = colorize(write_gray(folder / f"{megapixels}.{suffix}", megapixels, depth))
            row += [f"{seconds - startup:.1f} s", f"{memory:.2f} GB"]
        rows.append(row)
    print_table(["megapixels", "8-bit JPEG", "peak memory", "16-bit TIFF", "peak memory"], rows)


def measure_small(folder, trained, rounds):
    """Prints what share of the time on many small photos goes into decoding, the network and encoding."""
    keras.config.set_dtype_policy(choose_policy())
    model = models.load(trained)
    photo = cv2.resize(to_gray(read_photo(PHOTO)), (150, 150), interpolation=cv2.INTER_AREA)
    for number in range(SMALL_PHOTOS):
        images.write_photo(folder / "small" / f"{number}.jpg", np.roll(photo, number, axis=1))
    plan = plan_jobs([folder / "small"], folder / "out")
    pipeline = Pipeline(Batcher(model))
    colored = replace(images.read(plan.jobs[0][0]), pixels=pipeline(photo))
    batch = np.repeat(pipeline.reduce(photo)[None], LARGEST, axis=0)

    def colorize(photo, path):
        return replace(photo, pixels=pipeline(photo.pixels))

    def in_threads(function):
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(function, plan.jobs))

    stages = {
        "everything": lambda: process_photos(plan.jobs, colorize, plan.record, Converter()),
        "decoding": lambda: in_threads(lambda job: images.read(job[0])),
        "network": lambda: [model.colorize(batch).numpy() for _ in range(-(-SMALL_PHOTOS // LARGEST))],
        "encoding": lambda: in_threads(lambda job: images.write(job[1], colored)),
    }
    times = time_rounds(stages, rounds)
    limit = sum(times[name] for name in list(stages)[1:])
    print(f"{SMALL_PHOTOS} photos of 150x150: {show(SMALL_PHOTOS / times['everything'], 0)} photos/s")
    print(", ".join(f"{name} {show(1000 * values / SMALL_PHOTOS, 2)} ms" for name, values in times.items()), "a photo")
    print(f"share of decoding, network and encoding {show(limit / times['everything'], 2)}")


def main():
    options = parse(Options, "-m benchmarks.colorizing")
    with tempfile.TemporaryDirectory() as folder:
        measure_large(Path(folder), options.model)
        measure_small(Path(folder), options.model, options.rounds)


if __name__ == "__main__":
    run(main)
