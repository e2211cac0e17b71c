"""The networks: sizes, the published graph, saving and loading."""

import dataclasses
import gc
import inspect
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from processes import ordinary_user

import models
from benchmarks import original
from configs import EXPERIMENTS, WEIGHTS
from models.colorization import Fusion, PaperColorizer
from models.edge_detection import canny
from models.layers import CropLike, PadToMultiple, ResizeTo


@pytest.fixture(scope="module")
def lightness():
    noise = np.random.default_rng(0).uniform(0, 100, (2, 8, 8, 1)).astype(np.float32)
    return keras.ops.convert_to_numpy(keras.ops.image.resize(noise, (64, 64), interpolation="bicubic")).clip(0, 100)


@pytest.mark.parametrize(("experiment", "parameters"), [("paper", 9_844_743), ("scenes", 8_692_743)])
def test_parameter_counts(experiment, parameters):
    assert models.build(EXPERIMENTS[experiment]).count_params() == parameters


def test_without_edges_only_the_edge_network_is_gone():
    edn = (9 * 1 + 1) * 8 + 2 * (9 * 8 + 1) * 8 + 8 * 256
    assert PaperColorizer(edges=False).count_params() == 9_844_743 - edn
    assert models.build(dataclasses.replace(EXPERIMENTS["scenes"], edges=False)).edges is False


def test_computes_the_published_function(lightness):
    keras.utils.set_random_seed(1)
    published, model = original.network(64), PaperColorizer(classification_size=64)
    assert published.count_params() == model.count_params()
    for layer in published.layers:
        if layer.weights:
            kernel, bias = model.get_layer(layer.name).weights
            bias.assign(np.random.default_rng(0).normal(0, 0.1, bias.shape))
            layer.set_weights([np.reshape(kernel, layer.kernel.shape), bias])
    expected = published([lightness, canny(lightness).numpy()])
    assert np.std(expected) > 0.01
    np.testing.assert_allclose(model(lightness), expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(64, 64), (97, 131), (20, 33), (1, 7), (64, 48)])
def test_resize_agrees_with_tensorflow(shape):
    image = np.random.default_rng(0).uniform(0, 100, (2, *shape, 1)).astype(np.float32)
    expected = tf.image.resize(image, (64, 48), antialias=True)
    np.testing.assert_allclose(ResizeTo(64, 48)(image), expected, atol=1e-3)


def test_layers_know_their_output_shapes():
    for layer, shapes in (
        (PadToMultiple(8), [(2, 13, 16, 1)]),
        (CropLike(), [(2, 16, 24, 3), (2, 13, 17, 1)]),
        (ResizeTo(64, 48), [(2, 97, 131, 1)]),
        (Fusion(), [[(2, 3, 4, 5), (2, 7), (2, 3, 4, 8)]]),
    ):
        inputs = keras.tree.map_shape_structure(tf.zeros, shapes)
        assert layer.compute_output_shape(*shapes) == tuple(layer(*inputs).shape)
    assert PadToMultiple(8).compute_output_shape((None, None, 13, 1)) == (None, None, 16, 1)


@pytest.mark.parametrize("initializer", ["glorot_uniform", "he_normal"])
def test_a_network_whose_weights_are_read_next_draws_none(few_channels, initializer):
    model = PaperColorizer(classification_size=32, edges=False, initializer=initializer)
    keras.utils.set_random_seed(0)
    expected = keras.random.uniform((5,))
    keras.utils.set_random_seed(0)
    copy = type(model).from_config(model.get_config())
    np.testing.assert_array_equal(keras.random.uniform((5,)), expected)
    assert copy.count_params() == model.count_params()


def test_trains_under_xla(few_channels, lightness):
    # Keras compiles the training step with XLA wherever there is a GPU.
    model = PaperColorizer(classification_size=32)
    model.compile(optimizer="sgd", jit_compile=True)
    assert model.train_on_batch(lightness[:, :32, :32], np.zeros((2, 32, 32, 2), np.float32)) > 0


def test_files_are_small_and_give_the_same_colours(tmp_path, lightness):
    model = PaperColorizer(classification_size=64, lightness_scale=100.0, edges=False)
    model.compile("adam")
    for precision, size, tolerance in (("float32", 4, 0), ("float16", 2, 0.1)):
        file = tmp_path / f"{precision}.keras"
        models.save(model, file, precision)
        assert keras.config.dtype_policy().name == "float32"
        assert file.stat().st_size < (size + 0.1) * model.count_params()
        loaded = models.load(file)
        assert loaded.get_config() == model.get_config()
        assert {weight.dtype for weight in loaded.variables} == {"float32"}
        np.testing.assert_allclose(loaded.infer(lightness), model.infer(lightness), rtol=0, atol=tolerance)


