"""Photo in, photo out: sizes, depths, strips, and colour edges at full size."""

import math
from fractions import Fraction

import cv2
import numpy as np
import pytest
import tensorflow as tf
from skimage import color

import utils
from colorizing.enlarge import Enlargement, interpolation, sharpen
from colorizing.photo import Pipeline, reduced_size, warm_up
from colorizing.pixels import _compile, shrink, to_gray
from common.images import read_photo
from configs import SAMPLES


class Painter:
    """Stands for a network: colours by lightness, strongly, and smoothly over the picture."""

    native_size = 32
    grid = 8

    def colorize(self, lightness):
        across = np.linspace(-60, 60, lightness.shape[2], dtype=np.float32)[None, None, :, None]
        return np.concatenate([across + 0 * lightness, lightness - 50], axis=-1)


@pytest.fixture
def gray(photos):
    return to_gray(photos[0])


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("colored", [False, True])
def test_lightness_is_the_photos_own(photos, depth, colored):
    largest = np.iinfo(depth).max
    photo = (photos[0].astype(np.uint32) * (largest // 255)).astype(depth)
    pixels = photo if colored else to_gray(photo)
    result = Pipeline(Painter())(pixels)
    assert result.shape == photo.shape and result.dtype == depth
    labs = [color.rgb2lab(np.atleast_3d(values) / largest * np.ones(3)) for values in (pixels, result)]
    tolerance = 0.3 if depth == np.uint8 else 0.02
    np.testing.assert_allclose(labs[1][..., 0], labs[0][..., 0], atol=tolerance)
    assert np.abs(labs[1][..., 1:]).mean() > 10
    neutral = (color.lab2rgb(labs[1] * [1, 0, 0])[..., 0] * largest).round()
    expected = pixels if not colored else to_gray(pixels)
    assert np.abs(neutral - expected).max() <= (1 if depth == np.uint8 else 20)


def test_strips_and_chunks_make_no_difference(gray, monkeypatch):
    whole = Pipeline(Painter())(gray)
    monkeypatch.setattr("colorizing.pixels.CHUNKS", (100, 1000))
    np.testing.assert_array_equal(Pipeline(Painter())(gray), whole)
    np.testing.assert_array_equal(to_gray(whole), to_gray(np.ascontiguousarray(whole)))


def test_colours_inside_and_outside_srgb_are_painted_as_if_all_were_fitted(gray):
    """Only colours outside go through `fit_chroma` in a photo."""
    lightness = color.rgb2lab(np.repeat(gray[..., None], 3, axis=-1))[..., :1].astype(np.float32)
    ab = Pipeline(Painter()).full_size_ab(gray)
    lab = np.concatenate([lightness, ab], axis=-1)
    assert 0.1 < utils.outside_srgb(lab).numpy().mean() < 0.9
    painted = Pipeline(Painter())(gray)
    assert np.abs(painted.astype(int) - utils.encode_rgb(lab, tf.uint8).numpy()).max() <= 1


def test_saturation_scales_the_chroma(gray):
    flat = np.full_like(gray, 119)
    chroma = []
    for saturation in (0, 0.1, 0.2):
        lab = color.rgb2lab(Pipeline(Painter(), saturation=saturation)(flat))
        chroma.append(np.linalg.norm(lab[..., 1:], axis=-1).mean())
    assert chroma[0] < 0.1 and abs(chroma[2] / chroma[1] - 2) < 0.05


def test_render_size_is_what_the_network_sees(gray):
    sizes = []

    class Watching(Painter):
        def colorize(self, lightness):
            sizes.append(lightness.shape)
            return super().colorize(lightness)

    Pipeline(Watching())(gray)
    Pipeline(Watching(), render_size=64)(gray)
    assert sizes == [(1, 32, 40, 1), (1, 64, 88, 1)]


def test_reduced_sizes_are_the_nearest_on_the_grid():
    """Against exact fractions, halves rounded up."""
    sides = np.random.default_rng(0).integers(1, 5000, (500, 2)).tolist()
    for height, width in [(1, 1), (10, 10000), (10000, 10), (683, 1024), (16, 17), (16, 31), *sides]:
        for size, grid in ((8, 8), (100, 8), (128, 8), (176, 8), (224, 8), (256, 8), (224, 32), (160, 32)):
            scale = min(Fraction(size, min(height, width)), Fraction(8 * size, max(height, width)))
            expected = [max(1, math.floor(side * scale / grid + Fraction(1, 2))) * grid for side in (height, width)]
            assert list(reduced_size(height, width, size, grid)) == expected
    assert reduced_size(10, 10000, 128) == (8, 1024)


def test_colour_of_the_input_makes_no_difference(photos):
    """Pixels of equal L and opposite colours are the same to the network, also where they are averaged."""
    lab = np.full((64, 64, 3), 50.0)
    lab[::2, :, 1:], lab[1::2, :, 1:] = (40, 30), (-40, 30)
    colored = (color.lab2rgb(lab) * 255).round().astype(np.uint8)
    np.testing.assert_allclose(Pipeline(Painter()).reduce(colored), 50, atol=0.3)


def test_arrays_of_any_layout_are_taken(photos, tmp_path):
    photo = photos[0].astype(np.uint16) * 257
    expected = Pipeline(Painter())(photo)
    mapped = np.memmap(tmp_path / "photo", ">u2", "w+", shape=photo.shape)
    mapped[:] = photo
    still = photo.copy()
    still.flags.writeable = False
    for same in (mapped, still, np.asfortranarray(photo), photo[::-1].copy()[::-1]):
        result = Pipeline(Painter())(same)
        assert result.dtype == np.uint16
        np.testing.assert_array_equal(result, expected)


def test_what_is_no_photo_is_refused(photos):
    photo = photos[0]
    rgba = np.dstack([photo, photo[..., :1]])
    arrays = (photo / 255, photo.astype(int), photo > 9, rgba, photo[None], photo[0, :, 0], photo[:0])
    for other in (*arrays, None, "a.jpg"):
        with pytest.raises(ValueError, match=r"^a photo is uint8 or uint16, \[height, width\] or .*, and not \S+ \["):
            Pipeline(Painter())(other)
    with pytest.raises(TypeError, match=r"a pipeline takes a model, as models\.load returns it, and not 'natural'"):
        Pipeline("natural")
    with pytest.raises(ValueError, match="saturation is a finite number, and not nan"):
        Pipeline(Painter(), saturation=float("nan"))


def test_interpolation_is_that_of_opencv(photos):
    values = photos[0][..., 0].astype(np.float32)
    down, right = interpolation(96, 250), interpolation(128, 301)
    expected = cv2.resize(values, (301, 250), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_allclose(down @ values @ right.T, expected, atol=0.01)


def test_sharpened_colours_reduce_to_themselves(photos):
    ab = color.rgb2lab(photos[0])[..., 1:].astype(np.float32)

    def round_trip(values):
        enlarged = cv2.resize(values, None, fx=6, fy=6, interpolation=cv2.INTER_CUBIC)
        return np.abs(cv2.resize(enlarged, (128, 96), interpolation=cv2.INTER_AREA) - ab).mean()

    sharpened = np.moveaxis(sharpen(np.moveaxis(ab, -1, 0)), 0, -1)
    assert round_trip(sharpened) < round_trip(ab) / 2
    # Twice what is given less what enlarging it and reducing it again gives.
    enlarged = cv2.resize(ab, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    expected = 2 * ab - cv2.resize(enlarged, (128, 96), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(sharpened, expected, atol=1e-3)


@pytest.mark.parametrize("factor", [2.5, 6])
def test_colour_edges_are_better_than_interpolated(factor):
    """On the sample photos' own ab, reduced and brought back, also near strong edges of it."""
    errors = []
    for name in ("mountain-lake.jpg", "castle-forest.jpg", "great-wall-hills.jpg", "city-sunset.jpg"):
        photo = read_photo(SAMPLES / name)
        lab = color.rgb2lab(photo).astype(np.float32)
        height, width = photo.shape[:2]
        size = round(width / factor), round(height / factor)
        ab = cv2.resize(lab[..., 1:], size, interpolation=cv2.INTER_AREA)
        lightness = cv2.resize(lab[..., 0], size, interpolation=cv2.INTER_AREA)[..., None]
        ways = [Enlargement(ab, lightness, height, width).ab(lab[..., 0])]
        ways += [cv2.resize(ab, (width, height), interpolation=way) for way in (cv2.INTER_LINEAR, cv2.INTER_CUBIC)]
        distances = np.linalg.norm(np.stack(ways) - lab[..., 1:], axis=-1)
        edge = np.linalg.norm(lab[1:, 1:, 1:] - lab[:-1, :-1, 1:], axis=-1)
        edge = edge > np.quantile(edge, 0.95)
        errors.append([[distance.mean(), distance[1:, 1:][edge].mean()] for distance in distances])
    guided, bilinear, bicubic = np.mean(errors, axis=0)
    assert (guided < bilinear).all() and (guided < bicubic).all()


def test_pictures_shrink_to_the_means_of_blocks_and_never_grow(photos):
    small = shrink(photos[0], 0.25)
    blocks = photos[0].reshape(24, 4, 32, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(small, blocks, atol=0.51)
    assert shrink(small, 1) is small and shrink(small, 2) is small


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1, 3), (2, 4801)])
def test_a_very_long_picture_keeps_a_pixel_of_its_shorter_side(shape):
    small = shrink(np.full(shape, 7, np.uint8), 1600 / max(shape))
    assert sorted(small.shape[:2]) == [1, 1600] and (small == 7).all()


def test_predicted_ab_is_what_is_painted(gray):
    class Pale(Painter):
        def colorize(self, lightness):
            return super().colorize(lightness) / 10

    painted = color.rgb2lab(Pipeline(Pale())(gray))[..., 1:]
    lightness = color.rgb2lab(np.repeat(gray[..., None], 3, axis=-1))[..., 0]
    inside = (lightness > 20) & (lightness < 90)
    np.testing.assert_allclose(painted[inside], Pipeline(Pale()).full_size_ab(gray)[inside], atol=1)


@pytest.mark.parametrize("shape", [(40, 50), (300, 700)])
def test_warming_up_compiles_all_that_a_photo_needs(shape, monkeypatch):
    _compile.cache_clear()
    warm_up(math.prod(shape))
    calls = []
    monkeypatch.setattr("colorizing.pixels._compile", lambda *key: calls.append(key) or _compile(*key))
    compiled = _compile.cache_info().misses
    photo = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    Pipeline(Painter())(photo)
    assert calls and _compile.cache_info().misses == compiled
