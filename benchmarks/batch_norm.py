"""How much faster networks train with batch normalisation on TensorFlow's fused kernel than on Keras's own.

    python -m benchmarks.batch_norm

Each network takes the same training steps on one batch of noise, by turns with either; the table gives medians and
ranges over the rounds, and ratios within a round.
"""

from dataclasses import dataclass
from typing import Literal
from unittest import mock

from common.command_line import parse, quiet_native_libraries, run
from common.options import Count, Side

if __name__ == "__main__":
    quiet_native_libraries()

import keras
import numpy as np
import tensorflow as tf

import models
from benchmarks.timing import show, time_rounds
from configs import EXPERIMENTS
from models.layers import BatchNorm
from models.precision import choose_policy

KINDS = {"keras": keras.layers.BatchNormalization, "fused": BatchNorm}


@dataclass(frozen=True)
class Options:
    """Compares training speed with Keras's batch normalisation and with TensorFlow's fused kernel."""

    experiments: tuple[Literal[*EXPERIMENTS], ...] = ("colornet-l", "colornet-plus", "iizuka", "zhang")
    """Experiments in configs.py."""
    size: Side = 128
    """Height and width of the photos."""
    batch_size: Count = 8
    """Photos a step."""
    steps: Count = 4
    """Steps a measurement."""
    rounds: Count = 5
    """Rounds of measurements."""


def make_training(experiment, kind, options):
    """A function that takes the training steps, with one kind of batch normalisation."""
    with mock.patch(f"models.{experiment.model}.BatchNorm", KINDS[kind]):
        model = models.build(experiment)
    model.compile(optimizer="adam")
    shape = (options.batch_size, options.size, options.size)
    random = np.random.default_rng(0)
    lightness = tf.constant(random.uniform(0, 100, (*shape, 1)), tf.float32)
    ab = tf.constant(random.uniform(-60, 60, (*shape, 2)), tf.float32)
    return lambda: [model.train_on_batch(lightness, ab) for _ in range(options.steps)]


def main():
    options = parse(Options, "-m benchmarks.batch_norm")
    keras.config.set_dtype_policy(choose_policy())
    print(f"photos/s at {options.size}x{options.size}, batch {options.batch_size}, {choose_policy()}; median (range)")
    for name in options.experiments:
        runs = {kind: make_training(EXPERIMENTS[name], kind, options) for kind in KINDS}
        times = time_rounds(runs, options.rounds)
        columns = [f"{kind} {show(options.steps * options.batch_size / times[kind], 1)}" for kind in KINDS]
        print(f"{name:14}", *columns, f"ratio {show(times['keras'] / times['fused'], 2)}", sep="  ", flush=True)


if __name__ == "__main__":
    run(main)
