"""How fast an experiment trains, and whether its input keeps up.

    python -m benchmarks.training --dataset DIR

Each round times the same number of steps four ways: the input pipeline alone, decoding every photo and from memory; the
training step on one batch that never changes; and the step on real data. Ratios are taken within a round, where the
machine was the same; the table gives the median of the rounds and their range.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from command_line import parse, run, tame_native_libraries

if __name__ == "__main__":
    tame_native_libraries()

import keras
import numpy as np

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

    def pairs(cache_bytes):
        store = PhotoStore(paths, experiment.crop, cache_bytes)
        crops = training_crops(store, order, experiment.batch_size)
        return Pairs(experiment.saturation_factor).of(crops).take(crops.steps)

    decoding, remembering = pairs(0), pairs(int(experiment.cache_gigabytes * 1e9))
    model = models.build(experiment)
    model.compile(make_optimizer(experiment, steps * rounds))
    batch = next(iter(remembering))
    decode_all, remember_all = passes(decoding), passes(remembering)
    runs = {
        "input pipeline, decoding": lambda: [None for _ in decode_all()],
        "input pipeline, from memory": lambda: [None for _ in remember_all()],
        "step on one batch": lambda: [model.train_on_batch(*batch) for _ in range(steps)],
        "step on real data": lambda: [model.train_on_batch(*pair) for pair in remember_all()],
    }
    return {name: photos / values for name, values in time_rounds(runs, rounds).items()}


def main():
    options = parse(Options, "-m benchmarks.training", "--dataset DIR [options]")
    experiment = replace(EXPERIMENTS[options.experiment], dataset=options.dataset)
    speeds = measure(experiment, options.steps, options.rounds)
    print(f"{options.experiment}, batch {experiment.batch_size}, {experiment.crop}, {choose_policy()}")
    for name, values in speeds.items():
        ratio = values / speeds["step on one batch"]
        print(f"{name:28} {show(values, 1):30} photos/s, {show(ratio, 2)} of the step on one batch")


if __name__ == "__main__":
    run(main)
