"""What old film does to a photo."""

import numpy as np
from skimage import color

from data import old_film


def test_the_eye_sees_the_lightness(photos):
    gray = old_film.as_luminance(photos[0])
    lightness = color.rgb2lab(np.repeat(gray[..., None], 3, axis=-1))[..., 0]
    assert gray.dtype == np.uint8 and gray.shape == photos[0].shape[:2]
    # Half a step of 8 bits is 0.2 L at most, in the dark.
    np.testing.assert_allclose(lightness, color.rgb2lab(photos[0])[..., 0], atol=0.25)


def test_films_see_white_alike_and_red_and_blue_each_in_its_own_way():
    patches = np.uint8([[[255, 255, 255], [255, 0, 0], [0, 0, 255]]])
    eye, _, _, blue_sensitive = (old_film.expose(patches, film)[0] for film in old_film.SENSITIVITIES)
    np.testing.assert_allclose([eye[0], blue_sensitive[0]], 1, atol=1e-3)
    assert eye[1] > eye[2] and blue_sensitive[1] == 0 and blue_sensitive[2] > 0.9


def test_prints_are_decided_by_the_generator_and_differ(photos):
    prints = [old_film.as_old_film(photos[0], np.random.default_rng(seed)) for seed in range(8)]
    assert all(print.dtype == np.uint8 and print.shape == photos[0].shape[:2] for print in prints)
    assert len({print.tobytes() for print in prints}) == 8
    np.testing.assert_array_equal(prints[3], old_film.as_old_film(photos[0], np.random.default_rng(3)))
