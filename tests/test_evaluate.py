"""evaluate.py from end to end, against scikit-image."""

import csv
import functools
import json
import shutil

import numpy as np
import pytest
from conftest import COLOR_SAMPLES
from processes import call
from skimage import color
from skimage import metrics as reference

import models
from colorizing.photo import Pipeline
from common.errors import OptionError, UserError
from common.images import PhotoError, read_photo, write_photo
from common.trained import short_names
from configs import SAMPLES, WEIGHTS
from data.photos import DatasetError, cut, scale_to_cover
from evaluate import describe_gray, describe_scores, find_mean_colors, results_folders
from evaluation import semantics
from evaluation.photo_sets import PhotoSet, find_set
from evaluation.scores import Scores
from evaluation.scoring import evaluate, make_predictors, score_photos
from utils import lightness_from_rgb


@pytest.fixture(scope="module", autouse=True)
def one_classifier():
    """The classifier is loaded and compiled once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(semantics, "Classifier", functools.cache(semantics.Classifier))
        yield


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """A folder of photos between a bad file, with boundary maps, what evaluate.py told of it, and its two tables."""
    folder = tmp_path_factory.mktemp("evaluate")
    for number, name in enumerate(COLOR_SAMPLES):
        crop = cut(scale_to_cover(read_photo(SAMPLES / name), (64, 96)), (64, 96))
        write_photo(folder / "photos" / f"{number}.png", crop)
        drawn = np.zeros((64, 96), np.uint8)
        drawn[20 + number, :] = 255
        write_photo(folder / "maps" / f"{number}.png", drawn)
    (folder / "photos" / "text.jpg").write_text("no photo")
    options = ["--crop", "64", "96", "--output", folder / "out", "--boundaries", folder / "maps"]
    told = call("evaluate.py", folder / "photos", "--models", WEIGHTS / "scenes.keras", *options)
    results = json.loads((folder / "out" / "results.json").read_text())
    return folder, told, results, list(csv.DictReader((folder / "out" / "photos.csv").open()))


def scikit_image_metrics(photo, ab):
    """Some of a photo's metrics by scikit-image, for ab painted on its lightness."""
    lab = color.rgb2lab(photo)
    painted = np.concatenate([lab[..., :1], ab], axis=-1)
    distance = np.linalg.norm(ab - lab[..., 1:], axis=-1)
    return {
        "ab_rmse": np.sqrt(np.mean(distance**2)),
        "auc": 1 - distance.mean() / 150,
        "ciede2000": color.deltaE_ciede2000(painted, lab).mean(),
    }


def test_means_are_those_of_scikit_image(evaluated):
    folder, (status, output, errors), results, _ = evaluated
    assert status == 1 and len(errors) == 1 and "text.jpg" in errors[0]
    assert results["photos"] == 4 and results["command"].startswith("python evaluate.py")
    name = "scenes"
    assert list(results["means"]) == ["photo", "gray", "mean colour", name]
    photos = [read_photo(folder / "photos" / f"{number}.png") for number in range(4)]
    model = models.load("scenes")
    mean_ab = np.float32(models.describe("scenes")["mean_ab"])
    painted = {
        "gray": lambda photo: np.zeros((64, 96, 2)),
        "mean colour": lambda photo: np.broadcast_to(mean_ab, (64, 96, 2)),
        name: lambda photo: model.colorize(lightness_from_rgb(photo)[None])[0].numpy(),
    }
    for row, paint in painted.items():
        expected = [scikit_image_metrics(photo, paint(photo)) for photo in photos]
        for metric in expected[0]:
            mean = np.mean([metrics[metric] for metrics in expected])
            # The script runs under the hardware's policy, this test under float32.
            tolerance = {"rtol": 0.03} if row == name else {"atol": 2e-3}
            np.testing.assert_allclose(results["means"][row][metric], mean, err_msg=f"{row} {metric}", **tolerance)
    neutral = [(color.lab2rgb(color.rgb2lab(photo) * [1, 0, 0]) * 255).round().astype(np.uint8) for photo in photos]
    psnr = np.mean([reference.peak_signal_noise_ratio(*pair) for pair in zip(photos, neutral, strict=True)])
    ssim = np.mean(
        [reference.structural_similarity(*pair, channel_axis=-1) for pair in zip(photos, neutral, strict=True)]
    )
    gray = results["means"]["gray"]
    np.testing.assert_allclose([gray["psnr"], gray["ssim"]], [psnr, ssim], rtol=1e-3)
    assert f"{gray['psnr']:.4g}" in output and name in output


def test_the_photos_themselves_are_right(evaluated):
    photo = evaluated[2]["means"]["photo"]
    assert photo["psnr"] is None and photo["ssim"] == 1 and photo["auc"] == 1 and photo["colorfulness_gap"] == 0
    assert abs(photo["auc_balanced"] - 1) < 1e-5 and photo["ab_error_boundaries"] == 0 and photo["edge_f"] > 0


