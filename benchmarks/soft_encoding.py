"""What share of a training step the soft encoding of Zhang et al. takes.

    python -m benchmarks.soft_encoding

Each round times a training step on one batch of noise, and the encoding of that batch alone; the ratio is taken within
a round.
"""

from dataclasses import dataclass

from common.command_line import parse, run, tame_native_libraries
from common.options import Count, Side

if __name__ == "__main__":
    tame_native_libraries()

import keras
import numpy as np
import tensorflow as tf

import models
from benchmarks.timing import show, time_rounds
from configs import EXPERIMENTS
from models.precision import choose_policy
from training.optimizers import make_optimizer


@dataclass(frozen=True)
class Options:
    """Measures the cost of the soft encoding against that of a training step."""

    size: Side = 128
    """Height and width of the photos."""
    batch_size: Count = 16
    """Photos a step."""
    rounds: Count = 7
    """Rounds of measurements."""


def main():
    options = parse(Options, "-m benchmarks.soft_encoding", "[options]")
    keras.config.set_dtype_policy(choose_policy())
    experiment = EXPERIMENTS["zhang"]
    model = models.build(experiment)
    model.compile(make_optimizer(experiment, options.rounds))
    random = np.random.default_rng(0)
    shape = (options.batch_size, options.size, options.size)
    lightness = tf.constant(random.uniform(0, 100, (*shape, 1)), tf.float32)
    ab = tf.constant(random.uniform(-60, 60, (*shape, 2)), tf.float32)
    encode = tf.function(model.encode)

    runs = {
        "step": lambda: model.train_on_batch(lightness, ab),
        "encoding": lambda: encode(ab)[1].numpy(),
    }
    times = time_rounds(runs, options.rounds)
    print(f"{options.size}x{options.size}, batch {options.batch_size}, {choose_policy()}, medians of {options.rounds}")
    print(f"training step {show(times['step'], 2)} s, soft encoding {show(1000 * times['encoding'], 1)} ms")
    print(f"ratio {show(times['encoding'] / times['step'], 4)}")


if __name__ == "__main__":
    run(main)
