"""Brings a network's ab to a photo's size, with the photo's lightness as the guide."""

import functools

import cv2
import numpy as np

# Regularisation of the regression of ab on L, in squared units of L, and the factor on its slope. Chosen by
# `python -m benchmarks.enlarging`.
RIDGE = 64.0
GAIN = 0.4
# Factor by which `sharpen` enlarges ab before reducing it again.
SCALE = 4
# Taps of the filter that enlarging and then reducing amounts to; the outermost ones are 0.
REACH = 9
# Rows interpolated in one matrix product. A few rows depend on a few rows of the network's ab only.
ROWS = 16


class Enlargement:
    """Enlarges a network's ab to a photo's size, all rows at once or some at a time.

    ab is interpolated bicubically, sharpened so that reducing it again gives the network's ab. A guided term after the
    guided filter of He et al. 2010 is added: around each of the network's pixels a ridge regression gives the slope of
    ab over L, and where the photo's L differs from the interpolated L, ab moves by GAIN * slope * difference.

    Args:
        ab: The network's output in Lab units, float32 [rows, columns, 2].
        lightness: The network's input, L in 0..100, float32 [rows, columns, 1].
        height, width: Size of the photo in pixels.
    """

    def __init__(self, ab, lightness, height, width):
        # Planes, since NumPy is slow where the last axis is short.
        ab, lightness = (np.ascontiguousarray(np.moveaxis(values, -1, 0)) for values in (ab, lightness))
        small = np.concatenate([sharpen(ab), GAIN * slopes(ab, lightness, mean_of_nine), lightness])
        self._down = interpolation(ab.shape[1], height)
        self._wide = by_plane(cv2.resize, small, (width, ab.shape[1]), interpolation=cv2.INTER_CUBIC)

    def ab(self, lightness):
        """Returns ab at the photo's size, float32 [height, width, 2], given the photo's L, [height, width]."""
        return np.stack(self.planes(lightness), axis=-1)

    def planes(self, lightness, top=0):
        """Returns (a, b) of some rows of the photo, float32 [rows, width] each.

        Args:
            lightness: The photo's L in these rows, [rows, width].
            top: The first row.
        """
        down = self._down[top : top + len(lightness)]
        enlarged = np.empty((5, *lightness.shape), np.float32)
        for row in range(0, len(down), ROWS):
            weights = down[row : row + ROWS]
            used = np.flatnonzero(weights.any(axis=0))
            near = slice(used[0], used[-1] + 1)
            np.matmul(weights[:, near], self._wide[:, near], out=enlarged[:, row : row + ROWS])
        return guided_ab(enlarged, lightness)


def guided_ab(enlarged, lightness):
    """Returns (a, b), [...] each, from enlarged planes (a, b, slopes of both over L, L), and the photo's L, [...]."""
    a, b, slope_of_a, slope_of_b, expected = enlarged
    detail = lightness - expected
    return a + slope_of_a * detail, b + slope_of_b * detail


def by_plane(function, values, *arguments, **options):
    """Applies an OpenCV function to each channel of values, [channels, height, width]."""
    return np.stack([function(plane, *arguments, **options) for plane in values])


def sharpen(ab):
    """Returns ab that enlarging and then reducing turns into about the given ab: float32 [2, height, width]."""
    kernel = round_trip()
    return 2 * ab - by_plane(cv2.sepFilter2D, ab, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)


@functools.cache
def round_trip():
    """Returns the impulse response along an axis of enlarging and then reducing: float32 [REACH]."""
    enlarged = interpolation(REACH, SCALE * REACH)[:, [REACH // 2]]
    return cv2.resize(enlarged, (1, REACH), interpolation=cv2.INTER_AREA)[:, 0]


def slopes(ab, lightness, mean):
    """Returns the slope of ab over L around each pixel, by ridge regression over its neighbourhood; shaped like `ab`.

    Args:
        ab: ab in Lab units, in any layout of two channels.
        lightness: L in 0..100, in the same layout with one channel.
        mean: Function that returns the mean over each pixel's neighbourhood, of an array in this layout.
    """
    covariance = mean(ab * lightness) - mean(ab) * mean(lightness)
    variance = mean(lightness**2) - mean(lightness) ** 2
    return covariance / (variance + RIDGE)


def mean_of_nine(values):
    """Returns the mean over each pixel's 3x3 neighbourhood of values, [channels, height, width]; shaped alike."""
    return by_plane(cv2.blur, values, (3, 3), borderType=cv2.BORDER_REFLECT)


def interpolation(size, target):
    """Returns the matrix of OpenCV's bicubic interpolation along one axis: float32 [target, size]."""
    return cv2.resize(np.eye(size, dtype=np.float32), (size, target), interpolation=cv2.INTER_CUBIC)
