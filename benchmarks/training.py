"""How fast `scenes` trains, and whether its input keeps up.

    python -m benchmarks.training --dataset DIR

Each round times:

- TensorFlow decoding JPEG files and doing nothing else, which is the input's limit;
- crops, as training on a GPU takes them, in the first epoch and in a later one;
- pairs of L and ab, as training on the CPU takes them, with every photo decoded again, and with photos kept in memory;
- the training step on one batch that never changes, and on real data.

Ratios are taken within a round. The table gives the median of the rounds and their range.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from common.command_line import parse, prepare_imports, run

if __name__ == "__main__":
    prepare_imports()

import keras
import numpy as np
import tensorflow as tf

import models
from benchmarks.timing import Rounds, exhaust, print_table, show, time_rounds
from configs import EXPERIMENTS
from data.pairs import Pairs, TrainingOrder, training_crops, untuned
from data.photos import PhotoStore, find_photos
from models.precision import choose_policy
from training.optimizers import make_optimizer

# Batches without a step that a measurement has for each step, since they are so much faster that starting them counts.
BATCHES_A_STEP = 8
# Steps a measurement.
STEPS = 25


@dataclass(frozen=True, kw_only=True)
class Options(Rounds):
    """Measures the training speed of `scenes`, and whether the input pipeline keeps up."""

    dataset: Path
    """Folder of colour photos."""


def measure(experiment, rounds):
    """Times an experiment's training; returns {what: photos a second, float [rounds]}."""
    keras.config.set_dtype_policy(choose_policy())
    keras.utils.set_random_seed(experiment.seed)
    photos = BATCHES_A_STEP * STEPS * experiment.batch_size
    found = find_photos(experiment.dataset[0]).paths
    paths = usable(found[:: max(1, len(found) // photos)], experiment.crop)
    order = TrainingOrder(np.arange(photos) % len(paths), experiment.seed, experiment.flip)

    def open_crops(cache_bytes):
        return training_crops(PhotoStore(paths, experiment.crop, cache_bytes), order, experiment.batch_size)

    def pairs(crops):
        return Pairs(experiment.saturation_factor, chroma_factor=experiment.chroma_factor).of(crops)

    files = tf.data.Dataset.from_tensor_slices([str(paths[index]) for index in order.indices])
    # Photos of a data set may differ in size, so they make no batch; a number of each is handed on.
    decoded = untuned(files.map(decode, num_parallel_calls=os.cpu_count()).batch(experiment.batch_size))
    crops, remembered = open_crops(0), pairs(open_crops(int(experiment.cache_gigabytes * 1e9)))
    model = models.build(experiment)
    model.compile(make_optimizer(experiment, STEPS * rounds))
    batch = next(iter(remembered))
    inputs = {
        "decoding alone": lambda: decoded,
        "crops, first time": lambda: open_crops(0).dataset.take(crops.steps),
        "crops": lambda: crops.dataset.take(crops.steps),
        "pairs": lambda: pairs(crops).take(crops.steps),
        "pairs, from memory": lambda: remembered.take(crops.steps),
    }
    runs = {name: lambda start=start: exhaust(start()) for name, start in inputs.items()} | {
        "step on one batch": lambda: [model.train_on_batch(*batch) for _ in range(STEPS)],
        "step on real data": lambda: [model.train_on_batch(*pair) for pair in remembered.take(STEPS)],
    }
    counts = {name: photos if name in inputs else STEPS * experiment.batch_size for name in runs}
    return {name: counts[name] / values for name, values in time_rounds(runs, rounds).items()}


def usable(paths, crop):
    """Those photos that training does not skip, so that every way decodes the same files."""
    store = PhotoStore(paths, crop, cache_bytes=0)
    return [path for index, path in enumerate(paths) if store.load(index) is not None]


def decode(path):
    return tf.shape(tf.io.decode_jpeg(tf.io.read_file(path), channels=3))[0]


def main():
    options = parse(Options, "-m benchmarks.training")
    experiment = replace(EXPERIMENTS["scenes"], dataset=(options.dataset,))
    speeds = measure(experiment, options.rounds)
    rows = []
    for name, values in speeds.items():
        whole = "step on one batch" if name.startswith("step") else "decoding alone"
        rows.append([name, show(values, 1), f"{show(values / speeds[whole], 2)} of {whole}"])
    print(f"scenes, batch {experiment.batch_size}, {experiment.crop}, {choose_policy()}\n")
    print_table(["what", "photos/s", "share"], rows)


if __name__ == "__main__":
    run(main)
