"""The edge detection network (EDN) of the paper, and the Canny edge map it looks at.

The edge map is `skimage.feature.canny(L)` with every default, written as batched tensor ops so that it is part of the
network's graph (Canny 1986; paper, section 3.3). A Gaussian of sigma 1 smooths L, Sobel filters give the gradient,
non-maximum suppression thins it to ridges, and hysteresis keeps the ridges above 0.1 that touch one above 0.2. On L in
0..100 these thresholds are low: about a quarter of the pixels are edges.
"""

import numpy as np
import tensorflow as tf

from models.layers import Float32Layer, convs

SIGMA = 1.0
LOW_THRESHOLD = 0.1
HIGH_THRESHOLD = 0.2

# (filters, strides) of each 3x3 convolution of the EDN.
LAYERS = ((8, 2), (8, 2), (8, 2))


def edge_detection_network(edges, initializer):
    """The EDN: an edge map [batch, height, width, 1] to features [batch, height/8, width/8, 8]."""
    return convs(edges, LAYERS, initializer, "edn_conv")


class EdgeMap(Float32Layer):
    """Canny edge map of lightness as a layer.

    Input: L in 0..100, [batch, height, width, 1]. Output: 0 or 1, same shape. L rounded to bfloat16 would move one
    edge pixel in a hundred. No gradient flows through it.
    """

    def call(self, lightness):
        return tf.stop_gradient(canny(lightness))

    def compute_output_shape(self, input_shape):
        return input_shape


def canny(lightness):
    """Canny edges of a batch of lightness maps, as `skimage.feature.canny` finds them with its defaults.

    Args:
        lightness: float32 [batch, height, width, 1], L in 0..100.

    Returns:
        float32 [batch, height, width, 1], 1 on edges and 0 elsewhere. The outermost pixels are never edges.
    """
    smoothed = _smooth(lightness)
    rows, columns = _sobel(smoothed)
    magnitude = tf.sqrt(tf.square(rows) + tf.square(columns))
    ridges = _thin(magnitude, rows, columns)
    return _hysteresis(weak=ridges >= LOW_THRESHOLD, strong=ridges >= HIGH_THRESHOLD)


def _correlate(image, kernel, axis):
    """Correlates [batch, height, width, 1] with a vector along one axis; pixels outside count as zero."""
    shape = (len(kernel), 1, 1, 1) if axis == 1 else (1, len(kernel), 1, 1)
    return tf.nn.conv2d(image, tf.constant(np.reshape(kernel, shape), image.dtype), strides=1, padding="SAME")


def _smooth(image):
    """Gaussian blur whose weights, near the border, are normalised over the pixels inside the picture."""
    radius = int(4 * SIGMA + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / SIGMA) ** 2)
    kernel /= kernel.sum()

    def blur(values):
        return _correlate(_correlate(values, kernel, axis=1), kernel, axis=2)

    coverage = blur(tf.ones_like(image[:1]))
    # The number comes first: where it comes second, tf2onnx takes it for the convolution's bias, fails, and leaves the
    # transpositions around every layer in the ONNX file.
    return blur(image) / (np.finfo(np.float32).eps + coverage)


def _sobel(image):
    """Sobel gradient along rows (downwards) and columns (to the right), in scipy.ndimage's scale."""
    padded = tf.pad(image, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="SYMMETRIC")
    # Differences and weighted sums of shifted pictures: on one channel, more than twice as fast as convolutions.
    above, here, below = padded[:, :-2], padded[:, 1:-1], padded[:, 2:]
    slope, total = below - above, above + 2 * here + below
    return slope[:, :, :-2] + 2 * slope[:, :, 1:-1] + slope[:, :, 2:], total[:, :, 2:] - total[:, :, :-2]


def _thin(magnitude, rows, columns):
    """Non-maximum suppression: keeps the magnitude where neither neighbour across the ridge is larger, else 0.

    The neighbours lie on the gradient's line through the pixel, where it crosses the 3x3 window; the magnitude there
    is interpolated linearly between the two window pixels beside the crossing.
    """
    shape = tf.shape(magnitude)
    height, width = shape[1], shape[2]
    padded = tf.pad(magnitude, [[0, 0], [1, 1], [1, 1], [0, 0]])

    def neighbour(down, right):
        return padded[:, 1 + down : 1 + down + height, 1 + right : 1 + right + width]

    steep = tf.abs(rows) > tf.abs(columns)
    # The diagonal neighbour on the gradient's side: down-right where both slopes have the same sign, else down-left.
    same_sign = rows * columns >= 0
    weight = tf.math.divide_no_nan(tf.minimum(tf.abs(rows), tf.abs(columns)), tf.maximum(tf.abs(rows), tf.abs(columns)))

    def across(side):
        straight = tf.where(steep, neighbour(side, 0), tf.where(same_sign, neighbour(0, side), neighbour(0, -side)))
        diagonal = tf.where(same_sign, neighbour(side, side), neighbour(side, -side))
        return diagonal * weight + straight * (1 - weight)

    is_ridge = (across(1) <= magnitude) & (across(-1) <= magnitude)
    # scikit-image leaves the outermost pixels out: their gradient rests on pixels outside the picture.
    inside = tf.pad(tf.ones([1, height - 2, width - 2, 1], tf.bool), [[0, 0], [1, 1], [1, 1], [0, 0]])
    return tf.where(is_ridge & inside, magnitude, 0.0)


def _hysteresis(weak, strong):
    """Keeps the weak pixels that reach a strong one through weak pixels, 8-connected: 1 there, 0 elsewhere."""

    def grow(edges, _):
        # Shifted truth values: on one channel, several times faster than max pooling.
        rows = tf.pad(edges, [[0, 0], [1, 1], [0, 0], [0, 0]])
        tall = edges | rows[:, :-2] | rows[:, 2:]
        columns = tf.pad(tall, [[0, 0], [0, 0], [1, 1], [0, 0]])
        grown = (tall | columns[:, :, :-2] | columns[:, :, 2:]) & weak
        return grown, tf.reduce_any(grown ^ edges)

    edges, _ = tf.while_loop(lambda _, growing: growing, grow, (strong, tf.constant(True)))
    return tf.cast(edges, tf.float32)
