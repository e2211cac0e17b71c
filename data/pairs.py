"""The tf.data pipeline of L-to-ab pairs.

Photos are cropped in Python, a batch at a time, and turned into pairs by one compiled function. The order of the photos
and where each is cropped and flipped are pure functions of (seed, epoch, photo index). So a run that is interrupted and
resumed, or shared by several machines, sees the same crops as one that is not.
"""

import functools
import os
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from utils import ab_from_rgb, lightness_from_gray, lightness_from_rgb, saturate

# Shards whose photos are shuffled together: enough of them to mix, few enough to be read more or less in a row.
SHARDS_AT_A_TIME = 8


def lab_pair(rgb, saturation_factor, chroma_factor=1.0):
    """L of the photo and K, the ab of the photo with its saturation raised (paper, section 3.5).

    Args:
        rgb: uint8 [..., 3].
        saturation_factor: The paper's T. With 1, K is the photo's own ab.
        chroma_factor: Factor on K. At equal strength it keeps the hue of blue, which T turns towards violet.

    Returns:
        (L in 0..100, ab in Lab units), float32 [..., 1] and [..., 2].
    """
    saturated = rgb if saturation_factor == 1 else saturate(tf.cast(rgb, tf.float32) / 255, saturation_factor)
    return lightness_from_rgb(rgb), chroma_factor * ab_from_rgb(saturated)


def crop_pair(pixels, saturation_factor, chroma_factor):
    """`lab_pair` of crops: uint8 [batch, height, width, 3], or four channels of which the last is the gray picture."""
    lightness, ab = lab_pair(pixels[..., :3], saturation_factor, chroma_factor)
    return lightness_from_gray(pixels[..., 3:]) if pixels.shape[-1] == 4 else lightness, ab


@functools.cache
def compiled_crop_pair(*factors):
    """`crop_pair` for its two factors as a function of the pixels, which all data sets share.

    Each shape takes half a second to compile.
    """
    return tf.function(lambda pixels: crop_pair(pixels, *factors), jit_compile=True, autograph=False)


@dataclass(frozen=True)
class Pairs:
    """Turns crops into what a network learns from. Its fields are those of `lab_pair`, and

    Attributes:
        labels: int32 [photos], for networks that classify; None for others.
    """

    saturation_factor: float
    labels: np.ndarray | None = None
    chroma_factor: float = 1.0

    def __call__(self, pixels, indices):
        """Crops and their photos as (L, ab) or (L, (ab, labels)).

        Args:
            pixels: As for `crop_pair`.
            indices: int64 [batch].
        """
        return self._with_labels(*crop_pair(pixels, self.saturation_factor, self.chroma_factor), indices)

    def of(self, crops):
        """The pairs of `Crops`, computed on the CPU: a dataset."""
        pair = compiled_crop_pair(self.saturation_factor, self.chroma_factor)
        return crops.dataset.map(lambda pixels, indices: self._with_labels(*pair(pixels), indices)).prefetch(2)

    def _with_labels(self, lightness, ab, indices):
        return lightness, ab if self.labels is None else (ab, tf.gather(self.labels, indices))


@dataclass(frozen=True)
class Share:
    """The part of each training step that one process works on.

    A step takes a batch from each replica: a device of this process or of another one.

    Attributes:
        replicas: Number of replicas of all processes.
        first: Number of this process's first replica, from 0.
        count: Number of this process's replicas.
    """

    replicas: int = 1
    first: int = 0
    count: int = 1

    def batches(self, steps):
        """Numbers of this process's batches, of those of all replicas counted from 0: int64 [steps * count]."""
        return (np.arange(steps)[:, None] * self.replicas + self.first + np.arange(self.count)).ravel()


ALONE = Share()


def balance(labels, weights):
    """How often each photo is shown, relative to others: float64 [photos].

    A class is shown in proportion to the square root of its number of photos, so that photos of small classes are not
    repeated too often.

    Args:
        labels: The class of each photo, int32 [photos].
        weights: A factor for each class.
    """
    counts = np.bincount(labels)
    return np.asarray(weights)[labels] / np.sqrt(counts[labels])


