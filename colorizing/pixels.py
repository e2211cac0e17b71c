"""Colour maths on photos that are NumPy arrays, in chunks of fixed size, which bounds memory and compiled code."""

import functools
import threading

import cv2
import numpy as np
import tensorflow as tf

from common.samples import as_color
from utils import lightness_from_gray, lightness_from_rgb, neutral_from_lightness, to_whole_numbers

# Pixels a call of a compiled function, for small to large inputs; each size is compiled once.
CHUNKS = (1 << 13, 1 << 15, 1 << 18)
# Without it, threads that call a function for the first time at once would each trace it.
_tracing = threading.Lock()


def strips(height, width):
    """Returns slices of rows that divide a photo into strips of at most `CHUNKS[-1]` pixels (or one row)."""
    step = max(1, CHUNKS[-1] // width)
    return [slice(top, min(top + step, height)) for top in range(0, height, step)]


def planes(*channels):
    """Stacks channels of one shape as rows: [channels, pixels]."""
    return np.stack(channels).reshape(len(channels), -1)


def in_chunks(function, values, chunk=None):
    """Calls a compiled function on chunks of pixels of one size; the last chunk is padded. Safe in any thread.

    Args:
        function: A tf.function from a tensor [channels, chunk] to a tuple of tensors [..., chunk].
        values: An array [channels, count].
        chunk: Pixels a chunk. Default: the smallest of `CHUNKS` that needs at most two chunks, or the largest.

    Returns:
        The function's results for all pixels: a list of arrays [..., count].
    """
    count = values.shape[1]
    chunk = chunk or next((size for size in CHUNKS if 2 * size >= count), CHUNKS[-1])
    with _tracing:
        compiled = _compile(function, (len(values), chunk), values.dtype)
    chunks = []
    for start in range(0, count, chunk):
        part = np.zeros((len(values), chunk), values.dtype)  # Several times faster than np.pad.
        part[:, : count - start] = values[:, start : start + chunk]
        chunks.append([result.numpy()[..., : count - start] for result in compiled(tf.constant(part))])
    return chunks[0] if len(chunks) == 1 else [np.concatenate(parts, axis=-1) for parts in zip(*chunks, strict=True)]


@functools.cache
def _compile(function, shape, dtype):
    """Traces and compiles a function for one shape and type of its input."""
    return function.get_concrete_function(tf.TensorSpec(shape, dtype))


def to_gray(pixels):
    """Turns each pixel of a photo, sRGB uint8 or uint16 [height, width, 3], into the neutral of equal L.

    Returns the same type, [height, width]. A photo that is gray, [height, width], is returned as it is.
    """
    if pixels.ndim == 2:
        return pixels
    result = np.empty(pixels.shape[:2], pixels.dtype)
    for rows in strips(*result.shape):
        (gray,) = in_chunks(_neutral, planes(*np.moveaxis(pixels[rows], -1, 0)))
        result[rows] = gray.reshape(result[rows].shape)
    return result


@tf.function(jit_compile=True, autograph=False)
def _neutral(rgb):
    lightness = lightness_from_rgb(tf.transpose(rgb))
    return (tf.transpose(to_whole_numbers(neutral_from_lightness(lightness), rgb.dtype)),)


@functools.cache
def gray_lightness(dtype):
    """Returns L of every gray value of a type, np.uint8 or np.uint16: float32 [256] or [65536]."""
    values = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)
    return lightness_from_gray(tf.constant(values)).numpy()


def lightness_of(pixels):
    """Returns L in 0..100, float32 [height, width], of pixels as for `to_gray`."""
    if pixels.ndim == 2:
        return gray_lightness(pixels.dtype.type)[pixels]
    (lightness,) = in_chunks(_lightness, planes(*np.moveaxis(pixels, -1, 0)))
    return lightness.reshape(pixels.shape[:2])


@tf.function(jit_compile=True, autograph=False)
def _lightness(rgb):
    return (tf.transpose(lightness_from_rgb(tf.transpose(rgb))),)


def shrink(pixels, scale):
    """Reduces pixels, [height, width, ...], by a scale below 1; with another scale, returns them as they are."""
    if scale >= 1:
        return pixels
    # No side becomes shorter than a pixel, as that of a very long photo would.
    down, across = (max(scale, 1 / side) for side in pixels.shape[:2])
    return cv2.resize(np.ascontiguousarray(pixels), None, fx=across, fy=down, interpolation=cv2.INTER_AREA)


def side_by_side(*photos):
    """Joins photos of one height and type, gray or sRGB, from left to right: [height, sum of widths, 3]."""
    return np.concatenate([as_color(photo) for photo in photos], axis=1)
