"""Brings a network's ab to a photo's size, with the photo's lightness as the guide."""

import functools

import cv2
import numpy as np

# How ab follows lightness between the network's pixels; judged by `python -m benchmarks.enlarging`.
RIDGE = 64.0
GAIN = 0.4
# How much ab is enlarged to find out what reducing it again would give.
SCALE = 4
# Pixels to each side of one that this involves, that pixel, and some to spare.
REACH = 9
# Rows that are interpolated at a time: as many as the network's rows that matter to them stay few.
ROWS = 16


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

    def ab(self, lightness):
        """ab at the photo's size, float32 [height, width, 2], given the photo's L, [height, width]."""
        return np.stack(self.planes(lightness), axis=-1)

    def planes(self, lightness, top=0):
        """a and b, float32 [rows, width] each, of the photo's rows from `top` on, given the photo's L in these rows."""
        return guided_ab(self.rows(top, top + len(lightness)), lightness)

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
