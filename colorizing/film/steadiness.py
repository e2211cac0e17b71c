"""Smooths the colours of a film over time within each shot, against flicker."""

import cv2
import numpy as np

# Standard deviation, in units of L, of the Gaussian that weighs a pixel's past by how much its lightness changed.
TOLERANCE = 8.0
# A new shot begins where the mean agreement with the previous frame is below this. It was at most 0.70 for 1500 pairs
# of crops of different sample photos, and at least 0.96 for neighbouring frames in pans, zooms and noise.
CUT = 0.8
STEADINESS = 0.9
# Shorter side in pixels below which no optical flow is computed: OpenCV's DIS crashes on some thinner pictures.
SMALLEST_FLOW = 32


class Steadier:
    """A running average of ab over the frames of each shot, at the network's own size.

    The average so far is warped by the optical flow between the lightness of the previous and the present frame (DIS:
    Kroeger et al. 2016). It is then mixed into the present frame's ab with the weight

        steadiness * exp(-d^2 / (2 TOLERANCE^2))

    where d is the difference in L that remains after warping, blurred slightly against noise. So colours follow moving
    objects, and what comes into view takes the colours of its own frame. A frame whose mean agreement is below CUT
    starts a new shot without a past.

    Args:
        steadiness: Weight of the past, 0..1. 0 returns each frame's own ab, 0.9 averages over about ten frames, 1 keeps
            the first colours for the whole shot.
    """

    def __init__(self, steadiness=STEADINESS):
        self._steadiness = steadiness
        self._flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._lightness = self._ab = None  # Of the last frame.
        # Where each of its pixels was in the frame before, (x, y) in pixels, float32 [height, width, 2]; None after the
        # first frame of a shot.
        self.origins = None

    def steady(self, lightness, ab):
        """Adds the next frame to the average. Returns the averaged ab, float32 [height, width, 2].

        Args:
            lightness: The network's input, L in 0..100, float32 [height, width, 1], of one size for the whole film.
            ab: The network's output in Lab units, float32 [height, width, 2].
        """
        before, self.origins = self._lightness, None
        if before is not None:
            origins, inside = self._find_origins(lightness)
            past = agreement(_moved(before, origins)[..., None], lightness) * inside
            if past.mean() >= CUT:
                self.origins = origins
                ab = ab + self._steadiness * past * (_moved(self._ab, origins) - ab)
        self._lightness, self._ab = lightness, ab
        return ab

    def _find_origins(self, lightness):
        """Returns where each pixel was in the previous frame, (x, y) [height, width, 2], and 1 if inside it, else 0."""
        height, width = lightness.shape[:2]
        before, now = ((values[..., 0] * 2.55).round().astype(np.uint8) for values in (self._lightness, lightness))
        origins = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
        if min(height, width) >= SMALLEST_FLOW:
            origins += self._flow.calc(now, before, None)
        inside = (origins >= 0) & (origins <= (width - 1, height - 1))
        return origins, inside.all(axis=-1, keepdims=True).astype(np.float32)


def agreement(before, now):
    """Returns how well the L of two frames, float32 [height, width, 1], agrees: 0..1, of the same shape."""
    difference = cv2.GaussianBlur(now - before, (0, 0), 1)[..., None]
    return np.exp(-(difference**2) / (2 * TOLERANCE**2))


def _moved(values, origins):
    return cv2.remap(values, origins, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
