"""How near a training step comes to what the machine can do, and which settings bring it there.

    python -m benchmarks.step

Each group of settings is measured in a process of its own, by turns with a product of two 4096x4096 matrices in the
same type, bfloat16 or float32. What the product reaches is taken for the machine's ceiling, and each step is set
against that of its round. Photos are noise and stay in memory.

Operations are counted from the layers: each weight of a kernel costs a multiplication and an addition wherever its
kernel is applied, once in the forward pass and twice in the backward pass, for the gradient of the kernel and for that
of the layer's input, which layers that see L or edges do without. Activations, up-sampling, the edge map, the loss and
the optimizer count as nothing. Layers count as the package computes them: one product for the fusion layer's vector,
and four weights at each place of a doubled grid instead of nine.
"""

from dataclasses import dataclass, replace

from common.command_line import parse, quiet_native_libraries, run

if __name__ == "__main__":
    quiet_native_libraries()

import keras
import numpy as np
import tensorflow as tf

import models
from benchmarks import original
from benchmarks.timing import Rounds, call_apart, print_table, show, time_rounds
from configs import EXPERIMENTS
from models.colorization import Fusion
from models.local_features import local_features_network
from training.optimizers import make_optimizer

# Rows and columns of the matrices whose product is the ceiling.
PRODUCT = 4096
PRODUCT_OPERATIONS = 2 * PRODUCT**3
DTYPES = {"mixed_bfloat16": "bfloat16", "float32": "float32"}


@dataclass(frozen=True)
class Setting:
    """One way to take a training step.

    Attributes:
        network: Whose network and crop: that of an experiment in configs.py, or "LFN", the local features network of
            "scenes" alone.
        published: The network layer by layer as published, with SGD, instead of the package's.
        channels_first: The layout NCHW instead of NHWC, for "LFN".
    """

    network: str = "scenes"
    batch_size: int = 32
    policy: str = "mixed_bfloat16"
    jit_compile: bool = False
    published: bool = False
    channels_first: bool = False

    @property
    def size(self):
        return EXPERIMENTS["scenes" if self.network == "LFN" else self.network].crop[0]

    @property
    def name(self):
        words = [f"{self.size}x{self.size}, batch {self.batch_size}, {DTYPES[self.policy]}"]
        words += ["LFN alone"] * (self.network == "LFN") + ["published graph"] * self.published
        return ", ".join(words + ["XLA"] * self.jit_compile + ["NCHW"] * self.channels_first)


BASE = Setting()
PAPER = Setting("paper", 16)
LFN = Setting("LFN")
# {group: (environment, settings)}.
GROUPS = {
    "batch size": ({}, [replace(BASE, batch_size=size) for size in (8, 16, 32, 64)]),
    "policy, XLA": ({}, [replace(BASE, policy=policy, jit_compile=jit) for policy in DTYPES for jit in (False, True)]),
    "256x256": (
        {},
        [replace(PAPER, batch_size=8), PAPER, replace(PAPER, published=True), replace(PAPER, policy="float32")],
    ),
    "one operation at a time": ({"TF_NUM_INTEROP_THREADS": "1"}, [BASE, PAPER]),
    "one thread an operation": ({"TF_NUM_INTRAOP_THREADS": "1"}, [BASE]),
    "layout": ({}, [LFN, replace(LFN, channels_first=True)]),
    "float32 that oneDNN may round": ({"TF_SET_ONEDNN_FPMATH_MODE": "BF16"}, [replace(BASE, policy="float32")]),
    "without oneDNN": ({"TF_ENABLE_ONEDNN_OPTS": "0"}, [replace(BASE, policy="float32")]),
}


@dataclass(frozen=True)
class Options(Rounds):
    """Measures training steps under several settings against the machine's ceiling."""


