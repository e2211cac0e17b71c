"""Metrics of colours at the boundaries of objects, which people have drawn (BSDS500: Arbeláez et al. 2011).

The paper claims that its edge detection network keeps the colours of different objects from mixing, and gives no
number. Two test it: the error of ab near boundaries and elsewhere, and how well edges in ab coincide with boundaries.
"""

from statistics import harmonic_mean

import cv2
import numpy as np

from common.images import read_photo

# Maps are averages over annotators, 0..255. A pixel above this is a boundary: more than half of them drew one there.
AGREEMENT = 127
# Distance in pixels up to which a pixel is near a boundary.
REACH = 3
# Distance in pixels up to which a colour edge matches a boundary.
TOLERANCE = 2
# Candidates for the threshold of colour edges: strength of the ab gradient in Lab units a pixel.
THRESHOLDS = tuple(np.geomspace(0.5, 32, 13))


def read_map(path):
    """Reads a boundary map: uint8 [height, width]. Raises PhotoError."""
    return read_photo(path)[..., 0]


def distance_to(mask):
    """Returns each pixel's Euclidean distance in pixels to the nearest True one, float32 [height, width]; else inf."""
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def errors_at_boundaries(ab, target, boundaries):
    """Returns the mean distance in the ab plane (near boundaries, elsewhere); nan without such pixels.

    Near are the pixels at most REACH pixels from a boundary that most annotators drew.

    Args:
        ab, target: Predicted and true ab in Lab units, float [height, width, 2].
        boundaries: Boundary maps averaged over annotators, uint8 [height, width], 0..255.
    """
    distance = np.linalg.norm(np.asarray(ab, np.float64) - target, axis=-1)
    near = distance_to(boundaries > AGREEMENT) <= REACH
    return tuple(float(distance[part].mean()) if part.any() else np.nan for part in (near, ~near))


def ab_gradient(ab):
    """Strength of colour edges: root of the summed squares of the Sobel gradients of a and b, float32 [height, width].

    Scaled so that a step of one Lab unit between two pixels has strength 1/2 in each of them.
    """
    squares = [
        cv2.Sobel(np.ascontiguousarray(channel, np.float32), cv2.CV_32F, *order, scale=1 / 8) ** 2
        for channel in np.moveaxis(np.asarray(ab), -1, 0)
        for order in ((1, 0), (0, 1))
    ]
    return np.sqrt(sum(squares))


def match_edges(ab, boundaries, threshold):
    """Counts pixels of colour edges at human boundaries, and the reverse. Counts of several pictures add up.

    ab has an edge where `ab_gradient` reaches the threshold. An edge pixel is matched by a boundary that most
    annotators drew at most TOLERANCE pixels away, and a boundary pixel by such an edge.

    Args:
        ab, boundaries: As for `errors_at_boundaries`.
        threshold: Least `ab_gradient` of an edge, in Lab units a pixel.

    Returns:
        int [4]: edge pixels matched, edge pixels, boundary pixels matched, boundary pixels.
    """
    edges, drawn = ab_gradient(ab) >= threshold, boundaries > AGREEMENT
    edges_matched = edges & (distance_to(drawn) <= TOLERANCE)
    boundaries_matched = drawn & (distance_to(edges) <= TOLERANCE)
    return np.array([mask.sum() for mask in (edges_matched, edges, boundaries_matched, drawn)])


def edge_scores(counts):
    """Precision, recall and their harmonic mean F from the counts of `match_edges`; 0 where nothing can be matched."""
    edges_matched, edges, boundaries_matched, boundaries = counts.tolist()
    precision = edges_matched / edges if edges else 0.0
    recall = boundaries_matched / boundaries if boundaries else 0.0
    return precision, recall, harmonic_mean([precision, recall])


def best_threshold(photos):
    """The lowest of the THRESHOLDS at which the photos' own colour edges have the highest F over a data set.

    Args:
        photos: Pairs (ab, boundaries) of photos with their own ab, see `match_edges`.
    """
    counts = sum(np.array([match_edges(*photo, threshold) for threshold in THRESHOLDS]) for photo in photos)
    return THRESHOLDS[np.argmax([edge_scores(count)[-1] for count in counts])]


def boundary_metrics(ab, target, boundaries, threshold):
    """All metrics of one picture; arguments as for `errors_at_boundaries` and `match_edges`.

    Returns:
        {metric: float}: ab_error_boundaries and ab_error_elsewhere; edge_precision, edge_recall and edge_f.
    """
    near, elsewhere = errors_at_boundaries(ab, target, boundaries)
    precision, recall, f = edge_scores(match_edges(ab, boundaries, threshold))
    return {
        "ab_error_boundaries": near,
        "ab_error_elsewhere": elsewhere,
        "edge_precision": precision,
        "edge_recall": recall,
        "edge_f": f,
    }
