"""The metrics that are not scikit-image's own, against plain NumPy."""

import keras
import numpy as np
import pytest
from scipy.linalg import sqrtm
from skimage import color

from evaluation import metrics
from evaluation.semantics import Classifier, frechet_distance
from models.zhang import ab_bins, nearest_bins


@pytest.fixture
def noisy(photos):
    noise = np.random.default_rng(0).normal(0, 12, photos.shape)
    return np.clip(photos + noise, 0, 255).astype(np.uint8)


def test_raw_accuracy_is_the_area_under_the_curve(photos, noisy):
    ab, target = (color.rgb2lab(batch)[..., 1:] for batch in (noisy, photos))
    distances = np.sqrt(((ab - target) ** 2).sum(axis=-1))
    thresholds = np.linspace(0, 150, 30001)
    for number, value in enumerate(metrics.raw_accuracy(ab, target)):
        curve = np.searchsorted(np.sort(distances[number].ravel()), thresholds) / distances[number].size
        assert abs(np.trapezoid(curve, thresholds) / 150 - value) < 1e-4


def test_ab_errors(photos, noisy):
    ab, target = (color.rgb2lab(batch)[..., 1:] for batch in (noisy, photos))
    squares = [(a - b) ** 2 for a, b in zip(ab, target, strict=True)]
    np.testing.assert_allclose(metrics.squared_error(ab, target), [s.mean() / 128**2 for s in squares], rtol=1e-6)
    np.testing.assert_allclose(metrics.ab_rmse(ab, target), [np.sqrt(2 * s.mean()) for s in squares], rtol=1e-6)


def test_colorfulness(photos):
    for photo, value in zip(photos, metrics.colorfulness(photos), strict=True):
        r, g, b = (photo[..., channel].astype(float).ravel() for channel in range(3))
        rg, yb = r - g, 0.5 * (r + g) - b
        expected = np.hypot(np.std(rg), np.std(yb)) + 0.3 * np.hypot(np.mean(rg), np.mean(yb))
        assert abs(value - expected) < 1e-4
    assert metrics.colorfulness(np.full((4, 4, 3), 90, np.uint8)) == 0


def test_colorfulness_of_ddcolor(photos):
    for photo, value in zip(photos, metrics.colorfulness_ddcolor(photos), strict=True):
        r, g, b = (photo[..., channel].astype(float) for channel in range(3))
        rg, yb = abs(r - g), abs(0.5 * (r + g) - b)
        expected = (rg.std() ** 2 + yb.std() ** 2) ** 0.5 + 0.3 * (rg.mean() ** 2 + yb.mean() ** 2) ** 0.5
        assert abs(value - expected) < 1e-4
    # Red beside as strong a green: |R - G| is 100 everywhere, (R + G) / 2 - B is 50.
    halves = np.zeros((4, 4, 3), np.uint8)
    halves[:, :2, 0] = halves[:, 2:, 1] = 100
    np.testing.assert_allclose(metrics.colorfulness_ddcolor(halves), 0.3 * np.hypot(100, 50))
    np.testing.assert_allclose(metrics.colorfulness(halves), 100 + 0.3 * 50)


def test_balanced_accuracy_weighs_by_how_rare_a_colour_is(photos):
    target = color.rgb2lab(photos)[..., 1:]
    ab = target / 2  # Strong colours are rare, and the most wrong.
    bins = nearest_bins(target.astype(np.float32)).numpy()
    weights = metrics.balancing_weights(np.bincount(bins.ravel(), minlength=313))[bins]
    balanced = metrics.raw_accuracy(ab, target, weights)

    # The same by definition: 1 / p, p smoothed over the bins, and a weighted mean over the pixels of all photos.
    rounded = np.round(target.astype(np.float32)).reshape(-1, 1, 2)
    nearest = ((rounded - ab_bins()) ** 2).sum(axis=-1).argmin(axis=1)  # Of equally near bins the first.
    share = np.bincount(nearest, minlength=313) / len(nearest)
    kernel = np.exp(-np.sum((ab_bins()[:, None] - ab_bins()) ** 2, axis=-1) / 50)
    inverse = 1 / (kernel @ (share / kernel.sum(axis=0)))[nearest]
    accuracy = 1 - np.linalg.norm(ab - target, axis=-1).ravel() / 150
    np.testing.assert_allclose(balanced.mean(), np.average(accuracy, weights=inverse), rtol=1e-5)
    assert balanced.mean() < metrics.raw_accuracy(ab, target).mean() - 0.01
    np.testing.assert_allclose(weights.mean(), 1, rtol=1e-5)


def test_nyquist_energy():
    rows, columns = np.mgrid[:48, :64]
    checkerboard, stripes, ramp = (-1.0) ** (rows + columns), (-1.0) ** columns, rows + 2.0 * columns
    waves = 5 * np.sin(columns / 3)
    ab = np.stack([[3 * checkerboard, ramp], [3 * stripes, waves], [ramp, waves]])
    energy = metrics.nyquist_energy(np.moveaxis(ab, 1, -1))
    np.testing.assert_allclose(energy, [9 / 2, 9 / 4, 0], atol=1e-4)


def test_the_classifier_does_not_depend_on_the_policy(photos):
    features = []
    for policy in ("float32", "mixed_bfloat16"):
        keras.config.set_dtype_policy(policy)
        features.append(Classifier()(photos)[0])
    np.testing.assert_array_equal(*features)


def test_frechet_distance_of_normal_distributions():
    random = np.random.default_rng(0)
    base = random.normal(size=(40, 3))  # Few: the time grows with the cube of their number.
    base = (base - base.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(base.T)).T)  # Covariance 1, mean 0.
    scaled = base * [1, 2, 3] + [0, 0, 5]
    # Axis by axis: the difference of means squared and of standard deviations squared.
    assert abs(frechet_distance(scaled, base) - (25 + 0 + 1 + 4)) < 1e-6
    assert abs(frechet_distance(base, base)) < 1e-6


@pytest.mark.parametrize("count", [60, 7])  # More and fewer pictures than features.
def test_frechet_distance_agrees_with_scipy(count):
    random = np.random.default_rng(0)
    sets = [random.normal(size=(count, 8)) @ random.normal(size=(8, 8)) + mean for mean in (0, 1)]
    covariances = [np.cov(values.T) for values in sets]
    # C1 C2 has the trace of its root in common with R C2 R, where R R = C1, which is symmetric.
    root = sqrtm(covariances[0]).real
    expected = np.sum((sets[0].mean(axis=0) - sets[1].mean(axis=0)) ** 2)
    expected += np.trace(sum(covariances) - 2 * sqrtm(root @ covariances[1] @ root).real)
    np.testing.assert_allclose(frechet_distance(*sets), expected, rtol=1e-5)
