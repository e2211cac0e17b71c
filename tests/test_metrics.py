"""The metrics against scikit-image and plain NumPy, and evaluate.py from end to end."""

import csv
import json

import numpy as np
import pytest
from conftest import COLOR_SAMPLES
from skimage import color
from skimage import metrics as reference
from test_scripts import run

import metrics
from configs import SAMPLES
from data.photos import cut, scale_to_cover
from evaluate import means
from files import read_photo, write_photo


@pytest.fixture
def noisy(photos):
    noise = np.random.default_rng(0).normal(0, 12, photos.shape)
    return np.clip(photos + noise, 0, 255).astype(np.uint8)


def test_psnr_and_ssim_agree_with_scikit_image(photos, noisy):
    pairs = list(zip(photos, noisy, strict=True))
    expected = [reference.peak_signal_noise_ratio(a, b) for a, b in pairs]
    np.testing.assert_allclose(metrics.psnr(noisy, photos), expected, atol=1e-4)
    expected = [reference.structural_similarity(a, b, channel_axis=-1) for a, b in pairs]
    np.testing.assert_allclose(metrics.ssim(noisy, photos), expected, atol=1e-4)
    assert np.isinf(metrics.psnr(photos, photos)).all()


def test_raw_accuracy_is_the_area_under_the_curve(photos, noisy):
    ab, target = (color.rgb2lab(batch)[..., 1:] for batch in (noisy, photos))
    distances = np.sqrt(((ab - target) ** 2).sum(axis=-1))
    thresholds = np.linspace(0, 150, 30001)
    for number, value in enumerate(metrics.raw_accuracy(ab, target)):
        curve = np.searchsorted(np.sort(distances[number].ravel()), thresholds) / distances[number].size
        assert abs(np.trapezoid(curve, thresholds) / 150 - value) < 1e-4


def test_ab_errors(photos, noisy):
    ab, target = (color.rgb2lab(batch)[..., 1:] for batch in (noisy, photos))
    squares = [(a - b) ** 2 for a, b in zip(ab, target, strict=True)]
    np.testing.assert_allclose(metrics.squared_error(ab, target), [s.mean() / 128**2 for s in squares], rtol=1e-6)
    np.testing.assert_allclose(metrics.ab_rmse(ab, target), [np.sqrt(2 * s.mean()) for s in squares], rtol=1e-6)


def test_ciede2000_agrees_with_scikit_image(photos, noisy):
    lab = [color.rgb2lab(batch) for batch in (noisy, photos)]
    expected = [color.deltaE_ciede2000(a, b).mean() for a, b in zip(*lab, strict=True)]
    np.testing.assert_allclose(metrics.ciede2000(*lab), expected, atol=1e-4)


def test_colorfulness(photos):
    for photo, value in zip(photos, metrics.colorfulness(photos), strict=True):
        r, g, b = (photo[..., channel].astype(float).ravel() for channel in range(3))
        rg, yb = r - g, 0.5 * (r + g) - b
        expected = np.hypot(np.std(rg), np.std(yb)) + 0.3 * np.hypot(np.mean(rg), np.mean(yb))
        assert abs(value - expected) < 1e-4
    assert metrics.colorfulness(np.full((4, 4, 3), 90, np.uint8)) == 0


def test_means_leave_out_infinite_values():
    rows = [{"model": "a", "photo": str(value), "psnr": value} for value in (20.0, np.inf, 30.0)]
    assert means(rows) == {"a": {"psnr": 25.0}}


def test_evaluate_writes_what_the_metrics_say(tmp_path, model_file):
    for name in COLOR_SAMPLES:
        crop = cut(scale_to_cover(read_photo(SAMPLES / name), (64, 96)), (64, 96))
        write_photo(tmp_path / "photos" / f"{name}.png", crop)
    (tmp_path / "photos" / "text.jpg").write_text("no photo")
    arguments = ["--models", model_file, "--crop", "64", "96", "--output", tmp_path / "out"]
    status, output, errors = run("evaluate.py", tmp_path / "photos", *arguments)
    assert status == 1 and len(errors) == 1 and "text.jpg" in errors[0]
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    rows = list(csv.DictReader((tmp_path / "out" / "photos.csv").open()))
    names = sorted({row["photo"] for row in rows})
    assert len(names) == results["photos"] == 4 and len(rows) == 8
    assert results["command"].startswith("python evaluate.py") and results["versions"]["keras"]
    gray_means = results["results"]["gray"]
    expected = []
    for name in names:
        photo = read_photo(name)
        lab = color.rgb2lab(photo)
        neutral = (color.lab2rgb(lab * [1, 0, 0]) * 255).round().astype(np.uint8)
        expected.append(
            [
                reference.peak_signal_noise_ratio(photo, neutral),
                reference.structural_similarity(photo, neutral, channel_axis=-1),
                np.sqrt((lab[..., 1:] ** 2).sum(axis=-1).mean()),
            ]
        )
    found = [gray_means[figure] for figure in ("psnr", "ssim", "ab_rmse")]
    np.testing.assert_allclose(found, np.mean(expected, axis=0), atol=2e-3)
    assert f"{gray_means['psnr']:.4g}" in output and str(model_file) in output
