"""How much faster networks train with batch normalisation on TensorFlow's fused kernel than on Keras's own.

    python -m benchmarks.batch_norm

Each network takes the same training steps on one batch of noise, by turns with either; the table gives medians and
ranges over the rounds, and ratios within a round.
"""

from dataclasses import dataclass
from unittest import mock

from common.command_line import parse, prepare_imports, run

if __name__ == "__main__":
    prepare_imports()

import keras
import tensorflow as tf

import models
from benchmarks.timing import Rounds, noise, print_table, show, time_rounds
from configs import EXPERIMENTS
from models.layers import BatchNorm
from models.precision import choose_policy

KINDS = {"keras": keras.layers.BatchNormalization, "fused": BatchNorm}
# Experiments whose networks have batch normalisation.
NAMES = ("colornet-l", "colornet-plus", "iizuka", "zhang")
# Height and width of the photos, photos a step, and steps a measurement.
SIZE, BATCH_SIZE, STEPS = 128, 8, 3


@dataclass(frozen=True)
class Options(Rounds):
    """Compares training speed with Keras's batch normalisation and with TensorFlow's fused kernel."""


def make_training(experiment, kind):
    """A function that takes the training steps, with one kind of batch normalisation."""
    with mock.patch(f"models.{experiment.model}.BatchNorm", KINDS[kind]):
        model = models.build(experiment)
    model.compile(optimizer="adam")
    lightness, ab = map(tf.constant, noise(BATCH_SIZE, SIZE, SIZE))
    return lambda: [model.train_on_batch(lightness, ab) for _ in range(STEPS)]


def main():
    options = parse(Options, "-m benchmarks.batch_norm")
    keras.config.set_dtype_policy(choose_policy())
    rows = []
    for name in NAMES:
        times = time_rounds({kind: make_training(EXPERIMENTS[name], kind) for kind in KINDS}, options.rounds)
        speeds = [show(STEPS * BATCH_SIZE / times[kind], 1) for kind in KINDS]
        rows.append([name, *speeds, show(times["keras"] / times["fused"], 2)])
    print(f"photos/s at {SIZE}x{SIZE}, batch {BATCH_SIZE}, {choose_policy()}; median (range)\n")
    print_table(["experiment", *KINDS, "ratio"], rows)


if __name__ == "__main__":
    run(main)
