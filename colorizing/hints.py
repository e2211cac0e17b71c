"""Colour hints: what a person knows of a photo's colours, and the correction of the network's ab that meets it.

Colorization by optimization (Levin, Lischinski and Weiss, SIGGRAPH 2004), on the network's grid. The unknown is d, the
difference between the corrected and the network's ab, so places that no hint is about keep the network's colours. d
minimizes the sum of

    w_ij |d_i - d_j|^2      over neighbouring pixels i and j,
    m_ik |d_i - d_k|^2      over pixels i and hints k,
    lambda |d_i|^2          over pixels i.

w_ij, the affinity of neighbours, falls with their difference in lightness, in the network's ab and, where the network
offers them, in its features: d is smooth inside an object and may jump at its edge. m_ik is large where the hint was
set. Elsewhere it falls with the distance from there and with the difference in the same three quantities, so that a
whole object takes the colour, across its folds. lambda makes d fade far from all hints. The matrix is sparse, symmetric
and positive definite, and the same for a and b.
"""

import json
import math
from dataclasses import dataclass

import cv2
import numpy as np
import scipy.sparse
from scipy.sparse.linalg import splu

from common.errors import UserError
from common.files import describe_error

# Radius of a hint, as a share of the photo's shorter side: 3 pixels of 256.
RADIUS = 0.0125
# Hints of one photo, at most: the time for the likeness grows with their number.
MAX_HINTS = 1000
# The largest a or b, up or down, that a hint may ask for; sRGB stays within 108.
LARGEST_AB = 128.0

# Standard deviations of differences in L, in ab (both Lab units) and in features (of length 1): for the affinity of
# neighbours, and for the likeness to a hint's place.
NEIGHBOURS, LIKENESS = (3.0, 8.0, 0.5), (5.0, 5.0, 0.5)
# The least affinity of neighbours, so that no pixel is cut off.
LEAST_AFFINITY = 1e-3
# Standard deviation of the distance from a hint, in shorter sides of the photo, in the weight of likeness.
DISTANCE = 0.3
# Weight of a hint at its own place, relative to the affinity of equal neighbours.
MET = 100.0
# Lengths in shorter sides of the photo: beyond the first, likeness to a hint outweighs smoothness between neighbours;
# over the second, d fades where all pixels are equal.
LIKENESS_LENGTH, FADING_LENGTH = 0.12, 0.8


class HintError(UserError):
    """Hints that cannot be used; the message names the file, the hint, and what to do."""

    def __init__(self, name, cause):
        super().__init__(f"{name}: {cause}")


@dataclass(frozen=True)
class Hint:
    """A place of a photo and its colour.

    Args:
        x, y: The place as shares of width and height, 0..1, from the left and from the top.
        ab: The colour's a and b in Lab units, -128..128, or None to keep the network's colour there. L stays the
            photo's, and ab that it cannot carry inside sRGB is painted with the same hue and less chroma.
        radius: In shares of the photo's shorter side, above 0 and at most 0.5.
    """

    x: float
    y: float
    ab: tuple[float, float] | None
    radius: float = RADIUS


def read_hints(path):
    """Reads a JSON file of hints, see `parse_hints`: a list of `Hint`.

    Raises:
        HintError: The file cannot be read or holds something else.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise HintError(path, describe_error(error)) from error
    return parse_hints(content, path)


def parse_hints(content, name):
    """Hints of JSON like `{"hints": [{"x": 0.5, "y": 0.25, "ab": [40, 20], "radius": 0.0125}]}`.

    `radius` may be missing. `"ab": null` keeps the network's colour at the place.

    Args:
        content: JSON, str or UTF-8 bytes.
        name: Of the file, for messages.

    Returns:
        A list of `Hint`.

    Raises:
        HintError: The content is something else; the message counts hints from 1.
    """
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise HintError(name, f"not JSON ({error})") from error
    entries = data.get("hints") if isinstance(data, dict) else None
    if not isinstance(entries, list):
        raise HintError(name, 'no list of hints; write {"hints": [{"x": 0.5, "y": 0.5, "ab": [40, 20]}]}')
    if len(entries) > MAX_HINTS:
        raise HintError(name, f"{len(entries)} hints; the limit is {MAX_HINTS}")
    return [_parse_hint(entry, f"{name}: hint {number}") for number, entry in enumerate(entries, start=1)]


def format_hints(hints):
    """JSON of hints, as `parse_hints` reads it, a line a hint."""
    rows = [{"x": hint.x, "y": hint.y, "ab": hint.ab and list(hint.ab), "radius": hint.radius} for hint in hints]
    return '{"hints": [\n' + ",\n".join(map(json.dumps, rows)) + "\n]}\n"


def _parse_hint(entry, name):
    if not isinstance(entry, dict):
        raise HintError(name, 'not an object; write {"x": 0.5, "y": 0.5, "ab": [40, 20]}')
    missing, unknown = {"x", "y", "ab"} - entry.keys(), entry.keys() - {"x", "y", "ab", "radius"}
    if missing or unknown:
        cause = f"no {min(missing)}" if missing else f"unknown field {_shown(min(unknown))}"
        raise HintError(name, f"{cause}; a hint has x, y, ab and, if need be, radius")
    for side in ("x", "y"):
        if not _is_number(entry[side]) or not 0 <= entry[side] <= 1:
            raise HintError(name, f"{side} is {_shown(entry[side])}; use a number from 0 to 1, a share of the photo")
    radius = entry.get("radius", RADIUS)
    if not _is_number(radius) or not 0 < radius <= 0.5:
        raise HintError(
            name, f"radius is {_shown(radius)}; use a number above 0, at most 0.5, a share of the shorter side"
        )
    ab = entry["ab"]
    if ab is not None:
        numbers = isinstance(ab, list) and len(ab) == 2 and all(map(_is_number, ab))
        if not numbers or max(map(abs, ab)) > LARGEST_AB:
            raise HintError(name, f"ab is {_shown(ab)}; use two numbers from -128 to 128, or null to keep the colour")
        ab = tuple(map(float, ab))
    return Hint(float(entry["x"]), float(entry["y"]), ab, float(radius))


def _is_number(value):
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and (isinstance(value, int) or math.isfinite(value))
    )


def _shown(value):
    """A value as JSON, not longer than a line."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def place_of(hint, picture):
    """Row and column of a hint's place in a picture, an array [height, width, ...]."""
    height, width = picture.shape[:2]
    return min(int(hint.y * height), height - 1), min(int(hint.x * width), width - 1)


