"""Colour hints: the JSON, the correction against a dense least-squares solution, and photos with hints beside them."""

import json

import cv2
import numpy as np
import pytest
from skimage import color

from colorizing import hints
from colorizing.hints import Hint, HintError, correct, format_hints, parse_hints, read_hints
from colorizing.photo import Pipeline
from common.images import read_photo, write_photo
from models.colorizer import Colorizer
from models.residual_encoder import ResidualEncoder
from models.zhang import ZhangColorizer, ab_bins
from test import Options, main


class Plain:
    """A colorizer of one colour."""

    native_size, grid = 64, 8

    def __init__(self, ab=(10.0, -5.0)):
        self.ab = np.float32(ab)

    def colorize(self, lightness):
        return np.broadcast_to(self.ab, (*lightness.shape[:3], 2))

    def features(self, lightness):
        return None


def two_halves(rows=16, columns=24, edge=12, dark=30.0, light=70.0):
    lightness = np.full((rows, columns, 1), dark, np.float32)
    lightness[:, edge:] = light
    return lightness


def dense_difference(ab, lightness, given, features=None):
    """d by a dense least-squares solution, with every term of the sum a row; pixel by pixel, as the header says it."""
    rows, columns = ab.shape[:2]
    shorter = min(rows, columns)
    places = [(row, column) for row in range(rows) for column in range(columns)]
    number = {place: n for n, place in enumerate(places)}
    equations, values = [], []

    def add(weight, coefficients, value=(0.0, 0.0)):
        row = np.zeros(len(places))
        for place, coefficient in coefficients.items():
            row[number[place]] = np.sqrt(weight) * coefficient
        equations.append(row)
        values.append(np.sqrt(weight) * np.array(value))

    def distance(one, other, of_lightness, of_ab, of_features):
        square = ((lightness[one] - lightness[other]) / of_lightness) ** 2
        square = square.item() + np.sum(((ab[one] - ab[other]) / of_ab) ** 2)
        if features is not None:
            square += np.sum(((features[one] - features[other]) / of_features) ** 2)
        return square

    for row, column in places:
        add((0.8 * shorter) ** -2, {(row, column): 1})
        for other in ((row + 1, column), (row, column + 1)):
            if other in number:
                weight = np.exp(-distance((row, column), other, 3, 8, 0.5) / 2) + 1e-3
                add(weight, {(row, column): 1, other: -1})
        for hint in given:
            center = int(hint.y * rows), int(hint.x * columns)
            square = (row - (hint.y * rows - 0.5)) ** 2 + (column - (hint.x * columns - 0.5)) ** 2
            likeness = np.exp(-distance((row, column), center, 5, 5, 0.5) / 2)
            near = np.exp(-square / (2 * (0.3 * shorter) ** 2))
            wanted = (0, 0) if hint.ab is None else np.array(hint.ab) - ab[center]
            add(likeness * near * (0.12 * shorter) ** -2, {(row, column): 1}, wanted)
            if square <= (hint.radius * shorter) ** 2 or (row, column) == center:
                met = (0, 0) if hint.ab is None else np.array(hint.ab) - ab[row, column]
                add(100 * likeness, {(row, column): 1}, met)
    return np.linalg.lstsq(np.array(equations), np.array(values), rcond=None)[0].reshape(ab.shape)


@pytest.mark.parametrize("with_features", [False, True])
def test_the_correction_is_the_least_squares_solution(with_features):
    random = np.random.default_rng(0)
    lightness = two_halves(8, 16, 9) + random.normal(0, 3, (8, 16, 1)).astype(np.float32)
    ab = random.normal(0, 6, (8, 16, 2)).astype(np.float32)
    features = random.normal(size=(8, 16, 3)).astype(np.float32) if with_features else None
    unit = None
    if with_features:
        unit = features - features.mean(axis=(0, 1))
        unit = unit / np.linalg.norm(unit, axis=-1, keepdims=True)
    given = [Hint(0.21, 0.33, (40.0, 20.0)), Hint(0.71, 0.7, (-30.0, 5.0), 0.2), Hint(0.4, 0.9, None)]
    expected = ab + dense_difference(ab, lightness, given, unit)
    corrected = correct(ab, lightness, given, features)
    assert corrected.dtype == np.float32 and np.abs(expected - ab).max() > 20
    np.testing.assert_allclose(corrected, expected, atol=1e-2)


def test_without_hints_nothing_changes():
    ab = np.ones((8, 8, 2), np.float32)
    assert correct(ab, two_halves(8, 8, 4), []) is ab


def test_the_object_takes_the_colour_and_its_edge_stops_it():
    lightness = two_halves(64, 96, 48)
    ab = np.zeros((64, 96, 2), np.float32)
    corrected = correct(ab, lightness, [Hint(0.25, 0.5, (40.0, 0.0))])[..., 0]
    assert abs(corrected[32, 24] - 40) < 1
    assert corrected[:, :44].min() > 20 and corrected[:, 52:].max() < 4


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
    assert with_features[16, 36] < 0.25 * with_features[16, 15] and without[16, 36] > 0.7 * without[16, 15]


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
    result = Pipeline(Plain((0, 0)))(gray, [Hint(0.5, 0.5, (80.0, 60.0), 0.1)])
    lab = color.rgb2lab(result)[40, 40]
    assert abs(np.arctan2(lab[2], lab[1]) - np.arctan2(60, 80)) < 0.1 and 5 < np.hypot(lab[1], lab[2]) < 50


def test_networks_offer_no_features_unless_they_say_so():
    assert Colorizer.features(None, np.zeros((1, 8, 8, 1), np.float32)) is None