def test_each_photo_is_in_the_table(evaluated):
    rows = evaluated[3]
    assert [row["photo"] for row in rows[:4]] == ["0.png", "1.png", "2.png", "3.png"] and len(rows) == 16
    assert {row["edge_recall"] for row in rows if row["model"] == "gray"} == {"0"}


def test_the_judge_is_not_the_encoder_that_paints():
    assert semantics.VARIANT != models.load("natural").encoder_name


def test_the_classifier_sees_in_the_photos_what_it_sees(evaluated):
    *_, results, rows = evaluated
    means = results["means"]
    assert means["photo"]["agreement_lite2"] == 1 and abs(means["photo"]["frechet_lite2"]) < 1e-6
    assert means["gray"]["frechet_lite2"] > 1
    squares = [float(row["ab_rmse"]) ** 2 for row in rows if row["model"] == "gray"]
    assert abs(means["gray"]["ab_rmse_all"] - np.mean(squares) ** 0.5) < 1e-3


def test_gray_photos_are_scored_against_photos_in_colour(tmp_path, photos):
    for number, photo in enumerate(photos[:3]):
        darker = (color.rgb2gray(photo) * 200).astype(np.uint8)
        write_photo(tmp_path / "gray" / f"{number}.png", np.repeat(darker[..., None], 3, axis=-1))
        write_photo(tmp_path / "colour" / f"{number}.png", photo)
    found = find_set(f"{tmp_path}/gray:{tmp_path}/colour")
    scores, failures = evaluate({}, {}, found)
    assert not failures and scores.photos == ["0.png", "1.png", "2.png"]
    expected = [np.sqrt(np.mean(np.sum(color.rgb2lab(photo)[..., 1:] ** 2, axis=-1))) for photo in photos[:3]]
    np.testing.assert_allclose(scores.values["gray"]["ab_rmse"], expected, atol=1e-2)
    # Colours on darker gray are not those of the photo.
    assert (scores.values["photo"]["ab_rmse"] == 0).all() and (scores.values["photo"]["psnr"] < 40).all()
    (tmp_path / "gray" / "1.png").unlink()
    with pytest.raises(DatasetError, match=r"gray/1\.png does not exist"):
        find_set(f"{tmp_path}/gray:{tmp_path}/colour")
    for half in (f"{tmp_path}/gray:", f":{tmp_path}/colour", ":"):
        with pytest.raises(OptionError, match="names one folder; give GRAY:COLOUR"):
            find_set(half)


def test_photos_without_colours_are_counted(photos, tmp_path):
    for number, photo in enumerate((photos[0], photos[1], photos[2][..., 1])):
        write_photo(tmp_path / f"{number}.png", photo[:64, :64])
    assert describe_gray(evaluate({}, {}, find_set(str(tmp_path)))[0], "set") == [
        "set holds gray photos (1 of 3): scores of colours say nothing"
    ]
    (tmp_path / "2.png").unlink()
    assert describe_gray(evaluate({}, {}, find_set(str(tmp_path)))[0], "set") == []


def test_models_are_scored_as_the_pipeline_colorizes(photos, tmp_path):
    write_photo(tmp_path / "photos" / "a.png", photos[0][:96, :128])
    model = models.load("scenes")
    pipelines = {"strong": Pipeline(model, saturation=2), "none": Pipeline(model, saturation=0)}
    scores, _ = evaluate(pipelines, {}, find_set(str(tmp_path / "photos")))
    for metric, value in scores.values["gray"].items():
        np.testing.assert_allclose(scores.values["none"][metric], value, atol=1e-6)
    ab = Pipeline(model).full_size_ab(photos[0][:96, :128])
    expected = scikit_image_metrics(photos[0][:96, :128], 2 * ab)
    np.testing.assert_allclose(scores.values["strong"]["ab_rmse"], expected["ab_rmse"], rtol=1e-3)


def test_photos_too_small_to_score_are_named(tmp_path, photos):
    write_photo(tmp_path / "good.png", photos[0][:16, :16])
    write_photo(tmp_path / "small.png", photos[1][:15, :40])
    scores, (failure,) = evaluate({}, {}, find_set(str(tmp_path)))
    assert scores.photos == ["good.png"] and failure.endswith(
        "small.png: less than 16 pixels high or wide, so too small to score"
    )


def test_photos_that_vanish_while_they_are_scored_end_the_scoring(tmp_path, photos):
    for number in range(2):
        write_photo(tmp_path / f"{number}.png", photos[number])
    pairs = find_set(str(tmp_path)).photos
    (tmp_path / "1.png").unlink()
    for crop in (None, (16, 16)):
        with pytest.raises(UserError, match=r"1\.png: no such file or directory; it could be read when"):
            score_photos(make_predictors({}, {}), pairs, crop, 1, np.ones(313))


