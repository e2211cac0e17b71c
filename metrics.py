"""Figures that say how good colours are."""

import numpy as np


def colorfulness(photo):
    """Colorfulness M3 of Hasler and Süsstrunk, "Measuring colourfulness in natural images", 2003.

    Args:
        photo: uint8 [..., height, width, 3], sRGB.

    Returns:
        float64 [...]: 0 for gray, about 15 for "slightly", 33 "moderately", 59 "quite" and 109 "extremely" colourful.
    """
    red, green, blue = np.moveaxis(np.asarray(photo, np.float64), -1, 0)
    opponents = np.stack([red - green, (red + green) / 2 - blue])
    spread = np.sqrt(np.sum(opponents.var(axis=(-2, -1)), axis=0))
    offset = np.sqrt(np.sum(opponents.mean(axis=(-2, -1)) ** 2, axis=0))
    return spread + 0.3 * offset


def squared_error(ab, target, scale=128.0):
    """Mean squared error of ab / scale, the paper's loss (section 3.5), of each picture.

    Args:
        ab, target: float [pictures, height, width, 2] in Lab units.

    Returns:
        float [pictures].
    """
    return np.mean(((np.asarray(ab) - np.asarray(target)) / scale) ** 2, axis=(1, 2, 3))
