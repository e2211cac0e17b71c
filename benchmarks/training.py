"""How fast an experiment trains, and whether its input keeps up.

    python -m benchmarks.training --dataset DIR

Each round times the same number of steps several ways: TensorFlow decoding the same JPEG files and doing nothing else,
which is the input's limit; crops, as training on a GPU takes them; pairs, as training on the CPU takes them, with every
photo decoded and from memory; the training step on one batch that never changes; and the step on real data. Ratios are
taken within a round, where the machine was the same; the table gives the median of the rounds and their range.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from command_line import parse, run, tame_native_libraries

if __name__ == "__main__":
    tame_native_libraries()

import keras
import numpy as np
import tensorflow as tf

import models
from benchmarks.timing import passes, show, time_rounds
from configs import EXPERIMENTS
from data.pairs import Pairs, TrainingOrder, training_crops
from data.photos import PhotoStore, find_photos
from models.precision import choose_policy
from train import make_optimizer


@dataclass(frozen=True)
class Options:
    """Measures training speed and whether the input pipeline keeps up."""

    dataset: Path
    """Folder of colour photos."""
    experiment: str = "scenes"
    """An experiment in configs.py."""
    steps: int = 25
    """Steps a measurement."""
    rounds: int = 5
    """Rounds of measurements."""


def measure(experiment, steps, rounds):
    """Times an experiment's training; returns {what: photos a second, float [rounds]}."""
    keras.config.set_dtype_policy(choose_policy())
    keras.utils.set_random_seed(experiment.seed)
    photos = steps * experiment.batch_size
    found = find_photos(experiment.dataset).paths
    paths = found[:: max(1, len(found) // photos)]
    order = TrainingOrder(np.arange(photos) % len(paths), experiment.seed, experiment.flip)

    def open_crops(cache_bytes):
        return training_crops(PhotoStore(paths, experiment.crop, cache_bytes), order, experiment.batch_size)

    def pairs(crops):
        return Pairs(experiment.saturation_factor).of(crops).take(crops.steps)

    files = tf.data.Dataset.from_tensor_slices([str(paths[index]) for index in order.indices])
    # Photos of a data set may differ in size, so they make no batch; a number of each is handed on.
    decoded = files.map(decode, num_parallel_calls=tf.data.AUTOTUNE).batch(experiment.batch_size)
    crops = open_crops(0)
    decoding, remembering = pairs(crops), pairs(open_crops(int(experiment.cache_gigabytes * 1e9)))
    model = models.build(experiment)
    model.compile(make_optimizer(experiment, steps * rounds))
    batch = next(iter(remembering))
    decode_all, crop_all = passes(decoded), passes(crops.dataset.take(crops.steps))
    pair_all, remember_all = passes(decoding), passes(remembering)
    runs = {
        "decoding alone": lambda: [None for _ in decode_all()],
        "crops": lambda: [None for _ in crop_all()],
        "pairs": lambda: [None for _ in pair_all()],
        "pairs, from memory": lambda: [None for _ in remember_all()],
        "step on one batch": lambda: [model.train_on_batch(*batch) for _ in range(steps)],
        "step on real data": lambda: [model.train_on_batch(*pair) for pair in remember_all()],
    }
    return {name: photos / values for name, values in time_rounds(runs, rounds).items()}


def decode(path):
    return tf.shape(tf.io.decode_jpeg(tf.io.read_file(path), channels=3))[0]


def main():
    options = parse(Options, "-m benchmarks.training", "--dataset DIR [options]")
    experiment = replace(EXPERIMENTS[options.experiment], dataset=options.dataset)
    speeds = measure(experiment, options.steps, options.rounds)
    print(f"{options.experiment}, batch {experiment.batch_size}, {experiment.crop}, {choose_policy()}")
    for name, values in speeds.items():
        whole = "step on one batch" if name.startswith("step") else "decoding alone"
        print(f"{name:20} {show(values, 1):30} photos/s, {show(values / speeds[whole], 2)} of {whole}")


if __name__ == "__main__":
    run(main)
