"""Exported models, each run in its own runtime, against Keras."""

import dataclasses
import importlib
import subprocess
import sys

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from processes import call, run
from skimage import feature
from small_networks import build_small

for package in ("onnx", "tf2onnx", "onnxruntime", "ai_edge_litert"):
    pytest.importorskip(package, reason="needs requirements-export.txt")

import models
from benchmarks.export import RUNTIMES
from colorizing import export
from colorizing.photo import Pipeline, reduced_size
from common import command_line
from common.errors import OptionError
from common.images import read_photo
from configs import DOCS, EXPERIMENTS, SAMPLES
from models.edge_detection import canny
from utils import lightness_from_rgb

FORMATS = tuple(export.WRITERS)


@pytest.fixture(scope="module", autouse=True)
def no_optimization_fails():
    """A conversion to ONNX fails with any of its optimizations. By default tf2onnx leaves out those that fail.

    For that it copies the graph before each optimization, which is half of its time.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TF2ONNX_CATCH_ERRORS", "FALSE")
        yield


@pytest.fixture(scope="module")
def vivid():
    """An untrained network of the paper, with few layers, that paints strong colours."""
    return build_small(lambda: models.build(dataclasses.replace(EXPERIMENTS["scenes"], classification_size=64)))


@pytest.fixture(scope="module")
def ten_photos():
    """Ten sample photos, small and each of another size, uint8 [height, width, 3]."""
    paths = sorted(SAMPLES.glob("*.jpg"))[:10]
    sizes = [(150 + 11 * number, 200 - 7 * number) for number in range(len(paths))]
    return [
        cv2.resize(read_photo(path), size, interpolation=cv2.INTER_AREA)
        for path, size in zip(paths, sizes, strict=True)
    ]


def open_export(graph, format, folder):
    """A function from input to output array that runs a graph, exported, in the format's own runtime."""
    path = folder / f"model{export.SUFFIXES[format]}"
    export.WRITERS[format](graph, path)
    return RUNTIMES[format](path)


def assert_within_one(outputs, references):
    """At most one 255th apart on 99.9 % of values; for ab, of its 255 Lab units."""
    differences = [
        np.abs(np.float32(output) - reference) for output, reference in zip(outputs, references, strict=True)
    ]
    assert np.mean(np.concatenate([np.ravel(difference) for difference in differences]) <= 1) >= 0.999


@pytest.fixture(scope="module")
def ab_of_ten_photos(vivid, ten_photos):
    """The graph from L to ab, and pairs of L and Keras's ab: of ten photos, and of a batch of odd size."""
    lightness = [Pipeline(vivid).reduce(photo)[None] for photo in ten_photos]
    odd = np.concatenate([lightness[0], lightness[0][:, ::-1]])[:, :57, :61]
    pairs = [(copy, vivid.colorize(copy).numpy()) for copy in (*lightness, odd)]
    assert min(ab.std() for _, ab in pairs) > 5
    return export.make_graph(vivid), pairs


@pytest.mark.parametrize("format", FORMATS)
def test_ab_of_ten_photos(format, ab_of_ten_photos, tmp_path):
    graph, pairs = ab_of_ten_photos
    go = open_export(graph, format, tmp_path)
    ab, expected = zip(*[(go(lightness), by_keras) for lightness, by_keras in pairs], strict=True)
    assert all(paint.dtype == np.float32 for paint in ab)
    assert_within_one(ab[:-1], expected[:-1])
    assert_within_one(ab[-1:], expected[-1:])


@pytest.fixture(scope="module")
def colorized_photos(vivid, ten_photos):
    """The graph from photo to photo, and ten photos in colour by OpenCV and Keras."""
    return export.make_graph(vivid, photo=True), [Pipeline(vivid)(photo) for photo in ten_photos]


