"""Means, intervals and files of scores."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from processes import ROOT, call

from evaluation.scores import Scores, format_differences, format_means, over_seeds, seed_differences


@pytest.fixture
def scores():
    random = np.random.default_rng(0)
    base = random.normal(20, 5, 200)
    better, same = base + random.normal(1, 2, 200), base + random.normal(0, 2, 200)
    psnr = {"base": base, "better": better, "same": same}
    return Scores([f"{number}.jpg" for number in range(200)], {name: {"psnr": values} for name, values in psnr.items()})


def test_means_are_over_the_photos_that_all_models_have():
    """A gray photo comes back exactly from gray output only, and must not count for the others alone."""
    gray, other, exact = np.array([20, 22, np.inf]), np.array([21, 23, 50.0]), np.full(3, np.inf)
    scores = Scores(["1", "2", "3"], {"photo": {"psnr": exact}, "gray": {"psnr": gray}, "other": {"psnr": other}})
    means = {model: metrics["psnr"] for model, metrics in scores.means().items()}
    assert np.isnan(means["photo"]) and means["gray"] == 21 and means["other"] == 22
    mean, low, high = scores.differences("gray")["other"]["psnr"]
    assert mean == low == high == 1 and np.isnan(scores.differences("gray")["photo"]["psnr"]).all()
    assert format_means({"photo": {"psnr": np.nan}, "gray": {"psnr": 21.0}}).split() == "psnr photo - gray 21".split()


def test_intervals_are_those_of_the_paired_differences(scores):
    differences = scores.differences("base")
    assert list(differences) == ["better", "same"]
    for model in differences:
        own = scores.values[model]["psnr"] - scores.values["base"]["psnr"]
        mean, low, high = differences[model]["psnr"]
        assert mean == own.mean()
        # With 200 photos the mean is close to normal, and the interval to 1.96 standard errors.
        error = 1.96 * own.std() / np.sqrt(200)
        np.testing.assert_allclose([low, high], [mean - error, mean + error], atol=0.06)
    better, same = format_differences(differences).splitlines()
    assert better.endswith("*") and not same.endswith("*")


def test_files(scores, tmp_path):
    scores.values["same"]["psnr"][0] = np.inf
    scores.save(tmp_path, {"crop": (8, 8)}, "base")
    rows = list(csv.DictReader((tmp_path / "photos.csv").open()))
    assert len(rows) == 600 and rows[200]["model"] == "better" and rows[200]["photo"] == "0.jpg"
    assert abs(float(rows[200]["psnr"]) - scores.values["better"]["psnr"][0]) < 1e-3
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["photos"] == 200 and results["options"] == {"crop": [8, 8]} and results["versions"]["keras"]
    assert results["differences"]["reference"] == "base"
    assert results["means"]["base"]["psnr"] == scores.values["base"]["psnr"][1:].mean()


def test_names_of_photos_are_read_in_any_locale(tmp_path):
    table, photo = tmp_path / "photos.csv", "M\u00fcnchen \u5199\u771f.jpg"
    Scores([photo], {"gray": {"psnr": np.ones(1)}}).save(tmp_path, {}, "gray")
    script = f"from evaluation.scores import read_table; from pathlib import Path; read_table(Path({str(table)!r}))"
    environment = {"PYTHONPATH": str(ROOT), "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=120)
    assert Scores.load(table).photos == [photo]


def test_tables_come_together_again(scores, tmp_path):
    for model in ("better", "same"):
        part = Scores(scores.photos, {name: scores.values[name] for name in ("base", model)})
        part.save(tmp_path / model, {}, "base")
    tables = [tmp_path / model / "photos.csv" for model in ("better", "same")]
    joined = Scores.load(*tables)
    assert list(joined.values) == ["base", "better", "same"] and joined.photos == scores.photos
    for model, metrics in scores.values.items():
        np.testing.assert_allclose(joined.values[model]["psnr"], metrics["psnr"], rtol=1e-5)
    status, output, _ = call("-m", "evaluation.scores", *tables, "--reference", "base")
    assert status == 0 and format_means(joined.means()) in output and output.count("*") == 1


def test_tables_share_the_metrics_that_all_have(scores, tmp_path):
    older = {name: {"psnr": metrics["psnr"]} for name, metrics in scores.values.items()}
    newer = {"newer": {"ssim": older["base"]["psnr"], "psnr": older["same"]["psnr"]}}
    for name, values in (("older", older), ("newer", newer)):
        Scores(scores.photos, values).save(tmp_path / name, {}, next(iter(values)))
    tables = [tmp_path / name / "photos.csv" for name in ("newer", "older")]
    for joined in (Scores.load(*tables), Scores.load(*tables[::-1])):
        assert len(joined.values) == 4 and all(list(metrics) == ["psnr"] for metrics in joined.values.values())
        np.testing.assert_allclose(joined.values["newer"]["psnr"], scores.values["same"]["psnr"], rtol=1e-5)


def test_tables_that_do_not_belong_together_are_named(scores, tmp_path):
    scores.save(tmp_path, {}, "base")
    other = tmp_path / "other.csv"
    other.write_text("model,photo,psnr\nbase,another.jpg,20\n")
    for content, words in (
        ("model,photo,psnr\nbase,another.jpg,20\n", "other photos"),
        ("model,photo,psnr\na,1.jpg,20\na,2.jpg,20\nb,1.jpg,20\n", "its models have different photos"),
        ("text", "not a photos.csv"),
        ("", "not a photos.csv"),
        ("model,photo,psnr\n" + "a" * 200_000, "not a photos.csv"),  # More than Python's csv takes in a field.
    ):
        other.write_text(content)
        status, _, errors = call("-m", "evaluation.scores", tmp_path / "photos.csv", other)
        assert status == 1 and len(errors) == 1 and "other.csv" in errors[0] and words in errors[0]
    status, _, errors = call("-m", "evaluation.scores", tmp_path / "photos.csv")
    assert status == 2 and "base, better, same" in errors[0]


def test_seeds_are_put_together(tmp_path):
    """Against the textbook: three paired differences of mean 1 and standard deviation 1, and t(2) = 4.303."""
    psnr = {"gray": 18, "with-0": 20, "without-0": 20, "with-1": 22, "without-1": 21, "with-2": 24, "without-2": 22}
    scores = Scores(["1"], {model: {"psnr": np.array([float(value)])} for model, value in psnr.items()})
    groups = over_seeds(scores.means())
    assert list(groups) == ["gray", "with", "without"] and list(groups["with"]["psnr"]) == [20, 22, 24]
    ((model, metrics),) = seed_differences(groups, "without").items()
    assert model == "with"
    np.testing.assert_allclose(metrics["psnr"], [1, 1 - 4.3027 / 3**0.5, 1 + 4.3027 / 3**0.5], rtol=1e-4)
    scores.save(tmp_path, {}, "gray")
    status, output, _ = call("-m", "evaluation.scores", tmp_path / "photos.csv", "--reference", "without", "--seeds")
    assert status == 0 and "gray      18" in output and "with  22 ± 2" in output and "without  21 ± 1" in output
    assert "-1.48 .. +3.48" in output and "*" not in output
    status, _, errors = call("-m", "evaluation.scores", tmp_path / "photos.csv", "--reference", "with-0", "--seeds")
    assert status == 2 and "the tables have gray, with, without" in errors[0]
