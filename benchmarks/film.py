"""How steady the colours of a film are, and what it costs them.

    python -m benchmarks.film

The film shows a sample photo held still and then panned over, and after a cut another photo held still, all with noise.
It is colorized with and without steadying, and the results' files are read again:

- flicker: mean absolute change of ab between frames, where the picture is held still;
- pan error: mean absolute difference of ab, in the pan, from the first frame's colours at the same places.
"""

import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from common.command_line import parse, prepare_imports, run

if __name__ == "__main__":
    prepare_imports()

import av
import cv2
import keras
import numpy as np

import models
from benchmarks.timing import print_table
from colorizing.film.colorize import colorize_film
from colorizing.film.reader import Reader
from colorizing.film.steadiness import STEADINESS
from colorizing.photo import Pipeline
from colorizing.pixels import to_gray
from common.images import read_photo
from common.options import Model
from configs import MODEL, SAMPLES
from models.precision import choose_policy
from utils import ab_from_rgb

# Sample photos before and after the cut.
PHOTOS = ("castle-forest.jpg", "mountain-lake.jpg")
# Frames that are held still, that are panned over, and held still after the cut.
HELD, PANNED, AFTER = 12, 12, 12
# Pixels a frame that the pan moves to the right.
STEP = 4
HEIGHT, WIDTH = 128, 192
# Frames a second.
RATE = 25
# Standard deviation of the noise in gray levels. Each frame has noise of its own.
GRAIN = 3.0


@dataclass(frozen=True)
class Options:
    """Measures flicker and error of a film's colours."""

    model: Model = MODEL


def make_frames():
    """The film of the benchmark, gray, uint8 [HELD + PANNED + AFTER, HEIGHT, WIDTH]."""
    grays = []
    for name in PHOTOS:
        photo = to_gray(read_photo(SAMPLES / name))
        scale = max(HEIGHT / photo.shape[0], (WIDTH + STEP * PANNED) / photo.shape[1])
        reduced = tuple(int(np.ceil(side * scale)) for side in photo.shape[1::-1])
        grays.append(cv2.resize(photo, reduced, interpolation=cv2.INTER_AREA)[:HEIGHT].astype(np.float32))
    lefts = [0] * HELD + [STEP * (number + 1) for number in range(PANNED)]
    frames = [grays[0][:, left : left + WIDTH] for left in lefts] + [grays[1][:, :WIDTH]] * AFTER
    frames = np.stack(frames) + np.random.default_rng(0).normal(0, GRAIN, (len(frames), HEIGHT, WIDTH))
    return frames.clip(0, 255).round().astype(np.uint8)


def write_film(path, frames):
    """Writes gray frames, uint8 [count, height, width], without loss (FFV1), in the container that the name says."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=RATE, width=frames.shape[2], height=frames.shape[1])
        stream.pix_fmt = "gray"
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="gray")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def read_ab(path):
    """The ab of a film's frames, float32 [count, height, width, 2]."""
    with Reader(path) as film:
        frames = [film.pixels(item) for item in film if isinstance(item, av.VideoFrame)]
    return np.stack([ab_from_rgb(np.ascontiguousarray(pixels)) for pixels in frames])


def flicker(ab):
    """Mean absolute change of ab, [frames, height, width, 2], from frame to frame."""
    return float(np.abs(np.diff(ab, axis=0)).mean())


def pan_error(ab):
    """Mean absolute difference of ab, [1 + PANNED, HEIGHT, WIDTH, 2], from that of the first frame, moved along."""
    first = ab[0]
    moved = [np.abs(now[:, : WIDTH - STEP * n] - first[:, STEP * n :]).mean() for n, now in enumerate(ab) if n]
    return float(np.mean(moved))


def main():
    options = parse(Options, "-m benchmarks.film")
    keras.config.set_dtype_policy(choose_policy())
    pipeline = Pipeline(models.load(options.model))
    frames = make_frames()
    with tempfile.TemporaryDirectory() as folder:
        path, result = Path(folder) / "film.mkv", Path(folder) / "colored.mkv"
        write_film(path, frames)
        rows = []
        for steadiness in (0, STEADINESS):
            colorize_film(pipeline, path, result, steadiness)
            ab = read_ab(result)
            # The first frame of all is the same, however steady the others are.
            error = pan_error(ab[[0, *range(HELD, HELD + PANNED)]])
            figures = flicker(ab[:HELD]), flicker(ab[HELD + PANNED :]), error
            rows.append([f"{steadiness:g}", *(f"{figure:.2f}" for figure in figures)])
    policy = pipeline.model.dtype_policy.name  # Some networks are float32 whatever the machine's.
    print(f"{len(frames)} frames of {WIDTH}x{HEIGHT}, {', '.join(PHOTOS)}, {policy}\n")
    print_table(["steadiness", "flicker, held before the cut", "held after it", "error in the pan"], rows)


if __name__ == "__main__":
    run(main)
