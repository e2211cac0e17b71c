"""How steady the colours of a film are, and what it costs them.

    python -m benchmarks.film

The film: a sample photo with noise held still, then panned over; a cut; another photo held still. It is colorized with
different steadiness, and the results' files are read again:

- flicker: mean absolute change of ab between frames, where the picture is held still;
- pan error: mean absolute difference of ab, in the pan, from the first frame's colours at the same places;
- frames a second, of the whole way from film to film.
"""

import tempfile
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated

from common.command_line import parse, quiet_native_libraries, run

if __name__ == "__main__":
    quiet_native_libraries()

import av
import cv2
import keras
import numpy as np
from annotated_types import Interval

import models
from colorizing.film import colorize_film
from colorizing.film_reader import Reader
from colorizing.photo import Pipeline
from colorizing.pixels import to_gray
from common.images import read_photo
from common.options import NotNegative, Share, Side
from configs import MODEL, SAMPLES
from models.precision import choose_policy
from utils import rgb_to_lab

# Frames that are held still, that are panned over, and held still after the cut.
HELD, PANNED, AFTER = 12, 12, 12


@dataclass(frozen=True)
class Options:
    """Measures flicker and error of a film's colours."""

    model: str = MODEL
    """A trained model."""
    photos: tuple[str, str] = ("castle-forest.jpg", "mountain-lake.jpg")
    """Sample photos before and after the cut."""
    size: tuple[Side, Side] = (128, 192)
    """Height and width of the film."""
    noise: NotNegative = 3.0
    """Standard deviation of the noise, in gray levels."""
    step: Annotated[int, Interval(ge=0)] = 4
    """Pixels a frame that the pan moves."""
    steadiness: tuple[Share, ...] = (0.0, 0.5, 0.8, 0.9, 0.95, 1.0)
    """What to compare; 0 is frame by frame."""


def make_frames(photos, size=(128, 192), noise=3.0, step=4):
    """The film of the benchmark, gray, uint8 [HELD + PANNED + AFTER, height, width].

    Args:
        photos: Two photos, sRGB uint8 [height, width, 3], before and after the cut.
        size: Height and width of a frame.
        noise: Standard deviation in gray levels, of another draw for each frame.
        step: Pixels a frame that the pan moves to the right.
    """
    height, width = size
    grays = []
    for photo in photos:
        scale = max(height / photo.shape[0], (width + step * PANNED) / photo.shape[1])
        reduced = tuple(int(np.ceil(side * scale)) for side in photo.shape[1::-1])
        grays.append(cv2.resize(to_gray(photo), reduced, interpolation=cv2.INTER_AREA)[:height].astype(np.float32))
    lefts = [0] * HELD + [step * (number + 1) for number in range(PANNED)]
    frames = [grays[0][:, left : left + width] for left in lefts] + [grays[1][:, :width]] * AFTER
    frames = np.stack(frames) + np.random.default_rng(0).normal(0, noise, (len(frames), height, width))
    return frames.clip(0, 255).round().astype(np.uint8)


def write_film(path, frames, rate=25):
    """Writes gray frames, uint8 [count, height, width], without loss (FFV1), in the container that the name says."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=rate, width=frames.shape[2], height=frames.shape[1])
        stream.pix_fmt = "gray"
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="gray")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def read_ab(path):
    """The ab of a film's frames, float32 [count, height, width, 2]."""
    with Reader(path) as film:
        frames = [film.pixels(item) for item in film if isinstance(item, av.VideoFrame)]
    return np.stack([rgb_to_lab(np.ascontiguousarray(pixels))[..., 1:] for pixels in frames])


def flicker(ab):
    """Mean absolute change of ab, [frames, height, width, 2], from frame to frame."""
    return float(np.abs(np.diff(ab, axis=0)).mean())


def pan_error(ab, step):
    """Mean absolute difference of ab, [1 + PANNED, height, width, 2], from that of the first frame, moved along."""
    first, width = ab[0], ab.shape[2]
    moved = [np.abs(now[:, : width - step * n] - first[:, step * n :]).mean() for n, now in enumerate(ab) if n]
    return float(np.mean(moved))


def main():
    options = parse(Options, "-m benchmarks.film")
    keras.config.set_dtype_policy(choose_policy())
    pipeline = Pipeline(models.load(options.model))
    photos = [read_photo(SAMPLES / name) for name in options.photos]
    frames = make_frames(photos, options.size, options.noise, options.step)
    with tempfile.TemporaryDirectory() as folder:
        path, result = Path(folder) / "film.mkv", Path(folder) / "colored.mkv"
        write_film(path, frames)
        colorize_film(pipeline, path, result)  # Compiles.
        print(f"{len(frames)} frames of {options.size[1]}x{options.size[0]}, {options.photos}, {choose_policy()}")
        print("steadiness  flicker before cut  after cut  pan error  frames/s")
        for steadiness in options.steadiness:
            started = time.perf_counter()
            colorize_film(pipeline, path, result, steadiness)
            speed = len(frames) / (time.perf_counter() - started)
            ab = read_ab(result)
            flickers = flicker(ab[:HELD]), flicker(ab[HELD + PANNED :])
            # The first frame of all is the same, however steady the others are.
            error = pan_error(ab[[0, *range(HELD, HELD + PANNED)]], options.step)
            print(f"{steadiness:10g}  {flickers[0]:18.3f}  {flickers[1]:9.3f}  {error:9.3f}  {speed:8.1f}")


if __name__ == "__main__":
    run(main)
