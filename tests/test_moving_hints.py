"""Hints of a film: they follow what moves, to the end of their shot."""

import json

import cv2
import numpy as np
import pytest
from films import make_film, read
from processes import run
from skimage import color
from small_networks import Gray

from colorizing.film.colorize import colorize_film
from colorizing.film.moving_hints import MovingHints, follow
from colorizing.hints import Hint, HintError
from colorizing.photo import Pipeline

HEIGHT, WIDTH, SIDE, STEP = 64, 128, 24, 2


def left_of_square(number):
    return 10 + STEP * number


def moving_square(count, seed=0, top=20):
    """Gray frames of a bright square that moves to the right, STEP pixels a frame, over a dark ground; textured."""
    random = np.random.default_rng(seed)
    ground, square = (cv2.GaussianBlur(random.normal(0, 40, (HEIGHT, WIDTH)), (0, 0), 2) + level for level in (60, 200))
    frames = np.repeat(ground[None], count, axis=0)
    for number in range(count):
        left = left_of_square(number)
        frames[number, top : top + SIDE, left : left + SIDE] = square[:SIDE, :SIDE]
    return frames.clip(0, 255).astype(np.uint8)


def a_at(pixels, number, down=32, across=SIDE // 2):
    """The mean a of the 5x5 pixels around a place in the square of a frame."""
    across += left_of_square(number)
    return color.rgb2lab(pixels[number][down - 2 : down + 3, across - 2 : across + 3])[..., 1].mean()


def test_a_hint_holds_from_its_time_and_follows_the_square_to_the_cut(tmp_path):
    shots = np.concatenate([moving_square(25), 255 - moving_square(30, seed=1)[25:]])
    film = make_film(tmp_path / "film.mp4", shots)
    # 0.2 s are frame 5 of 25 a second.
    hint = Hint((left_of_square(5) + SIDE / 2) / WIDTH, 32 / HEIGHT, (30.0, 10.0), time=0.2)
    assert colorize_film(Pipeline(Gray(), 64), film, tmp_path / "red.mp4", hints=[hint]) == ([], None)
    _, pixels = read(tmp_path / "red.mp4")
    assert abs(a_at(pixels, 4)) < 3
    for number in (5, 14, 24):
        assert a_at(pixels, number) > 24
    # Where the square was when the hint was set, and in the next shot.
    lab = color.rgb2lab(pixels[24])
    assert lab[28:36, left_of_square(5) : left_of_square(5) + SIDE // 2, 1].mean() < 10
    assert np.abs(color.rgb2lab(pixels[26:])[..., 1:]).mean() < 3


def test_places_move_by_fractions_of_pixels_and_leave_the_frame():
    across, down = np.meshgrid(np.arange(40, dtype=np.float32), np.arange(20, dtype=np.float32))
    origins = np.stack([across - 0.25, down + 1.5], axis=-1)
    moved = follow(Hint(0.5, 0.5, None), origins)
    assert (moved.x * 40, moved.y * 20) == pytest.approx((20.25, 8.5))
    hints = MovingHints([Hint(0.98, 0.5, None), Hint(0.5, 0.5, None, time=0.1)])
    assert [hint.x for hint in hints.at(0.04, None)] == [0.98]
    for _ in range(2):
        present = hints.at(0.12, origins)
    assert len(present) == 2
    for _ in range(2):
        present = hints.at(0.2, origins)
    assert len(present) == 1 and present[0].time == 0.1
    assert hints.at(0.3, None) == []


def test_a_time_after_the_end_is_named(tmp_path):
    film = make_film(tmp_path / "film.mp4", moving_square(5))
    with pytest.raises(HintError, match=r"film.mp4: it ends at 0.2 s, before a hint's time, 3 s"):
        colorize_film(Pipeline(Gray()), film, tmp_path / "out.mp4", hints=[Hint(0.5, 0.5, (1.0, 1.0), time=3.0)])
    assert not (tmp_path / "out.mp4").exists()


def test_hints_beside_a_film(tmp_path):
    (tmp_path / "in").mkdir()
    make_film(tmp_path / "in" / "film.mp4", moving_square(3))
    hints = {"hints": [{"x": 0.2, "y": 0.5, "ab": [60, 0], "time": 9}]}
    (tmp_path / "in" / "film.hints.json").write_text(json.dumps(hints))
    status, output, errors = run("test.py", tmp_path / "in", "-o", tmp_path / "out", "--model", "scenes")
    assert status == 1 and "0 of 1 films" in output
    assert len(errors) == 1 and "film.mp4: it ends at 0.12 s, before a hint's time, 9 s" in errors[0]