def test_colorize_keeps_its_model(few_channels):
    colorize = PaperColorizer(classification_size=32).colorize
    gc.collect()
    assert colorize(np.zeros((1, 16, 16, 1), np.float32)).shape == (1, 16, 16, 2)


def test_names_find_finished_runs_then_weights_then_runs_so_far(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(models, "WEIGHTS", tmp_path / "weights")
    for name in ("runs/new/best.keras", "weights/new.keras", "runs/new/model.keras"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        assert models.find("new") == tmp_path / name
    assert models.find(tmp_path / "runs" / "new") == tmp_path / "runs" / "new" / "model.keras"
    with pytest.raises(models.ModelError, match=r"nix: no such model; there are new, or"):
        models.find("nix")


@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_what_is_no_model_is_named(tmp_path, content):
    path = tmp_path / "bad.keras"
    if content is None:
        keras.Sequential([layers.Input((2,)), layers.Dense(1)]).save(path)
    else:
        path.write_bytes(content)
    cause = (
        "not a .keras file, or damaged" if content is not None else "not a model that can be loaded|but not a colorizer"
    )
    with pytest.raises(models.ModelError, match=rf"bad\.keras: .*({cause})"):
        models.load(path)
    weights = path.rename(tmp_path / "last.weights.h5")
    with pytest.raises(models.ModelError, match=r"last\.weights\.h5: not a \.keras file"):
        models.load(weights)
    with pytest.raises(models.ModelError, match="no such model"):
        models.load("never-trained")


def test_a_file_with_the_weights_of_another_network_is_refused_without_warnings(tmp_path, recwarn):
    path = tmp_path / "mixed.keras"
    with (
        zipfile.ZipFile(WEIGHTS / "scenes.keras") as scenes,
        zipfile.ZipFile(WEIGHTS / "natural.keras") as natural,
        zipfile.ZipFile(path, "w") as mixed,
    ):
        for name in scenes.namelist():
            mixed.writestr(name, (natural if name.endswith(".h5") else scenes).read(name))
    with pytest.raises(models.ModelError, match=r"mixed\.keras: not a model that can be loaded"):
        models.load(path)
    assert not [warning for warning in recwarn if "Skipping" in str(warning.message)]


@pytest.mark.parametrize("network", models.NETWORKS.values())
def test_networks_get_every_field_of_an_experiment_that_their_constructors_take(network):
    fields = {field for field in inspect.signature(network).parameters if hasattr(EXPERIMENTS["paper"], field)}
    assert set(network.experiment_fields) == fields


def test_what_made_a_model_is_told_or_the_damage(tmp_path):
    (tmp_path / "a.keras").touch()
    assert models.describe(tmp_path / "a.keras") == {}
    for content in ('{"mean_ab": [1', "7", '["mean_ab"]'):
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(models.ModelError, match=r"a\.json: it cannot be read .*; remove it"):
            models.describe(tmp_path / "a.keras")


def test_a_keras_json_for_other_programs_changes_nothing(few_channels, tmp_path, lightness):
    model = models.build(EXPERIMENTS["scenes"])
    models.save(model, tmp_path / "model.keras")
    expected = model.colorize(lightness)
    before = keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format()
    for setting, value in (("floatx", "float16"), ("epsilon", 0.1), ("image_data_format", "channels_first")):
        getattr(keras.config, f"set_{setting}")(value)
    np.testing.assert_array_equal(models.load(tmp_path / "model.keras").colorize(lightness), expected)
    assert before == (keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format())
    keras.config.set_image_data_format("channels_first")
    assert models.build(EXPERIMENTS["scenes"]).count_params() == model.count_params()
    assert keras.config.image_data_format() == "channels_last"


def test_weights_that_are_not_numbers_are_refused(few_channels, tmp_path):
    model = models.build(EXPERIMENTS["scenes"])
    model.weights[-1].assign(np.full(model.weights[-1].shape, np.inf))
    models.save(model, tmp_path / "spoilt.keras")
    with pytest.raises(models.ModelError, match=r"spoilt\.keras: has weights that are not finite numbers; use another"):
        models.load(tmp_path / "spoilt.keras")


def test_a_model_that_may_not_be_read_is_not_called_missing(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0)
    with ordinary_user(tmp_path):
        for name in ("closed", "closed/model.keras"):
            with pytest.raises(models.ModelError, match=r"^closed/model\.keras: permission denied$"):
                models.find(name)
    folder.chmod(0o700)
