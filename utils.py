"""Colour.

Colour is sRGB (IEC 61966-2-1) and CIELAB under D65 (2 degrees), with the numbers that scikit-image uses, as batched
TensorFlow functions: the same ones serve training, colorizing and export. Channels are always last.

Run as a script, this file turns colour photos gray:

    python utils.py FOLDER --output DIR

Gray is the neutral of equal L. Results have the names, sizes and formats of the photos.
"""

import functools
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from common.command_line import finish, parse, run, tame_native_libraries

if __name__ == "__main__":
    tame_native_libraries()

import numpy as np
import tensorflow as tf
import tyro

from colorizing.jobs import plan_jobs, process_photos

# Linear sRGB to CIE XYZ and the white point, as in skimage.color.colorconv.
XYZ_FROM_RGB = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)
WHITE = np.array([0.95047, 1.0, 1.08883])
# Weights of skimage.color.rgb2gray (Rec. 709 luma).
GRAY_WEIGHTS = np.array([0.2125, 0.7154, 0.0721])

# How far linear RGB may lie outside 0..1.
TOLERANCE = 1e-5
# Pixels that compiled functions take at a time: code is compiled for one size, and what is small has a smaller one.
CHUNKS = (1 << 13, 1 << 15, 1 << 18)

_SMALLEST = np.finfo(np.float32).tiny
# Threads that meet a function for the first time would each trace it.
_tracing = threading.Lock()


def _power(base, exponent):
    """base ** exponent for base >= 0. Compiled, exp and log are several times faster than pow."""
    return tf.exp(exponent * tf.math.log(tf.maximum(base, _SMALLEST)))


def _decode_srgb(encoded):
    return tf.where(encoded > 0.04045, _power((encoded + 0.055) / 1.055, 2.4), encoded / 12.92)


def _encode_srgb(linear):
    return tf.where(linear > 0.0031308, 1.055 * _power(linear, 1 / 2.4) - 0.055, linear * 12.92)


def linear_rgb(rgb):
    """Linear light in 0..1 (float32) of sRGB values: uint8, uint16, or floats in 0..1. Any shape."""
    if rgb.dtype == tf.uint8:
        table = _decode_srgb(tf.range(256, dtype=tf.float32) / 255)
        return tf.gather(table, tf.cast(rgb, tf.int32))
    return _decode_srgb(tf.cast(rgb, tf.float32) / 65535 if rgb.dtype == tf.uint16 else rgb)


def _lab_curve(ratio):
    return tf.where(ratio > 0.008856, _power(ratio, 1 / 3), 7.787 * ratio + 16 / 116)


def _lab_curve_inverse(value):
    return tf.where(value > 0.2068966, value**3, (value - 16 / 116) / 7.787)


def _planes(colors):
    """The channels of colours [..., 3], each a vector [pixels]: compiled, maths on these is twice as fast."""
    return tf.unstack(tf.transpose(tf.reshape(colors, (-1, 3))))


def _join(planes, like):
    """The colours [..., channels] of vectors [pixels], as many as `like` has."""
    return tf.reshape(tf.transpose(tf.stack(planes)), tf.concat([tf.shape(like)[:-1], [len(planes)]], 0))


def _mix(planes, weights):
    return tf.add_n([plane * float(weight) for plane, weight in zip(planes, weights, strict=True)])


def lightness_from_rgb(rgb):
    """L in 0..100, float32 [..., 1], of sRGB [..., 3]: uint8, uint16, or floats in 0..1."""
    luminance = _mix(map(linear_rgb, _planes(rgb)), XYZ_FROM_RGB[1])
    return _join([116 * _lab_curve(luminance) - 16], rgb)


def ab_from_rgb(rgb):
    """ab in Lab units, float32 [..., 2], of sRGB [..., 3]: uint8, uint16, or floats in 0..1."""
    linear = [linear_rgb(plane) for plane in _planes(rgb)]
    x, y, z = (_lab_curve(_mix(linear, weights)) for weights in XYZ_FROM_RGB / WHITE[:, None])
    return _join([500 * (x - y), 200 * (y - z)], rgb)


