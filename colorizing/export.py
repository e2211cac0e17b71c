"""Trained colorizers as graphs for other runtimes: ONNX, TensorFlow SavedModel, LiteRT.

A graph takes L and returns ab in Lab units, or takes a photo and returns it in colour as `colorizing.photo.Pipeline`
does. It contains everything, including the edge map, and takes any height and width in every format.
"""

import logging
import tempfile
from pathlib import Path

import tensorflow as tf

from colorizing.enlarge import GAIN, SCALE, guided_ab, slopes
from colorizing.photo import reduced_size
from common.errors import OptionError
from common.files import write_whole
from models.layers import resize_with
from utils import encode_rgb, lightness_from_gray, lightness_from_rgb, neutral_from_lightness

SUFFIXES = {"onnx": ".onnx", "savedmodel": "-savedmodel", "litert": ".tflite"}
DIMENSIONS = ("batch", "height", "width", "channels")
# What a graph takes and returns, by `photo` of `make_graph`.
INTERFACES = {
    False: "lightness float32 [batch, height, width, 1] -> ab float32 [batch, height, width, 2]",
    True: "photo uint8 [1, height, width, 1 or 3] -> colorized uint8 [1, height, width, 3]",
}
# The cubic kernel's slope at distance 1, as in OpenCV.
CUBIC_SLOPE = -0.75


def make_graph(model, photo=False):
    """The tf.function that is exported. Its signature names the one input.

    Args:
        model: A colorizer, see models/colorizer.py, built under the float32 policy.
        photo: Whether photos go in and come out.

    Returns:
        A function from `lightness`, float32 [batch, height, width, 1], L in 0..100, to {"ab": float32 [batch, height,
        width, 2] in Lab units}; or, for photos, from `photo`, uint8 [1, height, width, 1 or 3], gray or sRGB, to
        {"colorized": uint8 [1, height, width, 3], sRGB}.
    """
    if photo:
        signature = tf.TensorSpec([1, None, None, None], tf.uint8, "photo")

        def infer(photo):
            return {"colorized": colorize_photo(model, photo)}
    else:
        signature = tf.TensorSpec([None, None, None, 1], tf.float32, "lightness")

        def infer(lightness):
            return {"ab": model.infer(lightness)}

    return tf.function(infer, input_signature=[signature], autograph=False)


def colorize_photo(model, photo):
    """What `colorizing.photo.Pipeline` does, in operations that every runtime has: matrix products resize.

    Input and output are those of `make_graph`. Of a colour photo only the lightness is used.
    """
    height, width = tf.unstack(tf.shape(photo)[1:3])
    rgb = tf.ensure_shape(tf.broadcast_to(photo, tf.stack([1, height, width, 3])), [1, None, None, 3])
    lightness = lightness_from_rgb(rgb)
    rows, columns = reduced_size(height, width, model.native_size, model.grid, tf.minimum, tf.maximum)
    # In steps of 1/255, as colorizing/photo.py reduces the gray photo.
    gray = tf.round(neutral_from_lightness(lightness) * 255)
    gray = tf.round(resize_with(area_matrix(height, rows), area_matrix(width, columns), gray)) / 255
    small_lightness = lightness_from_gray(gray)
    ab = model.infer(small_lightness)

    slope = GAIN * slopes(ab, small_lightness, mean_of_nine)
    round_trip = resize_with(round_trip_matrix(rows), round_trip_matrix(columns), ab)
    channels = tf.concat([2 * ab - round_trip, slope, small_lightness], axis=-1)
    enlarged = resize_with(cubic_matrix(rows, height), cubic_matrix(columns, width), channels)
    a, b = guided_ab(tf.unstack(enlarged, axis=-1), lightness[..., 0])
    return encode_rgb(tf.stack([lightness[..., 0], a, b], axis=-1), tf.uint8)


def area_matrix(size, new_size):
    """The matrix [new_size, size] that resizes a vector as cv2.INTER_AREA does: by the share of each pixel covered."""
    size, new_size = tf.cast(size, tf.float32), tf.cast(new_size, tf.float32)
    start = tf.range(new_size)[:, None] * (size / new_size)
    end = (tf.range(new_size)[:, None] + 1) * (size / new_size)
    pixels = tf.range(size)[None]
    covered = tf.maximum(tf.minimum(end, pixels + 1) - tf.maximum(start, pixels), 0)
    return covered / tf.reduce_sum(covered, axis=1, keepdims=True)


