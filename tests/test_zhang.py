"""The network of Zhang et al.: bins, soft encoding, class rebalancing and loss, against NumPy and SciPy."""

import zlib

import numpy as np
import pytest
import tensorflow as tf
from scipy.spatial import cKDTree

from models import zhang
from models.zhang import ZhangColorizer
from utils import ab_from_rgb

# What is tested here comes before and after the network's layers.
pytestmark = pytest.mark.usefixtures("few_channels")


def test_bins_are_those_of_the_table():
    bins = zhang.ab_bins()
    assert bins.shape == (313, 2) and len(np.unique(bins, axis=0)) == 313 and (bins % 10 == 0).all()
    assert [tuple(bins[0]), tuple(bins[-1])] == [(-90, 50), (100, 0)]


def test_soft_encoding_agrees_with_nearest_neighbours(photos):
    ab = ab_from_rgb(tf.constant(photos))
    bins, weights = (values.numpy().reshape(-1, 10) for values in ZhangColorizer().encode(ab))
    every_fourth = ab.numpy()[:, ::4, ::4].round().reshape(-1, 2)
    distances, _ = cKDTree(zhang.ab_bins()).query(every_fourth, k=10)
    found = np.linalg.norm(zhang.ab_bins()[bins] - every_fourth[:, None], axis=-1)
    np.testing.assert_allclose(found, distances, atol=1e-4)
    expected = np.exp(-(distances**2) / 50)
    np.testing.assert_allclose(weights, expected / expected.sum(axis=1, keepdims=True), atol=1e-5)


def test_rounding_ab_moves_no_weight_far():
    ab = np.random.default_rng(0).uniform(-80, 80, (1600, 2))
    dense, searches = [], [cKDTree(zhang.ab_bins()).query(points, k=10) for points in (ab, ab.round())]
    for distances, bins in searches:
        weights = np.zeros((len(ab), 313))
        np.put_along_axis(weights, bins, np.exp((distances[:, :1] ** 2 - distances**2) / 50), axis=1)
        dense.append(weights / weights.sum(axis=1, keepdims=True))
    # Colours that no bin is near, outside sRGB, are left out.
    inside = searches[0][0][:, 0] < 7.1
    assert inside.sum() > 800 and np.abs(dense[0] - dense[1])[inside].max() < 0.08


def test_neighbours_are_the_same_on_every_processor():
    ab = np.stack(np.meshgrid(np.arange(-128, 128), np.arange(-128, 128), indexing="ij"), axis=-1).reshape(-1, 1, 2)
    bins = zhang.ab_bins().astype(int)
    nearest = [np.argsort(((some - bins) ** 2).sum(axis=-1), axis=1, kind="stable") for some in np.split(ab, 64)]
    expected = np.concatenate(nearest)[:, :10]  # Of equally near bins the first.
    bins, _ = zhang.soft_encoding_table()
    np.testing.assert_array_equal(bins, expected)
    assert zlib.crc32(bins.astype("<i4").tobytes()) == 4255929980


def test_encoding_then_decoding_loses_less_than_a_bin(photos):
    model = ZhangColorizer()
    ab = ab_from_rgb(tf.constant(photos))
    bins, weights = model.encode(ab)
    share = tf.reduce_sum(tf.one_hot(bins, 313) * weights[..., None], axis=-2)
    model.temperature = 1.0
    decoded = model.decode(tf.math.log(share + 1e-12))
    reduced = tf.image.resize(ab[:, ::4, ::4], photos.shape[1:3])
    assert np.linalg.norm(decoded - reduced, axis=-1).mean() < zhang.GRID


def prior_factors(histogram):
    """The class weights as the released training code has them: lambda = 1/2, a prior smoothed over the bins."""
    kernel = np.exp(-((zhang.ab_bins()[:, None] - zhang.ab_bins()) ** 2).sum(axis=-1) / 50)
    prior = (kernel / kernel.sum(axis=0)) @ (histogram / histogram.sum())
    uniform = (prior > 0) / np.count_nonzero(prior)
    factors = 1 / (prior / 2 + uniform / 2)
    return factors / (prior * factors).sum()


def test_class_weights_are_the_prior_factors():
    histogram = np.random.default_rng(0).pareto(1, 313)
    np.testing.assert_allclose(zhang.class_weights(histogram), prior_factors(histogram), rtol=1e-5)


def test_gradient_is_that_of_the_released_layers(photos):
    ab = ab_from_rgb(tf.constant(photos)).numpy().round()
    ab[1] = ab[1].clip(-5, 5)  # All but gray: teaches nothing.
    ab[2, 1:, 1:] = 0
    ab[2, 0, 4] = [0, -6]  # One pixel of the target in colour is enough;
    ab[3] = 0
    ab[3, 1, 4] = [60, 60]  # one that is not among every fourth is none.
    histogram = np.random.default_rng(1).pareto(1, 313)
    model = ZhangColorizer()
    model.class_weights = zhang.class_weights(histogram)
    logits = tf.Variable(np.random.default_rng(0).normal(size=(4, 24, 32, 313)), dtype=tf.float32)
    with tf.GradientTape() as tape:
        loss = model.color_loss(tf.constant(ab), logits)

    target = ab[:, ::4, ::4]
    squares = ((target[..., None, :] - zhang.ab_bins()) ** 2).sum(axis=-1)
    nearest = np.argsort(squares, axis=-1, kind="stable")[..., :10]
    soft = np.zeros(squares.shape)
    np.put_along_axis(soft, nearest, np.exp(-np.take_along_axis(squares, nearest, axis=-1) / 50), axis=-1)
    soft /= soft.sum(axis=-1, keepdims=True)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    boost = prior_factors(histogram)[soft.argmax(axis=-1)]
    boost *= (np.abs(target) > 5).any(axis=(1, 2, 3))[:, None, None]
    assert [(photo > 0).any() for photo in boost] == [True, False, True, False]
    # The layers sum over the pixels of a photo and divide by the number of photos.
    gradient = (softmax - soft) * boost[..., None] / len(ab)
    np.testing.assert_allclose(tape.gradient(loss, logits), gradient, atol=1e-5)
    np.testing.assert_allclose(loss, (-(soft * np.log(softmax)).sum(axis=-1) * boost).sum() / len(ab), rtol=1e-4)


def test_temperature_goes_from_mean_to_mode():
    model = ZhangColorizer()
    logits = np.random.default_rng(0).normal(size=(1, 2, 2, 313)).astype(np.float32)
    logits[..., 7] = 6
    spread = []
    for model.temperature in (1.0, 0.38, 0.01):
        spread.append(np.abs(model.decode(logits)[0, 0, 0] - zhang.ab_bins()[7]).max())
    assert spread[0] > spread[1] > spread[2] and spread[2] < 1e-3


def test_histogram_is_kept_with_the_run_and_reused(tmp_path, photos):
    first, second = ZhangColorizer(), ZhangColorizer()
    ab = ab_from_rgb(tf.constant(photos))
    first.prepare([(None, ab)], tmp_path)
    second.prepare([], tmp_path)
    np.testing.assert_array_equal(first.class_weights, second.class_weights)
    counts = np.loadtxt(tmp_path / "ab_histogram.csv", delimiter=",", skiprows=1)[:, 2]
    assert counts.sum() == 4 * 24 * 32 and first.class_weights.std() > 0
