"""Writes a trained colorizer for other runtimes: ONNX, TensorFlow SavedModel, LiteRT.

python export.py natural                             L to ab, as ONNX: outputs/natural.onnx
python export.py natural --photo                     photo to photo: outputs/natural-photo.onnx
python export.py natural --format litert             another format
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from common.command_line import parse, prepare_imports, run, say

if __name__ == "__main__":
    prepare_imports()

import keras
import tyro

import models
from colorizing.export import INTERFACES, SUFFIXES, WRITERS, check_output, make_graph, megabytes
from common.options import IfGiven, Model, OutputFile
from common.trained import short_names
from configs import MODEL, OUTPUTS


@dataclass(frozen=True)
class Options:
    """Writes a trained colorizer for other runtimes, for L or photos of any height and width."""

    model: tyro.conf.Positional[Model] = MODEL
    format: Literal[*WRITERS] = "onnx"  # ONNX file, TensorFlow SavedModel folder, or LiteRT file.
    photo: bool = False  # A photo goes in and comes out, uint8; without this, L goes in and ab comes out, float32.
    # File, or folder of a SavedModel; replaced if there is one. Default: named after the model, in outputs/.
    output: Annotated[IfGiven[OutputFile], tyro.conf.arg(aliases=["-o"])] = None


def main():
    options = parse(Options, "export.py")
    keras.config.set_dtype_policy("float32")
    (name,) = short_names([options.model])
    default = OUTPUTS / f"{name}{'-photo' if options.photo else ''}{SUFFIXES[options.format]}"
    path = options.output or default
    path.absolute()  # An error where the working directory is gone.
    check_output(path, options.format)
    model = models.load(options.model)
    path.parent.mkdir(parents=True, exist_ok=True)
    WRITERS[options.format](make_graph(model, options.photo), path)
    say(f"{path}, {megabytes(path):.1f} MB: {INTERFACES[options.photo]}")


if __name__ == "__main__":
    run(main)
