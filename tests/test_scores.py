"""Means, intervals and files of scores."""

import csv
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from processes import ROOT, call

from common.errors import UserError
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
        ("text", "other.csv: not a photos.csv that evaluate.py wrote\n"),
        ("", "other.csv: not a photos.csv that evaluate.py wrote\n"),
        ("model,photo,psnr\n" + "a" * 200_000, "not a photos.csv"),  # More than Python's csv takes in a field.
    ):
        other.write_text(content)
        status, _, errors = call("-m", "evaluation.scores", tmp_path / "photos.csv", other)
        assert status == 1 and len(errors) == 1 and "other.csv" in errors[0] and words in f"{errors[0]}\n"
    status, _, errors = call("-m", "evaluation.scores", tmp_path / "photos.csv")
    assert status == 2 and "base, better, same" in errors[0]


def write_baselines(file, factor=1.8, side=128, **changes):
    """Writes a table of one photo, whose ab is 4 in a central square of 128 pixels and 12 around it, up to a side.

    Gray output misses ab by what it is, and a saturated target by `factor` times that.
    """
    square = np.full((side, side), 12.0)
    square[side // 2 - 64 : side // 2 + 64, side // 2 - 64 : side // 2 + 64] = 4
    power = 2 * np.mean(square**2)
    gray = {"mse": factor**2 * power / 2 / 128**2, "psnr": 60 - 10 * np.log10(power), "ab_rmse": power**0.5}
    photo = {"mse": (factor - 1) ** 2 * power / 2 / 128**2, "psnr": np.inf, "ab_rmse": 0.0}
    rows = {"photo": photo, "gray": gray | changes, file.parent.name: gray}
    values = {
        model: {metric: np.array([value]) for metric, value in {"agreement_lite2": 1.0, **row}.items()}
        for model, row in rows.items()
    }
    Scores(["1.jpg"], values).save(file.parent, {}, "gray")


def test_tables_scored_otherwise_are_not_joined(tmp_path):
    first, other = tmp_path / "first" / "photos.csv", tmp_path / "other" / "photos.csv"
    write_baselines(first)
    # Other processors round otherwise. The classifier's numbers have changed between versions.
    for change in ({}, {"psnr": np.inf}, {"ab_rmse": 32**0.5 + 1e-4}, {"agreement_lite2": 0.5}):
        write_baselines(other, **change)
        assert list(Scores.load(first, other).values) == ["photo", "gray", "first", "other"]
    for change, score in (
        ({"factor": 1.7}, "mse of photo"),
        ({"side": 160}, "mse of photo"),
        ({"psnr": 40.0}, "psnr of gray"),
        ({"ab_rmse": 5.0}, "ab_rmse of gray"),
    ):
        write_baselines(other, **change)
        status, _, (error,) = call("-m", "evaluation.scores", first, first, other, "--reference", "gray")
        assert status == 1 and error == (
            f"{other}: {score} differs from that in {first}, so the photos, --crop or --saturation-factor were others; "
            "join tables of the same ones"
        )


def test_tables_of_other_photos_of_the_same_names_are_not_joined():
    """The plates of two colours have the same names, and the same photos in colour."""
    green, blue = (ROOT / f"docs/results/five-sets/historic-{name}/photos.csv" for name in ("green", "blue"))
    with pytest.raises(UserError, match=f"^{re.escape(str(blue))}: psnr of photo differs"):
        Scores.load(green, blue)


def documented_joins():
    """Lists of the tables that each command in docs/ joins, with the sets of photos for the $2 of a function."""
    text = "\n".join(file.read_text() for file in (ROOT / "docs").glob("*.md"))
    patterns = re.findall(r"evaluation\.scores (docs/results/\S+?/photos\.csv)", text)
    sets = re.findall(r"^score \S+ (\S+)$", text, re.MULTILINE)
    patterns = {pattern.replace("$2", name) for pattern in patterns for name in (sets if "$2" in pattern else [""])}
    return [sorted(ROOT.glob(pattern)) for pattern in sorted(patterns)]


@pytest.mark.parametrize("tables", documented_joins(), ids=lambda tables: str(tables[0].relative_to(ROOT)))
def test_documented_tables_join(tables):
    Scores.load(*tables)


def of_one_photo(**psnr):
    """Scores of one photo, from the psnr of each model; "_" in its name stands for "-"."""
    return Scores(["1"], {model.replace("_", "-"): {"psnr": np.array([float(value)])} for model, value in psnr.items()})


def test_seeds_are_put_together(tmp_path):
    """Against the textbook: three paired differences of mean 1 and standard deviation 1, and t(2) = 4.303."""
    scores = of_one_photo(gray=18, with_0=20, without_10=22, with_1=22, without_1=21, with_10=24, without_0=20)
    groups = over_seeds(scores.means())
    assert groups["gray"]["psnr"] == {"": 18} and groups["with"]["psnr"] == {"0": 20, "1": 22, "10": 24}
    assert list(groups) == ["gray", "with", "without"]
    differences, notes = seed_differences(groups, "without")
    assert list(differences) == ["with"] and notes == []
    expected = [1, 1 - 4.3027 / 3**0.5, 1 + 4.3027 / 3**0.5]
    np.testing.assert_allclose(differences["with"]["psnr"], expected, rtol=1e-4)
    scores.save(tmp_path, {}, "gray")
    status, output, errors = call(
        "-m", "evaluation.scores", tmp_path / "photos.csv", "--reference", "without", "--seeds"
    )
    assert status == 0 and "gray      18" in output and "with  22 ± 2" in output and "without  21 ± 1" in output
    assert "-1.48 .. +3.48" in output and "*" not in output and errors == []
    status, _, errors = call("-m", "evaluation.scores", tmp_path / "photos.csv", "--reference", "with-0", "--seeds")
    assert status == 2 and "the tables have gray, with, without" in errors[0]


def test_groups_are_compared_over_the_seeds_that_both_have(tmp_path):
    """Against the textbook: differences of 1 and 2, whose mean has a standard error of 0.5, and t(1) = 12.706."""
    scores = of_one_photo(
        with_0=20, with_10=24, with_2=22, without_2=21, without_3=35, without_10=22, once_2=30, equal_2=21, equal_10=22
    )
    differences, _ = seed_differences(over_seeds(scores.means()), "without")
    assert list(differences) == ["with", "equal"] and differences["equal"]["psnr"] == (0, 0, 0)
    np.testing.assert_allclose(differences["with"]["psnr"], [1.5, 1.5 - 6.3531, 1.5 + 6.3531], rtol=1e-4)
    scores.save(tmp_path, {}, "with-0")
    status, output, errors = call(
        "-m", "evaluation.scores", tmp_path / "photos.csv", "--reference", "without", "--seeds"
    )
    _, _, of_with, of_without, *_ = output.splitlines()
    assert status == 0 and of_with.split() == "with 22 ± 2".split()  # Of all its seeds.
    assert of_without.split() == "without 26 ± 7.8".split()
    assert errors == [
        "with: compared with without over seeds 2, 10; left out: with-0, without-3",
        "once: not compared with without: they share 1 seed; score two or more of both",
        "equal: compared with without over seeds 2, 10; left out: without-3",
    ]


@pytest.mark.filterwarnings("error")
def test_too_few_seeds_are_said_and_not_compared(tmp_path):
    of_one_photo(gray=18, with_0=20, without_0=21).save(tmp_path, {}, "gray")
    for reference, groups, count in (("without", ["with"], "1 seed"), ("gray", ["with", "without"], "0 seeds")):
        status, output, errors = call(
            "-m", "evaluation.scores", tmp_path / "photos.csv", "--reference", reference, "--seeds"
        )
        end = f"not compared with {reference}: they share {count}; score two or more of both"
        assert status == 0 and "with    20" in output and "differences" not in output
        assert errors == [f"{group}: {end}" for group in groups]
    of_one_photo(gray=18, with_0=20, with_1=21).save(tmp_path, {}, "gray")
    *_, errors = call("-m", "evaluation.scores", tmp_path / "photos.csv", "--reference", "with", "--seeds")
    assert len(errors) == 1 and "no other model than with has seeds" in errors[0]
