"""Colour hints: what a person knows of a photo's colours, and the correction of the network's ab that meets it.

The correction, the difference d between the true and the network's ab, is predicted by Gaussian process regression
(Rasmussen and Williams 2006, section 2.2), known as kriging where it predicts maps from samples. Its covariance at two
pixels is a product of Gaussians of their distance and of their differences in lightness, in the network's ab and, where
the network offers them, in its features. So what is near a hint and looks like its place takes the correction, and
what is far or looks different keeps the network's colours.

A photo's pixels are described by vectors v in which all these differences are divided by their scales. The covariance
of two pixels is

    (1 - BROAD) exp(-|v_i - v_j|^2 / 2) + BROAD exp(-|v_i - v_j|^2 / 8).
"""

import json
from dataclasses import asdict
from typing import Annotated

import cv2
import numpy as np
from annotated_types import Interval, Len
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from common.errors import FileError
from common.files import describe_error
from common.options import Share, describe_invalid

# Radius of a hint, as a share of the photo's shorter side: 3 pixels of 256.
RADIUS = 0.0125
# Hints of one photo, at most: time grows with their number.
MAX_HINTS = 1000
# a or b that a hint may ask for; sRGB stays within 108.
Chroma = Annotated[float, Interval(ge=-128, le=128)]

# Scales of the covariance: of distance in shorter sides of the photo, of L and of ab in Lab units, and of features of
# length 1. Wider ones gain more from hints at random places, but then a single hint changes colours all over the photo.
REACH, OF_LIGHTNESS, OF_AB, OF_FEATURES = 0.45, 16.0, 20.0, 1.5
# Share of d's variance with twice these scales, so that several hints that agree also change pixels that are less
# similar to their places.
BROAD = 0.2
# Variance of what a hint says, relative to that of d: hints that contradict each other are averaged.
NOISE = 0.01
# Radius above which a hint also counts at four places around its centre, and how far these are, in radii.
LARGE, AROUND = 0.05, 0.7
# Covariances computed at a time, which bounds memory.
AT_A_TIME = 1 << 23


class HintError(FileError):
    """Hints that cannot be used; the message names the hint, too."""


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))
class Hint:
    """A place of a photo and its colour."""

    x: Share  # The place as shares of width and height, from the left and from the top.
    y: Share
    # In Lab units; None keeps the network's colour there. L stays the photo's, and ab that it cannot carry inside sRGB
    # is painted with the same hue and less chroma.
    ab: tuple[Chroma, Chroma] | None
    radius: Annotated[float, Interval(gt=0, le=0.5)] = RADIUS  # As a share of the photo's shorter side.
    # Seconds from a film's start at which the hint begins to hold, until the end of the shot; None for the first frame,
    # and in photos.
    time: Annotated[float, Interval(ge=0, lt=1e6)] | None = None


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class HintFile:
    """The content of a file of hints."""

    hints: Annotated[list[Hint], Len(max_length=MAX_HINTS)]


def read_hints(path, film=False):
    """Reads a file of hints, see `parse_hints`. Raises HintError, also where the file cannot be read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise HintError(path, describe_error(error)) from error
    return parse_hints(content, path, film)


def parse_hints(content, name, film=False):
    """A list of `Hint` from JSON like `{"hints": [{"x": 0.5, "y": 0.25, "ab": [40, 20], "radius": 0.0125}]}`.

    The content is str or UTF-8 bytes; hints of a film may have times. Raises HintError with the name of the file where
    the content is something else; the message counts hints from 1.
    """
    try:
        mark = "\ufeff"  # Editors of Windows put it at the start.
        content = content.removeprefix(mark if isinstance(content, str) else mark.encode())
        hints = TypeAdapter(HintFile).validate_json(content).hints
    except ValidationError as error:
        raise HintError(name, f"{_describe(error.errors()[0])}; docs/hints.md shows the file") from error
    for number, hint in enumerate(hints, start=1):
        if hint.time is not None and not film:
            raise HintError(name, f"hint {number}: a time is for films; remove it")
    return hints


def _describe(error):
    """One of Pydantic's errors as words, with the hint, the field and the value that it is about."""
    names = [str(name) for name in error["loc"]]
    if len(names) > 1:  # The first one is that of the list.
        names = [f"hint {error['loc'][1] + 1}", ".".join(names[2:])]
    if names and not isinstance(error["input"], dict | list):
        names[-1] += f" {str(error['input'])[:40]}"
    return ": ".join(filter(None, [*map(str.strip, names), describe_invalid(error)]))