@pytest.mark.parametrize("format", FORMATS)
def test_ten_photos(format, colorized_photos, ten_photos, tmp_path):
    graph, expected = colorized_photos
    go = open_export(graph, format, tmp_path)
    colorized = [go(photo[None])[0] for photo in ten_photos]
    assert all(result.dtype == np.uint8 for result in colorized)
    assert_within_one(colorized, expected)
    for gray in (ten_photos[0][None, ..., :1], np.full((1, 1, 1, 1), 200, np.uint8), np.zeros((1, 30, 9, 1), np.uint8)):
        np.testing.assert_array_equal(go(gray), go(np.repeat(gray, 3, axis=-1)))
        assert go(gray).shape == (*gray.shape[:3], 3)


@pytest.fixture(scope="module")
def small_network(request, ten_photos):
    """An untrained network of few channels, whose colours differ: its graph, and pairs of L and ab."""
    model = build_small(lambda: models.build(EXPERIMENTS[request.param], classes=3))
    for variable in model.variables:
        if variable.path.endswith(("moving_mean", "output/kernel")):
            variable.assign(keras.random.uniform(variable.shape, -0.1, 0.1, seed=0))
    lightness = [Pipeline(model, render_size=64).reduce(photo)[None, :, :61] for photo in ten_photos[:2]]
    return export.make_graph(model), [(copy, model.colorize(copy).numpy()) for copy in lightness]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "small_network",
    [
        "colornet-gray",
        "colornet-plus",
        "natural",
        "residual-encoder",
        pytest.param("iizuka", marks=pytest.mark.slow),
        pytest.param("zhang", marks=pytest.mark.slow),
    ],
    indirect=True,
)
def test_every_network(small_network, format, tmp_path):
    graph, pairs = small_network
    go = open_export(graph, format, tmp_path)
    for lightness, ab in pairs:
        assert ab.std() > 0
        np.testing.assert_allclose(go(lightness), ab, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("format", FORMATS)
def test_edge_map_is_inside(format, ten_photos, tmp_path):
    signature = [tf.TensorSpec([None, None, None, 1], tf.float32, "lightness")]
    go = open_export(
        tf.function(lambda lightness: {"edges": canny(lightness)}, input_signature=signature), format, tmp_path
    )
    for photo in ten_photos[:3]:
        lightness = lightness_from_rgb(photo)[None].numpy()
        assert np.mean(go(lightness)[0, ..., 0] == feature.canny(lightness[0, ..., 0])) > 0.999


@pytest.mark.parametrize(("size", "new_size"), [(200, 64), (200, 199), (64, 64), (64, 200), (3, 50), (50, 3), (1, 8)])
def test_matrices_resize_as_opencv_does(size, new_size):
    values = np.random.default_rng(0).uniform(0, 100, (size, size)).astype(np.float32)
    for make_matrix, interpolation in (
        (export.area_matrix, cv2.INTER_AREA),
        (export.cubic_matrix, cv2.INTER_CUBIC),
    ):
        matrix = make_matrix(tf.constant(size), tf.constant(new_size)).numpy()
        expected = cv2.resize(values, (new_size, new_size), interpolation=interpolation)
        np.testing.assert_allclose(matrix @ values @ matrix.T, expected, atol=0.01)


def test_graphs_reduce_photos_to_the_sizes_of_the_pipeline():
    sides = np.random.default_rng(0).integers(1, 5000, (1000, 2))
    sides = np.concatenate([sides, [(1, 1), (1, 5000), (683, 1024), (2**20, 3), (65535, 65535)]]).astype(np.int32)
    for size in (128, 176, 224, 256):
        sizes = np.transpose(reduced_size(*tf.constant(sides.T), size, 8, tf.minimum, tf.maximum))
        np.testing.assert_array_equal(sizes, [reduced_size(*shape, size) for shape in sides.tolist()])


def tiny_graph(value):
    """A graph that adds a variable to its input."""
    variable = tf.Variable(value)
    signature = [tf.TensorSpec([None], tf.float32, "lightness")]
    return tf.function(lambda lightness: {"ab": lightness + variable}, input_signature=signature)


def test_savedmodel_replaces_a_savedmodel_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "model"
    for value in (1.0, 2.0):
        export.check_output(path, "savedmodel")
        export.write_savedmodel(tiny_graph(value), path)
        assert RUNTIMES["savedmodel"](path)(np.zeros(1, np.float32)) == value

    def save_half(module, folder, signatures):
        folder.mkdir()
        raise OSError("disk full")

    monkeypatch.setattr(tf.saved_model, "save", save_half)
    with pytest.raises(OSError, match="disk full"):
        export.write_savedmodel(tiny_graph(3.0), path)
    assert RUNTIMES["savedmodel"](path)(np.zeros(1, np.float32)) == 2
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "formats", "cause"),
    [
        ("folder", FORMATS, "choose another --output"),
        ("file", ["savedmodel"], "exists and is not a SavedModel, so it is not replaced"),
        ("a.keras", FORMATS, "a name for a model of this project, which is not replaced"),
        ("a.tflite", ["onnx", "savedmodel"], "a name for --format litert, but the format is "),
        ("a.onnx", ["litert", "savedmodel"], "a name for --format onnx, but the format is "),
        ("x", ["litert"], r"use a name that ends in \.tflite"),
        ("x.onnx.bak", ["onnx"], r"use a name that ends in \.onnx"),
        ("x.onnx", ["onnx"], None),
        ("x.tflite", ["litert"], None),
        ("x.foo", ["savedmodel"], None),
    ],
)
def test_names_of_results(tmp_path, name, formats, cause):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for format in formats:
        if cause is None:
            export.check_output(tmp_path / name, format)
            continue
        with pytest.raises(OptionError, match=f"{name}: .*{cause}"):
            export.check_output(tmp_path / name, format)


