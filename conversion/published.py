"""Turns weights that others published into a model of this package.

    pip install -r requirements-pretrained.txt
    python -m conversion.published zhang colorization_release_v2-9b330a0b.pth
    python test.py data/samples --model zhang-published

The network of Zhang et al. gives the colours of its authors' PyTorch code to within the rounding of float32, at heights
and widths that are multiples of 8; other sizes are padded to these here.
"""

import hashlib
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.command_line import describe_run, parse, prepare_imports, run

if __name__ == "__main__":
    prepare_imports()

import numpy as np
import tyro

import models
from common.errors import UserError, first_line
from common.files import replacing, write_json
from common.options import IfGiven, ModelFile
from configs import RUNS
from models.zhang import BLOCKS, ZhangColorizer, ab_bins

# What the authors' code multiplies the output of its last layer by.
AB_SCALE = 110
# Height and width of the pictures that the authors' demonstration shows the network.
NATIVE_SIZE = 256


def read_pth(path):
    """Reads a PyTorch file of weights: {name: array}.

    Raises:
        UserError: The file is damaged or holds something else than tensors.
    """
    import torch

    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        return {name: tensor.numpy() for name, tensor in weights.items()}
    except (RuntimeError, ValueError, EOFError, AttributeError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not a PyTorch file of weights ({first_line(error)}); download it again") from error


def zhang(weights):
    """The network of Zhang et al. with the weights of the authors' PyTorch class ECCVGenerator.

    Args:
        weights: {name: array}, as `read_pth` returns them.

    Returns:
        A `ZhangColorizer`. Its temperature of 0.38 gives the published colours: the PyTorch code takes the mean of the
        softmax as it is, so the last layer's weights are multiplied by 0.38 here.

    Raises:
        ModelError: These are other weights.
    """
    model = ZhangColorizer(native_size=NATIVE_SIZE)
    rest = {name: values for name, values in weights.items() if not str(name).endswith("num_batches_tracked")}

    def give(layer, source, scale=1.0):
        names = ("weight", "bias", "running_mean", "running_var")
        values = [rest.pop(f"{source}.{name}") for name in names if f"{source}.{name}" in rest]
        # PyTorch's kernels are [out, in, height, width], or [in, out, height, width] where transposed.
        values = [scale * (np.transpose(value, (2, 3, 1, 0)) if value.ndim == 4 else value) for value in values]
        model.get_layer(layer).set_weights(values)

    try:
        for block, layout in enumerate(BLOCKS, start=1):
            for number in range(len(layout)):
                give(f"block_{block}_{number + 1}", f"model{block}.{2 * number}")
            give(f"block_{block}_norm", f"model{block}.{2 * len(layout)}")
        for number in range(3):
            give(f"block_8_{number + 1}", f"model8.{2 * number}")
        give("logits", "model8.6", scale=model.temperature)
        bins = AB_SCALE * rest.pop("model_out.weight").reshape(2, -1).T
    except (KeyError, ValueError, AttributeError) as error:
        raise models.ModelError(f"not the weights of the network of Zhang et al. ({error})") from error
    if rest:
        raise models.ModelError(f"not the weights of the network of Zhang et al. (there is {next(iter(rest))}, too)")
    if bins.shape != ab_bins().shape or np.abs(bins - ab_bins()).max() > 0.01:
        raise models.ModelError("weights of the network of Zhang et al., but for other bins of ab")
    return model


@dataclass(frozen=True)
class Options:
    """Turns weights that others published into a model of this package."""

    # Whose: zhang, a state dict of the class ECCVGenerator of github.com/richzhang/colorization.
    network: tyro.conf.Positional[Literal["zhang"]]
    file: tyro.conf.Positional[Path]  # The downloaded file.
    # The model's file. Default: model.keras in the folder NETWORK-published of RUNS (configs.py).
    output: IfGiven[ModelFile] = None


def main():
    options = parse(Options, "-m conversion.published")
    output = options.output or RUNS / f"{options.network}-published" / "model.keras"
    try:
        model = zhang(read_pth(options.file))
    except models.ModelError as error:
        raise models.ModelError(f"{options.file}: {error}") from error
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output) as path:
        models.save(model, path)
    made = {"file": options.file.name, "sha256": hashlib.sha256(options.file.read_bytes()).hexdigest()}
    write_json(output.with_suffix(".json"), {**made, **describe_run()})
    print(f"{output}: the published weights of {options.network}")


if __name__ == "__main__":
    run(main)
