"""The command lines, as a person uses them."""

import ast
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from processes import LOUD, ROOT, Script, call, full_disk, run
from skimage import color

import models
from colorizing.pixels import to_gray
from common.images import Photo, read, read_photo, write, write_photo
from configs import SAMPLES

pytestmark = pytest.mark.usefixtures("loaded_once")


@pytest.fixture
def folder(tmp_path, photos):
    """A folder of good photos, in colour, gray and odd-sized, between bad files."""
    write_photo(tmp_path / "in" / "color.png", photos[0])
    write_photo(tmp_path / "in" / "deep" / "gray.png", photos[1][..., 0])
    write_photo(tmp_path / "in" / "odd size.jpg", photos[2][:41, :67])
    write_photo(tmp_path / "in" / "pixel.png", photos[3][:1, :1])
    (tmp_path / "in" / "text.jpg").write_text("no photo")
    (tmp_path / "in" / "empty.png").touch()
    data = (SAMPLES / "mountain-lake.jpg").read_bytes()
    (tmp_path / "in" / "truncated.jpg").write_bytes(data[: len(data) // 2])
    png = (tmp_path / "in" / "color.png").read_bytes()
    (tmp_path / "in" / "truncated.png").write_bytes(png[: len(png) // 2])
    (tmp_path / "no photos").mkdir()
    return tmp_path


def test_colorizes_the_good_and_names_the_bad(folder, model_file):
    inputs = [folder / "in", folder / "missing.jpg", folder / "no photos"]
    before = {path: path.read_bytes() for path in (folder / "in").rglob("*") if path.is_file()}
    status, output, errors = run("test.py", *inputs, "--output", folder / "out", "--model", model_file)
    assert status == 1 and "4 of 8 photos colorized, 4 failed, with" in output
    bad = {"text.jpg": "not an image", "empty.png": "empty", "truncated.jpg": "damaged", "truncated.png": "damaged"}
    bad |= {"missing.jpg": "no such file", "no photos": "without photos or films; docs/colorizing.md"}
    assert len(errors) == len(bad), errors
    for name, cause in bad.items():
        assert any(f"{name}: " in line and cause in line for line in errors), (name, errors)
    written = {str(path.relative_to(folder / "out")) for path in (folder / "out").rglob("[!.]*") if path.is_file()}
    assert written == {"color.png", "deep/gray.png", "odd size.jpg", "pixel.png"}
    assert before == {path: path.read_bytes() for path in before}

    for name in ("color.png", "deep/gray.png"):
        photo, result = (read_photo(folder / place / name) for place in ("in", "out"))
        assert result.shape == photo.shape
        # The result's lightness is the photo's, up to the rounding of sRGB to 8 bits.
        difference = color.rgb2lab(result)[..., 0] - color.rgb2lab(photo)[..., 0]
        assert np.abs(difference).max() < 0.5
        assert (result != result[..., :1]).any()
    assert read_photo(folder / "out" / "odd size.jpg").shape == (41, 67, 3)


def test_compare_puts_gray_beside_colour(folder, model_file, photos):
    photo = folder / "in" / "color.png"
    status, _, errors = call("test.py", photo, "--output", folder / "out", "--model", model_file, "--compare")
    assert (status, errors) == (0, [])
    left, right = np.split(read_photo(folder / "out" / "color.png"), 2, axis=1)
    assert left.shape == photos[0].shape and (left == left[..., :1]).all() and (right != right[..., :1]).any()


def test_a_photo_too_wide_to_compare_is_refused_before_the_network_sees_it(tmp_path, monkeypatch):
    cv2.imwrite(str(tmp_path / "wide.jpg"), np.zeros((2, 40_000), np.uint8))

    class Unused:
        native_size = grid = 8

    monkeypatch.setattr(models, "load", lambda name: Unused())
    status, _, errors = call("test.py", tmp_path / "wide.jpg", "-o", tmp_path / "out", "--compare")
    assert status == 1 and len(errors) == 1
    assert errors[0].endswith("80000 x 2 pixels are too many for .jpg, at most 65500 a side; use .png or .tif")


def test_compare_keeps_transparency(folder, model_file, photos):
    alpha = np.linspace(0, 255, photos[0][..., 0].size).reshape(photos[0].shape[:2]).astype(np.uint8)
    write(folder / "clear.png", Photo(photos[0], alpha))
    command = ["test.py", folder / "clear.png", "--output", folder / "out", "--model", model_file, "--compare"]
    assert call(*command)[0] == 0
    np.testing.assert_array_equal(read(folder / "out" / "clear.png").alpha, np.hstack([alpha, alpha]))


MANY = 60


def start_on_many(folder, photos, model_file, *options):
    """Starts test.py on many photos, and waits until some are done. Returns the `Script`."""
    for number in range(MANY):
        write_photo(folder / "in" / f"{number:03}.png", np.roll(photos[number % 4], number, axis=1))
    command = ["test.py", folder / "in", "-o", folder / "out", "--model", model_file, *options]
    script = Script(*command)
    while script.status is None and len(list((folder / "out").glob("[0-9]*.png"))) < 5:
        time.sleep(0.005)
    return script


def test_killed_run_goes_on_where_it_was(tmp_path, photos, model_file):
    script = start_on_many(tmp_path, photos, model_file)
    script.send(signal.SIGKILL)
    assert script.wait()[0] == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("[0-9]*.png")}
    assert 5 <= len(before) < MANY
    arguments = ["test.py", tmp_path / "in", "--model", model_file]
    status, output, _ = call(*arguments, "-o", tmp_path / "out", "--skip-existing")
    assert status == 0 and f"{MANY - len(before)} of {MANY} photos colorized, {len(before)} skipped" in output
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert call(*arguments, "-o", tmp_path / "whole")[0] == 0
    for path in (tmp_path / "whole").glob("*.png"):
        difference = read_photo(path).astype(int) - read_photo(tmp_path / "out" / path.name)
        assert np.abs(difference).max() <= 1


def test_interrupted_run_leaves_whole_files_only(tmp_path, photos, model_file):
    script = start_on_many(tmp_path, photos, model_file)
    script.send(signal.SIGINT)
    status, _, errors = script.wait()
    assert status == 1 and errors[-1].endswith("--skip-existing goes on")
    results = [path.name for path in (tmp_path / "out").glob("[!.]*")]
    assert 5 <= len(results) < MANY
    assert all(read_photo(tmp_path / "out" / name).shape == photos[0].shape for name in results)


def test_options_of_taste_and_format(tmp_path, photos, model_file):
    deep = to_gray(photos[0]).astype(np.uint16) * 257
    write_photo(tmp_path / "deep.tif", deep)
    arguments = ["test.py", tmp_path / "deep.tif", "--model", model_file]
    status, _, errors = call(*arguments, "-o", tmp_path / "a")
    assert status == 0 and not errors
    result = read(tmp_path / "a" / "deep.tif").pixels
    assert result.dtype == np.uint16 and result.shape == photos[0].shape and np.ptp(result.astype(int), axis=-1).max()
    options = ["--format", "jpg", "--saturation", 0, "--quality", 50]
    status, _, errors = call(*arguments, "-o", tmp_path / "b", *options)
    assert status == 0 and len(errors) == 1 and "16 bits reduced to 8" in errors[0]
    gray = read_photo(tmp_path / "b" / "deep.tif.jpg").astype(int)
    assert np.ptp(gray, axis=-1).max() <= 2
    again = [*arguments, "-o", tmp_path / "b", "--skip-existing", *options]
    assert "0 of 1 photos colorized, 1 skipped" in call(*again)[1]
    status, summary, errors = call(*again, "--saturation", 2)
    assert "1 of 1 photos colorized, 0 skipped" in summary and errors[0].startswith(
        "1 result made anew, since made with "
    )
    _, _, errors = call(*arguments, "-o", tmp_path / "a", "--quality", 50, "--steadiness", 0)
    assert errors == [
        "--steadiness has no effect: there is no film",
        "--quality has no effect: no result is JPEG, WebP or AVIF",
    ]
    status, _, errors = call(*arguments, "-o", tmp_path / "c", "--max-megapixels", "0.01")
    assert status == 1 and "(0.012288); reduce the photo, or raise --max-megapixels" in errors[0]
    assert not list((tmp_path / "c").glob("[!.]*"))


def test_places_that_cannot_be_written(folder, model_file):
    (folder / "file").touch()
    photo = folder / "in" / "color.png"
    status, _, errors = call("test.py", photo, "--output", folder / "file" / "out", "--model", model_file)
    assert status == 2 and len(errors) == 1 and "file is a file, where a folder is needed" in errors[0]

    photo, output = SAMPLES / "mountain-lake.jpg", folder / "full"
    with full_disk(50_000):  # The write fails half way.
        status, _, errors = call("test.py", photo, "--output", output, "--model", model_file)
    assert status == 1 and len(errors) == 1 and "mountain-lake.jpg: cannot be written" in errors[0]
    assert list(output.glob("[!.]*")) == []


def test_where_there_is_nothing_to_colorize_only_the_cause_is_said(folder):
    status, output, errors = call("test.py", folder / "missing.jpg", "-o", folder / "out", "--hints", folder / "hints")
    assert (status, output, errors) == (1, "", [f"{folder / 'missing.jpg'}: no such file or directory"])


def test_unknown_model_is_one_line(folder):
    status, _, errors = call("test.py", folder / "in" / "color.png", "--model", folder / "in" / "text.jpg")
    assert status == 1 and len(errors) == 1 and "text.jpg" in errors[0]


def test_turns_photos_gray(folder):
    status, output, errors = call("-m", "colorizing.gray", folder / "in", "--output", folder / "out")
    assert status == 1 and "4 of 8" in output and len(errors) == 4
    gray = cv2.imread(str(folder / "out" / "color.png"), cv2.IMREAD_UNCHANGED)
    photo = read_photo(folder / "in" / "color.png")
    lightness = color.rgb2lab(np.repeat(gray[..., None], 3, axis=-1))[..., 0]
    assert gray.ndim == 2
    np.testing.assert_allclose(lightness, color.rgb2lab(photo)[..., 0], atol=0.3)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["train.py", "unknown"], "no experiment is named unknown; there are paper, scenes"),
        (["train.py", "scenes", "--epochs", "many"], "--epochs many: use a whole number; see python train.py scenes"),
        (["-m", "colorizing.gray"], "missing: -o/--output; see python -m colorizing.gray --help"),
        (["evaluate.py", "photos", "--crop", "many"], "--crop many: use two whole numbers; see python evaluate.py"),
        (["export.py", "--model", "scenes"], "unknown: --model; give MODEL without it; see python export.py --help"),
        (["evaluate.py", "photos", "--models", "a", "--models=b"], "--models is given twice; give it once, with all"),
        (["train.py", "demo", "--dataset", "a", "--minutes", "1", "--dataset", "b"], "--dataset is given twice; give"),
        (["export.py", "scenes", "--format", "unknown"], "--format unknown: use litert, onnx, savedmodel; see python"),
        (["-m", "evaluation.figures", "nothing"], "unknown: nothing; use docs, compare; see python"),
    ],
)
def test_wrong_command_lines_exit_with_one_sentence(command, words):
    status, _, errors = call(*command)
    assert status == 2 and len(errors) == 1 and errors[0].startswith(words)


