"""What keeping the features of the frozen encoder would save while `natural` trains.

    python -m benchmarks.frozen

Each round times, on one batch of noise: the training step with a frozen encoder; the same step of the decoder alone,
from features that are there already; and the step of all weights. The features of a photo would have to be kept for
each crop, flip and gray that it is seen in.
"""

from dataclasses import dataclass

from common.command_line import parse, prepare_imports, run

if __name__ == "__main__":
    prepare_imports()

import keras
import numpy as np
import tensorflow as tf

import models
from benchmarks.timing import Rounds, noise, print_table, show, time_rounds
from configs import EXPERIMENTS
from models.precision import choose_policy
from training.callbacks import freeze_encoder
from training.optimizers import make_optimizer

# Steps a measurement.
STEPS = 5
# Bytes of a feature in half precision.
HALF = 2


@dataclass(frozen=True)
class Options(Rounds):
    """Compares training steps of `natural` with and without the forward pass of its frozen encoder."""


def cut(model):
    """The network of `natural` in two: L to the encoder's features at four scales, and these to the output."""
    features = [model.get_layer(f"skip_{number}_norm").input for number in range(4)]
    return keras.Model(model.input, features), keras.Model(features, model.output)


def make_training(experiment, kind):
    """A function that takes STEPS training steps: "frozen", "from kept features" or "all weights"."""
    model = models.build(experiment)
    freeze_encoder(model, kind != "all weights")
    inputs, target = map(tf.constant, noise(experiment.batch_size, *experiment.crop))
    if kind == "from kept features":
        target = model.encode(target)
        encoder, model = cut(model)
        inputs = encoder(inputs)
    model.compile(make_optimizer(experiment, 1000), loss="mse" if kind == "from kept features" else None)
    return lambda: [model.train_on_batch(inputs, target) for _ in range(STEPS)]


def main():
    options = parse(Options, "-m benchmarks.frozen")
    keras.config.set_dtype_policy(choose_policy())
    experiment = EXPERIMENTS["natural"]
    features = cut(models.build(experiment))[0](np.zeros((1, *experiment.crop, 1), np.float32))
    kept = HALF * sum(int(np.prod(scale.shape)) for scale in features)
    crop = 3 * np.prod(experiment.crop)
    print(f"a crop of {experiment.crop}: {crop / 1e6:.2f} MB, its features {kept / 1e6:.2f} MB\n")
    kinds = ("frozen", "from kept features", "all weights")
    times = time_rounds({kind: make_training(experiment, kind) for kind in kinds}, options.rounds)
    photos = STEPS * experiment.batch_size
    rows = [[kind, show(photos / took, 1), show(times["frozen"] / took, 2)] for kind, took in times.items()]
    print_table(["step", "photos/s", "times as fast as frozen"], rows)


if __name__ == "__main__":
    run(main)
