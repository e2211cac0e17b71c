"""The tf.data pipeline of L-to-ab pairs.

Photos are cropped one by one, then turned into pairs a batch at a time by one compiled function. The order of the
photos and where each is cropped and flipped are pure functions of (seed, epoch, photo index), so a run that goes on
after an interruption sees what it would have seen without.
"""

import numpy as np
import tensorflow as tf

from utils import ab_from_rgb, lightness_from_rgb, rgb_to_gray, saturate


def lab_pair(rgb, saturation_factor, luma=False):
    """L of the photo and K, the ab of the photo with its saturation raised (paper, section 3.5).

    Args:
        rgb: uint8 [..., 3].
        saturation_factor: The paper's T. With 1, K is the photo's own ab.
        luma: Give the L of the neutral whose value is rgb2gray of the photo instead, for ColorNet's gray flow.

    Returns:
        (L in 0..100, ab in Lab units), float32 [..., 1] and [..., 2].
    """
    floats = tf.cast(rgb, tf.float32) / 255
    lightness = lightness_from_rgb(tf.repeat(rgb_to_gray(floats), 3, axis=-1) if luma else rgb)
    return lightness, ab_from_rgb(rgb if saturation_factor == 1 else saturate(floats, saturation_factor))


class TrainingOrder:
    """Which photo comes when and how it is cropped, epoch by epoch.

    Attributes:
        epoch: The epoch, from 0, that the next pass over the pairs belongs to. Training sets it.
    """

    def __init__(self, indices, seed, flip):
        self.indices = indices
        self.seed = seed
        self.flip = flip
        self.epoch = 0

    def plan(self):
        """The epoch's photo indices, int64 [photos], and their crops, float32 [photos, 3]: down, right, mirrored."""
        random = np.random.default_rng([self.seed, self.epoch])
        order = random.permutation(len(self.indices))
        draws = random.random((len(self.indices), 3), dtype=np.float32)
        draws[:, 2] = self.flip & (draws[:, 2] < 0.5)
        return self.indices[order], draws[order]


def training_pairs(store, order, batch_size, **target):
    """Batches of pairs for training, in the order's epoch at the time a pass begins.

    A pass has as many photos as were found, less the rest that fills no batch. Photos that the store has to skip are
    made up for by the first ones of the order, so that every epoch has the same number of steps.

    Args:
        store: A `PhotoStore` that can use at least one of the photos.
        order: A `TrainingOrder`.
        batch_size: Pairs a batch; lowered to the number of photos where there are fewer.
        target: What the pairs hold: saturation_factor and luma, see `lab_pair`, and labels, int32 [photos], for
            networks that classify.

    Returns:
        tf.data.Dataset of (L [batch, height, width, 1], ab [batch, height, width, 2]), float32, or of
        (L, (ab, labels [batch])).
    """

    def epoch_plan(_):
        indices, draws = tf.numpy_function(order.plan, [], (tf.int64, tf.float32), stateful=True)
        plan = tf.ensure_shape(indices, [None]), tf.ensure_shape(draws, [None, 3])
        return tf.data.Dataset.from_tensor_slices(plan).repeat()

    batch_size = min(batch_size, len(order.indices))
    count = len(order.indices) // batch_size * batch_size
    return _pairs(store, tf.data.Dataset.range(1).flat_map(epoch_plan), count, batch_size, **target)


def validation_pairs(store, indices, batch_size, **target):
    """Batches of pairs of central crops, in the order of the indices; the last may be smaller. See `training_pairs`."""
    draws = np.tile(np.float32([0.5, 0.5, 0]), (len(indices), 1))
    plan = tf.data.Dataset.from_tensor_slices((indices, draws)).repeat()
    return _pairs(store, plan, len(indices), batch_size, **target)


def _pairs(store, plan, count, batch_size, saturation_factor, luma=False, labels=None):
    """Pairs of the first `count` usable photos of a plan: a dataset of (index, [down, right, mirrored])."""

    def load_crop(index, draws):
        return store.load_crop(index, draws[0], draws[1], draws[2] > 0)

    def crop(index, draws):
        pixels, usable = tf.numpy_function(load_crop, [index, draws], (tf.uint8, tf.bool), stateful=False)
        return tf.ensure_shape(pixels, [*store.crop, 3]), index, tf.ensure_shape(usable, [])

    @tf.function(jit_compile=True)
    def colors(pixels):
        return lab_pair(pixels, saturation_factor, luma)

    def pair(pixels, indices):
        lightness, ab = colors(pixels)
        return lightness, ab if labels is None else (ab, tf.gather(labels, indices))

    crops = plan.map(crop, num_parallel_calls=tf.data.AUTOTUNE).filter(lambda _, __, usable: usable).take(count)
    batches = crops.map(lambda pixels, index, _: (pixels, index))
    batches = batches.batch(batch_size, drop_remainder=count % batch_size == 0)
    # Keras must know the length: it runs on into the end of a data set of unknown length, and that last, empty step
    # still counts in the optimizer's schedule and in the mean loss.
    batches = batches.apply(tf.data.experimental.assert_cardinality(-(-count // batch_size)))
    return batches.map(pair, num_parallel_calls=2).prefetch(2)


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