def rgb_to_lab(rgb):
    """CIELAB, float32 [..., 3] (L in 0..100, then ab), of sRGB [..., 3]: uint8, or floats in 0..1."""
    rgb = tf.convert_to_tensor(rgb)
    return tf.concat([lightness_from_rgb(rgb), ab_from_rgb(rgb)], axis=-1)


def lab_to_linear_rgb(lab):
    """Linear sRGB, float32 [..., 3], of CIELAB [..., 3]. Colours outside sRGB give values outside 0..1."""
    lab = tf.convert_to_tensor(lab)
    return _join(_linear_planes(*_planes(lab)), lab)


def _linear_planes(lightness, a, b):
    y = (lightness + 16) / 116
    # Like scikit-image, no negative Z: blue so far outside sRGB has no counterpart.
    xyz = [_lab_curve_inverse(value) for value in (y + a / 500, y, tf.maximum(y - b / 200, 0))]
    return [_mix(xyz, weights) for weights in np.linalg.inv(XYZ_FROM_RGB) * WHITE]


def lab_to_rgb(lab):
    """sRGB in 0..1, float32 [..., 3], of CIELAB [..., 3]. Colours outside sRGB are clipped."""
    return tf.clip_by_value(_encode_srgb(lab_to_linear_rgb(lab)), 0, 1)


def to_whole_numbers(rgb, dtype):
    """sRGB as whole numbers of a type, tf.uint8 or tf.uint16, of floats in 0..1."""
    return tf.cast(tf.round(rgb * dtype.max), dtype)


def outside_srgb(lab):
    """Which colours of CIELAB, float32 [..., 3], lie outside sRGB: bool [..., 1]."""
    lab = tf.convert_to_tensor(lab)
    return _join([_outside(*_planes(lab))], lab)


def _outside(lightness, a, b):
    red, green, blue = (tf.abs(plane - 0.5) for plane in _linear_planes(lightness, a, b))
    # Not reduce_max, which not all runtimes that models are exported to have for these.
    return tf.maximum(tf.maximum(red, green), blue) > 0.5 + TOLERANCE


def fit_chroma(lab, halvings=10):
    """Shrinks chroma at constant L and hue until the colour lies inside sRGB.

    Args:
        lab: CIELAB, float32 [..., 3], with L in 0..100.
        halvings: Steps of the bisection: a chroma found is at most 2^-halvings of the given one too small.

    Returns:
        CIELAB, float32 [..., 3]: L untouched, ab as it was where it fitted, else scaled down.
    """
    lab = tf.convert_to_tensor(lab)
    lightness, a, b = _planes(lab)

    def halve(step, factor):
        larger = tf.minimum(factor + step, 1)
        return step / 2, tf.where(_outside(lightness, a * larger, b * larger), factor, larger)

    factor = tf.where(_outside(lightness, a, b), 0.0, 1.0)
    _, factor = tf.while_loop(lambda step, _: step >= 0.5**halvings, halve, (0.5, factor))
    return _join([lightness, a * factor, b * factor], lab)


def neutral_from_lightness(lightness):
    """The gray of equal L: sRGB value in 0..1, same shape as `lightness` (0..100). The inverse of L of a gray pixel."""
    return tf.clip_by_value(_encode_srgb(_lab_curve_inverse((lightness + 16) / 116)), 0, 1)


def rgb_to_gray(rgb):
    """skimage.color.rgb2gray: gray in 0..1, float32 [..., 1], of sRGB [..., 3] floats in 0..1.

    Its lightness is not that of the photo; it serves the gray flow of ColorNet only.
    """
    return _join([_mix(_planes(rgb), GRAY_WEIGHTS)], rgb)


