"""Small networks, for tests that are not about their numbers: few layers or few channels.

python -m tests.small_networks SCRIPT [ARGUMENTS] runs a script with them.
"""

import importlib
import sys

import keras
import numpy as np
import pytest

from common.command_line import prepare_imports, run
from conversion import published
from models import attention, classification, colornet, efficientnet, iizuka, local_features, residual_encoder, zhang


def few(layout):
    """A layout with an eighth of the filters."""
    return tuple((filters // 8, *rest) for filters, *rest in layout)


def small_vgg16(include_top, weights):
    """`keras.applications.VGG16` with an eighth of the filters."""
    features = photo = keras.Input((None, None, 3))
    for filters, count in ((8, 2), (16, 2), (32, 3), (64, 3), (64, 3)):
        for _ in range(count):
            features = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(features)
        features = keras.layers.MaxPooling2D()(features)
    return keras.Model(photo, features)


LAYERS = ((16, 2), (32, 2), (32, 2))
BLOCKS = tuple(few(layout[-2:]) for layout in zhang.BLOCKS)
STAGES = [(*kind, filters // 4, 1, by) for *kind, filters, _, by in efficientnet.STAGES]
STAGES[1] = (*STAGES[1][:3], 2, 2)  # One stage with a block that adds its input.
SMALL = (
    (classification, "LAYERS", LAYERS),
    (classification, "DENSE", tuple(units // 8 for units in classification.DENSE)),
    (local_features, "LAYERS", LAYERS),
    (iizuka, "LOW_LEVEL", LAYERS),
    (iizuka, "MID_LEVEL", ((32, 1),)),
    (iizuka, "GLOBAL", ((32, 2), (32, 2))),
    (iizuka, "GLOBAL_DENSE", tuple(units // 8 for units in iizuka.GLOBAL_DENSE)),
    (zhang, "BLOCKS", BLOCKS),
    (published, "BLOCKS", BLOCKS),
    (colornet, "FILTERS", (8, 16, 32)),
    (attention, "BLOCKS", 1),
    (efficientnet, "STAGES", tuple(STAGES)),
    (keras.applications, "VGG16", small_vgg16),
    (
        residual_encoder,
        "ENCODERS",
        {
            name: (stride, tuple(width // 8 for width in widths))
            for name, (stride, widths) in residual_encoder.ENCODERS.items()
        },
    ),
)


def shrink(patch):
    """Makes networks small that are built until a `pytest.MonkeyPatch` is undone."""
    for module, name, value in SMALL:
        patch.setattr(module, name, value)


class Gray:
    """The cheapest network, for tests of what is around it: paints one ab everywhere, here none."""

    native_size = 32
    grid = 8
    dtype_policy = keras.DTypePolicy("float32")
    ab = (0, 0)

    def colorize(self, lightness):
        return np.full((*lightness.shape[:3], 2), self.ab, np.float32)

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
    prepare_imports()
    shrink(pytest.MonkeyPatch())
    del sys.argv[0]
    run(importlib.import_module(sys.argv[0].removesuffix(".py")).main)
