"""What colour hints gain.

    python -m benchmarks.hints datasets/natural/test

This follows Zhang et al., *Real-Time User-Guided Image Colorization with Learned Deep Priors*, SIGGRAPH 2017: hints
at random places, each with the photo's mean ab of 7x7 pixels there. The hints of one draw are nested. It compares three
ways to spread a correction: `hints`, the package's; `lightness`, the same without the network's ab and features; and
`distance`, also without lightness.
"""

from dataclasses import dataclass
from pathlib import Path

from common.command_line import parse, prepare_imports, run
from common.options import Count, IfGiven

if __name__ == "__main__":
    prepare_imports()

import keras
import numpy as np
import tyro
from tqdm import tqdm

import models
from benchmarks.timing import print_table
from colorizing.hints import NOISE, Hint, describe, spread
from colorizing.photo import Pipeline
from colorizing.pixels import shrink
from common.images import read_photo
from configs import MODEL
from data.photos import find_photos
from evaluation.metrics import psnr
from evaluation.scores import describe_mean
from models.precision import choose_policy
from utils import ab_from_rgb

COUNTS = (0, 1, 2, 5, 10, 20, 50, 100)
# Draws of places for each photo.
DRAWS = 5
# Shorter side in pixels that photos are reduced to.
SIDE = 256
# Side in pixels of the patch whose mean ab a hint has.
PATCH = 7
# Ways to spread a correction, see above: the channels of `describe` that each uses, and the variance of hints at which
# it gains most.
METHODS = {"hints": (None, NOISE), "lightness": (3, 0.1), "distance": (2, 0.3)}


@dataclass(frozen=True)
class Options:
    """Measures PSNR and ab error by the number of hints."""

    photos: tyro.conf.Positional[Path]  # Folder of colour photos, searched recursively.
    models: tuple[str, ...] = (MODEL,)  # Trained models.
    count: IfGiven[Count] = None  # Photos, evenly chosen from all. Default: all.


def draw_hints(ab, count, random):
    """Hints at random places with a photo's own colours: the mean of PATCH x PATCH pixels of ab, [height, width, 2]."""
    height, width = ab.shape[:2]
    rows, columns = random.integers(0, height, count), random.integers(0, width, count)
    reach = PATCH // 2
    hints = []
    for row, column in zip(rows, columns, strict=True):
        patch = ab[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]
        hints.append(Hint((column + 0.5) / width, (row + 0.5) / height, tuple(patch.mean(axis=(0, 1)).tolist())))
    return hints


def measure_gain(pipeline, photo, seed):
    """PSNR in dB and mean distance in ab of one photo, means over the draws: float [METHODS, COUNTS, 2]."""
    truth = np.asarray(ab_from_rgb(photo))
    lightness = pipeline.reduce(photo)
    ab, features = pipeline.predict(lightness[None])[0], pipeline.features(lightness)

    def score(corrected):
        result = np.ascontiguousarray(pipeline.paint(photo, lightness, corrected))
        error = np.linalg.norm(np.asarray(ab_from_rgb(result)) - truth, axis=-1).mean()
        return psnr(result[None], photo[None])[0], error

    draws = [draw_hints(truth, max(COUNTS), np.random.default_rng((seed, draw))) for draw in range(DRAWS)]
    start, vectors = score(ab), describe(ab, lightness, features)

    def score_with(hints, channels, variance):
        return score(spread(ab, vectors[..., :channels], hints, variance)) if hints else start

    scores = [
        [[score_with(hints[:count], *method) for count in COUNTS] for hints in draws] for method in METHODS.values()
    ]
    return np.mean(scores, axis=1)


def report(options):
    """Prints a table and the gains of ten hints for each model."""
    paths = find_photos(options.photos).paths
    count = min(options.count or len(paths), len(paths))
    paths = [paths[number * len(paths) // count] for number in range(count)]
    for name in options.models:
        pipeline = Pipeline(models.load(name))
        bar = tqdm(paths, unit=" photos", leave=False, disable=None)
        photos = (read_photo(path) for path in bar)
        photos = (shrink(photo, SIDE / min(photo.shape[:2])) for photo in photos)
        # [photos, METHODS, COUNTS, 2]
        figures = np.stack([measure_gain(pipeline, photo, seed) for seed, photo in enumerate(photos)])
        # A gray photo that comes out gray has an infinite PSNR, and no gain.
        figures = figures[np.isfinite(figures).all(axis=(1, 2, 3))]
        policy = pipeline.model.dtype_policy.name
        print(f"\n{name}, {len(figures)} photos of {options.photos.name}, {DRAWS} draws, {policy}\n")
        rows = []
        for number, count in enumerate(COUNTS):
            columns = figures[:, :, number].reshape(len(figures), -1).T
            rows.append([str(count), *(describe_mean(column, 2) for column in columns)])
        scores = [f"{method}: {score}" for method in METHODS for score in ("PSNR, dB", "ab error")]
        print_table(["hints", *scores], rows)
        gains = figures[:, :, COUNTS.index(10), 0] - figures[:, :, 0, 0]
        for method, gain in zip(METHODS, gains.T, strict=True):
            print(f"ten over none, {method}: {describe_mean(gain, 2)} dB")


def main():
    options = parse(Options, "-m benchmarks.hints")
    keras.config.set_dtype_policy(choose_policy())
    report(options)


if __name__ == "__main__":
    run(main)
