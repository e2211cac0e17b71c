"""Small experiments and the photos of some, for tests of training."""

import contextlib
import dataclasses
import functools

import numpy as np
import pytest

from common.images import write_photo
from configs import EXPERIMENTS, SAMPLES
from models.colorizer import Colorizer

SMALL = dict(dataset=(SAMPLES,), crop=(64, 64), classification_size=64, edges=False, policy="float32")
# For tests that are not about the optimizer. AdamW and a schedule take longer to trace than all of a small network.
PLAIN = dict(optimizer="sgd", schedule="constant")


def small(name, **changes):
    """A named experiment on the sample photos, with small crops and without edge maps; the changes come last."""
    return dataclasses.replace(EXPERIMENTS[name], **{**SMALL, **changes})


@contextlib.contextmanager
def uncompiled():
    """A context, or decorator, in which training steps are not compiled, for tests of what is around the steps.

    Compiling takes longer than all steps of a small run.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Colorizer, "compile", functools.partialmethod(Colorizer.compile, run_eagerly=True))
        yield


def class_folders(folder, photos):
    """Writes six photos to each of two class folders; returns the folder that holds these."""
    for number in range(12):
        write_photo(folder / ("sea", "wood")[number % 2] / f"{number}.png", np.roll(photos[number % 4], number, axis=1))
    return folder
