"""Steady colours: on films with the weights that ship, and by themselves."""

import numpy as np
import pytest
from films import read
from skimage import color

import models
from benchmarks.film import AFTER, HELD, PANNED, STEP, make_frames, write_film
from colorizing.film.colorize import colorize_film
from colorizing.film.steadiness import STEADINESS, Steadier
from colorizing.photo import Pipeline
from configs import WEIGHTS

# The two parts of the film where the picture is held still.
HELD_SHOTS = slice(0, HELD), slice(HELD + PANNED, None)


@pytest.fixture(scope="module")
def shots():
    """Frames of two shots: held still, panned; and held still after a cut. All with noise."""
    return make_frames()


class Remembering:
    """A network that computes the colours of equal frames once."""

    def __init__(self, model):
        self.native_size, self.grid = model.native_size, model.grid
        self._model, self._known = model, {}

    def colorize(self, lightness):
        return np.concatenate([self._colorize_frame(frame[None]) for frame in lightness])

    def _colorize_frame(self, lightness):
        key = lightness.shape, lightness.tobytes()
        if key not in self._known:
            self._known[key] = self._model.colorize(lightness).numpy()
        return self._known[key]


@pytest.fixture(scope="module")
def scenes():
    return Remembering(models.load(WEIGHTS / "scenes.keras"))


@pytest.fixture(scope="module")
def colored(shots, scenes, tmp_path_factory):
    """Of the two shots, ab of the frames of the results: frame by frame, steadied, and of the second shot alone."""
    folder = tmp_path_factory.mktemp("shots")
    write_film(folder / "film.mkv", shots)
    write_film(folder / "second.mkv", shots[-AFTER:])
    results = []
    for name, steadiness in (("film", 0), ("film", STEADINESS), ("second", STEADINESS)):
        result = folder / f"{name}-{steadiness}.mp4"
        assert colorize_film(Pipeline(scenes), folder / f"{name}.mkv", result, steadiness) == ([], None)
        results.append(color.rgb2lab(read(result)[1])[..., 1:])
    return results


def test_flicker_is_halved_where_the_picture_is_held(colored):
    by_frame, steady = ([np.abs(np.diff(ab[shot], axis=0)).mean() for shot in HELD_SHOTS] for ab in colored[:2])
    assert (np.array(steady) < 0.5 * np.array(by_frame)).all()


def test_pan_is_closer_to_the_shifted_first_frame(colored):
    def errors(ab):
        width = ab.shape[2]
        shifts = [STEP * (number + 1) for number in range(PANNED)]
        pan = ab[HELD : HELD + PANNED]
        return [
            np.abs(now[:, : width - shift] - ab[0][:, shift:]).mean() for now, shift in zip(pan, shifts, strict=True)
        ]

    by_frame, steady = map(errors, colored[:2])
    assert np.mean(steady) < 0.8 * np.mean(by_frame)
    assert all(error <= 1.05 * reference for error, reference in zip(steady, by_frame, strict=True))


def test_no_colour_crosses_a_cut(colored, shots, scenes):
    _, steady, alone = colored
    # x264 encodes each film on its own terms, so means over 16x16 pixels are compared.
    difference = (steady[-AFTER:] - alone).reshape(AFTER, 8, 16, 12, 16, 2).mean(axis=(2, 4))
    assert np.abs(difference[0]).mean() < 0.3 and np.abs(difference).mean() < 0.3
    lightness = np.stack([Pipeline(scenes).reduce(frame) for frame in shots])
    ab = scenes.colorize(lightness)
    together, fresh = Steadier(), Steadier()
    cut = len(shots) - AFTER
    whole = [together.steady(*frame) for frame in zip(lightness, ab, strict=True)]
    second = [fresh.steady(*frame) for frame in zip(lightness[cut:], ab[cut:], strict=True)]
    np.testing.assert_array_equal(whole[cut:], second)
    assert np.abs(whole[cut - 1] - ab[cut - 1]).mean() > 0.1  # It was at work until then.


def test_steadier_follows_what_moves():
    random = np.random.default_rng(0)
    field = np.repeat(np.repeat(random.uniform(10, 90, (20, 40, 1)), 6, axis=0), 6, axis=1).astype(np.float32)
    paint = 20 * np.sign(field - 50) * [1, -1]
    clean, noisy, steady = [], [], []
    steadier = Steadier(0.9)
    for number in range(12):
        view = slice(20, 84), slice(3 * number, 3 * number + 96)
        clean.append(paint[view].astype(np.float32))
        noisy.append(clean[-1] + random.normal(0, 5, 2).astype(np.float32))
        steady.append(steadier.steady(field[view], noisy[-1]))
    # The noise here is of whole frames: what is left of it is the mean over a frame.
    changes = [
        np.abs(np.diff([(ab - true).mean() for ab, true in zip(film, clean, strict=True)])) for film in (noisy, steady)
    ]
    assert changes[1].mean() < 0.5 * changes[0].mean()
    assert np.abs(steady[-1] - clean[-1])[8:-8, 8:-8].mean() < 5


@pytest.mark.parametrize("size", [(8, 8), (8, 64), (136, 8)])
def test_steadiness_of_any_size_and_none_at_all(size):
    random = np.random.default_rng(0)
    lightness = random.uniform(0, 100, (*size, 1)).astype(np.float32)
    films = random.normal(0, 9, (3, *size, 2)).astype(np.float32)
    none, all_of_it = Steadier(0), Steadier(1)
    for ab in films:
        np.testing.assert_array_equal(none.steady(lightness, ab), ab)
        np.testing.assert_allclose(all_of_it.steady(lightness, ab), films[0], atol=1e-3)