class TrainingOrder:
    """Which photo comes when and how it is cropped, epoch by epoch.

    Args:
        indices: The photos, int64 [photos].
        seed: Decides all.
        flip: Mirror half of the photos.
        shards: The shard that each photo lies in, int32 [photos], so that few are read from at a time; None for files.
        weights: How often each photo comes relative to others, float64 [photos]; None for once an epoch.
        old_film: Share of the photos whose gray is that of old film.
    """

    def __init__(self, indices, seed, flip, shards=None, weights=None, old_film=0.0):
        self.indices = indices
        self.seed = seed
        self.flip = flip
        self.shards = shards
        self.weights = weights
        self.old_film = old_film
        # While the last photos of an epoch are loaded, so are the first ones of the next.
        self.plan = functools.lru_cache(maxsize=2)(self._plan)

    def _plan(self, epoch):
        """Photo indices of an epoch from 0, int64 [photos], and draws, float32 [photos, 4], see `load_crops`."""
        random = np.random.default_rng([self.seed, epoch])
        order = self._shuffle(random)
        draws = random.random((len(self.indices), 3), dtype=np.float32)
        draws[:, 2] = self.flip & (draws[:, 2] < 0.5)
        films = np.zeros((len(self.indices), 1), np.float32)
        if self.old_film:
            chosen = random.random(films.shape) < self.old_film
            films = chosen * (1 - random.random(films.shape, dtype=np.float32))
        return self.indices[order], np.concatenate([draws, films], axis=1)

    def _shuffle(self, random):
        if self.weights is not None:
            return self._draw(random)
        if self.shards is None:
            return random.permutation(len(self.indices))
        shards = random.permutation(np.unique(self.shards))
        windows = [shards[start : start + SHARDS_AT_A_TIME] for start in range(0, len(shards), SHARDS_AT_A_TIME)]
        return np.concatenate([random.permutation(np.flatnonzero(np.isin(self.shards, window))) for window in windows])

    def _draw(self, random):
        """As many photos as there are, each as often as its weight says, rounded up or down at random."""
        order = random.permutation(len(self.weights))
        ends = np.cumsum(self.weights[order])
        places = (np.arange(len(order)) + random.random()) / len(order) * ends[-1]
        return random.permutation(order[np.searchsorted(ends, places, side="right")])


@dataclass(frozen=True)
class Crops:
    """Batches of crops, epoch after epoch without end.

    Attributes:
        steps: Steps an epoch. A step has one batch for each of this process's replicas.
        dataset: tf.data.Dataset of (crops uint8 [batch, height, width, channels], indices of their photos int64
            [batch]), see `PhotoStore.load_crops`.
    """

    steps: int
    dataset: tf.data.Dataset


def training_crops(store, order, batch_size, share=ALONE, epoch=0, step=0):
    """Crops for training. An epoch has as many photos as the order, less the rest that fills no step.

    A photo that the store has to skip is made up for by the next one in the order.

    Args:
        store: A `PhotoStore` that can use at least one of the photos.
        order: A `TrainingOrder`.
        batch_size: Crops a batch, which is what one replica gets in a step.
        share: Which of the batches.
        epoch: The epoch to begin with, from 0.
        step: The step of that epoch to begin with, from 0.

    Returns:
        `Crops`.
    """
    steps = len(order.indices) // (batch_size * share.replicas)
    batches = share.batches(steps)
    bounds = np.stack([batches, batches + 1], axis=1) * batch_size
    return Crops(steps, _load(store, order.plan, bounds, (epoch * steps + step) * share.count, batch_size))


def validation_crops(store, indices, batch_size, share=ALONE):
    """Central crops in the order of the indices: all of them, in batches of almost equal size. See `training_crops`."""
    count = len(indices)
    steps = -(-count // (batch_size * share.replicas))
    batches = share.batches(steps)
    starts, stops = (numbers * count // (steps * share.replicas) for numbers in (batches, batches + 1))
    # With fewer photos than replicas some are shown twice, since no batch may be empty.
    bounds = np.stack([starts, np.maximum(stops, starts + 1)], axis=1)
    central = indices, np.tile(np.float32([0.5, 0.5, 0, 0]), (count, 1))
    return Crops(steps, _load(store, lambda epoch: central, bounds))


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

    def crops(number):
        pixels, indices = tf.numpy_function(load, [number], (tf.uint8, tf.int64), stateful=False)
        pixels = tf.ensure_shape(pixels, [batch_size, *store.crop, store.channels])
        return pixels, tf.ensure_shape(indices, [batch_size])

    return untuned(tf.data.Dataset.counter(start).map(crops, num_parallel_calls=os.cpu_count()).prefetch(2))


def untuned(dataset):
    """The data set without TensorFlow's search for better settings.

    The search finds none that read faster than one call a core. Its thread sleeps for up to a minute, and the end of a
    loop over the data set waits until it wakes.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def mean_ab(store, indices, photos=1000):
    """The mean colour of photos: ab in Lab units, float64 [2]; of `photos` of them, evenly chosen, if there are more.

    Args:
        store: A `PhotoStore` that can use at least one of those chosen.
        indices: The photos.
    """
    chosen = indices[np.linspace(0, len(indices) - 1, min(photos, len(indices))).astype(int)]
    loaded = [photo for photo in map(store.load, chosen) if photo is not None]
    means = [ab_from_rgb(tf.constant(photo)).numpy().mean(axis=(0, 1), dtype=np.float64) for photo in loaded]
    return np.mean(means, axis=0)
