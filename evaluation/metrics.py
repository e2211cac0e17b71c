"""Metrics of colorized pictures: functions of a batch that return one value for each picture."""

import numpy as np
from skimage.color import deltaE_ciede2000
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from models.zhang import class_weights

# Largest threshold of the accuracy curve of Zhang et al., Lab units.
LARGEST_ERROR = 150
# Pixels of a window of `nyquist_energy`: over longer ones a checkerboard changes its phase.
WINDOW = 16


def colorfulness(photos):
    """Colorfulness M3 of Hasler and Süsstrunk, "Measuring colourfulness in natural images", 2003.

    Args:
        photos: uint8 [..., height, width, 3], sRGB.

    Returns:
        float64 [...]: 0 for gray, about 15 for "slightly", 33 "moderately", 59 "quite" and 109 "extremely" colourful.
    """
    return _spread_and_offset(_opponents(photos))


def colorfulness_ddcolor(photos):
    """Colorfulness as the code of DDColor (ICCV 2023) computes it: that of the absolute values of the opponents.

    It is lower where a picture has opponents of both signs, red beside green or yellow beside blue. Papers that compare
    with DDColor report it. Arguments and result as for `colorfulness`.
    """
    return _spread_and_offset(np.abs(_opponents(photos)))


def squared_error(ab, target):
    """Mean squared error of ab / 128, the paper's loss (section 3.5): float64 [pictures].

    Args:
        ab, target: float [pictures, height, width, 2] in Lab units.
    """
    return np.mean(((np.asarray(ab, np.float64) - np.asarray(target)) / 128) ** 2, axis=(1, 2, 3))


def ab_rmse(ab, target):
    """Root of the mean squared distance in the ab plane: float64 [pictures]. Arguments as for `squared_error`."""
    return np.sqrt(np.mean(_ab_distance(ab, target) ** 2, axis=(1, 2)))


def raw_accuracy(ab, target, weights=1.0):
    """Raw accuracy AuC of Zhang et al. 2016, section 3.1: float64 [pictures] in 0..1.

    The share of pixels whose distance in the ab plane is below t, averaged over t from 0 to 150. A pixel at distance d
    counts for all t above d, so the average over t of a pixel is 1 - d / 150, and no smaller than 0.

    Args:
        ab, target: float [pictures, height, width, 2] in Lab units.
        weights: How much each pixel counts, [pictures, height, width]; see `balancing_weights`.
    """
    return np.mean(weights * np.maximum(1 - _ab_distance(ab, target) / LARGEST_ERROR, 0), axis=(1, 2))


def balancing_weights(histogram):
    """Weight of a pixel in the class-balanced accuracy, by the bin nearest to its target ab: float [313].

    It is the inverse of the frequency of the target's colour, scaled to a mean of 1 over all pixels. A picture of rare
    colours can exceed 1; the mean over pictures of equal size is the balanced accuracy.

    Args:
        histogram: How many pixels of the scored pictures are nearest to each bin, [313].
    """
    weights = class_weights(histogram, uniform_share=0)
    return weights / np.average(weights, weights=histogram)


def nyquist_energy(ab):
    """Energy of ab at the Nyquist frequency, which a checkerboard has: squared Lab units, float64 [pictures].

    Transposed convolutions of stride 2 treat odd and even pixels differently, and leave a pattern that alternates from
    pixel to pixel. Its amplitude is measured along rows and along columns, in Hann windows of 16 pixels that overlap by
    half; its square is averaged over both directions, all windows, and a and b. A (-1)^(x + y) has the energy A^2,
    A (-1)^x half of that, and a linear ramp none.

    Args:
        ab: float [pictures, height, width, 2], at least 16 pixels high and wide.
    """
    taper = np.hanning(WINDOW + 1)[:-1]
    alternating = taper / taper.sum() * (-1.0) ** np.arange(WINDOW)
    energies = []
    for axis in (1, 2):
        windows = np.lib.stride_tricks.sliding_window_view(np.asarray(ab, np.float64), WINDOW, axis)
        starts = np.arange(0, windows.shape[axis], WINDOW // 2)
        energies.append(np.mean((windows.take(starts, axis) @ alternating) ** 2, axis=(1, 2, 3)))
    return np.mean(energies, axis=0)


def psnr(photos, references):
    """Peak signal-to-noise ratio on RGB in dB, by scikit-image: float64 [pictures]; inf for equal ones.

    Args:
        photos, references: uint8 [pictures, height, width, 3].
    """
    with np.errstate(divide="ignore"):
        return np.array([peak_signal_noise_ratio(*pair) for pair in zip(references, photos, strict=True)])


def ssim(photos, references):
    """Structural similarity on RGB by scikit-image with its defaults: float64 [pictures]. Arguments as for `psnr`."""
    pairs = zip(np.asarray(photos), np.asarray(references), strict=True)
    return np.array([structural_similarity(*pair, channel_axis=-1, data_range=255) for pair in pairs])


def ciede2000(lab, reference):
    """Mean CIEDE2000 colour difference, by scikit-image: float64 [pictures].

    Args:
        lab, reference: float [pictures, height, width, 3].
    """
    return np.mean(deltaE_ciede2000(np.asarray(lab), np.asarray(reference)), axis=(1, 2))


def _opponents(photos):
    """Red-green and yellow-blue: float64 [2, ..., height, width]."""
    red, green, blue = np.moveaxis(np.asarray(photos, np.float64), -1, 0)
    return np.stack([red - green, (red + green) / 2 - blue])


def _spread_and_offset(opponents):
    spread = np.sqrt(np.sum(opponents.var(axis=(-2, -1)), axis=0))
    offset = np.sqrt(np.sum(opponents.mean(axis=(-2, -1)) ** 2, axis=0))
    return spread + 0.3 * offset


def _ab_distance(ab, target):
    return np.linalg.norm(np.asarray(ab, np.float64) - np.asarray(target), axis=-1)
