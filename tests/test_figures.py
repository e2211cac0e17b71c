"""Pictures of models: drawn at all, with everything asked for."""

import cv2
import numpy as np
import pytest
from processes import call, full_disk

from common.images import write_photo
from configs import SAMPLES
from evaluation.figures import COLUMNS, detail, draw_photos, in_rows


def test_compare_shows_each_photo_with_each_model(tmp_path, model_file, photos):
    write_photo(tmp_path / "photos" / "color.png", photos[0])
    write_photo(tmp_path / "photos" / "gray.png", photos[1][..., 0])
    arguments = ["--models", model_file, "-o", tmp_path / "out.png"]
    status, _, errors = call(
        "-m", "evaluation.figures", "compare", tmp_path / "photos", SAMPLES / "life-boat.jpg", *arguments
    )
    assert status == 1 and "no such file" in errors[-1] and not (tmp_path / "out.png").exists()
    status, _, errors = call(
        "-m", "evaluation.figures", "compare", tmp_path / "photos", *arguments, "--zoom", "0.5", "0.2", "0.3"
    )
    assert status == 0, errors
    picture = cv2.imread(str(tmp_path / "out.png"))
    # Two rows of photos and two of details, three pictures wide at most: the photo, gray, the model.
    ink = (picture != 255).any(axis=-1)
    bands = np.flatnonzero(np.diff(ink.mean(axis=1) > 0.4, prepend=False, append=False)).reshape(-1, 2)
    assert sum(bands[:, 1] - bands[:, 0] > 100) == 4 and picture.shape[1] == 900


def test_compare_does_not_replace_a_photo(tmp_path, model_file, photos):
    write_photo(tmp_path / "a.png", photos[0])
    before = (tmp_path / "a.png").read_bytes()
    command = ["compare", tmp_path, "--models", model_file, "-o", tmp_path / "a.png"]
    status, _, errors = call("-m", "evaluation.figures", *command)
    assert status == 2 and errors == [f"--output {tmp_path / 'a.png'}: one of the photos; give another name"]
    assert (tmp_path / "a.png").read_bytes() == before


def test_a_picture_is_written_whole_or_not_at_all(tmp_path):
    rows = [[("noise", np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8))]]
    draw_photos(rows, tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    with full_disk(1000), pytest.raises(OSError):
        draw_photos(rows, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / "a.png"]


def test_compare_refuses_two_names_of_one_model(tmp_path, model_file):
    (tmp_path / "again.keras").symlink_to(model_file)
    status, _, errors = call(
        *("-m", "evaluation.figures", "compare", SAMPLES, "-o", tmp_path / "out.png"),
        *("--models", model_file, tmp_path / "again.keras"),
    )
    assert status == 2 and f"both are {tmp_path / 'again.keras'}; leave one out" in errors[-1]


def test_rows_and_details(tmp_path):
    pictures = [(str(number), np.full((20, 40), number)) for number in range(6)]
    rows = in_rows(pictures)
    assert [title for row in rows for title, _ in row] == ["0", "1", "2", "3", "4", "5"] and len(rows[0]) == COLUMNS
    draw_photos(rows, tmp_path / "a.png")
    right = cv2.imread(str(tmp_path / "a.png"))[:, -400:]
    assert (right[-20:] == 255).all() and not (right == 255).all()
    picture = np.arange(800).reshape(20, 40)
    np.testing.assert_array_equal(detail(picture, 0.5, 0.25, 0.2), picture[8:12, 8:12])
    np.testing.assert_array_equal(detail(picture, 1, 0, 0.5), picture[10:, :10])
