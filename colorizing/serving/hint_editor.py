"""Setting hints by hand: the edits, the colours on offer and the dots on the picture, for the page of app.py."""

import re
from dataclasses import dataclass, replace

import cv2
import numpy as np
import tensorflow as tf

from colorizing.hints import Hint, place_of
from common.errors import UserError
from utils import ab_from_rgb, encode_rgb, rgb_to_lab

# Radius of a dot, and how near to it a click chooses it, in shares of the picture's shorter side.
DOT, NEAR = 0.018, 0.03
# Colours that are common in photos, chosen by hand: a and b in Lab units.
COMMON = {
    "gray": (0, 0),
    "skin": (18, 20),
    "wood": (14, 32),
    "brick": (38, 30),
    "red": (60, 40),
    "yellow": (2, 60),
    "grass": (-22, 34),
    "leaves": (-28, 18),
    "sky": (-6, -24),
    "blue": (10, -48),
    "purple": (36, -34),
}
# Side of a colour on offer, in pixels.
SWATCH = 48


@dataclass(frozen=True)
class Edits:
    """The hints of one photo on the page, with those before each change, for undo."""

    hints: tuple[Hint, ...] = ()
    chosen: int | None = None  # Number of the hint that a colour is chosen for; None for none.
    past: tuple[tuple[Hint, ...], ...] = ()  # The `hints` before each change, oldest first.
    begun: float = 0  # When the photo was chosen, so that edits differ from those of the photo before it.

    @property
    def hint(self):
        """The chosen hint; None for none."""
        return None if self.chosen is None else self.hints[self.chosen]

    def change(self, hints, chosen):
        """The edits with other hints; undo goes back to the present ones."""
        return replace(self, hints=tuple(hints), chosen=chosen, past=(*self.past, self.hints))

    def click(self, x, y, aspect, moving=False):
        """Chooses the hint near a place; moves the chosen one there; or sets a new one, which keeps the colour there.

        The place is in shares of width and height; `aspect` is width by height of the picture.
        """
        if moving and self.chosen is not None:
            return self._replace(x=x, y=y)
        scale = np.array([aspect, 1.0]) / min(aspect, 1.0)
        for number, hint in enumerate(self.hints):
            if np.linalg.norm(scale * (hint.x - x, hint.y - y)) <= NEAR:
                return replace(self, chosen=number)
        return self.change((*self.hints, Hint(x, y, None)), len(self.hints))

    def color(self, ab):
        """Gives the chosen hint a colour; None keeps the network's."""
        return self if self.chosen is None else self._replace(ab=ab)

    def remove(self):
        """Removes the chosen hint."""
        if self.chosen is None:
            return self
        return self.change(self.hints[: self.chosen] + self.hints[self.chosen + 1 :], None)

    def undo(self):
        """Takes the last change back."""
        if not self.past:
            return self
        hints = self.past[-1]
        chosen = self.chosen if self.chosen is not None and self.chosen < len(hints) else None
        return replace(self, hints=hints, chosen=chosen, past=self.past[:-1])

    def _replace(self, **changes):
        hints = list(self.hints)
        hints[self.chosen] = replace(hints[self.chosen], **changes)
        return self.change(hints, self.chosen)


def draw_dots(pixels, edits):
    """A copy of a picture, sRGB uint8 [height, width, 3], with a dot for each hint; the chosen one has a red rim."""
    drawn = pixels.copy()
    radius = max(4, round(DOT * min(pixels.shape[:2])))
    for number, hint in enumerate(edits.hints):
        row, column = place_of(hint, pixels)
        rim = (255, 0, 0) if number == edits.chosen else (255, 255, 255)
        for size, color in ((radius + 3, (0, 0, 0)), (radius + 2, rim), (radius, pixels[row, column].tolist())):
            cv2.circle(drawn, (column, row), size, color, cv2.FILLED, cv2.LINE_AA)
    return drawn


def offer(shown, hint, likely):
    """The colours on offer for a hint: what is shown at its place, then the likely ones, then common ones.

    Args:
        shown: The picture on the page, sRGB uint8 [height, width, 3].
        likely: ab that the network thinks likely at the place, [count, 2].

    Returns:
        (picture, ab): how they look at the lightness of the place, a row of squares, uint8 [SWATCH, count * SWATCH, 3],
        with less chroma where it does not fit into sRGB; and their ab, a list of pairs.
    """
    lightness, *own = rgb_to_lab(shown[place_of(hint, shown)][None]).numpy()[0]
    ab = np.float32([own, *likely, *COMMON.values()])
    lab = np.column_stack([np.full(len(ab), lightness), ab])
    rgb = encode_rgb(tf.constant(lab), tf.uint8).numpy()
    return np.repeat(np.repeat(rgb[None], SWATCH, axis=0), SWATCH, axis=1), ab.tolist()


def ab_of_picked(text):
    """ab in Lab units, two floats, of what a colour picker gives: "#rrggbb" or "rgb(r, g, b)", also with alpha.

    Raises UserError where it is neither.
    """
    if found := re.fullmatch(r"#([0-9a-fA-F]{6})([0-9a-fA-F]{2})?", text):
        rgb = list(bytes.fromhex(found[1]))
    elif found := re.fullmatch(r"rgba?\(\s*([\d.]+)[,\s]+([\d.]+)[,\s]+([\d.]+).*\)", text):
        rgb = [min(round(float(value)), 255) for value in found.groups()]
    else:
        raise UserError(f"{text}: not a colour")
    return tuple(ab_from_rgb(tf.constant(np.uint8(rgb)[None])).numpy()[0].tolist())