SCRIPTS = ["train.py", "test.py", "evaluate.py", "export.py", "archive.py", "-m colorizing.gray"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_help(script):
    status, output, errors = call(*script.split(), "--help")
    assert (status, errors) == (0, []) and "--" in output
    assert max(map(len, output.splitlines()[1:])) <= 80  # tyro does not wrap the first line, which shows the usage.
    assert " --- " not in output  # Headings among the options are no part of their descriptions.


@pytest.mark.parametrize("script", SCRIPTS)
def test_libraries_are_silenced_before_they_are_imported(script):
    path = ROOT / script.removeprefix("-m ").removesuffix(".py").replace(".", "/")
    text = path.with_suffix(".py").read_text()
    before, silence, _ = text.partition('if __name__ == "__main__":\n    prepare_imports()')
    imports = [node for node in ast.parse(before).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {getattr(node, "module", node.names[0].name).split(".")[0] for node in imports}
    assert silence and names <= sys.stdlib_module_names | {"common"}


def test_a_script_is_as_quiet_from_a_shell(monkeypatch):
    monkeypatch.delenv(LOUD, raising=False)
    command = [sys.executable, "train.py", "unknown"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    errors = done.stderr.splitlines()
    assert (done.returncode, done.stdout, len(errors)) == (2, "", 1), errors
    assert errors[0].startswith("no experiment is named unknown; there are paper, scenes")


def test_training_on_a_missing_folder_is_one_line(tmp_path):
    status, _, errors = call("train.py", "scenes", "--dataset", tmp_path / "none", "--run-dir", tmp_path / "run")
    assert status == 1 and len(errors) == 1 and "does not exist" in errors[0]
