"""The hints of a film: each holds from its time to the end of its shot, and follows what moves."""

from dataclasses import replace

import numpy as np

# Distance in the network's pixels from the nearest pixel's origin beyond which a place is out of sight.
OUT_OF_SIGHT = 2.0


class MovingHints:
    """`colorizing.hints.Hint`s of one film, frame by frame; those without a time hold from the first frame."""

    def __init__(self, hints):
        self._waiting = sorted(hints, key=lambda hint: hint.time or 0)
        self._active = []

    def at(self, end, origins):
        """Moves the hints on to the next frame. Returns those that act in it, a list, with their places in it.

        Args:
            end: When the frame ends, in seconds from the film's start.
            origins: Where each pixel was in the previous frame, (x, y) in pixels, float32 [rows, columns, 2]; None for
                the first frame of a shot.
        """
        moved = [] if origins is None else [follow(hint, origins) for hint in self._active]
        self._active = [hint for hint in moved if hint is not None]
        while self._waiting and (self._waiting[0].time or 0) < end:
            self._active.append(self._waiting.pop(0))
        return self._active


def follow(hint, origins):
    """The previous frame's hint at its place in this frame, by `origins` as for `at`; None where it is out of sight."""
    size = np.array(origins.shape[1::-1])
    before = np.array([hint.x, hint.y]) * size - 0.5
    squares = np.square(origins - before).sum(axis=-1)
    row, column = np.unravel_index(squares.argmin(), squares.shape)
    # The motion of a place is that of the nearest pixel.
    x, y = (np.array([column, row]) + before - origins[row, column] + 0.5) / size
    if squares[row, column] > OUT_OF_SIGHT**2 or not (0 <= x <= 1 and 0 <= y <= 1):
        return None
    return replace(hint, x=float(x), y=float(y))