def test_a_wrong_name_is_one_sentence(tmp_path):
    status, _, errors = call("export.py", "natural", "-o", tmp_path / "x.foo")
    assert (status, errors) == (2, [f"{tmp_path}/x.foo: use a name that ends in .onnx"])


def test_a_place_that_cannot_be_written_is_refused_before_work(tmp_path):
    (tmp_path / "file").touch()
    status, _, errors = call("export.py", "scenes", "-o", tmp_path / "file" / "a.onnx")
    assert status == 2 and len(errors) == 1 and "file is a file, where a folder is needed" in errors[0]


def test_a_working_directory_that_is_gone(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setattr("sys.argv", ["export.py", "scenes"])
    with pytest.raises(SystemExit, match=r"^the working directory is gone; change to another one$"):
        command_line.run(importlib.import_module("export").main)


def test_command_line(few_channels, tmp_path, vivid):
    models.save(vivid, tmp_path / "vivid.keras")
    output = tmp_path / "new" / "model.tflite"
    arguments = [tmp_path / "vivid.keras", "--format", "litert", "--output", output]
    status, line, errors = run("-m", "tests.small_networks", "export.py", *arguments)
    assert (status, errors) == (0, [])
    size = output.stat().st_size / 1e6
    assert line == f"{output}, {size:.1f} MB: {export.INTERFACES[False]}\n"
    assert list(output.parent.iterdir()) == [output]


@pytest.mark.slow
def test_ten_lines_in_another_environment(tmp_path):
    natural = models.load("natural")
    example = (DOCS / "export.md").read_text().split("```python\n")[1].split("```")[0]
    assert len([line for line in example.splitlines() if line]) <= 10
    export.write_onnx(export.make_graph(natural, photo=True), tmp_path / "natural-photo.onnx")
    photo = SAMPLES / "mountain-lake.jpg"
    (tmp_path / "photo.jpg").write_bytes(photo.read_bytes())
    python = tmp_path / "venv" / "bin" / "python"
    packages = ["onnxruntime", "numpy", "opencv-python-headless"]
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    subprocess.run([python, "-c", example], cwd=tmp_path, check=True)
    assert_within_one([read_photo(tmp_path / "colorized.png")], [Pipeline(natural)(read_photo(photo))])
