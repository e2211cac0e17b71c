"""The tf.data pipeline of L-to-ab pairs.

Photos are cropped in Python, a batch at a time, and turned into pairs by one compiled function. Order, crops and flips
are pure functions of the seed and the epoch, so a run sees the same crops when it is resumed or shared by several
machines.
"""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from utils import ab_from_rgb, lightness_from_gray, lightness_from_rgb, saturate

# Shards whose photos are shuffled together: enough to mix classes, few enough to read nearly in sequence.
SHARDS_AT_A_TIME = 8
# In place of the end of a data set without one: Dataset.counter is traced, which Dataset.range is not.
NO_END = 2**63 - 1


def lab_pair(rgb, saturation_factor, chroma_factor=1.0):
    """L of the photo and K, the ab of the photo with its saturation raised (paper, section 3.5).

    Args:
        rgb: uint8 [..., 3].
        saturation_factor: The paper's T. With 1, K is the photo's own ab.
        chroma_factor: Factor on K. It keeps the hue of blue, which T turns towards violet.

    Returns:
        (L in 0..100, ab in Lab units), float32 [..., 1] and [..., 2].
    """
    saturated = rgb if saturation_factor == 1 else saturate(tf.cast(rgb, tf.float32) / 255, saturation_factor)
    return lightness_from_rgb(rgb), chroma_factor * ab_from_rgb(saturated)


def crop_pair(pixels, saturation_factor, chroma_factor):
    """`lab_pair` of crops, uint8 [batch, height, width, 3 or 4]; L comes from a fourth channel, the gray picture."""
    lightness, ab = lab_pair(pixels[..., :3], saturation_factor, chroma_factor)
    return lightness_from_gray(pixels[..., 3:]) if pixels.shape[-1] == 4 else lightness, ab


@functools.cache
def compiled_crop_pair(*factors):
    """`crop_pair` with its two factors fixed, compiled once for all data sets: each shape takes half a second."""
    return tf.function(lambda pixels: crop_pair(pixels, *factors), jit_compile=True, autograph=False)


@dataclass(frozen=True)
class Pairs:
    """Turns crops into the pairs that a network learns from."""

    saturation_factor: float  # See `lab_pair`.
    labels: np.ndarray | None = None  # Class of each photo, int32 [photos]; None for networks that do not classify.
    chroma_factor: float = 1.0  # See `lab_pair`.
    photo_factors: np.ndarray | None = None  # A further factor on K for each photo, float32 [photos]; None for 1.

    def __call__(self, pixels, indices):
        """(L, ab) of crops, or (L, (ab, labels)).

        The crops are given by their pixels, see `crop_pair`, and the numbers of their photos, int64 [batch].
        """
        return self._of_photos(*crop_pair(pixels, self.saturation_factor, self.chroma_factor), indices)

    def of(self, crops):
        """The pairs of `Crops`, a tf.data.Dataset that computes them on the CPU."""
        pair = compiled_crop_pair(self.saturation_factor, self.chroma_factor)

        @tf.autograph.experimental.do_not_convert
        def of_photos(pixels, indices):
            return self._of_photos(*pair(pixels), indices)

        return crops.dataset.map(of_photos).prefetch(2)

    def _of_photos(self, lightness, ab, indices):
        if self.photo_factors is not None:
            ab *= tf.gather(self.photo_factors, indices)[:, None, None, None]
        return lightness, ab if self.labels is None else (ab, tf.gather(self.labels, indices))


@dataclass(frozen=True)
class ReplicaShare:
    """The part of each training step that one process works on.

    A step takes a batch from each replica: a device of this process or of another one.
    """

    replicas: int = 1  # Number of replicas of all processes.
    first: int = 0  # Number of this process's first replica, from 0.
    count: int = 1  # Number of this process's replicas.

    @property
    def machines(self):
        """Number of processes, one on each machine."""
        return self.replicas // self.count

    @property
    def is_chief(self):
        """Whether this process is the first one, which alone writes the run's folder."""
        return self.first == 0

    def batches(self, steps):
        """Numbers of this process's batches among the batches of all replicas, from 0: int64 [steps * count]."""
        return (np.arange(steps)[:, None] * self.replicas + self.first + np.arange(self.count)).ravel()


ALONE = ReplicaShare()


def sampling_weights(labels, factors):
    """How often to draw each photo relative to others, from its class, int32, and a further factor: float64 [photos].

    A class is drawn in proportion to the square root of its number of photos. In proportion to the number, large
    classes would hide small ones; equally often, photos of small classes would be memorized.
    """
    return factors / np.sqrt(np.bincount(labels)[labels])


