"""Photo in, photo out: what the scripts, the page, film and the evaluation share.

A network sees a reduced copy of a photo's lightness. Its ab is brought to the photo's size with the photo's lightness
as the guide, and joined with that lightness, so the result has every detail of the photo. This goes strip by strip, so
that memory does not grow with the photo beyond its own pixels.
"""

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np
import tensorflow as tf

from colorizing.enlarge import Enlargement
from colorizing.hints import correct, place_of
from colorizing.pixels import CHUNKS, gray_lightness, in_chunks, lightness_of, planes, strips, to_gray
from common.samples import as_samples
from models.colorizer import Colorizer
from utils import encode_rgb, lab_to_rgb, outside_srgb, to_whole_numbers

# The longer side of the reduced copy is at most this many times the render size, so that a strip costs no more.
MAX_ELONGATION = 8
# Photos of at most this many pixels are small.
SMALL = 1 << 15
# Pixels whose chroma is fitted in one call, in small photos and in large ones. Each size takes a second to compile.
FITTED_IN_SMALL, FITTED_IN_LARGE = 1 << 9, 1 << 15


@dataclass(frozen=True)
class Pipeline:
    """Colorizes photos of any size with a trained network: reduces, asks the network, enlarges, paints.

    Args:
        model: A `Colorizer`, or a `Batcher` of one.
        render_size: Shorter side in pixels of the copy that the network sees; None for the network's native size.
        saturation: Factor on the chroma that the network predicts.

    Example:
        >>> pipeline = Pipeline(models.load("natural"))
        >>> pipeline(np.full((480, 640), 128, np.uint8)).shape
        (480, 640, 3)
    """

    model: Colorizer
    render_size: int | None = None
    saturation: float = 1.0

    def __post_init__(self):
        if not hasattr(self.model, "native_size"):
            raise TypeError(f"a pipeline takes a model, as models.load returns it, and not {self.model!r}")
        if not math.isfinite(self.saturation):
            raise ValueError(f"saturation is a finite number, and not {self.saturation}")

    def __call__(self, pixels, hints=()):
        """Colorizes a photo. Returns sRGB of its type, [height, width, 3]: its lightness with the network's ab.

        Args:
            pixels: sRGB, uint8 or uint16, [height, width] or [height, width, 3]. Of colours, only the lightness counts.
            hints: Colours that are known, see `colorizing.hints.Hint`.

        Raises ValueError where these are not the pixels of a photo.
        """
        pixels = as_samples(pixels)
        lightness = self.reduce(pixels)
        ab = self.correct(lightness, self.predict(lightness[None])[0], hints)
        return self.paint(pixels, lightness, ab)

    def reduce(self, pixels):
        """The lightness that the network sees of a photo: L in 0..100, float32 [rows, columns, 1]."""
        size = self.render_size or self.model.native_size
        rows, columns = reduced_size(*pixels.shape[:2], size, self.model.grid)
        gray = cv2.resize(to_gray(pixels), (columns, rows), interpolation=cv2.INTER_AREA)
        return gray_lightness(gray.dtype.type)[gray][..., None]

    def predict(self, lightness):
        """The network's ab times `saturation`, float32 [batch, rows, columns, 2], from [batch, rows, columns, 1]."""
        return np.asarray(self.model.colorize(lightness)) * np.float32(self.saturation)

    def correct(self, lightness, ab, hints):
        """The ab of one reduced photo, corrected to meet hints, see `colorizing.hints.correct`.

        `saturation` has no effect on hints, which name final colours.
        """
        return correct(ab, lightness, hints, self.features(lightness) if hints else None)

    def features(self, lightness):
        """What the network offers besides ab, of one reduced photo: [any, any, channels], or None for nothing."""
        features = self.model.features(lightness[None])
        return None if features is None else np.asarray(features)[0]

    def likely_colors(self, pixels, hint):
        """The ab that the network thinks likely at a hint's place, see `Colorizer.likely_colors`."""
        lightness = self.reduce(pixels)
        return self.model.likely_colors(lightness[None], place_of(hint, lightness))

    def paint(self, pixels, lightness, ab):
        """Joins a photo's own lightness with ab. Returns sRGB of the type of `pixels`, [height, width, 3].

        Args:
            pixels: See `__call__`.
            lightness: What the network saw, see `reduce`.
            ab: What to paint, see `predict` and `correct`: float32 [rows, columns, 2].
        """
        height, width = pixels.shape[:2]
        enlargement = Enlargement(ab, lightness, height, width)
        paint_inside, paint_any = _painters(pixels.dtype.type)
        fitted = FITTED_IN_SMALL if height * width <= SMALL else FITTED_IN_LARGE
        # Blue comes first in memory, as OpenCV writes it.
        result = np.empty((height, width, 3), pixels.dtype)
        for rows in strips(height, width):
            own = lightness_of(pixels[rows])
            lab = planes(own, *enlargement.planes(own, rows.start))
            rgb, outside = in_chunks(paint_inside, lab)
            outside = np.flatnonzero(outside)
            if len(outside):
                (rgb[:, outside],) = in_chunks(paint_any, lab[:, outside], chunk=fitted)
            cv2.merge([plane.reshape(own.shape) for plane in rgb[::-1]], result[rows])
        return result[..., ::-1]

    def full_size_ab(self, pixels):
        """The ab that a photo is painted with, before chroma is fitted into sRGB: float32 [height, width, 2]."""
        lightness = self.reduce(pixels)
        ab = self.predict(lightness[None])[0]
        return Enlargement(ab, lightness, *pixels.shape[:2]).ab(lightness_of(pixels))


