"""What training and colorizing cost, against the paper's published way and against their limits.

    python -m benchmarks.paper --dataset DIR

benchmarks/original.py is the published way. Both are timed by turns in one run, and ratios are taken within a round;
the table gives medians and ranges. The input pipeline is measured on one core, the network on all cores, memory in
processes of its own. Photos are those of the data set, resized to 256x256 and written as baseline JPEGs. The network is
the paper's at 256x256 with random weights.

The limit of the network's speed is what a product of two 4096x4096 matrices reaches in the same type. TensorFlow counts
the multiplications and additions in convolutions and matrix products; activations, up-sampling, the loss and the
optimizer count as nothing. A training step takes three times those of the forward pass: the gradients of the kernels
and of the layers' inputs take as many each.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from common.command_line import parse, prepare_imports, run, say

if __name__ == "__main__":
    prepare_imports()

import cv2
import keras
import numpy as np
import tensorflow as tf
from skimage import feature

import models
from benchmarks import original
from benchmarks.colorizing import write_gray
from benchmarks.timing import Rounds, call_in_process, print_table, show, time_rounds
from colorizing.photo import Pipeline
from common import images
from configs import EXPERIMENTS
from data.pairs import Pairs, TrainingOrder, lab_pair, training_crops, without_autotuning
from data.photos import PhotoStore, find_photos, is_gray
from models.edge_detection import canny
from models.precision import choose_policy
from training.optimizers import make_optimizer

CROP = (original.SIZE, original.SIZE)
BATCH_SIZE = original.BATCH_SIZE
# How many photos of the data set the input pipeline is measured on, about.
PHOTOS = 1024
# Megapixels of a large photo.
LARGE = 12
# Training steps in whose course memory reaches its peak.
STEPS = 3
# Rows and columns of the matrices whose product is the limit of the network's speed.
PRODUCT = 4096
PRODUCT_OPERATIONS = 2 * PRODUCT**3

HEADER = ("what", "unit", "package", "published way", "times better", "limit", "share of the limit")

Part = Literal["pipeline", "network", "memory"]


@dataclass(frozen=True, kw_only=True)
class Options(Rounds):
    """Compares the package's speed and memory with those of the paper's published code."""

    dataset: Path  # Folder of colour photos.
    parts: tuple[Part, ...] = get_args(Part)  # What to measure.


def compare(what, unit, package, original, limit=None, limit_name=""):
    """A figure of the package, that of the original and, where there is one, the limit, as a row under `HEADER`.

    Args:
        what: What was measured.
        unit: "photos/s", or "s" or "GB", of which less is better.
        package, original, limit: The figures, float [rounds].
        limit_name: What the limit is.
    """
    digits = 1 if unit == "photos/s" else 2

    def better_than(other):
        return show(package / other if unit == "photos/s" else other / package, 2)

    row = [what, unit, show(package, digits), show(original, digits), better_than(original)]
    return [*row, "", ""] if limit is None else [*row, f"{limit_name}: {show(limit, digits)}", better_than(limit)]


def make_photos(dataset, folder):
    """Writes the colour photos of a data set, evenly chosen, as baseline JPEGs of 256x256."""
    found = find_photos(dataset).paths
    for path in found[:: max(1, len(found) // PHOTOS)]:
        photo = images.read_photo(path)
        if not is_gray(photo):
            small = cv2.resize(photo, CROP, interpolation=cv2.INTER_CUBIC)
            images.write_photo(folder / f"{path.parent.name}-{path.stem}.jpg", small)


def exhaust(dataset):
    """Takes all batches of a data set."""
    for _ in dataset:
        pass


def pipeline(folder, rounds):
    """Compares the input pipeline and what it consists of. For a process of its own."""
    paths = find_photos(folder).paths
    factor = original.SATURATION_FACTOR
    order = TrainingOrder(np.arange(len(paths)), seed=0, flip=False)
    crops = training_crops(PhotoStore(paths, CROP, cache_bytes=0), order, BATCH_SIZE)
    pairs = Pairs(factor).of(crops).take(crops.steps)
    files = tf.data.Dataset.from_tensor_slices([str(path) for path in paths])
    decoded = files.map(lambda path: tf.io.decode_jpeg(tf.io.read_file(path), channels=3))
    decoded = without_autotuning(decoded.batch(BATCH_SIZE, drop_remainder=True))
    few = paths[: 2 * BATCH_SIZE]
    photos = np.stack([images.read_photo(path) for path in few])
    lightness = [original.lightness_and_ab(photo)[0].astype(np.float32) for photo in photos]
    colors = tf.function(lambda rgb: lab_pair(rgb, factor), jit_compile=True)
    edges = tf.function(canny)
    rgb, maps = tf.constant(photos[:BATCH_SIZE]), tf.constant(np.stack(lightness[:BATCH_SIZE])[..., None])
    whole = len(paths) // BATCH_SIZE * BATCH_SIZE
    # {name: (photos, function)}
    runs = {
        "pipeline": (whole, lambda: exhaust(pairs)),
        "crops": (whole, lambda: exhaust(crops.dataset.take(crops.steps))),
        "original pipeline": (len(few), lambda: exhaust(original.batches(few))),
        "decoding": (whole, lambda: exhaust(decoded)),
        "colors": (32 * BATCH_SIZE, lambda: [colors(rgb)[1][0, 0].numpy() for _ in range(32)]),
        "original colors": (len(few), lambda: [original.lightness_and_ab(photo) for photo in photos]),
        "edges": (8 * BATCH_SIZE, lambda: [edges(maps)[0, 0].numpy() for _ in range(8)]),
        "original edges": (len(few), lambda: [feature.canny(one) for one in lightness]),
    }
    times = time_rounds({name: function for name, (_, function) in runs.items()}, rounds)
    speed = {name: count / times[name] for name, (count, _) in runs.items()}
    # The published pipeline leaves no part to the training step, so it is what crops are compared with, too.
    published, limit = speed["original pipeline"], (speed["decoding"], "decoding alone")
    return [
        compare("input pipeline, one core", "photos/s", speed["pipeline"], published, *limit),
        compare("its crops, as a GPU gets them, one core", "photos/s", speed["crops"], published, *limit),
        compare("L and K alone, one core", "photos/s", speed["colors"], speed["original colors"]),
        compare("edge map alone, one core", "photos/s", speed["edges"], speed["original edges"]),
    ]


def operations(model, size):
    """Floating-point operations of a network's forward pass on one photo, as TensorFlow counts them.

    Args:
        model: A model whose inputs have one channel.
        size: Height and width of the photo.
    """
    profiler = tf.compat.v1.profiler
    inputs = keras.tree.map_structure(lambda _: tf.TensorSpec((1, size, size, 1)), model.input)
    graph = tf.function(model, autograph=False).get_concrete_function(inputs).graph
    options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation()).with_empty_output()
    node, total = profiler.profile(graph, cmd="op", options=options.build()), 0
    while node.children:
        (node,) = node.children
        total += node.float_ops if node.name.startswith(("Conv2D", "MatMul")) else 0
    return total


def make_product(dtype):
    """A function that multiplies two large matrices; it takes PRODUCT_OPERATIONS."""
    factor = tf.cast(tf.random.stateless_normal((PRODUCT, PRODUCT), seed=(0, 0)), dtype)
    product = tf.function(lambda: tf.matmul(factor, factor))
    return lambda: product()[0, 0].numpy()


def noise():
    """A batch of noise: L in 0..100, float32 [BATCH_SIZE, *CROP, 1], and ab, float32 [BATCH_SIZE, *CROP, 2]."""
    random = np.random.default_rng(0)
    lightness = random.uniform(0, 100, (BATCH_SIZE, *CROP, 1))
    ab = random.uniform(-60, 60, (BATCH_SIZE, *CROP, 2))
    return lightness.astype(np.float32), ab.astype(np.float32)


def make_step(published):
    """A function that takes a training step on noise: of the published network, as published, or of the package's."""
    keras.config.set_dtype_policy("float32" if published else choose_policy())
    lightness, target = noise()
    if published:
        model = original.network(CROP[0])
        model.compile(keras.optimizers.SGD(0.01), loss="mse")
        lightness, target = [lightness, np.float32(lightness > 75)], target / original.AB_SCALE
    else:
        model = models.build(EXPERIMENTS["paper"])
        model.compile(make_optimizer(EXPERIMENTS["paper"], 1000))
    # As tensors, since a step would copy arrays.
    inputs, target = tf.nest.map_structure(tf.constant, (lightness, target))
    return lambda: model.train_on_batch(inputs, target)


