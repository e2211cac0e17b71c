"""How close exported models come to Keras, and how fast they are, each in its own runtime.

    python -m benchmarks.export

Keras is the graph that is exported, run by TensorFlow. Photos go in at their full size with --photo, and otherwise as
what the network sees of them (`colorizing.photo.Pipeline.reduce`). A round takes all photos once through each
runtime; ratios are taken within a round. Differences are in steps of 1/255: of sRGB, or for ab of 255 Lab units, so 1
is one Lab unit.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from common.command_line import counted, parse, prepare_imports, run

if __name__ == "__main__":
    prepare_imports()

import keras
import numpy as np
import onnxruntime
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import models
from benchmarks.timing import Rounds, print_table, show, time_rounds
from colorizing.export import SUFFIXES, WRITERS, make_graph, megabytes
from colorizing.photo import Pipeline
from common.images import read_photo
from common.options import Model
from configs import MODEL, SAMPLES
from data.photos import find_photos

# Sample photos, the first by name.
PHOTOS = 10


@dataclass(frozen=True)
class Options(Rounds):
    """Compares exported models with Keras, in closeness and speed."""

    model: Model = MODEL
    photo: bool = False  # Export the form that takes and gives photos.


def open_onnx(path):
    """A function from input to output array that runs a file in ONNX Runtime."""
    session = onnxruntime.InferenceSession(path)
    (signature,) = session.get_inputs()
    return lambda array: session.run(None, {signature.name: array})[0]


def open_savedmodel(path):
    """A function from input to output array that runs a folder in TensorFlow, without Keras."""
    return open_graph(tf.saved_model.load(path).signatures["serving_default"])


def open_litert(path):
    """A function from input to output array that runs a file in LiteRT."""
    interpreter = Interpreter(str(path), num_threads=os.cpu_count())
    (signature,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()

    def infer(array):
        interpreter.resize_tensor_input(signature["index"], array.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(signature["index"], array)
        interpreter.invoke()
        return interpreter.get_tensor(output["index"])

    return infer


RUNTIMES = {"onnx": open_onnx, "savedmodel": open_savedmodel, "litert": open_litert}


def open_graph(graph):
    """A function from input to output array that runs a function of tensors, see `colorizing.export.make_graph`."""

    def infer(array):
        (output,) = graph(tf.constant(array)).values()
        return output.numpy()

    return infer


def main():
    options = parse(Options, "-m benchmarks.export")
    keras.config.set_dtype_policy("float32")
    model = models.load(options.model)
    photos = [read_photo(path) for path in find_photos(SAMPLES).paths[:PHOTOS]]
    inputs = [(photo if options.photo else Pipeline(model).reduce(photo))[None] for photo in photos]
    graph = make_graph(model, options.photo)
    runtimes, sizes = {"keras": open_graph(graph)}, {}
    with tempfile.TemporaryDirectory() as folder:
        for format, write in WRITERS.items():
            path = Path(folder) / f"model{SUFFIXES[format]}"
            write(graph, path)
            sizes[format] = megabytes(path)
            runtimes[format] = RUNTIMES[format](path)
        runs = {name: lambda infer=infer: [infer(array) for array in inputs] for name, infer in runtimes.items()}
        outputs = {name: infer_all() for name, infer_all in runs.items()}
    times = time_rounds(runs, options.rounds)
    rows = [["keras", "", show(PHOTOS / times["keras"], 1), "", "", ""]]
    for name, size in sizes.items():
        pairs = zip(outputs[name], outputs["keras"], strict=True)
        difference = np.concatenate([np.abs(one.astype(np.float32) - other).ravel() for one, other in pairs])
        speed, ratio = show(PHOTOS / times[name], 1), show(times["keras"] / times[name], 2)
        largest, most = difference.max(), np.quantile(difference, 0.999)
        rows.append([name, f"{size:.1f}", speed, ratio, f"{largest:.2g}", f"{most:.2g}"])
    work, rounds = "photos" if options.photo else "L to ab", counted(options.rounds, "round")
    print(f"{options.model}, {work}, medians (ranges) of {rounds}\n")
    print_table(["", "MB", "photos/s", "speed / Keras", "largest difference", "99.9 % within"], rows)


if __name__ == "__main__":
    run(main)
