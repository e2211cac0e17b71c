"""Augmentation: turns colour photos into gray pictures that look like scans of old prints.

Before panchromatic film, plates were sensitive to blue light above all: skies are white in such photographs, and red is
nearly black. Prints fade, film is grainy, lenses were soft, and scans are compressed.
"""

import cv2
import numpy as np

from common.profiles import light_of_srgb
from utils import XYZ_FROM_RGB

# Sensitivity to linear red, green and blue: that of luminance in sRGB, and estimates for films.
LUMINANCE = XYZ_FROM_RGB[1]
PANCHROMATIC = (0.30, 0.45, 0.25)
ORTHOCHROMATIC = (0.05, 0.50, 0.45)
BLUE_SENSITIVE = (0.00, 0.15, 0.85)
SENSITIVITIES = np.array([LUMINANCE, PANCHROMATIC, ORTHOCHROMATIC, BLUE_SENSITIVE])
# Ranges of the other steps: contrast is an exponent, black, white and grain are shares of white, blur is in pixels,
# quality is that of JPEG.
CONTRAST = (0.7, 1.4)
BLACK = (0.0, 0.2)
WHITE = (0.8, 1.0)
BLUR = (0.3, 1.5)
GRAIN = (0.0, 0.06)
QUALITY = (25, 90)
# Shares of the pictures that are blurred, grainy, compressed.
BLUR_SHARE, GRAIN_SHARE, COMPRESSION_SHARE = 0.4, 0.5, 0.3

# Tables of sRGB: linear light of each value of 8 bits, and the value in 0..1 of each light in steps of 1/65535.
LINEAR = light_of_srgb(np.arange(256) / 255).astype(np.float32)
_light = np.arange(1 << 16) / 65535
ENCODED = np.where(_light > 0.0031308, 1.055 * _light ** (1 / 2.4) - 0.055, 12.92 * _light).astype(np.float32)


def expose(photo, sensitivity):
    """The gray that a film gives of a photo, sRGB uint8 [height, width, 3]: float32 [height, width] in 0..1.

    The film's sensitivity is its shares of linear red, green and blue, which sum to at most 1.
    """
    light = LINEAR[photo] @ np.asarray(sensitivity, np.float32)
    return ENCODED[np.rint(np.clip(light, 0, 1) * 65535).astype(np.uint16)]


def as_luminance(photo):
    """The neutral of equal lightness, uint8 [height, width], of sRGB uint8 [height, width, 3]."""
    return to_bytes(expose(photo, LUMINANCE))


def as_old_film(photo, random):
    """A photo, sRGB uint8 [height, width, 3], as the scan of an old print, gray uint8 [height, width].

    A NumPy generator decides everything within the ranges above.
    """
    share = random.random()
    first, second = SENSITIVITIES[random.permutation(len(SENSITIVITIES))[:2]]
    gray = expose(photo, share * first + (1 - share) * second) ** np.exp(random.uniform(*np.log(CONTRAST)))
    black, white = random.uniform(*BLACK), random.uniform(*WHITE)
    gray = black + (white - black) * gray
    if random.random() < BLUR_SHARE:
        gray = cv2.GaussianBlur(gray, (0, 0), random.uniform(*BLUR))
    if random.random() < GRAIN_SHARE:
        noise = random.standard_normal(gray.shape, dtype=np.float32)
        gray = gray + random.uniform(*GRAIN) * cv2.GaussianBlur(noise, (3, 3), 0.6)
    gray = to_bytes(gray)
    if random.random() < COMPRESSION_SHARE:
        quality = int(random.integers(*QUALITY))
        gray = cv2.imdecode(cv2.imencode(".jpg", gray, (cv2.IMWRITE_JPEG_QUALITY, quality))[1], cv2.IMREAD_GRAYSCALE)
    return gray


def to_bytes(gray):
    """uint8 of floats in 0..1, rounded."""
    return np.rint(np.clip(gray, 0, 1) * 255).astype(np.uint8)
