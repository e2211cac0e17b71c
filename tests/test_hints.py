"""Colour hints: the JSON, the correction against a dense least-squares solution, and photos with hints beside them."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from processes import call
from scipy import ndimage
from scipy.spatial import distance
from skimage import color
from small_networks import Gray, with_colors

from colorizing import hints
from colorizing.hints import Hint, HintError, correct, format_hints, parse_hints, read_hints
from colorizing.jobs import plan_jobs
from colorizing.photo import Pipeline
from common.images import read_photo, write_photo
from models.colorizer import Colorizer
from models.residual_encoder import ResidualEncoder
from models.zhang import ZhangColorizer, ab_bins


class Plain(Gray):
    """A colorizer of one colour."""

    native_size = 64
    ab = (10, -5)


def two_halves(rows=16, columns=24, edge=12, dark=30.0, light=70.0):
    lightness = np.full((rows, columns, 1), dark, np.float32)
    lightness[:, edge:] = light
    return lightness


def described(ab, lightness, features=None):
    """What the covariance compares, divided by the scales in colorizing/hints.py."""
    rows, columns = ab.shape[:2]
    down, right = np.mgrid[:rows, :columns] / (0.45 * min(rows, columns))
    parts = [down, right, ndimage.uniform_filter(lightness[..., 0], 3, mode="mirror") / 16, ab / 20]
    if features is not None:
        unit = features - features.mean(axis=(0, 1))
        parts.append(unit / np.linalg.norm(unit, axis=-1, keepdims=True) / 1.5)
    return np.dstack(parts)


@pytest.mark.parametrize("with_features", [False, True])
def test_the_correction_is_that_of_a_gaussian_process(with_features):
    random = np.random.default_rng(0)
    lightness = two_halves(8, 16, 9) + random.normal(0, 3, (8, 16, 1)).astype(np.float32)
    ab = random.normal(0, 6, (8, 16, 2)).astype(np.float32)
    features = random.normal(size=(8, 16, 3)).astype(np.float32) if with_features else None
    given = [Hint(0.21, 0.33, (40.0, 20.0)), Hint(0.71, 0.7, (-30.0, 5.0)), Hint(0.4, 0.9, None)]
    pixels, places = described(ab, lightness, features), [(2, 3), (5, 11), (7, 6)]
    known = np.array([pixels[place] for place in places])
    asked = [hint.ab - ab[place] if hint.ab else (0, 0) for hint, place in zip(given, places, strict=True)]

    def covariance(one, other):
        squares = distance.cdist(one, other, "sqeuclidean")
        return 0.8 * np.exp(-squares / 2) + 0.2 * np.exp(-squares / 8)

    # Conditional mean of a normal distribution, by the inverse of its covariance.
    inverse = np.linalg.inv(covariance(known, known) + 0.01 * np.eye(3))
    expected = ab + (covariance(pixels.reshape(128, -1), known) @ inverse @ asked).reshape(8, 16, 2)
    corrected = correct(ab, lightness, given, features)
    assert corrected.dtype == np.float32 and np.abs(expected - ab).max() > 20
    np.testing.assert_allclose(corrected, expected, atol=1e-2)


def test_pictures_of_any_size_in_parts_are_corrected_alike(monkeypatch):
    ab = np.random.default_rng(0).normal(0, 6, (20, 30, 2)).astype(np.float32)
    given = [Hint(0.2, 0.3, (40.0, 20.0)), Hint(0.7, 0.7, (-30.0, 5.0), 0.3)]
    whole = correct(ab, two_halves(20, 30, 9), given)
    monkeypatch.setattr(hints, "AT_A_TIME", 100)
    np.testing.assert_allclose(correct(ab, two_halves(20, 30, 9), given), whole, atol=1e-4)


def test_a_large_hint_colours_its_whole_disc():
    lightness, ab = two_halves(64, 96, 48), np.zeros((64, 96, 2), np.float32)
    small, large = (correct(ab, lightness, [Hint(0.4, 0.5, (40.0, 0.0), radius)])[..., 0] for radius in (0.01, 0.4))
    for place in ((32, 38), (32, 22), (16, 38), (32, 54)):
        assert abs(large[place] - 40) < 4
    assert small[32, 54] < 6
    # Its places around the centre may lie outside.
    assert abs(correct(ab, lightness, [Hint(0.0, 1.0, (40.0, 0.0), 0.4)])[63, 0, 0] - 40) < 4


def test_without_hints_nothing_changes():
    ab = np.ones((8, 8, 2), np.float32)
    assert correct(ab, two_halves(8, 8, 4), []) is ab


def test_the_object_takes_the_colour_and_its_edge_stops_it():
    lightness = two_halves(64, 96, 48)
    ab = np.zeros((64, 96, 2), np.float32)
    corrected = correct(ab, lightness, [Hint(0.25, 0.5, (40.0, 0.0))])[..., 0]
    assert abs(corrected[32, 24] - 40) < 1
    assert corrected[:, :44].min() > 14 and corrected[:, 52:].max() < 5


def test_a_pin_keeps_its_place():
    lightness = np.full((64, 64, 1), 50, np.float32)
    ab = np.zeros((64, 64, 2), np.float32)
    red = Hint(0.25, 0.5, (40.0, 0.0))
    alone = correct(ab, lightness, [red])[32, 48, 0]
    pinned = correct(ab, lightness, [red, Hint(0.75, 0.5, None)])[32, 48, 0]
    assert alone > 10 and abs(pinned) < 1


def test_features_tell_equal_grays_apart():
    lightness = np.full((32, 64, 1), 50, np.float32)
    ab = np.zeros((32, 64, 2), np.float32)
    features = np.zeros((8, 16, 2), np.float32)
    features[:, :8, 0] = features[:, 8:, 1] = 1
    given = [Hint(0.4, 0.5, (40.0, 0.0))]
    with_features, without = (correct(ab, lightness, given, known)[..., 0] for known in (features, None))
    assert with_features[16, 36] < 0.6 * without[16, 36]
    np.testing.assert_allclose(with_features[16, 15], without[16, 15], rtol=1e-3)


def test_photos_show_the_hint_where_it_was_set_and_their_own_lightness(photos):
    gray = cv2.resize(photos[0], (301, 217))
    pipeline = Pipeline(Plain(), saturation=0.5)
    result = pipeline(gray, [Hint(0.5, 0.5, (25.0, 30.0), 0.05)])
    lab, own = color.rgb2lab(result), color.rgb2lab(gray)
    np.testing.assert_allclose(lab[..., 0], own[..., 0], atol=0.5)
    np.testing.assert_allclose(lab[108, 150, 1:], (25, 30), atol=2)
    assert np.array_equal(pipeline(gray, []), pipeline(gray))


def test_colours_that_lightness_cannot_carry_keep_their_hue():
    gray = np.full((80, 80), 240, np.uint8)
    result = Pipeline(Gray(), 64)(gray, [Hint(0.5, 0.5, (80.0, 60.0), 0.1)])
    lab = color.rgb2lab(result)[40, 40]
    assert abs(np.arctan2(lab[2], lab[1]) - np.arctan2(60, 80)) < 0.1 and 5 < np.hypot(lab[1], lab[2]) < 50


def test_networks_offer_no_features_unless_they_say_so():
    assert Colorizer.features(None, np.zeros((1, 8, 8, 1), np.float32)) is None


@pytest.mark.parametrize(
    ("build", "first"), [(lambda: ZhangColorizer(32), 0), (lambda: with_colors(ResidualEncoder(loss="both")), 2)]
)
def test_networks_of_bins_offer_the_modes_of_their_distribution(few_channels, build, first):
    model = build()
    lightness = np.random.default_rng(0).uniform(0, 100, (1, 32, 40, 1)).astype(np.float32)
    likely = model.likely_colors(lightness, (9, 30))
    logits = model(lightness).numpy()[0, 2, 7, first:]
    assert likely.shape == (5, 2) and likely[0].tolist() == ab_bins()[logits.argmax()].tolist()
    distances = np.linalg.norm(likely[:, None] - likely, axis=-1)[~np.eye(5, dtype=bool)]
    assert distances.min() >= 20
    # Every bin that is likelier than the last one found is one of them, or near a likelier one.
    order = ab_bins()[np.argsort(-logits)]
    before = order[: np.flatnonzero((order == likely[-1]).all(axis=1))[0]]
    assert (np.linalg.norm(before[:, None] - likely[:-1], axis=-1).min(axis=1) < 20).all()
    assert list(Colorizer.likely_colors(None, lightness, (0, 0))) == []


def test_hints_survive_their_file(tmp_path):
    given = [Hint(0.5, 0.25, (40.0, -20.5), 0.03), Hint(0.0, 1.0, None, time=2.5)]
    (tmp_path / "a.hints.json").write_text(format_hints(given))
    assert read_hints(tmp_path / "a.hints.json", film=True) == given
    assert parse_hints(format_hints([]), "none") == []
    marked = "\ufeff" + format_hints(given[:1])
    assert parse_hints(marked, "marked") == parse_hints(marked.encode(), "marked") == given[:1]


GOOD = {"x": 0.5, "y": 0.5, "ab": [10, 10]}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("", "Invalid JSON"),
        (b"\xff\xfe\x00", "Invalid JSON"),
        ("[" * 100_000, "Invalid JSON"),
        ("[]", "hints.json: use an object"),
        ("{}", "hints.json: hints: Field required"),
        ('{"hints": {}}', "hints.json: hints: use a valid array"),
        ({"hints": [GOOD], "radius": 0.5}, "hints.json: radius 0.5: Unexpected keyword"),
        ({"hints": [GOOD] * 1001}, "hints: List should have at most 1000 items"),
        ([[1, 2]], "hint 1: use an object"),
        ([GOOD, 3], "hint 2: 3: use an object"),
        ([{"x": 0.5, "y": 0.5}], "hint 1: ab: Field required"),
        ([GOOD | {"colour": "red"}], "hint 1: colour red: Unexpected keyword"),
        ([GOOD, GOOD | {"x": 1.01}], "hint 2: x 1.01: use a number less than or equal to 1"),
        ([GOOD | {"y": float("nan")}], "hint 1: y nan: use a finite number"),
        ([GOOD | {"y": True}], "hint 1: y True: use a valid number"),
        ([GOOD, GOOD | {"time": 1}], "hint 2: a time is for films; remove it"),
        ([GOOD | {"radius": 0}], "hint 1: radius 0: use a number greater than 0"),
        ([GOOD | {"radius": 10**400}], "hint 1: radius 1000"),
        ([GOOD | {"ab": [200, 0]}], "hint 1: ab.0 200: use a number less than or equal to 128"),
        ([GOOD | {"ab": [1]}], "hint 1: ab.1: Field required"),
        ([GOOD | {"ab": "red"}], "hint 1: ab red: use a valid array"),
        ([GOOD | {"ab": [0, float("inf")]}], "hint 1: ab.1 inf: use a finite number"),
    ],
)
def test_faults_get_a_sentence_that_names_file_and_hint(data, words):
    if not isinstance(data, str | bytes):
        data = json.dumps(data if isinstance(data, dict) else {"hints": data})
    with pytest.raises(HintError) as error:
        parse_hints(data, "photo.hints.json")
    message = str(error.value)
    assert message.startswith("photo.hints.json: ") and words in message and "\n" not in message and len(message) < 300


@pytest.mark.parametrize("time", [-1, "1", float("nan")])
def test_times_are_seconds_from_the_start(time):
    with pytest.raises(HintError, match=r"film.hints.json: hint 1: time .*: use a"):
        parse_hints(json.dumps({"hints": [GOOD | {"time": time}]}), "film.hints.json", film=True)


def test_hints_beside_photos_and_on_the_command_line(loaded_once, tmp_path, photos):
    for name in ("a", "b", "bad"):
        write_photo(tmp_path / "in" / f"{name}.png", photos[0])
    file = tmp_path / "in" / "a.hints.json"
    file.write_text(format_hints([Hint(0.5, 0.5, (60.0, -50.0), 0.1)]))
    (tmp_path / "in" / "bad.hints.json").write_text('{"hints": [{"x": 2, "y": 0, "ab": null}]}')
    status, output, errors = call("test.py", tmp_path / "in", "-o", tmp_path / "out")
    assert status == 1 and "2 of 3 photos" in output
    assert len(errors) == 1 and "bad.hints.json: hint 1: x 2" in errors[0]
    hinted, plain = (read_photo(tmp_path / "out" / f"{name}.png") for name in ("a", "b"))
    assert np.abs(color.rgb2lab(hinted) - color.rgb2lab(plain))[48, 64].max() > 20
    assert call("test.py", tmp_path / "in" / "b.png", "-o", tmp_path / "one", "--hints", file)[0] == 0
    # Alone it goes through the network in a batch of another size: equal but for rounding.
    np.testing.assert_allclose(read_photo(tmp_path / "one" / "b.png").astype(int), hinted, atol=1)


def test_hints_of_no_photo_are_named(tmp_path, photos):
    for name in ("a.png", "b.gif"):
        write_photo(tmp_path / "in" / Path(name).with_suffix(".png"), photos[0])
    (tmp_path / "in" / "b.png").rename(tmp_path / "in" / "b.gif")
    for name in ("a", "b", "a.png", "c", ".d"):
        (tmp_path / "in" / f"{name}.hints.json").write_text('{"hints": []}')
    for inputs in ([tmp_path / "in"], [tmp_path / "in" / "a.png"]):
        plan = plan_jobs(inputs, tmp_path / "out", hints_of=lambda photo: photo.with_suffix(".hints.json"))
        stray = [tmp_path / "in" / f"{name}.hints.json" for name in ("a.png", "c")]
        assert plan.notes == [f"{file}: no photo or film of this name lies beside it" for file in stray]


def test_changed_hints_make_a_photo_anew(loaded_once, tmp_path, photos):
    for name in ("a", "b"):
        write_photo(tmp_path / "in" / f"{name}.png", photos[0])
    file = tmp_path / "in" / "a.hints.json"
    command = ["test.py", tmp_path / "in", "-o", tmp_path / "out", "--skip-existing"]
    for text, done in [
        (None, 2),
        (None, 0),
        (format_hints([Hint(0.5, 0.5, (60.0, -50.0))]), 1),
        (format_hints([Hint(0.5, 0.5, (60.0, 50.0))]), 1),
        (format_hints([Hint(0.5, 0.5, (60.0, 50.0))]), 0),
    ]:
        if text:
            file.write_text(text)
        status, output, _ = call(*command)
        assert status == 0 and f"{done} of 2 photos" in output
    file.unlink()
    assert "1 of 2 photos" in call(*command)[1]


def test_hints_are_for_one_photo(tmp_path, photos):
    for name in "ab":
        write_photo(tmp_path / f"{name}.png", photos[0])
    file = tmp_path / "hints.json"
    file.write_text('{"hints": []}')
    for source, given, problem in [
        (tmp_path, file, "give one file for one photo or film; hints of several lie beside them: NAME.hints.json"),
        (tmp_path / "a.png", tmp_path, "give one file for one photo or film; hints of several lie beside them"),
        (tmp_path / "a.png", tmp_path / "none.json", "no such file"),
    ]:
        status, output, errors = call("test.py", source, "--hints", given, "-o", tmp_path / "out")
        assert (status, output) == (2, "") and errors[0].startswith(f"--hints {given}: {problem}")


@pytest.mark.parametrize("encoder", ["efficientnet-lite0", "efficientnet-lite2", "vgg16"])
def test_features_of_an_encoder_lie_over_the_photo(few_channels, encoder):
    model = ResidualEncoder(encoder=encoder, native_size=64)
    lightness = np.full((1, 72, 136, 1), 30, np.float32)
    lightness[:, :, 96:] = 80
    features = np.asarray(model.features(lightness))[0]
    assert features.shape[:2] == (5, 9)
    left, right = features[1:4, 1:5].mean(axis=(0, 1)), features[1:4, 7:8].mean(axis=(0, 1))
    assert np.abs(features[1:4, 2] - left).max() < np.abs(left - right).max()
