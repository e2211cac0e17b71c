"""Colour maths against scikit-image."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import color

import utils
from colorizing.pixels import to_gray

# Every fifth value of each channel, and so the corners, edges and the gray axis of the RGB cube.
CUBE = np.stack(np.meshgrid(*[np.arange(0, 256, 5, np.uint8)] * 3), axis=-1)


@pytest.mark.parametrize("rgb", [CUBE, (CUBE / 255).astype(np.float32)], ids=["uint8", "float"])
def test_lab_agrees_with_scikit_image(rgb):
    np.testing.assert_allclose(utils.rgb_to_lab(rgb), color.rgb2lab(CUBE), atol=1e-3)


def test_rgb_agrees_with_scikit_image():
    lab = color.rgb2lab(CUBE)
    np.testing.assert_allclose(utils.lab_to_rgb(lab.astype(np.float32)), color.lab2rgb(lab), atol=1e-3)


def test_colours_outside_srgb_are_clipped_as_in_scikit_image():
    lab = np.random.default_rng(0).uniform([0, -128, -128], [100, 128, 128], (500, 3))
    with np.testing.suppress_warnings() as quiet:
        quiet.filter(UserWarning)
        expected = color.lab2rgb(lab)
    np.testing.assert_allclose(utils.lab_to_rgb(lab.astype(np.float32)), expected, atol=2e-3)


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 1.8, 100.0])
def test_saturate_scales_hsv_saturation(factor):
    rgb = (CUBE / 255).astype(np.float32)
    hsv = color.rgb2hsv(rgb)
    hsv[..., 1] = np.minimum(hsv[..., 1] * factor, 1)
    np.testing.assert_allclose(utils.saturate(tf.constant(rgb), factor), color.hsv2rgb(hsv), atol=1e-5)


def test_gray_pixels_are_their_own_neutral():
    gray = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=-1)
    np.testing.assert_array_equal(to_gray(gray), gray[..., 0])


def test_to_gray_keeps_lightness(photos):
    gray = np.repeat(to_gray(photos[0])[..., None], 3, axis=-1)
    # Half a step of 1/255 is at most 0.3 in L.
    np.testing.assert_allclose(color.rgb2lab(gray)[..., 0], color.rgb2lab(photos[0])[..., 0], atol=0.3)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 100), st.floats(-150, 150), st.floats(-150, 150)), min_size=1, max_size=50))
def test_fit_chroma_keeps_lightness_and_hue_inside_srgb(colors):
    lab = np.array(colors, np.float32)
    fitted = utils.fit_chroma(lab).numpy()
    rgb = utils.lab_to_linear_rgb(fitted).numpy()
    assert rgb.min() > -1e-4 and rgb.max() < 1 + 1e-4
    np.testing.assert_array_equal(fitted[:, 0], lab[:, 0])
    # Same hue: the cross product of the ab vectors vanishes, and neither factor is negative or above 1.
    np.testing.assert_allclose(fitted[:, 1] * lab[:, 2], fitted[:, 2] * lab[:, 1], atol=1e-2)
    assert (np.abs(fitted[:, 1:]) <= np.abs(lab[:, 1:])).all()


def test_fit_chroma_leaves_colours_inside_srgb_alone():
    lab = utils.rgb_to_lab(CUBE.reshape(-1, 3)[::7])
    np.testing.assert_allclose(utils.fit_chroma(lab), lab, atol=0.02)


def test_fit_chroma_takes_no_more_than_needed():
    lab = np.float32([[50, 120, 0], [80, 0, -90], [30, -80, 60]])
    fitted = utils.fit_chroma(lab).numpy()
    assert (np.abs(fitted[:, 1:]).sum(axis=1) > 5).all()
    rgb = utils.lab_to_linear_rgb(fitted * np.float32([1, 1.01, 1.01])).numpy()
    assert ((rgb.min(axis=1) < 0) | (rgb.max(axis=1) > 1)).all()


def test_any_colour_on_a_gray_keeps_its_lightness():
    random = np.random.default_rng(0)
    gray = np.repeat(random.integers(0, 256, (20000, 1)), 3, axis=1).astype(np.uint8)
    lightness = color.rgb2lab(gray)[..., :1].astype(np.float32)
    ab = random.uniform(-128, 128, (20000, 2)).astype(np.float32)
    # Before rounding.
    rgb = utils.lab_to_rgb(utils.fit_chroma(np.concatenate([lightness, ab], axis=-1)))
    np.testing.assert_allclose(color.rgb2lab(rgb)[:, :1], lightness, atol=0.01)

    painted = utils.encode_rgb(np.concatenate([lightness, ab], axis=-1), tf.uint8).numpy()
    np.testing.assert_allclose(color.rgb2lab(painted)[:, :1], lightness, atol=0.3)
    assert np.abs(to_gray(painted[None])[0].astype(int) - gray[:, 0]).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_lightness_of_gray_is_that_of_three_equal_channels(dtype):
    largest = 1 if dtype == np.float32 else np.iinfo(dtype).max
    gray = (np.linspace(0, 1, 200) * largest).astype(dtype)
    expected = color.rgb2lab(np.repeat(gray[:, None].astype(np.float64) / largest, 3, axis=1))[:, 0]
    lightness = utils.lightness_from_gray(tf.constant(gray)).numpy()
    np.testing.assert_allclose(lightness, expected, atol=1e-3)
    np.testing.assert_allclose(utils.neutral_from_lightness(lightness), gray / largest, atol=1e-5)
