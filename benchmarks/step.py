"""How near a training step comes to what the machine can do, and which settings bring it there.

    python -m benchmarks.step

Each group of settings is measured in a process of its own, by turns with two matrix products, 4096x4096, in bfloat16
and in float32. What a product reaches is taken for the machine's ceiling; a step is set against the one in its own
numeric policy, within a round. Photos are noise and stay in memory.

Operations are counted from the layers: each weight of a kernel costs a multiplication and an addition wherever its
kernel is applied, once in the forward pass and twice in the backward pass, for the gradient of the kernel and for that
of the layer's input, which layers that see L or edges do without. Activations, up-sampling, the edge map, the loss and
the optimizer count as nothing; the fusion layer counts as the package computes it, with one product for the vector.
"""

from dataclasses import dataclass, replace

from command_line import parse, run, tame_native_libraries

if __name__ == "__main__":
    tame_native_libraries()

import keras
import numpy as np
import tensorflow as tf

import models
from benchmarks import original
from benchmarks.timing import call_apart, print_table, show, time_rounds
from configs import EXPERIMENTS
from models.colorization import Fusion
from train import make_optimizer

# Rows and columns of the matrices whose product is the ceiling.
PRODUCT = 4096
PRODUCT_OPERATIONS = 2 * PRODUCT**3
DTYPES = {"mixed_bfloat16": "bfloat16", "float32": "float32"}


@dataclass(frozen=True)
class Setting:
    """One way to take a training step."""

    experiment: str = "scenes"
    batch_size: int = 32
    policy: str = "mixed_bfloat16"
    jit_compile: bool = False
    published: bool = False
    """The network layer by layer as published, with SGD, instead of the package's."""

    @property
    def name(self):
        crop = EXPERIMENTS[self.experiment].crop
        extras = ["XLA"] * self.jit_compile + ["published graph"] * self.published
        return ", ".join(["{}x{}".format(*crop), f"batch {self.batch_size}", DTYPES[self.policy], *extras])


BASE = Setting()
PAPER = Setting("paper", 16)
# {group: (environment, settings)}.
GROUPS = {
    "batch size": ({}, [replace(BASE, batch_size=size) for size in (8, 16, 32, 64)]),
    "policy and XLA": (
        {},
        [replace(BASE, policy=policy, jit_compile=jit) for policy in DTYPES for jit in (False, True)],
    ),
    "256x256": ({}, [replace(PAPER, batch_size=8), PAPER, replace(PAPER, published=True)]),
    "256x256, float32": ({}, [replace(PAPER, policy="float32"), replace(PAPER, policy="float32", published=True)]),
    "one operation at a time": ({"TF_NUM_INTEROP_THREADS": "1"}, [BASE, PAPER]),
    "one thread an operation": ({"TF_NUM_INTRAOP_THREADS": "1"}, [BASE]),
    "float32 that oneDNN may round": ({"TF_SET_ONEDNN_FPMATH_MODE": "BF16"}, [replace(BASE, policy="float32")]),
    "without oneDNN": ({"TF_ENABLE_ONEDNN_OPTS": "0"}, [BASE, replace(BASE, policy="float32")]),
}


@dataclass(frozen=True)
class Options:
    """Measures training steps under several settings against the machine's ceiling."""

    groups: tuple[str, ...] = tuple(GROUPS)
    """What to measure."""
    rounds: int = 5
    """Rounds of measurements."""


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
        forward += 2 * uses
        total += 2 * uses * (2 if kernel[-2] == 1 and positions > 1 else 3)
    return int(forward), int(total)


def make_step(setting):
    """A function that takes a training step under a setting."""
    keras.config.set_dtype_policy(setting.policy)
    experiment = EXPERIMENTS[setting.experiment]
    shape = (setting.batch_size, *experiment.crop)
    random = np.random.default_rng(0)
    inputs = tf.constant(random.uniform(0, 100, (*shape, 1)), tf.float32)
    ab = tf.constant(random.uniform(-60, 60, (*shape, 2)), tf.float32)
    if setting.published:
        model = original.trainable(experiment.crop[0])
        inputs, ab = [inputs, tf.cast(inputs > 75, tf.float32)], ab / original.AB_SCALE
    else:
        model = models.build(experiment)
        model.compile(make_optimizer(experiment, 1000), jit_compile=setting.jit_compile)
    return lambda: model.train_on_batch(inputs, ab)


def make_product(dtype):
    """A function that multiplies two large matrices; it takes PRODUCT_OPERATIONS."""
    factor = tf.cast(tf.random.stateless_normal((PRODUCT, PRODUCT), seed=(0, 0)), dtype)
    product = tf.function(lambda: tf.matmul(factor, factor))
    return lambda: product()[0, 0].numpy()


def measure(settings, rounds):
    """Times settings in this process. Returns {setting: seconds} and {dtype: seconds}, float [rounds] each."""
    runs = {setting: make_step(setting) for setting in settings}
    products = {dtype: make_product(dtype) for dtype in DTYPES.values()}
    times = time_rounds({**runs, **products}, rounds)
    return {setting: times[setting] for setting in runs}, {dtype: times[dtype] for dtype in products}


def main():
    options = parse(Options, "-m benchmarks.step", "[options]")
    counts = {}
    for name in ("scenes", "paper"):
        forward, counts[name] = operations(models.build(EXPERIMENTS[name]), EXPERIMENTS[name].crop[0])
        print(f"{name}: {forward / 1e9:.2f} GFLOP forward, {counts[name] / 1e9:.2f} GFLOP a training step, a photo")
    rows, ceilings = [], {dtype: [] for dtype in DTYPES.values()}
    for group in options.groups:
        environment, settings = GROUPS[group]
        (times, products), _ = call_apart(measure, settings, options.rounds, environment=environment)
        for dtype, values in products.items():
            ceilings[dtype].extend(PRODUCT_OPERATIONS / values / 1e12)
        for setting, values in times.items():
            speed = setting.batch_size / values
            rate = speed * counts[setting.experiment]
            ceiling = PRODUCT_OPERATIONS / products[DTYPES[setting.policy]]
            rows.append((group, setting.name, show(speed, 1), show(rate / 1e12, 2), show(rate / ceiling, 2)))
            print(*rows[-1], sep="; ", flush=True)
    print()
    print_table(("group", "step", "photos/s", "TFLOP/s", "share of the ceiling"), rows)
    for dtype, values in ceilings.items():
        print(f"ceiling in {dtype}: {show(values, 2)} TFLOP/s")


if __name__ == "__main__":
    run(main)