def format_hints(hints):
    """JSON of hints, as `parse_hints` reads it, a line a hint."""
    rows = [{name: value for name, value in asdict(hint).items() if (name, value) != ("time", None)} for hint in hints]
    return '{"hints": [\n' + ",\n".join(map(json.dumps, rows)) + "\n]}\n"


def place_of(hint, picture):
    """Row and column of a hint's place in a picture, an array [height, width, ...]."""
    height, width = picture.shape[:2]
    return min(int(hint.y * height), height - 1), min(int(hint.x * width), width - 1)


def correct(ab, lightness, hints, features=None):
    """The network's ab, corrected so that it meets `Hint`s; `ab` itself without hints.

    Args:
        ab: What the network predicted, Lab units, float32 [rows, columns, 2].
        lightness: What it saw, L in 0..100, float32 [rows, columns, 1].
        features: What the network offers besides, float32 [any, any, channels] over the same picture; None for nothing.
    """
    return spread(ab, describe(ab, lightness, features), hints) if hints else ab


def describe(ab, lightness, features=None):
    """Vectors of pixels whose distances say what belongs together, see this file's header; arguments as for `correct`.

    They are float32 [rows, columns, channels], of which the first two are places and the third is lightness.
    """
    rows, columns = ab.shape[:2]
    down, right = np.mgrid[:rows, :columns].astype(np.float32) / (REACH * min(rows, columns))
    smooth = cv2.blur(lightness[..., 0], (3, 3))  # So that fine texture does not stop a hint.
    parts = [down, right, smooth / OF_LIGHTNESS, ab / OF_AB]
    if features is not None:
        parts.append(_unit_features(features, rows, columns) / OF_FEATURES)
    return np.dstack(parts).astype(np.float32)


def spread(ab, vectors, hints, noise=NOISE):
    """The correction of ab by hints, at least one, over pixels that `describe` described. Returns the corrected ab."""
    known, asked = _observations(ab, vectors, hints)
    exact = known.astype(np.float64)
    weights = np.linalg.solve(_covariance(exact, exact) + noise * np.eye(len(exact)), asked).astype(np.float32)
    pixels = vectors.reshape(-1, vectors.shape[-1])
    step = max(1, AT_A_TIME // len(known))
    parts = [_covariance(pixels[start : start + step], known) @ weights for start in range(0, len(pixels), step)]
    return ab + np.concatenate(parts).reshape(ab.shape)


def _observations(ab, vectors, hints):
    """What hints say of d: vectors of places, [count, channels], and d there, [count, 2]."""
    known, asked = [], []
    for hint in hints:
        points = _points(hint, ab)
        known.append(vectors[points])
        asked.append(np.zeros_like(ab[points]) if hint.ab is None else np.float32(hint.ab) - ab[points])
    return np.concatenate(known), np.concatenate(asked)


def _points(hint, picture):
    """Rows and columns of the places that a hint counts at, its centre first."""
    row, column = place_of(hint, picture)
    if hint.radius <= LARGE:
        return [row], [column]
    rows, columns = picture.shape[:2]
    away = round(AROUND * hint.radius * min(rows, columns))
    found = [(row, column), (row - away, column), (row + away, column), (row, column - away), (row, column + away)]
    return tuple(np.transpose([(y, x) for y, x in found if 0 <= y < rows and 0 <= x < columns]))


def _covariance(one, other):
    """Covariance of d between places, as a share of d's variance: [count, others] in 0..1.

    Places are given by their vectors, [count, channels] and [others, channels].
    """
    squares = np.vecdot(one, one)[:, None] + np.vecdot(other, other) - 2 * one @ other.T
    near = np.exp(np.minimum(-squares / 2, 0))
    return (1 - BROAD) * near + BROAD * np.sqrt(np.sqrt(near))


def _unit_features(features, rows, columns):
    """Features at the grid's size, centred on the photo's mean and scaled to length 1: [rows, columns, channels]."""
    features = features - features.mean(axis=(0, 1))
    features = np.dstack([cv2.resize(plane, (columns, rows)) for plane in np.moveaxis(features, -1, 0)])
    return features / (np.linalg.norm(features, axis=-1, keepdims=True) + 1e-6)
