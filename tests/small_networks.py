"""Small networks, for tests that are not about their numbers: the paper's has few layers, others have few channels.

python -m tests.small_networks train.py [EXPERIMENT] [OPTIONS] trains one.
"""

import sys

import pytest

import train
from common.command_line import run
from models import classification, colornet, iizuka, local_features, published, zhang


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


if __name__ == "__main__":
    shrink(pytest.MonkeyPatch())
    del sys.argv[0]
    run(train.main)
