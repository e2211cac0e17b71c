"""The pretrained encoder and the colorizer on it, against PyTorch's outputs and plain NumPy."""

import dataclasses
import functools
import math
from itertools import pairwise

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from skimage import color
from small_networks import build_small, with_colors

import models
from common.errors import OptionError, UserError
from configs import EXPERIMENTS, SAMPLES
from conversion import pretrained
from models import attention, efficientnet, zhang
from models.residual_encoder import HUBER_DELTA, ResidualEncoder
from test import Options, load_model
from training.callbacks import FrozenEncoder
from training.optimizers import make_schedule
from training.trainer import train
from utils import ab_from_rgb, lightness_from_rgb


@pytest.fixture(scope="module")
def untrained():
    """A network of few channels."""
    return build_small(lambda: with_colors(ResidualEncoder()))


@pytest.fixture(scope="module")
def load_classifier():
    """`models.efficientnet.load_classifier`, which loads each variant once."""
    keras.config.set_dtype_policy("float32")
    return functools.cache(models.efficientnet.load_classifier)


# Two smooth pictures, sRGB in 0..255, float32 [2, 224, 224, 3].
ROWS, COLUMNS = np.mgrid[:224, :224].astype(np.float32) / 224
PHOTOS = 255 * np.stack(
    [
        np.stack([ROWS, COLUMNS, 1 - ROWS], axis=-1),
        np.stack([np.sin(9 * ROWS) * np.cos(7 * COLUMNS)] * 3, axis=-1) / 2 + 0.5,
    ]
)
# The three largest logits of PyTorch's networks for each of `PHOTOS`, {class: logit}.
LOGITS = {
    "efficientnet-lite0": (
        {908: 4.2770, 818: 4.1064, 540: 3.9457},
        {398: 7.1652, 781: 4.8654, 530: 4.5512},
    ),
    "efficientnet-lite2": (
        {392: 3.9052, 974: 3.7155, 747: 3.5208},
        {461: 7.7113, 490: 6.6793, 524: 6.1546},
    ),
}


@pytest.mark.parametrize("variant", LOGITS)
def test_classifier_gives_the_logits_of_pytorch(load_classifier, variant):
    _, logits = load_classifier(variant)(PHOTOS, training=False)
    for row, expected in zip(logits.numpy(), LOGITS[variant], strict=True):
        # The weights are stored in half precision.
        np.testing.assert_allclose(row[list(expected)], list(expected.values()), atol=0.1)


def test_batch_normalisation_is_folded_exactly():
    random = np.random.default_rng(0)
    state = {
        "conv.weight": random.normal(size=(5, 4, 3, 3)).astype(np.float32),
        "norm.weight": random.uniform(0.5, 2, 5).astype(np.float32),
        "norm.bias": random.normal(size=5).astype(np.float32),
        "norm.running_mean": random.normal(size=5).astype(np.float32),
        "norm.running_var": random.uniform(0.5, 2, 5).astype(np.float32),
    }
    folded, plain = (keras.layers.Conv2D(5, 3, use_bias=bias) for bias in (True, False))
    norm = keras.layers.BatchNormalization(epsilon=1e-3)
    image = random.normal(size=(2, 6, 7, 4)).astype(np.float32)
    for layer, shape in ((folded, image.shape), (plain, image.shape), (norm, (2, 4, 5, 5))):
        layer.build(shape)
    plain.set_weights([state["conv.weight"].transpose(2, 3, 1, 0)])
    norm.set_weights([state[f"norm.{part}"] for part in ("weight", "bias", "running_mean", "running_var")])
    pretrained.set_convolution(folded, state, "conv", "norm")
    np.testing.assert_allclose(folded(image), norm(plain(image)), atol=1e-4)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("strides", [1, 2])