def correct(ab, lightness, hints, features=None):
    """Corrects the network's ab so that it meets hints.

    Args:
        ab: What the network predicted, Lab units, float32 [rows, columns, 2].
        lightness: What it saw, L in 0..100, float32 [rows, columns, 1].
        hints: `Hint`s.
        features: What the network offers besides, float32 [any, any, channels] over the same picture; None for nothing.

    Returns:
        The corrected ab, like `ab`; `ab` itself without hints.
    """
    if not hints:
        return ab
    difference = solve_direct(*normal_equations(ab, lightness, hints, features))
    return ab + difference.reshape(ab.shape).astype(np.float32)


def normal_equations(ab, lightness, hints, features=None):
    """The matrix and the right-hand sides whose solution is d, see this file's header; arguments as for `correct`.

    Returns:
        (matrix, right): a sparse array [pixels, pixels], symmetric and positive definite, and float64 [pixels, 2].
    """
    rows, columns = ab.shape[:2]
    features = None if features is None else _unit_features(features, rows, columns)
    right, below = _affinities(ab, lightness, features)
    diagonal, pulled = _data_terms(ab, lightness, hints, features)
    diagonal[:, :-1] += right
    diagonal[:, 1:] += right
    diagonal[:-1] += below
    diagonal[1:] += below
    # The last pixel of a row has no neighbour to the right.
    along = np.pad(right, ((0, 0), (0, 1))).ravel()[:-1]
    bands = [-below.ravel(), -along, diagonal.ravel(), -along, -below.ravel()]
    matrix = scipy.sparse.diags_array(bands, offsets=[-columns, -1, 0, 1, columns], format="csc")
    return matrix, pulled.reshape(-1, 2)


def solve_direct(matrix, right):
    """Solves `normal_equations` by SciPy's sparse LU, with the ordering for symmetric matrices.

    `python -m benchmarks.hints cost` compares it with other solvers.
    """
    options = {"SymmetricMode": True}
    return splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options).solve(right)


def _unit_features(features, rows, columns):
    """Features at the grid's size, centred on the photo's mean and scaled to length 1: [rows, columns, channels]."""
    features = features - features.mean(axis=(0, 1))
    features = np.dstack([cv2.resize(plane, (columns, rows)) for plane in np.moveaxis(features, -1, 0)])
    return features / (np.linalg.norm(features, axis=-1, keepdims=True) + 1e-6)


def _scaled(ab, lightness, features, scales):
    """L, ab and features, each divided by its standard deviation: float32 [rows, columns, channels]."""
    parts = [lightness / scales[0], ab / scales[1]]
    if features is not None:
        parts.append(features / scales[2])
    return np.concatenate(parts, axis=-1, dtype=np.float32)


def _square(vectors):
    """Squared lengths, [...], of vectors [..., channels]."""
    return np.einsum("...c,...c", vectors, vectors)


def _affinities(ab, lightness, features):
    """w of each pixel and its neighbour to the right, [rows, columns - 1], and below, [rows - 1, columns]."""
    scaled = _scaled(ab, lightness, features, NEIGHBOURS)
    return [np.exp(-_square(np.diff(scaled, axis=axis)) / 2) + LEAST_AFFINITY for axis in (1, 0)]


def _data_terms(ab, lightness, hints, features):
    """Sums over the hints of m and of m * d_k, and with lambda: [rows, columns] and [rows, columns, 2]."""
    rows, columns = ab.shape[:2]
    shorter = min(rows, columns)
    scaled = _scaled(ab, lightness, features, LIKENESS)
    y, x = np.mgrid[:rows, :columns].astype(np.float32) + 0.5
    weights = np.full((rows, columns), (FADING_LENGTH * shorter) ** -2)
    pulled = np.zeros((rows, columns, 2))
    for hint in hints:
        place = place_of(hint, ab)
        squares = (y - hint.y * rows) ** 2 + (x - hint.x * columns) ** 2
        likeness = np.exp(-_square(scaled - scaled[place]) / 2)
        like = likeness * np.exp(-squares / (2 * (DISTANCE * shorter) ** 2)) * (LIKENESS_LENGTH * shorter) ** -2
        own = squares <= (hint.radius * shorter) ** 2
        own[place] = True
        # Of the hint's own pixels those unlike its centre belong to something else.
        met = MET * likeness * own
        weights += like + met
        if hint.ab is not None:
            pulled += like[..., None] * (hint.ab - ab[place]) + met[..., None] * (hint.ab - ab)
    return weights, pulled
