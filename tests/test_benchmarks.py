"""The published code made again, against the package; how operations are counted; how processes are measured."""

import os
import sys

import keras
import numpy as np
import pytest
from processes import call
from skimage import color
from small_networks import Gray

from benchmarks import hints, original, paper
from benchmarks.paper import compare, make_photos, make_step, operations
from benchmarks.timing import call_in_process, measure_command, show, time_rounds
from colorizing.hints import Hint
from common.images import read_photo, write_photo
from data.pairs import lab_pair
from models.layers import Conv2D


def test_original_pair_is_that_of_the_package_where_saturation_stays_valid(photos):
    valid = color.rgb2hsv(photos)[..., 1] * original.SATURATION_FACTOR <= 1
    assert 0.5 < valid.mean() < 1
    lightness, ab = zip(*map(original.lightness_and_ab, photos), strict=True)
    expected = lab_pair(photos, original.SATURATION_FACTOR)
    np.testing.assert_allclose(np.stack(lightness)[..., None], expected[0], atol=1e-3)
    difference = np.abs(np.stack(ab) - expected[1]).max(axis=-1)
    assert difference[valid].max() < 1e-3 < difference[~valid].max()


def test_original_batches_hold_pairs_and_edges(tmp_path, photos):
    for number in range(original.BATCH_SIZE + 1):
        write_photo(tmp_path / f"{number:02}.png", photos[number % 4])
    ((lightness, edges), target), *more = original.batches(sorted(tmp_path.iterdir()))
    assert not more
    assert lightness.shape == edges.shape == (original.BATCH_SIZE, 96, 128, 1)
    assert set(np.unique(edges)) == {0, 1}
    np.testing.assert_allclose(target[1] * 128, original.lightness_and_ab(photos[1])[1], atol=1e-4)


def test_original_network_has_the_published_parameters_and_colorizes_to_its_own_size(tmp_path, photos):
    network = original.network()
    assert network.count_params() == 9_844_743
    write_photo(tmp_path / "photo.png", photos[0])
    original.colorize(network, tmp_path / "photo.png", tmp_path / "result.png")
    assert read_photo(tmp_path / "result.png").shape == (256, 256, 3)


def test_operations_are_multiplications_and_additions():
    photo = keras.Input((16, 16, 1))
    features = Conv2D(4, 3, 2, padding="same", activation="relu")(photo)  # Of 8x8 values; then of 16x16, on 8x8.
    features = Conv2D(6, 3, padding="same", doubled=True)(features)
    model = keras.Model(photo, keras.layers.Dense(5)(keras.layers.Flatten()(features)))
    expected = 2 * (9 * 4 * 8 * 8 + 16 * 4 * 6 * 8 * 8 + 16 * 16 * 6 * 5)
    assert operations(model, 16) == expected


def test_rounds_call_once_more_than_they_time():
    calls = []
    times = time_rounds({"one": lambda: calls.append(1), "other": lambda: calls.append(2)}, 3)
    assert calls == [1, 2] * 4
    assert times["one"].shape == times["other"].shape == (3,)


def test_processes_show_a_memory_of_their_own():
    held = np.ones(15_000_000)
    seconds, small = measure_command([sys.executable, "-c", "import time; time.sleep(0.3)"])
    _, large = measure_command([sys.executable, "-c", "import time; held = b'1' * 200_000_000; time.sleep(0.3)"])
    assert 0.3 < seconds and small < 0.1 < held.nbytes / 1e9 and 0.2 < large < 0.3
    with pytest.raises(SystemExit, match="failed"):
        measure_command([sys.executable, "-c", "import sys; sys.exit(1)"])


def test_functions_are_called_on_the_cores_given():
    cores, peak = call_in_process(os.sched_getaffinity, 0, cores=1)
    assert len(cores) == 1 and peak > 0


