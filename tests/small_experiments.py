"""Small experiments and the photos of some, for tests of training."""

import dataclasses

import numpy as np

from common.images import write_photo
from configs import EXPERIMENTS, SAMPLES

SMALL = dict(dataset=(SAMPLES,), crop=(64, 64), classification_size=64, edges=False, policy="float32")
# For tests that are not about the optimizer. AdamW and a schedule take longer to trace than all of a small network.
PLAIN = dict(optimizer="sgd", schedule="constant")


def small(name, **changes):
    """A named experiment on the sample photos, with small crops and without edge maps; the changes come last."""
    return dataclasses.replace(EXPERIMENTS[name], **{**SMALL, **changes})


def class_folders(folder, photos):
    """Writes six photos to each of two class folders; returns the folder that holds these."""
    for number in range(12):
        write_photo(folder / ("sea", "wood")[number % 2] / f"{number}.png", np.roll(photos[number % 4], number, axis=1))
    return folder
