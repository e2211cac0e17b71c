"""One of the processes that test_distribution.py starts: trains the paper's network and leaves its final weights.

python tests/training_process.py PHOTOS RUN_FOLDER WEIGHTS_FILE DEVICES EPOCHS
"""

import dataclasses
import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from common.command_line import run
from configs import EXPERIMENTS
from tests.small_networks import shrink
from training import trainer


def main():
    photos, folder, weights, devices, epochs = sys.argv[1:]
    shrink(pytest.MonkeyPatch())
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * int(devices))
    experiment = dataclasses.replace(
        EXPERIMENTS["paper"],
        dataset=(Path(photos),),
        crop=(48, 48),
        classification_size=32,
        edges=False,
        validation_fraction=0.25,
        batch_size=6,
        epochs=int(epochs),
        policy="float32",
    )
    keep = KeepWeights()
    make_callbacks = trainer.make_callbacks
    trainer.make_callbacks = lambda *arguments: [*make_callbacks(*arguments), keep]
    history = trainer.train(experiment, Path(folder), resume=True)
    assert (Path(folder) / "model.keras").exists()  # On the other machines, too: none ends before the chief.
    np.savez(weights, *keep.weights)
    print(json.dumps(history))


class KeepWeights(keras.callbacks.Callback):
    def on_train_end(self, logs=None):
        self.weights = self.model.get_weights()


if __name__ == "__main__":
    run(main)
