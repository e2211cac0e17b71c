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
    planes,
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
# Pixels to each side of one that this involves, that pixel, and some to spare.
REACH = 9
# Rows that are interpolated at a time: as many as the network's rows that matter to them stay few.
ROWS = 16
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
    lightness = lightness_from_rgb(tf.constant(as_color(pixels)))[..., 0].numpy()
    return np.stack(guided_ab(Enlargement(ab, small, *pixels.shape[:2]).rows(0, pixels.shape[0]), lightness), axis=-1)


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
        # Planes, since NumPy is slow where the last axis is short.
        ab, lightness = (np.ascontiguousarray(np.moveaxis(values, -1, 0)) for values in (ab, lightness))
        small = np.concatenate([sharpen(ab), GAIN * slopes(ab, lightness, mean_of_nine), lightness])
        self._down = interpolation(ab.shape[1], height)
        self._wide = by_plane(cv2.resize, small, (width, ab.shape[1]), interpolation=cv2.INTER_CUBIC)

    def rows(self, start, stop):
        """ab, its slope and the interpolated L, see `guided_ab`: float32 [5, stop - start, width]."""
        result = np.empty((5, stop - start, self._wide.shape[-1]), np.float32)
        for top in range(start, stop, ROWS):
            weights = self._down[top : min(top + ROWS, stop)]
            used = np.flatnonzero(weights.any(axis=0))
            near = slice(used[0], used[-1] + 1)
            np.matmul(weights[:, near], self._wide[:, near], out=result[:, top - start : top - start + len(weights)])
        return result


def guided_ab(enlarged, lightness):
    """a and b, [...] each, of the five planes of an `Enlargement` and the photo's L, [...]."""
    a, b, slope_of_a, slope_of_b, expected = enlarged
    detail = lightness - expected
    return a + slope_of_a * detail, b + slope_of_b * detail


def by_plane(function, values, *arguments, **options):
    """What one of OpenCV's functions makes of each channel of values: [channels, height, width]."""
    return np.stack([function(plane, *arguments, **options) for plane in values])


def sharpen(ab):
    """ab such that enlarging and then reducing it gives about the ab given: float32 [2, height, width]."""
    kernel = there_and_back()
    return 2 * ab - by_plane(cv2.sepFilter2D, ab, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)


@functools.cache
def there_and_back():
    """What enlarging and then reducing makes of a single 1 along an axis: float32 [REACH]."""
    one = np.zeros((REACH, 1), np.float32)
    one[REACH // 2] = 1
    return cv2.resize(interpolation(REACH, SCALE * REACH) @ one, (1, REACH), interpolation=cv2.INTER_AREA)[:, 0]


def slopes(ab, lightness, mean):
    """How ab changes with L around each pixel, from a ridge regression over its neighbourhood: like `ab`.

    Args:
        ab: [height, width, 2] or, like L, in any other layout that `mean` takes.
        lightness: [height, width, 1].
        mean: Function that gives the mean of an array over each pixel's neighbourhood.
    """
    covariance = mean(ab * lightness) - mean(ab) * mean(lightness)
    variance = mean(lightness**2) - mean(lightness) ** 2
    return covariance / (variance + RIDGE)


def mean_of_nine(values):
    """The mean over each pixel's 3x3 neighbourhood: like `values`, [channels, height, width]."""
    return by_plane(cv2.blur, values, (3, 3), borderType=cv2.BORDER_REFLECT)


def interpolation(size, target):
    """OpenCV's bicubic interpolation along one axis as a matrix: float32 [target, size]."""
    return cv2.resize(np.eye(size, dtype=np.float32), (size, target), interpolation=cv2.INTER_CUBIC)


def paint(pixels, enlargement):
    """A photo's lightness joined with ab: pixels as for `colorize_photo`, and an `Enlargement` to their size."""
    paint_inside, paint_any = _painters(pixels.dtype.type)
    # Blue comes first in memory, as OpenCV writes it.
    result = np.empty((*pixels.shape[:2], 3), pixels.dtype)
    for rows in strips(*pixels.shape[:2]):
        lightness = _lightness_of(pixels[rows])
        lab = planes(lightness, *guided_ab(enlargement.rows(rows.start, rows.stop), lightness))
        painted = in_chunks(paint_inside, lab)
        outside = np.flatnonzero(painted[3].astype(bool))
        if len(outside):
            chunk = FEW[lightness.size > CHUNKS[1]]
            painted[:3, outside] = in_chunks(paint_any, lab[:, outside], chunk=chunk)
        cv2.merge([plane.reshape(lightness.shape) for plane in painted[2::-1]], result[rows])
    return result[..., ::-1]


def _lightness_of(pixels):
    """L of pixels, gray or sRGB, float32 [height, width]."""
    if pixels.ndim == 2:
        return gray_lightness(pixels.dtype.type)[pixels]
    return in_chunks(_lightness, planes(*np.moveaxis(pixels, -1, 0))).reshape(pixels.shape[:2])


@tf.function(jit_compile=True)
def _lightness(rgb):
    return tf.transpose(lightness_from_rgb(tf.transpose(rgb)))


@functools.cache
def _painters(dtype):
    """Two compiled functions from CIELAB, [3, count], to sRGB of a type.

    The first gives [4, count], of which the last is 1 where the colour lies outside sRGB, as few do, and the others say
    nothing. The second, which is slower, gives [3, count] with chroma that fits.
    """
    dtype = tf.as_dtype(dtype)

    @tf.function(jit_compile=True)
    def paint_inside(lab):
        lab = tf.transpose(lab)
        rgb, outside = to_whole_numbers(lab_to_rgb(lab), dtype), tf.cast(outside_srgb(lab), dtype)
        return tf.concat([tf.transpose(rgb), tf.transpose(outside)], axis=0)

    @tf.function(jit_compile=True)
    def paint_any(lab):
        return tf.transpose(encode(tf.transpose(lab), dtype))

    return paint_inside, paint_any


@tf.function(jit_compile=True, reduce_retracing=True)
def join(lightness, ab):
    """sRGB, uint8 [..., 3], of L in 0..100 [..., 1] and ab [..., 2]; chroma outside sRGB shrinks until it fits."""
    return encode(tf.concat([lightness, ab], axis=-1), tf.uint8)


def encode(lab, dtype):
    """sRGB as whole numbers of a type, of CIELAB [..., 3]; see `join`."""
    return to_whole_numbers(lab_to_rgb(fit_chroma(lab)), dtype)


def side_by_side(*photos):
    """Photos of one height and type in a row, gray [height, width] ones too: [height, sum of widths, 3]."""
    return np.concatenate([np.broadcast_to(np.atleast_3d(photo), (*photo.shape[:2], 3)) for photo in photos], axis=1)
