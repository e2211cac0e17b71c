"""Figures at boundaries, on pictures of two colours whose border is known."""

import cv2
import numpy as np
import pytest

from evaluation.boundaries import (
    ab_gradient,
    best_threshold,
    distance_to,
    edge_scores,
    errors_at_boundaries,
    match_edges,
)

BORDER = 40


def two_colors(border=BORDER):
    """ab of a picture of 60x80, green left of the border and red right of it."""
    ab = np.zeros((60, 80, 2), np.float32)
    ab[:, :border], ab[:, border:] = (-40, 20), (50, 10)
    return ab


@pytest.fixture
def boundaries():
    drawn = np.zeros((60, 80), np.uint8)
    drawn[30, :] = 100  # Drawn by less than half of the annotators.
    drawn[:, BORDER] = 200
    return drawn


def test_distance():
    mask = np.zeros((9, 9), bool)
    mask[4, 4] = True
    rows, columns = np.mgrid[:9, :9]
    np.testing.assert_allclose(distance_to(mask), np.hypot(rows - 4, columns - 4), atol=1e-3)
    assert np.isinf(distance_to(np.zeros((3, 3), bool))).all()


def test_blurring_raises_the_error_near_the_border(boundaries):
    ab = two_colors()
    near = [0.0]
    for sigma in (1, 2, 4):
        blurred = cv2.GaussianBlur(ab, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
        errors = errors_at_boundaries(blurred, ab, boundaries)
        near.append(errors[0])
        assert errors[0] > 5 * errors[1]
    assert near == sorted(near) and near[1] > 1


def test_errors_are_means_over_the_pixels_named(boundaries):
    ab = two_colors()
    wrong = ab.copy()
    wrong[:, BORDER + 3] += (3, 4)  # The outermost column near the border: one of seven.
    wrong[:, 0] += (0, 73)  # One of the 73 columns elsewhere.
    np.testing.assert_allclose(errors_at_boundaries(wrong, ab, boundaries), [5 / 7, 1])


def test_gradient_of_a_step_is_half_of_it():
    strength = ab_gradient(two_colors())
    step = np.hypot(90, 10)
    np.testing.assert_allclose(strength[30, BORDER - 2 : BORDER + 2], [0, step / 2, step / 2, 0], rtol=1e-5)


def test_displacing_the_border_never_improves_f(boundaries):
    scores = [edge_scores(match_edges(two_colors(BORDER + shift), boundaries, 10))[-1] for shift in range(7)]
    assert scores[0] == 1 and scores == sorted(scores, reverse=True)
    assert all(score < scores[0] for score in scores[3:]) and scores[6] == 0


def test_counts_add_up_to_precision_and_recall(boundaries):
    ab = two_colors()
    ab[:10, 10:] = ab[:10, 9:10]  # The border is gone in the upper sixth, and a horizontal one appears.
    counts = match_edges(ab, boundaries, 10)
    # Rows 10 to 59 keep their edge; the horizontal one, in rows 9 and 10, is near enough to three more.
    assert counts[2:].tolist() == [53, 60]
    precision, recall, f = edge_scores(counts)
    assert precision < 1 and recall == 53 / 60 and edge_scores(counts + counts) == (precision, recall, f)
    assert edge_scores(match_edges(np.zeros_like(ab), boundaries, 10)) == (0, 0, 0)


def test_best_threshold_leaves_faint_edges_out(boundaries):
    ab = two_colors()
    ab[::6] += 4
    assert best_threshold([(ab, boundaries)] * 2) > 2.5