@dataclass(eq=False)
class TrainingOrder:
    """Which photo comes when and how it is cropped, epoch by epoch."""

    indices: np.ndarray  # The photos, int64 [photos].
    seed: int  # Of the order, crops and flips.
    flip: bool  # Mirror half of the photos.
    shards: np.ndarray | None = None  # Of each photo, int32, so that few are read from at a time; None for files.
    weights: np.ndarray | None = None  # See `sampling_weights`; None to draw each photo once an epoch.
    old_film: float = 0.0  # Share of the photos whose gray input imitates old film.

    def __post_init__(self):
        # Keeps two epochs: the first photos of one are loaded while the last of the one before still are.
        self.plan = functools.lru_cache(maxsize=2)(self._plan)

    def _plan(self, epoch):
        """(indices int64 [photos], draws float32 [photos, 4]) of an epoch, from 0; see `PhotoStore.load_crops`."""
        random = np.random.default_rng([self.seed, epoch])
        order = self._shuffle(random)
        count = len(self.indices)
        draws = np.zeros((count, 4), np.float32)
        draws[:, :3] = random.random((count, 3), dtype=np.float32)
        draws[:, 2] = self.flip & (draws[:, 2] < 0.5)
        if self.old_film:
            chosen = random.random(count) < self.old_film
            draws[:, 3] = chosen * (1 - random.random(count, dtype=np.float32))
        return self.indices[order], draws

    def _shuffle(self, random):
        if self.weights is not None:
            return self._draw(random)
        if self.shards is None:
            return random.permutation(len(self.indices))
        shards = random.permutation(np.unique(self.shards))
        windows = [shards[start : start + SHARDS_AT_A_TIME] for start in range(0, len(shards), SHARDS_AT_A_TIME)]
        return np.concatenate([random.permutation(np.flatnonzero(np.isin(self.shards, window))) for window in windows])

    def _draw(self, random):
        """Systematic sampling: as many draws as photos, each photo as often as its weight says, rounded up or down."""
        order = random.permutation(len(self.weights))
        ends = np.cumsum(self.weights[order])
        places = (np.arange(len(order)) + random.random()) / len(order) * ends[-1]
        return random.permutation(order[np.searchsorted(ends, places, side="right")])


@dataclass(frozen=True)
class Crops:
    """Batches of crops, epoch after epoch without end."""

    steps: int  # Training steps an epoch; a step takes one batch for each of this process's replicas.
    make_dataset: Callable[[], tf.data.Dataset]

    @functools.cached_property
    def dataset(self):
        """(crops uint8 [batch, height, width, channels], numbers of their photos int64 [batch]), see `load_crops`."""
        return self.make_dataset()


def training_crops(store, order, batch_size, share=ALONE, epoch=0, step=0):
    """The `Crops` of a `TrainingOrder`, for training.

    An epoch has as many photos as the order, less the remainder that fills no step. In place of a photo that the store
    skips comes the next one in the order.

    Args:
        store: A `PhotoStore` that can use at least one of the photos.
        order: A `TrainingOrder`.
        batch_size: Crops a batch, of which one replica gets one a step.
        share: The batches of this process.
        epoch, step: Where to begin: the epoch, and the step in it, from 0.
    """
    steps = len(order.indices) // (batch_size * share.replicas)
    batches = share.batches(steps)
    bounds = np.stack([batches, batches + 1], axis=1) * batch_size
    start = (epoch * steps + step) * share.count
    return Crops(steps, lambda: _load(store, order.plan, bounds, start, batch_size))


def validation_crops(store, indices, batch_size, share=ALONE):
    """Central crops in the order of the indices: all of them, in batches of almost equal size. See `training_crops`."""
    count = len(indices)
    steps = -(-count // (batch_size * share.replicas))
    batches = share.batches(steps)
    starts, stops = (numbers * count // (steps * share.replicas) for numbers in (batches, batches + 1))
    # With fewer photos than replicas some are shown twice, since no batch may be empty.
    bounds = np.stack([starts, np.maximum(stops, starts + 1)], axis=1)
    central = indices, np.tile(np.float32([0.5, 0.5, 0, 0]), (count, 1))
    return Crops(steps, lambda: _load(store, lambda epoch: central, bounds))


def _load(store, plan, bounds, start=0, batch_size=None):
    """Endless batches of crops.

    Args:
        plan: Function from an epoch to its photos and draws, see `TrainingOrder.plan`.
        bounds: Places in the plan where each batch of an epoch begins and ends, int64 [batches, 2].
        start: Number of the first batch.
        batch_size: Crops in each batch; None where that differs.
    """

    def load(number):
        epoch, batch = divmod(number, len(bounds))
        return store.load_crops(*plan(int(epoch)), range(*bounds[batch]))

    @tf.autograph.experimental.do_not_convert
    def crops(number):
        pixels, indices = tf.numpy_function(load, [number], (tf.uint8, tf.int64), stateful=False)
        pixels = tf.ensure_shape(pixels, [batch_size, *store.crop, store.channels])
        return pixels, tf.ensure_shape(indices, [batch_size])

    numbers = tf.data.Dataset.range(start, NO_END)
    return without_autotuning(numbers.map(crops, num_parallel_calls=os.cpu_count()).prefetch(2))


def without_autotuning(dataset):
    """The dataset without tf.data's autotuning.

    Autotuning reads no faster than one call a core, and its thread delays the end of a loop by up to a minute.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def mean_ab(store, indices, photos=1000):
    """Mean ab in Lab units, float64 [2], of the photos of a `PhotoStore` with these numbers, int64.

    Of more than `photos`, so many evenly chosen ones count. The store can use at least one of them.
    """
    chosen = indices[np.linspace(0, len(indices) - 1, min(photos, len(indices))).astype(int)]
    loaded = [photo for photo in map(store.load, chosen) if photo is not None]
    means = [ab_from_rgb(tf.constant(photo)).numpy().mean(axis=(0, 1), dtype=np.float64) for photo in loaded]
    return np.mean(means, axis=0)