def test_zhang_offers_the_modes_of_its_distribution(few_channels):
    model = ZhangColorizer(32)
    lightness = np.random.default_rng(0).uniform(0, 100, (1, 32, 40, 1)).astype(np.float32)
    likely = model.likely_colors(lightness, (9, 30))
    logits = model(lightness).numpy()[0, 2, 7]
    assert likely.shape == (5, 2) and likely[0].tolist() == ab_bins()[logits.argmax()].tolist()
    distances = np.linalg.norm(likely[:, None] - likely, axis=-1)[~np.eye(5, dtype=bool)]
    assert distances.min() >= 20
    # Every bin that is likelier than the last one found is one of them, or near a likelier one.
    order = ab_bins()[np.argsort(-logits)]
    before = order[: np.flatnonzero((order == likely[-1]).all(axis=1))[0]]
    assert (np.linalg.norm(before[:, None] - likely[:-1], axis=-1).min(axis=1) < 20).all()
    assert list(Colorizer.likely_colors(None, lightness, (0, 0))) == []


def test_hints_survive_their_file(tmp_path):
    given = [Hint(0.5, 0.25, (40.0, -20.5), 0.03), Hint(0.0, 1.0, None)]
    (tmp_path / "a.hints.json").write_text(format_hints(given))
    assert read_hints(tmp_path / "a.hints.json") == given
    assert parse_hints(format_hints([]), "none") == []


GOOD = {"x": 0.5, "y": 0.5, "ab": [10, 10]}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "no list of hints"),
        ('{"hints": {}}', "no list of hints"),
        ({"hints": [GOOD] * 1001}, "1001 hints; the limit is 1000"),
        ([GOOD, 3], "hint 2: not an object"),
        ([{"x": 0.5, "y": 0.5}], "hint 1: no ab"),
        ([GOOD | {"colour": "red"}], "hint 1: unknown field"),
        ([GOOD, GOOD | {"x": 1.01}], "hint 2: x is 1.01; use a number from 0 to 1"),
        ([GOOD | {"y": float("nan")}], "hint 1: y is NaN"),
        ([GOOD | {"y": True}], "hint 1: y is true"),
        ([GOOD | {"radius": 0}], "hint 1: radius is 0"),
        ([GOOD | {"radius": 10**400}], "hint 1: radius is 1000"),
        ([GOOD | {"ab": [200, 0]}], "hint 1: ab is [200, 0]; use two numbers from -128 to 128"),
        ([GOOD | {"ab": [1]}], "hint 1: ab is [1]"),
        ([GOOD | {"ab": "red"}], 'hint 1: ab is "red"'),
        ([GOOD | {"ab": [0, float("inf")]}], "hint 1: ab is [0, Infinity]"),
    ],
)
def test_faults_get_a_sentence_that_names_file_and_hint(data, words):
    if not isinstance(data, str | bytes):
        data = json.dumps(data if isinstance(data, dict) else {"hints": data})
    with pytest.raises(HintError) as error:
        parse_hints(data, "photo.hints.json")
    message = str(error.value)
    assert message.startswith("photo.hints.json: ") and words in message and "\n" not in message and len(message) < 300


def run_test(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["test.py", *map(str, arguments)])
    try:
        main()
    except SystemExit as end:
        return end.code, capsys.readouterr()
    raise AssertionError("test.py ends with a status")


def test_hints_beside_photos_and_on_the_command_line(tmp_path, photos, monkeypatch, capsys):
    for name in ("a", "b", "bad"):
        write_photo(tmp_path / "in" / f"{name}.png", photos[0])
    file = tmp_path / "in" / "a.hints.json"
    file.write_text(format_hints([Hint(0.5, 0.5, (60.0, -50.0), 0.1)]))
    (tmp_path / "in" / "bad.hints.json").write_text('{"hints": [{"x": 2, "y": 0, "ab": null}]}')
    code, output = run_test(monkeypatch, capsys, tmp_path / "in", "-o", tmp_path / "out")
    assert code == 1 and "2 of 3 photos" in output.out
    assert "bad.hints.json: hint 1: x is 2" in output.err and "Error" not in output.err
    hinted, plain = (read_photo(tmp_path / "out" / f"{name}.png") for name in ("a", "b"))
    assert np.abs(color.rgb2lab(hinted) - color.rgb2lab(plain))[48, 64].max() > 20
    arguments = [tmp_path / "in" / "b.png", "-o", tmp_path / "one", "--hints", file]
    assert run_test(monkeypatch, capsys, *arguments)[0] == 0
    np.testing.assert_array_equal(read_photo(tmp_path / "one" / "b.png"), hinted)


def test_hints_are_for_one_photo(tmp_path, photos, monkeypatch, capsys):
    for name in "ab":
        write_photo(tmp_path / f"{name}.png", photos[0])
    monkeypatch.setattr("sys.argv", ["test.py", str(tmp_path), "--hints", "a.json", "-o", str(tmp_path / "out")])
    with pytest.raises(hints.UserError, match="give one photo with it"):
        main()
    assert Options().hints is None


@pytest.mark.parametrize("encoder", ["efficientnet-lite0", "vgg16"])
def test_features_of_an_encoder_lie_over_the_photo(encoder):
    model = ResidualEncoder(encoder=encoder, native_size=64)
    lightness = np.full((1, 40, 72, 1), 30, np.float32)
    lightness[:, :, 48:] = 80
    features = np.asarray(model.features(lightness))[0]
    assert features.shape[:2] == (5, 9)
    left, right = features[1:4, 1:5].mean(axis=(0, 1)), features[1:4, 7:8].mean(axis=(0, 1))
    assert np.abs(features[1:4, 2] - left).max() < np.abs(left - right).max()
