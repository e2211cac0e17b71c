"""Photo in, photo out: what test.py, evaluate.py and figures.py share.

A network sees a reduced copy of a photo's lightness. Its ab is brought to the photo's size with the photo's lightness
as the guide, and joined with that lightness, so the result has every detail of the photo. This goes strip by strip, so
that memory does not grow with the photo beyond its own pixels.
"""

import functools

import cv2
import numpy as np
import tensorflow as tf

from utils import (
    CHUNKS,
    fit_chroma,
    gray_lightness,
    in_chunks,
    lab_to_rgb,
    lightness_from_rgb,
    outside_srgb,
    strips,
    to_gray,
    to_whole_numbers,
)

# The network's grid: sides of the reduced copy are multiples of this.
GRID = 8
# The longer side of the reduced copy is at most this many times the render size, so that a strip costs no more.
MAX_ELONGATION = 8
# How ab follows lightness between the network's pixels; judged by `python -m benchmarks.enlarging`.
RIDGE = 64.0
GAIN = 0.4
# How much ab is enlarged to find out what reducing it again would give.
SCALE = 4
# Pixels whose chroma is fitted at a time, in small photos and in large ones. Each size takes a second to compile.
FEW = (1 << 9, 1 << 15)


def colorize_photo(model, pixels, render_size=None, saturation=1.0):
    """Colorizes a photo.

    Args:
        model: A colorizer, see models/colorizer.py.
        pixels: sRGB, uint8 or uint16, [height, width] or [height, width, 3]. Only the lightness of colours is used.
        render_size: Shorter side in pixels of the copy that the network sees; by default its native size.
        saturation: Factor on the chroma that the network predicts.

    Returns:
        sRGB of the same type, [height, width, 3]: the photo's lightness with the model's ab.
    """
    lightness = reduced_lightness(pixels, render_size or model.native_size)
    ab = np.asarray(model.colorize(lightness[None])[0])
    return paint(pixels, Enlargement(ab * np.float32(saturation), lightness, *pixels.shape[:2]))


def predict_ab(model, pixels):
    """The ab, float32 [height, width, 2], that a model paints on a photo; see `colorize_photo`."""
    small = reduced_lightness(pixels, model.native_size)
    ab = np.asarray(model.colorize(small[None])[0])
    lightness = lightness_from_rgb(tf.constant(as_color(pixels)))
    return guided_ab(Enlargement(ab, small, *pixels.shape[:2]).rows(0, pixels.shape[0]), lightness).numpy()


def reduced_lightness(pixels, size):
    """The L that a network sees of a photo, float32 [height, width, 1]; see `render_size`."""
    copy = cv2.resize(to_gray(pixels), render_size(*pixels.shape[:2], size)[::-1], interpolation=cv2.INTER_AREA)
    return gray_lightness(copy.dtype.type)[copy][..., None]


def render_size(height, width, size):
    """Height and width of the reduced copy: multiples of 8 near the photo's shape, the shorter side `size` pixels."""
    scale = min(size / min(height, width), MAX_ELONGATION * size / max(height, width))
    return tuple(max(1, round(side * scale / GRID)) * GRID for side in (height, width))


def as_color(pixels):
    """Pixels with three channels."""
    return np.repeat(pixels[..., None], 3, axis=-1) if pixels.ndim == 2 else np.ascontiguousarray(pixels)


class Enlargement:
    """A network's ab on its way to a photo's size, any rows of it.

    Bicubic interpolation of ab, sharpened so that reducing it again gives the network's ab, and a guided term (after
    the guided filter of He et al. 2010): near each of the network's pixels, ab is fitted as a linear function of L,
    and what the photo's L has in detail beyond the interpolated L moves ab along that line, damped by GAIN.

    Args:
        ab: What the network painted, float32 [small height, small width, 2].
        lightness: What it saw, float32 [small height, small width, 1].
        height, width: The photo's.
    """

    def __init__(self, ab, lightness, height, width):
        channels = np.concatenate([sharpen(ab), GAIN * slopes(ab, lightness, mean_of_nine), lightness], axis=-1)
        self._down = interpolation(ab.shape[0], height)
        self._wide = cv2.resize(channels, (width, ab.shape[0]), interpolation=cv2.INTER_CUBIC)

    def rows(self, start, stop):
        """ab, its slope and the interpolated L, see `guided_ab`: float32 [stop - start, width, 5]."""
        weights = self._down[start:stop]
        used = np.flatnonzero(weights.any(axis=0))
        near = slice(used[0], used[-1] + 1)
        return np.tensordot(weights[:, near], self._wide[near], axes=1)


def guided_ab(enlarged, lightness):
    """ab, [..., 2], of an `Enlargement`'s values, [..., 5], and the photo's L, [..., 1]."""
    return enlarged[..., :2] + enlarged[..., 2:4] * (lightness - enlarged[..., 4:])