def reduced_size(height, width, size, grid=8, minimum=min, maximum=max):
    """Height and width of the copy that a network sees: multiples of `grid` near the photo's shape.

    The shorter side becomes `size`, or less where the longer one would become more than MAX_ELONGATION * size; both are
    rounded to the grid, halves up. All numbers are whole and, for sides below 2^20, fit int32, so that the exported
    graph, which computes with tensors, gets the same sizes.

    Args:
        height, width: Size of the photo in pixels.
        size: Shorter side of the copy in pixels.
        grid: The network's grid in pixels: a network that halves the photo five times pads it to multiples of 32.
        minimum, maximum: Functions of two whole numbers: Python's, or those of TensorFlow for tensors.
    """
    divisor = maximum(grid * minimum(height, width), grid * maximum(height, width) // MAX_ELONGATION)
    cells = [maximum((2 * side * size + divisor) // (2 * divisor), 1) for side in (height, width)]
    return tuple(number * grid for number in cells)


def warm_up(pixels):
    """Compiles the functions that turn photos of 8 bits and so many pixels gray and paint them.

    test.py does this in another thread while it loads the model.
    """
    side = max(1, math.isqrt(min(pixels, CHUNKS[-1])))
    Pipeline(_Vivid())(np.full((side, side, 3), 128, np.uint8))


class _Vivid:
    """Stands in for a network: paints a colour that sRGB does not have."""

    native_size = grid = 8

    def colorize(self, lightness):
        return np.full((*lightness.shape[:3], 2), 100, np.float32)


@functools.cache
def _painters(dtype):
    """Two compiled functions from CIELAB, [3, count], to sRGB of a type, [3, count].

    The first also gives which colours lie outside sRGB, bool [count], as few do, and clips these. The second, which is
    slower, shrinks their chroma until they fit.
    """
    dtype = tf.as_dtype(dtype)

    @tf.function(jit_compile=True, autograph=False)
    def paint_inside(lab):
        lab = tf.transpose(lab)
        return tf.transpose(to_whole_numbers(lab_to_rgb(lab), dtype)), outside_srgb(lab)[:, 0]

    @tf.function(jit_compile=True, autograph=False)
    def paint_any(lab):
        return (tf.transpose(encode_rgb(tf.transpose(lab), dtype)),)

    return paint_inside, paint_any
