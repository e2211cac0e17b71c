"""Small networks, for tests that are not about their numbers: few layers or few channels.

python -m tests.small_networks train.py [EXPERIMENT] [OPTIONS] trains one.
"""

import sys

import keras
import numpy as np
import pytest

import train
from common.command_line import run
from models import classification, colornet, efficientnet, iizuka, local_features, published, residual_encoder, zhang


def shrink(patch):
    """Makes networks small that are built until a `pytest.MonkeyPatch` is undone."""

    def few(layout):
        return tuple((filters // 8, *rest) for filters, *rest in layout)

    for module in (classification, local_features):
        patch.setattr(module, "LAYERS", ((16, 2), (32, 2), (32, 2)))
    for name in ("LOW_LEVEL", "MID_LEVEL", "GLOBAL"):
        patch.setattr(iizuka, name, few(getattr(iizuka, name)))
    blocks = tuple(map(few, zhang.BLOCKS))
    for module in (zhang, published):
        patch.setattr(module, "BLOCKS", blocks)
    for module, name in ((classification, "DENSE"), (iizuka, "GLOBAL_DENSE"), (colornet, "FILTERS")):
        patch.setattr(module, name, tuple(units // 8 for units in getattr(module, name)))
    stages = [(*kind, filters // 4, 1, by) for *kind, filters, _, by in efficientnet.STAGES]
    stages[1] = (*stages[1][:3], 2, 2)  # One stage with a block that adds its input.
    patch.setattr(efficientnet, "STAGES", tuple(stages))
    for name, (encoder, stride, widths) in residual_encoder.ENCODERS.items():
        patch.setitem(residual_encoder.ENCODERS, name, (encoder, stride, tuple(width // 8 for width in widths)))


class Gray:
    """The cheapest network, for tests of what is around it: paints nothing."""

    native_size = 32
    grid = 8

    def colorize(self, lightness):
        return np.zeros((*lightness.shape[:3], 2), np.float32)

    def features(self, lightness):
        return None


def build_small(build):
    """What a function builds under float32 and from seed 0 while networks are small."""
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        return build()


def with_colors(model):
    """A residual encoder whose colours are not those it starts from, gray."""
    kernel = model.get_layer("output").kernel
    kernel.assign(keras.random.normal(kernel.shape, stddev=0.1, seed=0))
    return model


if __name__ == "__main__":
    shrink(pytest.MonkeyPatch())
    del sys.argv[0]
    run(train.main)