def test_depthwise_convolution_agrees_with_keras(policy, strides):
    keras.config.set_dtype_policy(policy)
    random = np.random.default_rng(0)
    ours, theirs = (
        layer(3, strides, "same", dtype=dtype)
        for layer, dtype in ((efficientnet.DepthwiseConv2D, None), (keras.layers.DepthwiseConv2D, "float32"))
    )
    image = tf.constant(random.normal(size=(2, 8, 10, 4)), "float32")
    weights = [random.normal(size=(3, 3, 4, 1)), random.normal(size=4)]
    gradients = []
    for layer in (ours, theirs):
        layer.build(image.shape)
        layer.set_weights(weights)
        with tf.GradientTape() as tape:
            tape.watch(image)
            loss = tf.reduce_sum(tf.cast(layer(image), tf.float32) ** 2)
        gradients.append(tape.gradient(loss, [image, *layer.trainable_variables]))
    tolerance = 1e-4 if policy == "float32" else 0.05
    for mine, expected in zip(*gradients, strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(mine / scale, expected / scale, atol=tolerance)


def normalised(features, norm):
    """Layer normalisation in NumPy, with a layer's weights."""
    centred = features - features.mean(axis=-1, keepdims=True)
    scale, shift = norm.get_weights()
    return scale * centred / np.sqrt(np.mean(centred**2, axis=-1, keepdims=True) + 1e-5) + shift


@pytest.mark.parametrize(("block", "before"), [("attention_0_2", "attention_0_1_narrow_sum"), ("attention_1_1", None)])
def test_attention_compares_each_place_with_all_others(few_channels, monkeypatch, block, before):
    monkeypatch.setattr(attention, "BLOCKS", 2)
    model = ResidualEncoder(attention=True)
    layers = {layer.name.removeprefix(block): layer for layer in model.layers}
    random = np.random.default_rng(0)
    for layer in model.layers:
        if layer.name.startswith(block):
            layer.set_weights([random.normal(0, 0.3, weights.shape) for weights in layer.get_weights()])
    names = before or "decoder_1", f"{block}_sum", f"{block}_narrow_sum"
    watched = keras.Model(model.input, [model.get_layer(name).output for name in names])
    features, mixed, result = watched(random.uniform(0, 100, (2, 96, 64, 1)).astype(np.float32), training=False)
    filters, heads = features.shape[-1], 8
    features = np.reshape(features, (2, -1, filters)).astype(np.float64)
    query, query_bias, key, key_bias, value, value_bias, out, out_bias = layers[""].get_weights()
    normal, attended = normalised(features, layers["_norm"]), out_bias
    for head in range(heads):
        q = normal @ query[:, head] + query_bias[head]
        k = normal @ key[:, head] + key_bias[head]
        shares = np.exp(q @ k.transpose(0, 2, 1) / np.sqrt(filters // heads))
        shares /= shares.sum(axis=-1, keepdims=True)
        attended = attended + shares @ (normal @ value[:, head] + value_bias[head]) @ out[head]
    np.testing.assert_allclose(np.reshape(mixed, features.shape), features + attended, rtol=1e-3, atol=1e-3)
    wide, narrow = (layers[name].get_weights() for name in ("_wide", "_narrow"))
    hidden = normalised(features + attended, layers["_wide_norm"]) @ wide[0] + wide[1]
    hidden = hidden * (1 + np.vectorize(math.erf)(hidden / np.sqrt(2))) / 2
    expected = features + attended + hidden @ narrow[0] + narrow[1]
    np.testing.assert_allclose(np.reshape(result, features.shape), expected, rtol=1e-3, atol=1e-2)


def test_attention_begins_by_adding_nothing():
    model = build_small(lambda: ResidualEncoder(attention=True))
    watched = keras.Model(model.input, [model.get_layer(name).output for name in ("decoder_1", "attention_1_places")])
    before, after = watched(np.random.default_rng(0).uniform(0, 100, (1, 64, 96, 1)).astype(np.float32))
    assert np.std(before) > 0
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("loss", ["bins", "both"])
def test_losses_with_bins_have_no_gain_for_shadows(few_channels, loss):
    model = ResidualEncoder(loss=loss, shadow_gain=True)
    assert "shadow_gain" not in [layer.name for layer in model.layers]


def test_the_gain_rises_from_black_to_middle_gray(few_channels):
    model = with_colors(ResidualEncoder(shadow_gain=True))
    # Pixels that differ within the blocks whose mean decides the gain; means on both sides of 50.
    random = np.random.default_rng(0)
    blocks = random.uniform(0, 100, (2, 16, 24, 1)).repeat(4, axis=1).repeat(4, axis=2)
    lightness = (blocks * random.uniform(0.5, 1, blocks.shape)).astype(np.float32)
    before = model(lightness, training=False)
    assert np.std(before) > 0
    model.get_layer("shadow_gain").set_weights(np.float32([0.25]))
    mean = lightness.astype(np.float64).reshape(2, 16, 4, 24, 4, 1).mean(axis=(2, 4))
    gain = np.interp(mean, [0, 50], [0.25, 1])
    np.testing.assert_allclose(model(lightness, training=False), before * gain, rtol=1e-4, atol=1e-6)


def test_it_starts_from_gray(few_channels):
    lightness = np.random.default_rng(0).uniform(0, 100, (1, 64, 64, 1)).astype(np.float32)
    assert np.abs(ResidualEncoder().colorize(lightness)).max() == 0


def test_colours_do_not_depend_on_the_batch():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = models.load("natural")
    lightness = np.random.default_rng(0).uniform(0, 100, (3, 64, 96, 1)).astype(np.float32)
    together = model.colorize(lightness)
    alone = tf.concat([model.colorize(photo[None]) for photo in lightness], axis=0)
    np.testing.assert_allclose(together, alone, atol=1e-3)
    assert keras.config.dtype_policy().name == "mixed_bfloat16"


def test_encoding_is_the_mean_over_the_outputs_pixels(untrained, photos):
    ab = ab_from_rgb(tf.constant(photos))
    expected = color.rgb2lab(photos)[..., 1:].reshape(4, 24, 4, 32, 4, 2).mean(axis=(2, 4)) / 128
    np.testing.assert_allclose(untrained.encode(ab), expected, atol=1e-4)
    assert np.abs(untrained.decode(untrained.encode(ab)) - ab).mean() < 4


def losses(loss, ab, output, weights):
    """Each loss by its definition, in NumPy."""
    target = ab.reshape(2, 8, 4, 8, 4, 2).mean(axis=(2, 4))
    error = output[..., :2] - target / 128
    if loss == "huber":
        size = np.abs(error)
        return np.mean(np.where(size < HUBER_DELTA, size**2, HUBER_DELTA * (2 * size - HUBER_DELTA)))
    squared = np.mean(error**2)
    if loss == "blurred":
        blurred = [
            [cv2.GaussianBlur(picture, (size, size), sigma, borderType=cv2.BORDER_CONSTANT) for picture in error]
            for size, sigma in ((3, 0.8), (5, 1.1))
        ]
        return (squared + sum(np.mean(np.square(pictures)) for pictures in blurred)) / 3
    if loss == "squared":
        return squared
    logits = output[..., -313:].astype(np.float64)
    log_shares = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    bins, soft = zhang.soft_encoding_table()
    rows = np.clip(np.round(target.astype(np.float32)).astype(int) + 128, 0, 255) @ [256, 1]
    likelihood = (soft[rows] * np.take_along_axis(log_shares, bins[rows], axis=-1)).sum(axis=-1)
    cross_entropy = -np.mean(weights[bins[rows][..., 0]] * likelihood)
    return cross_entropy if loss == "bins" else 80 * squared + cross_entropy


@pytest.mark.parametrize("loss", ["squared", "huber", "blurred", "bins", "both"])
def test_losses_agree_with_numpy(untrained, loss):
    channels = {"bins": 313, "both": 315}.get(loss, 2)
    random = np.random.default_rng(0)
    ab = random.normal(0, 30, (2, 32, 32, 2)).astype(np.float32)
    output = random.normal(0, 0.3, (2, 8, 8, channels)).astype(np.float32)
    untrained.loss_name, untrained.class_weights = loss, random.uniform(0.5, 2, 313).astype(np.float32)
    try:
        value = untrained.color_loss(tf.constant(ab), tf.constant(output))
    finally:
        untrained.loss_name = "squared"
    np.testing.assert_allclose(value, losses(loss, ab, output, untrained.class_weights), rtol=1e-4)


def test_temperature_is_refused_where_no_bins_decide(untrained, monkeypatch):
    monkeypatch.setattr(models, "load", lambda name: untrained)
    with pytest.raises(OptionError, match=r"^--temperature is for models that choose among bins, .*; not natural$"):
        load_model(Options(temperature=0.5))


class Tiny(keras.Model):
    """The least that has an encoder."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = keras.layers.Dense(3), keras.layers.Dense(1)

    def call(self, values):
        return self.decoder(self.encoder(values))


def test_the_encoder_learns_only_after_its_share_of_the_steps():
    model, values = Tiny(), np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    model(values)
    model.compile("sgd", "mse")
    model.optimizer.build(model.trainable_variables)
    kernels = [[layer.get_weights()[0] for layer in (model.encoder, model.decoder)]]
    step = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: kernels.append(
            [part.get_weights()[0] for part in (model.encoder, model.decoder)]
        )
    )
    model.fit(values, values.sum(axis=1), batch_size=2, verbose=0, callbacks=[FrozenEncoder(2), step])
    moved = np.array([[np.abs(x - y).max() > 0 for x, y in zip(*pair, strict=True)] for pair in pairwise(kernels)])
    np.testing.assert_array_equal(moved, [[False, True], [False, True], [True, True], [True, True]])


def test_the_rate_falls_twice_and_is_a_tenth_the_second_time():
    experiment = dataclasses.replace(EXPERIMENTS["natural"], frozen_share=0.4, warmup_steps=100)
    rate = make_schedule(experiment, 1000)
    rates = np.array([float(rate(step)) for step in (0, 100, 399, 400, 500, 999)])
    np.testing.assert_allclose(rates / experiment.learning_rate, [0, 1, 0, 0, 0.1, 0], atol=1e-4)


@pytest.mark.slow
def test_natural_learns_on_bundled_photos(tmp_path):
    experiment = dataclasses.replace(
        EXPERIMENTS["natural"], dataset=(SAMPLES,), crop=(64, 64), epochs=3, batch_size=4, validation_fraction=0.1
    )
    history = train(experiment, tmp_path / "run")
    assert history[2]["loss"] < history[0]["loss"]
    assert models.load(tmp_path / "run").native_size == 64


def test_the_perceptual_term_joins_the_loss_and_not_the_file(load_classifier, photos):
    model = ResidualEncoder(perceptual_weight=0.5)
    ab, lightness = ab_from_rgb(tf.constant(photos)), lightness_from_rgb(tf.constant(photos))
    output = tf.zeros((4, 24, 32, 2))
    plain = model.compute_loss(lightness, ab, output)
    weights = len(model.weights)
    model.compile()  # Before `prepare`, so that measuring the speed times it, too.
    assert len(model.weights) == weights
    # The same by hand: features of the photo in gray and in its own colours.
    whole = load_classifier("efficientnet-lite0")
    names = ("block_4_add", "block_10_add", "block_15_project")
    critic = keras.Model(whole.input, [whole.get_layer(name).output for name in names])
    lab = color.rgb2lab(photos)
    seen = [critic(255 * color.lab2rgb(lab * factor), training=False) for factor in ([1, 0, 0], [1, 1, 1])]
    expected = sum(
        np.mean(np.abs(ours - theirs).mean(axis=(0, 1, 2)) / (np.std(theirs, axis=(0, 1, 2)) + 1e-3))
        for ours, theirs in zip(*seen, strict=True)
    )
    np.testing.assert_allclose(model.compute_loss(lightness, ab, output) - plain, 0.5 * expected, rtol=0.01)


def test_the_published_residual_encoder_on_vgg16(tmp_path, monkeypatch, photos):
    published = keras.applications.VGG16(include_top=False, weights=None)
    asked = []

    def vgg16(include_top, weights="imagenet"):
        asked.append(weights)
        return published

    model = models.build(dataclasses.replace(EXPERIMENTS["residual-encoder"], crop=(64, 64)))
    monkeypatch.setattr(keras.applications, "VGG16", vgg16)
    model.prepare(None, tmp_path)
    assert asked == ["imagenet"]
    lightness = lightness_from_rgb(tf.constant(photos[:1, :64, :48]))
    assert model(lightness).shape == (1, 64, 48, 2)  # The published network paints at the photo's own size.
    gray = np.repeat(color.lab2rgb(np.pad(lightness, [(0, 0)] * 3 + [(0, 2)]))[..., :1] * 255, 3, axis=-1)
    shallowest = model.encoder(gray.astype(np.float32))[0]
    expected = published.layers[2](published.layers[1](keras.applications.vgg16.preprocess_input(gray.copy())))
    np.testing.assert_allclose(shallowest, expected, rtol=1e-3, atol=1e-2)


def test_weights_that_cannot_be_downloaded_are_named(few_channels, tmp_path, monkeypatch):
    def vgg16(include_top, weights="imagenet"):
        raise Exception("URL fetch failure on https://there/vgg16.h5: None")

    model = models.build(dataclasses.replace(EXPERIMENTS["residual-encoder"], crop=(64, 64)))
    monkeypatch.setattr(keras.applications, "VGG16", vgg16)
    with pytest.raises(UserError, match=r"^VGG-16's weights .*https://there/vgg16.h5.* put it into ~/.keras/models$"):
        model.prepare(None, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("variant", LOGITS)
def test_conversion_agrees_with_pytorch(variant, capsys):
    torch = pytest.importorskip("torch", reason="pip install -r requirements-pretrained.txt")
    pytest.importorskip("efficientnet_lite_pytorch", reason="pip install -r requirements-pretrained.txt")
    network = pretrained.torch_network(variant)
    with torch.no_grad():
        expected = network((torch.tensor(PHOTOS.transpose(0, 3, 1, 2)) - 127) / 128).numpy()
    _, logits = pretrained.convert(network, variant)(PHOTOS, training=False)
    with capsys.disabled():
        print(f"\n{variant}: {np.abs(logits - expected).max():.1e} from PyTorch's logits")
    np.testing.assert_allclose(logits, expected, atol=1e-4)
