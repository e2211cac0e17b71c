"""Photo in, photo out: what test.py and evaluate.py share.

A network sees a reduced copy of a photo's lightness. Its ab is brought back to the photo's size and joined with the
photo's own lightness, so the result has every detail of the photo.
"""

import cv2
import numpy as np
import tensorflow as tf

from utils import fit_chroma, lab_to_rgb, lightness_from_rgb

# The network's grid: sides of the reduced copy are multiples of this.
GRID = 8
# The longer side of the reduced copy is at most this many times the render size, so that a strip costs no more.
MAX_ELONGATION = 8


def colorize_photo(model, photo):
    """Colorizes a photo.

    Args:
        model: A colorizer, see models/colorizer.py.
        photo: uint8 [height, width, 3], sRGB. Of a colour photo only the lightness is used.

    Returns:
        uint8 [height, width, 3], sRGB: the photo's lightness with the model's ab.
    """
    lightness = lightness_from_rgb(tf.constant(photo)).numpy()
    ab = predict_ab(model, lightness)
    return join(lightness, ab).numpy()


def predict_ab(model, lightness):
    """The ab, float32 [height, width, 2], that a model paints on L, float32 [height, width, 1] in 0..100."""
    height, width = lightness.shape[:2]
    copy = cv2.resize(lightness, render_size(height, width, model.native_size)[::-1], interpolation=cv2.INTER_AREA)
    ab = model.colorize(copy[None, ..., None])[0].numpy()
    return cv2.resize(ab, (width, height), interpolation=cv2.INTER_CUBIC)


def render_size(height, width, size):
    """Height and width of the reduced copy: multiples of 8 near the photo's shape, the shorter side `size` pixels."""
    scale = min(size / min(height, width), MAX_ELONGATION * size / max(height, width))
    return tuple(max(1, round(side * scale / GRID)) * GRID for side in (height, width))


@tf.function(reduce_retracing=True)
def join(lightness, ab):
    """sRGB, uint8 [..., 3], of L in 0..100 [..., 1] and ab [..., 2]; chroma outside sRGB shrinks until it fits."""
    rgb = lab_to_rgb(fit_chroma(tf.concat([lightness, ab], axis=-1)))
    return tf.cast(tf.round(rgb * 255), tf.uint8)


def side_by_side(*photos):
    """Photos of one height in a row, gray [height, width] ones too: uint8 [height, sum of widths, 3]."""
    return np.concatenate([np.broadcast_to(np.atleast_3d(photo), (*photo.shape[:2], 3)) for photo in photos], axis=1)
