"""How skin comes out: against scikit-image and tones worked out by hand."""

import numpy as np
import pytest
from skimage import color
from small_networks import Gray

from benchmarks import skin
from common.errors import DatasetError
from common.images import write_photo


@pytest.mark.parametrize(
    ("lab", "tone"),
    [
        ((80, 12, 15), "very light"),  # atan(30 / 15) = 63.4 degrees
        ((70, 12, 15), "light"),  # 53.1
        ((60, 12, 15), "intermediate"),  # 33.7
        ((55, 12, 15), "tan"),  # 18.4
        ((50, 12, 15), "brown"),  # 0
        ((40, 12, 10), "dark"),  # -45
    ],
)
def test_tones_are_those_of_the_individual_typology_angle(lab, tone):
    assert skin.tone_of(np.array(lab)) == tone


def test_skin_is_the_median_of_the_middle():
    photo = np.zeros((50, 100, 3), np.uint8)
    photo[15:35, 30:70] = 210, 160, 130
    photo[15:20, 30:70] = 255, 0, 0  # A quarter of the middle, which does not change the median.
    np.testing.assert_allclose(skin.skin_of(photo), color.rgb2lab(photo[30, 50]), atol=0.01)


def test_rows_hold_means_by_tone():
    pairs = [((70, 3, 20), (70, 3, 16)), ((70, 9, 20), (70, 9, 18)), ((30, 0, 10), (30, 5, 10))]
    light, dark = skin.rows_of([(np.array(photo, float), np.array(result, float)) for photo, result in pairs])
    assert light[:5] == ["light", "2", "70", "6.0, 20.0", "6.0, 17.0"]
    assert light[5].startswith("3.0 (2.0..4.0)") and light[6].startswith("21.1 (")  # sqrt(409) and sqrt(481)
    assert dark == ["dark", "1", "30", "0.0, 10.0", "5.0, 10.0", "5.0", "10.0"]


def test_the_error_of_gray_results_is_that_of_gray(tmp_path, monkeypatch, capsys):
    faces = {"light": (230, 180, 150), "brown": (150, 100, 70), "blue": (100, 120, 200), "gray": (99, 99, 99)}
    for name, rgb in faces.items():
        write_photo(tmp_path / f"{name}.png", np.full((40, 40, 3), rgb, np.uint8))
    monkeypatch.setattr("models.load", lambda name: Gray())
    monkeypatch.setattr("sys.argv", ["skin", str(tmp_path)])
    skin.main()
    first, *_, one, other = capsys.readouterr().out.splitlines()
    assert first == f"2 photos of {tmp_path}, colours of natural"
    for row in (one, other):
        *_, error, of_gray = row.strip("| ").split(" | ")
        assert error == of_gray


def test_photos_without_skin_are_a_sentence(tmp_path, monkeypatch):
    write_photo(tmp_path / "gray.png", np.full((40, 40, 3), 99, np.uint8))
    monkeypatch.setattr("models.load", lambda name: Gray())
    monkeypatch.setattr("sys.argv", ["skin", str(tmp_path)])
    with pytest.raises(DatasetError, match=f"no photo in {tmp_path} shows skin in its middle; choose"):
        skin.main()