def cubic_matrix(size, new_size):
    """The matrix [new_size, size] that resizes a vector as cv2.INTER_CUBIC does, with repeated end values."""
    scale = tf.cast(size, tf.float32) / tf.cast(new_size, tf.float32)
    center = (tf.range(tf.cast(new_size, tf.float32)) + 0.5) * scale - 0.5
    # The kernel reaches two pixels to each side.
    pixels = tf.range(-2, size + 2)
    distance = tf.abs(center[:, None] - tf.cast(pixels, tf.float32))
    near = ((CUBIC_SLOPE + 2) * distance - (CUBIC_SLOPE + 3)) * distance**2 + 1
    far = ((distance - 5) * distance + 8) * distance * CUBIC_SLOPE - 4 * CUBIC_SLOPE
    weights = tf.where(distance < 1, near, tf.where(distance < 2, far, 0.0))
    return tf.matmul(weights, tf.one_hot(tf.clip_by_value(pixels, 0, size - 1), size))


def mean_of_nine(values):
    """The mean over each pixel's 3x3 neighbourhood of values, [1, height, width, channels], mirrored at the borders."""
    return tf.nn.avg_pool2d(tf.pad(values, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC"), 3, 1, "VALID")


def round_trip_matrix(size):
    """The matrix [size, size] that enlarges a vector, as `colorizing.enlarge.sharpen` does, and reduces it again."""
    return tf.matmul(area_matrix(SCALE * size, size), cubic_matrix(size, SCALE * size))


def write_onnx(graph, path):
    """Writes a graph (see `make_graph`) as an ONNX file."""
    import onnx
    import tf2onnx

    # It prints a traceback where one of its optimizations does not apply, and goes on.
    tf2onnx.logging.set_level(tf2onnx.logging.ERROR)
    proto, _ = tf2onnx.convert.from_function(graph, graph.input_signature)
    for value in (*proto.graph.input, *proto.graph.output):
        for dimension, name in zip(value.type.tensor_type.shape.dim, DIMENSIONS, strict=True):
            if not dimension.dim_value:
                dimension.dim_param = name
    # The converter leaves operations that ONNX does not have in the graph.
    onnx.checker.check_model(proto)
    write_whole(path, proto.SerializeToString())


def write_savedmodel(graph, path):
    """Writes a graph (see `make_graph`) as the default signature of a TensorFlow SavedModel, which is a folder."""
    module = tf.Module()
    module.variables_of_graph = graph.get_concrete_function().variables
    module.graph = graph
    with tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as temporary:
        new, old = Path(temporary) / "new", Path(temporary) / "old"
        tf.saved_model.save(module, new, signatures=graph)
        if path.exists():
            path.rename(old)
        new.rename(path)


def write_litert(graph, path):
    """Writes a graph (see `make_graph`) as a LiteRT file."""
    # Without an object that holds the variables the converter freezes them first, which it needs for UpSampling2D at
    # unknown sizes. It warns that this way is deprecated.
    logging.getLogger("absl").setLevel(logging.ERROR)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([graph.get_concrete_function()])
    write_whole(path, converter.convert())


WRITERS = {"onnx": write_onnx, "savedmodel": write_savedmodel, "litert": write_litert}


def megabytes(path):
    """Size of an exported file or folder."""
    return sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file()) / 1e6


def check_output(path, kind):
    """Checks that a result of a kind, a key of `WRITERS`, may be written to `path`.

    Raises OptionError where what is there cannot be replaced, or where the suffix is not that of the kind.
    """
    if kind != "savedmodel" and path.is_dir():
        raise OptionError(f"{path}: a folder, where a file shall be written; choose another --output")
    if kind == "savedmodel" and path.exists() and not (path / "saved_model.pb").is_file():
        raise OptionError(f"{path}: exists and is not a SavedModel, so it is not replaced; choose another --output")
    if path.suffix == ".keras":
        raise OptionError(f"{path}: a name for a model of this project, which is not replaced; choose another --output")
    meant = {suffix: name for name, suffix in SUFFIXES.items()}.get(path.suffix, kind)
    if meant != kind:
        raise OptionError(f"{path}: a name for --format {meant}, but the format is {kind}; change one of them")
    if kind != "savedmodel" and path.suffix != SUFFIXES[kind]:
        raise OptionError(f"{path}: use a name that ends in {SUFFIXES[kind]}")