def saturate(rgb, factor):
    """Raises HSV saturation to S' = min(factor * S, 1) at constant hue and value (paper, section 3.5, its T).

    With V = max(R, G, B) and m = min(R, G, B), S = (V - m) / V, and scaling S moves every channel c to
    V - k (V - c) with k = min(factor, V / (V - m)): exact, without a detour through HSV.

    Args:
        rgb: sRGB floats in 0..1, [..., 3].
        factor: T, at least 0.

    Returns:
        sRGB in 0..1, same shape.
    """
    red, green, blue = _planes(rgb)
    value = tf.maximum(tf.maximum(red, green), blue)
    spread = value - tf.minimum(tf.minimum(red, green), blue)
    stretch = tf.minimum(tf.cast(factor, rgb.dtype), value / tf.maximum(spread, _SMALLEST))
    return _join([value - stretch * (value - channel) for channel in (red, green, blue)], rgb)


def to_gray(pixels):
    """Turns a photo gray, each pixel into the neutral of equal L.

    Args:
        pixels: sRGB, uint8 or uint16, [height, width, 3], or [height, width], which stay what they are.

    Returns:
        The same type, [height, width].
    """
    if pixels.ndim == 2:
        return pixels
    result = np.empty(pixels.shape[:2], pixels.dtype)
    for rows in strips(*result.shape):
        result[rows] = in_chunks(_neutral, planes(*np.moveaxis(pixels[rows], -1, 0))).reshape(result[rows].shape)
    return result


@tf.function(jit_compile=True)
def _neutral(rgb):
    lightness = lightness_from_rgb(tf.transpose(rgb))
    return tf.transpose(to_whole_numbers(neutral_from_lightness(lightness), rgb.dtype))


@functools.cache
def gray_lightness(dtype):
    """L of every gray value of a type, np.uint8 or np.uint16: float32 [256] or [65536]."""
    values = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)
    return lightness_from_rgb(tf.constant(np.repeat(values[:, None], 3, axis=1))).numpy()[:, 0]


def strips(height, width):
    """Slices of rows that go through a photo a few hundred thousand pixels at a time, so that memory is bounded."""
    step = max(1, CHUNKS[-1] // width)
    return [slice(top, min(top + step, height)) for top in range(0, height, step)]


def planes(*channels):
    """Channels of one shape as rows: [channels, count]."""
    return np.stack(channels).reshape(len(channels), -1)


def in_chunks(function, values, chunk=None):
    """Calls a compiled function of pixels on chunks of fixed size, the last one padded. For any thread.

    Args:
        function: A tf.function from a tensor [channels, chunk] to another.
        values: An array [channels, count].
        chunk: Pixels a chunk; by default the smallest of `CHUNKS` that makes at most two.

    Returns:
        The results of all pixels, [channels, count].
    """
    count = values.shape[1]
    chunk = chunk or next((size for size in CHUNKS if 2 * size >= count), CHUNKS[-1])
    with _tracing:
        compiled = _compile(function, (len(values), chunk), values.dtype)
    results = []
    for start in range(0, count, chunk):
        part = _padded(values[:, start : start + chunk], chunk)
        results.append(compiled(tf.constant(part)).numpy()[:, : count - start])
    return results[0] if len(results) == 1 else np.concatenate(results, axis=1)


def _padded(values, count):
    """Values, [channels, any number up to `count`], with zeros behind them: [channels, count]."""
    padded = np.zeros((len(values), count), values.dtype)  # Several times faster than np.pad.
    padded[:, : values.shape[1]] = values
    return padded


@functools.cache
def _compile(function, shape, dtype):
    """A function for chunks of one shape and type."""
    return function.get_concrete_function(tf.TensorSpec(shape, dtype))


@dataclass(frozen=True)
class Options:
    """Turns colour photos gray, each pixel into the neutral of equal lightness."""

    photos: tyro.conf.Positional[tuple[Path, ...]]
    """Photos, and folders to search for photos."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder for the results."""


def main():
    options = parse(Options, "utils.py", "PHOTO|FOLDER ... --output DIR")
    jobs, missing = plan_jobs(options.photos, options.output)
    outcome = process_photos(jobs, lambda photo: replace(photo, pixels=to_gray(photo.pixels)))
    summary = f"{outcome.done} of {len(jobs)} photos turned gray, in {options.output}"
    finish(summary, missing + outcome.failures, outcome.losses)


if __name__ == "__main__":
    run(main)
