"""ColorNet, Iizuka et al. and Zhang et al.: sizes, promises, and what is particular to the first two."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from skimage import color
from small_networks import build_small, with_colors

import models
from configs import EXPERIMENTS
from evaluation.metrics import nyquist_energy
from models import colornet, iizuka
from models.colorization import PaperColorizer
from models.colornet import ColorNet, GrayFromLightness
from models.iizuka import IizukaColorizer
from models.layers import BatchNorm, Conv2D
from models.residual_encoder import ResidualEncoder
from models.zhang import ZhangColorizer
from utils import ab_from_rgb, lightness_from_rgb

SMALL = {
    "colornet": lambda: ColorNet(flow="gray"),
    "colornet-plus": lambda: models.build(EXPERIMENTS["colornet-plus"]),
    "iizuka": lambda: IizukaColorizer(classes=3),
    "zhang": lambda: ZhangColorizer(),
    "paper": lambda: PaperColorizer(classification_size=32, classes=3, classification_weight=0.01),
}
BUILD = {**SMALL, "residual-encoder": lambda: with_colors(ResidualEncoder(attention=True, shadow_gain=True))}


@pytest.fixture(scope="module")
def small():
    """Function from a name to a network of few channels, which is built once."""
    return functools.cache(lambda name: build_small(BUILD[name]))


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_variables)


@pytest.mark.parametrize(
    ("build", "parameters"),
    [
        (lambda: IizukaColorizer(classes=205, batch_norm=False), 42_353_839),
        (lambda: models.build(EXPERIMENTS["zhang"]), 32_235_385),
    ],
    ids=["iizuka", "zhang"],
)
def test_parameter_counts(build, parameters):
    keras.config.set_dtype_policy("float16")  # Half the memory.
    assert trainable(build()) == parameters


@pytest.mark.parametrize("name", BUILD)
def test_odd_sizes_saving_and_loading(few_channels, small, name, tmp_path):
    model = small(name)
    lightness = np.random.default_rng(0).uniform(0, 100, (1, 97, 131, 1)).astype(np.float32)
    ab = model.colorize(lightness).numpy()
    assert ab.shape == (1, 97, 131, 2) and ab.dtype == np.float32 and np.abs(ab).max() > 0
    # From the second size on, the compiled graph no longer knows sizes beforehand.
    for height, width in ((40, 50), (64, 8), (1, 1)):
        assert model.colorize(lightness[:, :height, :width]).shape == (1, height, width, 2)
    np.testing.assert_allclose(model.colorize(lightness), ab, atol=1e-3)
    models.save(model, tmp_path / "model.keras")
    loaded = models.load(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    np.testing.assert_array_equal(loaded.colorize(lightness), ab)


@pytest.mark.parametrize("name", [name for name in SMALL if name != "zhang"])
def test_encoding_of_ab_decodes_to_itself(small, name, photos):
    model, ab = small(name), ab_from_rgb(tf.constant(photos))
    np.testing.assert_allclose(model.decode(model.encode(ab)), ab, atol=1e-4)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_agrees_with_keras(policy, training):
    keras.config.set_dtype_policy(policy)
    random = np.random.default_rng(0)
    fused, plain = BatchNorm(momentum=0.9), keras.layers.BatchNormalization(momentum=0.9)
    values = [random.uniform(0.5, 2, 6) for _ in range(4)]
    for layer in (fused, plain):
        layer.build((None, 5, 7, 6))
        layer.set_weights(values)
    pictures = tf.constant(random.normal(2, 3, (4, 5, 7, 6)), "float32")
    tolerance = 1e-4 if policy == "float32" else 0.05
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(pictures)
        outputs = [tf.cast(layer(pictures, training=training), tf.float32) for layer in (fused, plain)]
        losses = [tf.reduce_sum(output**3) for output in outputs]
    np.testing.assert_allclose(*outputs, rtol=tolerance, atol=tolerance)
    if policy == "float32":
        for variable in range(2):
            gradients = [
                tape.gradient(loss, layer.trainable_variables[variable])
                for loss, layer in zip(losses, (fused, plain), strict=True)
            ]
            np.testing.assert_allclose(*gradients, rtol=1e-3)
        np.testing.assert_allclose(*[tape.gradient(loss, pictures) for loss in losses], rtol=1e-2, atol=1e-2)
    for ours, theirs in zip(fused.weights, plain.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3 if policy == "float32" else 0.02)


@pytest.mark.parametrize("name", ["iizuka", "zhang"])
def test_strided_convolutions_are_padded_on_all_sides(small, name):
    strided = [layer for layer in small(name).layers if getattr(layer, "strides", None) == (2, 2)]
    strided = [layer for layer in strided if layer.kernel_size == (3, 3)]
    before = [node.parent_nodes[0].operation for layer in strided for node in layer._inbound_nodes]
    assert len(before) >= 3 and all(layer.padding == "valid" for layer in strided)
    assert all(isinstance(layer, keras.layers.ZeroPadding2D) and layer.padding == ((1, 1),) * 2 for layer in before)


def test_files_of_another_revision_are_refused(few_channels, small, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(ZhangColorizer, "revision", 7)
        models.save(small("zhang"), tmp_path / "old.keras")
    with pytest.raises(models.ModelError, match=r"old\.keras: .* was revision 7 when this was trained and is 2 now"):
        models.load(tmp_path / "old.keras")


@pytest.mark.parametrize("name", models.NETWORKS)
def test_sizes_on_the_grid_are_not_padded(small, name):
    model = small(name)
    lightness = np.random.default_rng(0).uniform(0, 100, (1, 2 * model.grid, 3 * model.grid, 1)).astype(np.float32)
    pad = keras.Model(model.input, model.get_layer("pad").output)
    np.testing.assert_array_equal(pad(lightness), lightness)
    assert pad(lightness[:, 1:, 1:]).shape == lightness.shape


@pytest.mark.parametrize("experiment", ["scenes", "colornet-plus", "iizuka", "zhang", "natural"])
def test_networks_are_shown_what_the_experiment_says(few_channels, experiment):
    experiment = dataclasses.replace(EXPERIMENTS[experiment], render_size=96)
    assert models.build(experiment).native_size == 96
    assert dataclasses.replace(experiment, render_size=None, crop=(128, 96)).native_size == 96


def test_doubled_convolution_is_one_after_up_sampling():
    doubled, plain = Conv2D(5, 3, padding="same", doubled=True), keras.layers.Conv2D(5, 3, padding="same")
    assert doubled.compute_output_shape((None, 7, None, 4)) == (None, 14, None, 5)
    random = np.random.default_rng(0)
    pictures = tf.constant(random.normal(size=(2, 7, 6, 4)), "float32")
    target = random.normal(size=(2, 14, 12, 5))
    up_sampled = np.repeat(np.repeat(pictures, 2, axis=1), 2, axis=2)
    with tf.GradientTape() as tape:
        plain_output = plain(up_sampled)
        loss = tf.reduce_sum(plain_output * target)
    gradients = tape.gradient(loss, plain.trainable_variables)
    doubled.build(pictures.shape)
    doubled.set_weights(plain.get_weights())
    with tf.GradientTape() as tape:
        output = doubled(pictures)
        loss = tf.reduce_sum(output * target)
    np.testing.assert_allclose(output, plain_output, atol=1e-5)
    for ours, theirs in zip(tape.gradient(loss, doubled.trainable_variables), gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_colornet_starts_as_published():
    model = models.build(EXPERIMENTS["colornet-l"])
    assert trainable(model) == 31_036_546
    kernels = {name: model.get_layer(name).kernel.numpy() for name in ("down_3_1_conv", "up_4_2_conv", "output")}
    # PyTorch's kaiming_normal_(mode="fan_out"): a variance of 2 over height x width x output channels.
    for name, fan_out in (("down_3_1_conv", 9 * 256), ("up_4_2_conv", 9 * 64), ("output", 2)):
        np.testing.assert_allclose(kernels[name].std(), np.sqrt(2 / fan_out), rtol=0.1)
        assert np.abs(kernels[name]).max() > 2.2 * np.sqrt(2 / fan_out)  # Normal, not truncated at two deviations.
    # What PyTorch gives a transposed convolution: uniform up to 1 / sqrt(height x width x output channels).
    for number, channels in enumerate((512, 256, 128, 64), start=1):
        largest = np.abs(model.get_layer(f"double_{number}").kernel).max()
        np.testing.assert_allclose(largest, 1 / np.sqrt(4 * channels), rtol=1e-3)


@pytest.mark.slow
def test_pytorch_starts_the_same_way():
    torch = pytest.importorskip("torch", reason="pip install -r requirements-pretrained.txt")
    torch.manual_seed(0)
    for channels, filters, size in ((128, 256, 3), (64, 2, 1)):
        weight = torch.nn.Conv2d(channels, filters, size).weight
        torch.nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")
        ours = colornet.kernels("he_fan_out")((size, size, channels, filters))
        np.testing.assert_allclose(np.std(ours), weight.detach().std(), rtol=0.15)
    weight = torch.nn.ConvTranspose2d(256, 128, 2, 2).weight.detach()
    ours = colornet.kernels("he_fan_out", transposed=True)((2, 2, 128, 256))
    for statistic in (np.std, np.max, np.min):
        np.testing.assert_allclose(statistic(np.asarray(ours)), statistic(weight.numpy()), rtol=0.01)


def test_gray_flow_sees_gray_values():
    gray = np.linspace(0, 1, 11, dtype=np.float32)
    lightness = color.rgb2lab(np.repeat(gray[:, None], 3, axis=1))[:, 0].astype(np.float32)
    np.testing.assert_allclose(GrayFromLightness()(lightness), gray, atol=1e-4)


def test_mended_colornet_leaves_less_of_a_checkerboard(photos, monkeypatch):
    monkeypatch.setattr(colornet, "FILTERS", (8, 16))
    lightness, ab = (function(tf.constant(photos[:, :64, :64])) for function in (lightness_from_rgb, ab_from_rgb))

    def checkerboard_after_training(name):
        keras.utils.set_random_seed(0)
        model = models.build(EXPERIMENTS[name])
        model.compile(optimizer=keras.optimizers.Adam(1e-3))
        model.fit(tf.data.Dataset.from_tensors((lightness, ab)).repeat(20), verbose=0, shuffle=False)
        return nyquist_energy(model.colorize(lightness)).mean() / nyquist_energy(ab).mean()

    published, mended = (checkerboard_after_training(name) for name in ("colornet-l", "colornet-plus"))
    assert mended < published / 2


def test_iizuka_shares_its_low_level_weights(few_channels):
    model = IizukaColorizer(batch_norm=False)
    low = [layer for layer in model.layers if layer.name.startswith("low_")]
    assert len(low) == len(iizuka.LOW_LEVEL) and all(len(layer._inbound_nodes) == 2 for layer in low)
    assert sum(variable.path.startswith("low_") for variable in model.variables) == 2 * len(low)


@pytest.mark.parametrize("name", ["iizuka", "paper"])
def test_classification_adds_its_weighted_cross_entropy(small, name):
    model = small(name)
    random = np.random.default_rng(0)
    ab = random.uniform(-50, 50, (4, 8, 8, 2)).astype(np.float32)
    output, logits = random.normal(size=(4, 8, 8, 2)), random.normal(size=(4, 3))
    labels = np.array([0, 2, 1, 2], np.int32)
    target = ab / 256 + 0.5 if name == "iizuka" else ab / 128
    log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = np.mean((output - target) ** 2) - model.classification_weight * log_softmax[np.arange(4), labels].mean()
    loss = model.compute_loss(y=(ab, labels), y_pred=(output.astype(np.float32), logits.astype(np.float32)))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert float(model.accuracy_tracker.result()) == np.mean(logits.argmax(axis=1) == labels)