def test_results_that_cannot_be_saved_are_shown(tmp_path, photos):
    write_photo(tmp_path / "photos" / "a.png", photos[0])
    (tmp_path / "out" / "results.json").mkdir(parents=True)
    command = ["evaluate.py", tmp_path / "photos", "--models", WEIGHTS / "scenes.keras", "--output", tmp_path / "out"]
    status, output, errors = call(*command)
    assert status == 1 and "ab_rmse" in output
    assert errors == [f"{tmp_path / 'out'}: the results cannot be saved: is a directory"]


def test_each_set_is_shown_as_soon_as_it_is_scored(tmp_path, photos, monkeypatch):
    for name in ("a", "b"):
        write_photo(tmp_path / name / "1.png", photos[0])

    def interrupted(pipelines, mean_colors, photo_set, *options):
        if photo_set.name.endswith("b"):
            raise KeyboardInterrupt
        return evaluate(pipelines, mean_colors, photo_set, *options)

    monkeypatch.setattr("evaluate.evaluate", interrupted)
    _, output, errors = call("evaluate.py", tmp_path / "a", tmp_path / "b", "--models", WEIGHTS / "scenes.keras")
    assert errors == ["interrupted"]
    assert f"1 of 1 photos of {tmp_path / 'a'}, each at its own size" in output and "ab_rmse" in output


@pytest.mark.parametrize(
    ("drawn", "error", "words"),
    [
        (None, DatasetError, r"maps/a\.png does not exist; --boundaries needs a map of this name for .*photos/a\.png"),
        (np.zeros((32, 32), np.uint8), PhotoError, r"photos/a\.png: has another size than its boundary map in .*maps"),
    ],
)
def test_boundary_maps_that_do_not_fit_are_named_before_photos_are_scored(tmp_path, monkeypatch, drawn, error, words):
    write_photo(tmp_path / "photos" / "a.png", np.zeros((32, 48, 3), np.uint8))
    if drawn is not None:
        write_photo(tmp_path / "maps" / "a.png", drawn)
    monkeypatch.setattr("evaluation.scoring.score_photos", lambda *_: pytest.fail("photos are scored"))
    with pytest.raises(error, match=words):
        evaluate({}, {}, find_set(str(tmp_path / "photos")), boundary_maps=tmp_path / "maps")


def test_results_of_several_sets_stay_in_the_output_folder(tmp_path):
    def folders(*names):
        found = results_folders(tmp_path, [PhotoSet(name, ()) for name in names])
        return [str(folder.relative_to(tmp_path)) for folder in found]

    assert folders("/photos/a") == ["."]
    assert folders("a/b", "/photos/a", "../c", "g/x:g/y") == ["a/b", "photos/a", "c", "g/x-for-g/y"]
    with pytest.raises(OptionError, match="the same name"):
        folders("c", "../c")


def test_models_named_like_other_rows_are_refused(tmp_path, photos):
    write_photo(tmp_path / "a.png", photos[0])
    status, _, errors = call("evaluate.py", tmp_path, "--models", "runs/gray")
    assert status == 2 and "--models runs/gray: gray is a row of its own in the tables" in errors[-1]


def test_two_names_of_one_model_are_refused(tmp_path, photos, model_file):
    write_photo(tmp_path / "a.png", photos[0])
    (tmp_path / "run").mkdir()
    shutil.copy(model_file, tmp_path / "run" / "model.keras")
    file = tmp_path / "run" / "model.keras"
    status, _, errors = call("evaluate.py", tmp_path, "--models", tmp_path / "run", file)
    assert status == 2 and f"--models {tmp_path / 'run'} {file}: both are {file}; leave one out" in errors[-1]


def test_names_and_mean_colors(tmp_path):
    for name in ("a/run", "b/run", "c"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "model.keras").touch()
    for name, ab in (("a/run", [1, 2]), ("b/run", [1, 2]), ("c", [3, 4])):
        (tmp_path / name / "model.json").write_text(json.dumps({"mean_ab": ab}))
    a, b, c = (str(tmp_path / name) for name in ("a/run", "b/run", "c"))
    assert short_names((a, c, "x/y.keras")) == {"run": a, "c": c, "y": "x/y.keras"}
    assert short_names((a, b)) == {a: a, b: b}
    assert find_mean_colors((a, b)) == {"mean colour": [1, 2]}
    assert find_mean_colors((a, c)) == {"mean colour": [1, 2], "mean colour, c": [3, 4]}


@pytest.mark.parametrize(("count", "tables"), [(1, 1), (2, 2)])
def test_one_photo_has_no_table_of_differences(count, tables):
    scores = Scores(["a", "b"][:count], {model: {"psnr": np.arange(count) + 20.0} for model in ("natural", "gray")})
    assert len(describe_scores(scores, "natural")) == tables