def sharpen(ab):
    """ab such that enlarging and then reducing it gives about the ab given: float32 [height, width, 2]."""
    down, right = (there_and_back(size) for size in ab.shape[:2])
    return 2 * ab - np.moveaxis(np.tensordot(np.tensordot(down, ab, axes=1), right, axes=(1, 1)), -1, 1)


@functools.cache
def there_and_back(size):
    """Enlarging an axis and reducing it again, as a matrix: float32 [size, size]."""
    return cv2.resize(interpolation(size, SCALE * size), (size, size), interpolation=cv2.INTER_AREA)


def slopes(ab, lightness, mean):
    """How ab changes with L around each pixel, from a ridge regression over its neighbourhood: like `ab`.

    Args:
        ab: [..., height, width, 2].
        lightness: [..., height, width, 1].
        mean: Function that gives the mean of an array over each pixel's neighbourhood.
    """
    covariance = mean(ab * lightness) - mean(ab) * mean(lightness)
    variance = mean(lightness**2) - mean(lightness) ** 2
    return covariance / (variance + RIDGE)


def mean_of_nine(values):
    """The mean over each pixel's 3x3 neighbourhood: like `values`, [height, width, channels]."""
    return cv2.blur(values, (3, 3), borderType=cv2.BORDER_REFLECT).reshape(values.shape)


def interpolation(size, target):
    """OpenCV's bicubic interpolation along one axis as a matrix: float32 [target, size]."""
    return cv2.resize(np.eye(size, dtype=np.float32), (size, target), interpolation=cv2.INTER_CUBIC)


def paint(pixels, enlargement):
    """A photo's lightness joined with ab: pixels as for `colorize_photo`, and an `Enlargement` to their size."""
    # Blue comes first in memory, as OpenCV writes it.
    result = np.empty((*pixels.shape[:2], 3), pixels.dtype)[..., ::-1]
    for rows in strips(*pixels.shape[:2]):
        lightness = _lightness_column(pixels[rows])
        enlarged = enlargement.rows(rows.start, rows.stop).reshape(-1, 5)
        painted = in_chunks(_painter(pixels.dtype.type), lightness, enlarged)
        outside = np.flatnonzero(painted[:, 3])
        if len(outside):
            chunk = FEW[len(lightness) > CHUNKS[1]]
            fit = _fitting_painter(pixels.dtype.type)
            painted[outside, :3] = in_chunks(fit, lightness[outside], enlarged[outside], chunk=chunk)
        result[rows] = painted[:, :3].reshape(result[rows].shape)
    return result


def _lightness_column(pixels):
    """L of pixels, gray or sRGB, as float32 [count, 1]."""
    if pixels.ndim == 2:
        return gray_lightness(pixels.dtype.type)[pixels.reshape(-1, 1)]
    return in_chunks(_lightness, pixels.reshape(-1, 3))


_lightness = tf.function(lightness_from_rgb, jit_compile=True)


@functools.cache
def _painter(dtype):
    """The compiled function from L, [count, 1], and an enlargement's values, [count, 5], to sRGB of a type and a mark.

    The mark is 1 where the colour lies outside sRGB, so that it has to be fitted: [count, 4] in all. Few do.
    """
    dtype = tf.as_dtype(dtype)

    @tf.function(jit_compile=True)
    def paint_pixels(lightness, enlarged):
        lab = tf.concat([lightness, guided_ab(enlarged, lightness)], axis=-1)
        return tf.concat([to_whole_numbers(lab_to_rgb(lab), dtype), tf.cast(outside_srgb(lab), dtype)], axis=-1)

    return paint_pixels


@functools.cache
def _fitting_painter(dtype):
    """The compiled function from what `_painter` takes to sRGB of a type, [count, 3], with chroma that fits."""

    @tf.function(jit_compile=True)
    def paint_pixels(lightness, enlarged):
        return encode(lightness, guided_ab(enlarged, lightness), tf.as_dtype(dtype))

    return paint_pixels


@tf.function(jit_compile=True, reduce_retracing=True)
def join(lightness, ab):
    """sRGB, uint8 [..., 3], of L in 0..100 [..., 1] and ab [..., 2]; chroma outside sRGB shrinks until it fits."""
    return encode(lightness, ab, tf.uint8)


def encode(lightness, ab, dtype):
    """sRGB as whole numbers of a type; see `join`."""
    return to_whole_numbers(lab_to_rgb(fit_chroma(tf.concat([lightness, ab], axis=-1))), dtype)


def side_by_side(*photos):
    """Photos of one height and type in a row, gray [height, width] ones too: [height, sum of widths, 3]."""
    return np.concatenate([np.broadcast_to(np.atleast_3d(photo), (*photo.shape[:2], 3)) for photo in photos], axis=1)