def network(folder, rounds):
    """Compares the training step, the network, and a large photo from file to file. For a process of its own."""
    # How many colours lie outside sRGB, and so how long painting takes, depends on the random weights.
    keras.utils.set_random_seed(0)
    policy = choose_policy()
    dtype = keras.DTypePolicy(policy).compute_dtype
    step, original_step = make_step(published=False), make_step(published=True)
    published = original.network()
    keras.config.set_dtype_policy(policy)
    model = models.build(EXPERIMENTS["paper"])
    lightness, _ = noise()
    photo, result = write_gray(folder / "large.jpg", LARGE), folder / "result.jpg"
    pipeline = Pipeline(model)
    colored = images.Photo(pipeline(images.read(photo).pixels))

    def predict():
        edges = [feature.canny(one[..., 0])[..., None].astype(np.float32) for one in lightness]
        published.predict_on_batch([lightness, np.stack(edges)])

    runs = {
        "step": step,
        "original step": original_step,
        "network": lambda: model.colorize(lightness).numpy(),
        "original network": predict,
        "product": make_product(dtype),
        "large": lambda: images.write(result, images.Photo(pipeline(images.read(photo).pixels))),
        "original large": lambda: original.colorize(published, photo, result),
        "files": lambda: (images.read(photo), images.write(result, colored)),
    }
    forward = operations(model, original.SIZE)
    for name, count in {"original": operations(published, original.SIZE), "package": forward}.items():
        say(f"{name}: {count / 1e9:.1f} GFLOP a photo, forward")
    times = time_rounds(runs, rounds)
    speed = {name: BATCH_SIZE / times[name] for name in ("step", "original step", "network", "original network")}
    rate = PRODUCT_OPERATIONS / times["product"]
    product, large = f"{dtype} matrix product", f"{LARGE} megapixels, file to file"
    return [
        compare("training step", "photos/s", speed["step"], speed["original step"], rate / (3 * forward), product),
        compare("network, L to ab", "photos/s", speed["network"], speed["original network"], rate / forward, product),
        compare(large, "s", times["large"], times["original large"], times["files"], "decoding and encoding"),
    ]


def take_steps(published):
    """Takes a few training steps, see `make_step`. For a process of its own."""
    step = make_step(published)
    for _ in range(STEPS):
        step()


def memory(rounds):
    """Compares the peak memory of training."""
    peaks = [[call_in_process(take_steps, published)[1] for published in (False, True)] for _ in range(rounds)]
    return [compare("training, peak memory", "GB", *np.transpose(peaks))]


def main():
    options = parse(Options, "-m benchmarks.paper")
    with tempfile.TemporaryDirectory() as folder:
        folder, rounds = Path(folder), options.rounds
        make_photos(options.dataset, folder / "photos")
        measure = {
            "pipeline": lambda: call_in_process(pipeline, folder / "photos", rounds, cores=1)[0],
            "network": lambda: call_in_process(network, folder, rounds)[0],
            "memory": lambda: memory(rounds),
        }
        rows = [row for part in options.parts for row in measure[part]()]
    print(f"{original.SIZE}x{original.SIZE}, batch {BATCH_SIZE}, {choose_policy()} against float32")
    print_table(HEADER, rows)


if __name__ == "__main__":
    run(main)