def operations(model, size):
    """Floating-point operations of the paper's network on one photo, (forward, forward and backward).

    Args:
        model: A `PaperColorizer`, or another model of the same layers.
        size: Height and width of the photo.
    """
    weighted = [layer for layer in model.layers if layer.weights]
    grids = keras.Model(model.inputs, [layer.output for layer in weighted])
    outputs = grids([np.zeros((1, size, size, 1), np.float32) for _ in model.inputs])
    forward = total = 0
    for layer, output in zip(weighted, outputs, strict=True):
        positions = int(np.prod(output.shape[1:-1]))
        kernel = layer.weights[0].shape
        uses = np.prod(kernel) * positions
        if isinstance(layer, Fusion):
            vector = layer.input[1].shape[-1] * layer.filters
            uses -= vector * (positions - 1)
        if getattr(layer, "doubled", False):
            uses = uses * 4 // 9
        forward += 2 * uses
        total += 2 * uses * (2 if kernel[-2] == 1 and positions > 1 else 3)
    return int(forward), int(total)


def make_model(setting):
    """The compiled network of a setting, under the numeric policy at the time."""
    if setting.published:
        return original.trainable(setting.size)
    if setting.network != "LFN":
        experiment = EXPERIMENTS[setting.network]
        model = models.build(experiment)
        model.compile(make_optimizer(experiment, 1000), jit_compile=setting.jit_compile)
        return model
    keras.config.set_image_data_format("channels_first" if setting.channels_first else "channels_last")
    lightness = keras.Input(
        (1, setting.size, setting.size) if setting.channels_first else (setting.size, setting.size, 1)
    )
    model = keras.Model(lightness, local_features_network(lightness, "he_normal"))
    model.compile("sgd", "mse")
    return model


def make_step(setting):
    """A function that takes a training step under a setting."""
    keras.config.set_dtype_policy(setting.policy)
    model = make_model(setting)
    random = np.random.default_rng(0)
    grid = (setting.batch_size, setting.size, setting.size)
    lightness = random.uniform(0, 100, (*grid, 1)).astype(np.float32)
    target = random.uniform(-60, 60, (*grid, 2)).astype(np.float32)
    if setting.published:
        lightness, target = [lightness, np.float32(lightness > 75)], target / original.AB_SCALE
    if setting.network == "LFN":
        # Unscaled, the loss would grow without bounds.
        lightness = lightness.reshape(setting.batch_size, *model.input.shape[1:]) / 100
        target = np.zeros((setting.batch_size, *model.output.shape[1:]), np.float32)
    # As tensors, since a step would copy arrays.
    inputs, target = tf.nest.map_structure(tf.constant, (lightness, target))
    return lambda: model.train_on_batch(inputs, target)


def make_product(dtype):
    """A function that multiplies two large matrices; it takes PRODUCT_OPERATIONS."""
    factor = tf.cast(tf.random.stateless_normal((PRODUCT, PRODUCT), seed=(0, 0)), dtype)
    product = tf.function(lambda: tf.matmul(factor, factor))
    return lambda: product()[0, 0].numpy()


def measure(settings, rounds):
    """Times settings in this process. Returns {setting: seconds} and {dtype: seconds}, float [rounds] each."""
    runs = {setting: make_step(setting) for setting in settings}
    products = {dtype: make_product(dtype) for dtype in {DTYPES[setting.policy] for setting in settings}}
    times = time_rounds({**runs, **products}, rounds)
    return {setting: times[setting] for setting in runs}, {dtype: times[dtype] for dtype in products}


def main():
    options = parse(Options, "-m benchmarks.step")
    counts = {}
    for setting in (BASE, PAPER, replace(PAPER, published=True), LFN):
        name = setting.network + " as published" * setting.published
        forward, total = operations(make_model(setting), setting.size)
        counts[setting.network, setting.published] = total
        print(f"{name}: {forward / 1e9:.2f} GFLOP forward, {total / 1e9:.2f} GFLOP a training step, a photo")
    rows = []
    for group, (environment, settings) in GROUPS.items():
        (times, products), _ = call_apart(measure, settings, options.rounds, environment=environment)
        for setting, values in times.items():
            speed = setting.batch_size / values
            rate = speed * counts[setting.network, setting.published]
            ceiling = PRODUCT_OPERATIONS / products[DTYPES[setting.policy]]
            rates = show(rate / 1e12, 2), show(ceiling / 1e12, 2), show(rate / ceiling, 2)
            rows.append((group, setting.name, show(speed, 1), *rates))
            print(*rows[-1], sep="; ", flush=True)
    print()
    print_table(("group", "step", "photos/s", "TFLOP/s", "ceiling, TFLOP/s", "share of the ceiling"), rows)


if __name__ == "__main__":
    run(main)