def test_rows_say_how_many_times_better():
    assert show([3, 1, 2], 1) == "2.0 (1.0..3.0)"
    fast = compare("step", "photos/s", np.array([4.0, 8.0]), np.array([2.0, 2.0]), np.array([8.0, 8.0]), "limit")
    assert fast[4:] == ["3.00 (2.00..4.00)", "limit: 8.0 (8.0..8.0)", "0.75 (0.50..1.00)"]
    small = compare("memory", "GB", np.array([2.0]), np.array([1.0]))
    assert small[4:] == ["0.50 (0.50..0.50)", "", ""]


def test_photos_to_measure_are_in_colour_and_of_one_size(tmp_path, photos):
    (tmp_path / "made").mkdir()
    write_photo(tmp_path / "set" / "color.jpg", photos[0])
    write_photo(tmp_path / "set" / "gray.jpg", photos[0].mean(axis=-1).astype(np.uint8))
    make_photos(tmp_path / "set", tmp_path / "made")
    (made,) = (tmp_path / "made").iterdir()
    assert read_photo(made).shape == (256, 256, 3)


@pytest.mark.parametrize("published", [True, False])
def test_steps_learn(few_channels, monkeypatch, published):
    monkeypatch.setattr(paper, "BATCH_SIZE", 1)
    monkeypatch.setattr(paper, "CROP", (64, 64))
    step = make_step(published)
    losses = [step() for _ in range(4)]
    assert losses[-1] < losses[0]


def test_hints_of_the_benchmark_have_the_colours_of_their_places():
    ab = np.random.default_rng(0).normal(size=(30, 40, 2))
    for hint in hints.draw_hints(ab, 20, np.random.default_rng(1)):
        row, column = int(hint.y * 30), int(hint.x * 40)
        patch = ab[max(row - 3, 0) : row + 4, max(column - 3, 0) : column + 4]
        np.testing.assert_allclose(hint.ab, patch.mean(axis=(0, 1)))


def test_a_gray_photo_has_no_part_in_the_gain(tmp_path, photos, monkeypatch, capsys):
    """Colorized without hints it comes out as it is, with an infinite PSNR."""
    for name, photo in {"a": photos[0], "b": photos[1], "gray": photos[2][..., 1]}.items():
        write_photo(tmp_path / f"{name}.png", photo)
    monkeypatch.setattr(hints.models, "load", lambda name: Gray())
    monkeypatch.setattr(hints, "COUNTS", (0, 10))
    hints.report(hints.Options(photos=tmp_path))
    told = capsys.readouterr().out
    assert f"2 photos of {tmp_path.name}" in told and "nan" not in told and "inf" not in told


def test_plain_ways_to_spread_a_correction_ignore_what_they_should():
    lightness = np.full((32, 64, 1), 20, np.float32)
    lightness[:, 32:] = 80
    ab = np.zeros((32, 64, 2), np.float32)
    ab[:, 32:] = 30
    asked = [Hint(0.4, 0.5, (40.0, 0.0))]

    def moved(lightness):
        described = hints.describe(ab, lightness, None)
        own = {method: described[..., :channels] for method, (channels, _) in hints.METHODS.items()}
        return {method: (hints.spread(ab, vectors, asked) - ab)[16, :, 0] for method, vectors in own.items()}

    edge = moved(lightness)
    assert all(abs(own[25] - 40) < 1 for own in edge.values())
    assert edge["distance"][38] > 20 > 8 > edge["lightness"][38] > edge["hints"][38]
    even = moved(np.full_like(lightness, 50))
    assert even["lightness"] == pytest.approx(even["distance"], rel=1e-4)
    assert even["hints"][38] < 0.5 * even["distance"][38]


def test_gray_photos_alone_have_no_colours_to_enlarge(tmp_path):
    write_photo(tmp_path / "gray.png", np.full((20, 30), 90, np.uint8))
    words = f"{tmp_path}: holds gray photos only; give a folder with photos in colour"
    assert call("-m", "benchmarks.enlarging", tmp_path) == (1, "", [words])
