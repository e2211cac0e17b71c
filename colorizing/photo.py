"""Photo in, photo out: what the scripts, the page, film and the evaluation share.

A network sees a reduced copy of a photo's lightness. Its ab is brought to the photo's size with the photo's lightness
as the guide, and joined with that lightness, so the result has every detail of the photo. This goes strip by strip, so
that memory does not grow with the photo beyond its own pixels.
"""

import functools

import cv2
import numpy as np
import tensorflow as tf

from colorizing.enlarge import Enlargement, guided_ab
from colorizing.pixels import CHUNKS, as_color, gray_lightness, in_chunks, lightness_of, planes, strips, to_gray
from utils import fit_chroma, lab_to_rgb, lightness_from_rgb, outside_srgb, to_whole_numbers

# The network's grid: sides of the reduced copy are multiples of this.
GRID = 8
# The longer side of the reduced copy is at most this many times the render size, so that a strip costs no more.
MAX_ELONGATION = 8
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


def paint(pixels, enlargement):
    """A photo's lightness joined with ab: pixels as for `colorize_photo`, and an `Enlargement` to their size."""
    paint_inside, paint_any = _painters(pixels.dtype.type)
    # Blue comes first in memory, as OpenCV writes it.
    result = np.empty((*pixels.shape[:2], 3), pixels.dtype)
    for rows in strips(*pixels.shape[:2]):
        lightness = lightness_of(pixels[rows])
        lab = planes(lightness, *guided_ab(enlargement.rows(rows.start, rows.stop), lightness))
        painted = in_chunks(paint_inside, lab)
        outside = np.flatnonzero(painted[3].astype(bool))
        if len(outside):
            chunk = FEW[lightness.size > CHUNKS[1]]
            painted[:3, outside] = in_chunks(paint_any, lab[:, outside], chunk=chunk)
        cv2.merge([plane.reshape(lightness.shape) for plane in painted[2::-1]], result[rows])
    return result[..., ::-1]


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
