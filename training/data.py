"""The training data of a process: photos split for validation, shared among machines, as L-to-ab pairs."""

import numpy as np
import tensorflow as tf

from common.errors import DatasetError, OptionError
from data.pairs import ALONE, Pairs, TrainingOrder, sampling_weights, training_crops, validation_crops
from data.photos import PhotoStore, split_photos
from training.distribution import divide_batch, divide_photos


class TrainingData:
    """The training data of this process: photos split into training and validation.

    Attributes:
        store: The `PhotoStore` of all photos.
        order: `TrainingOrder` of the training photos that this process reads.
        order_of_all: `TrainingOrder` of the training photos of all processes.
        pairs: `Pairs`, with labels where the network classifies.
        share: This process's part of the validation batches.
        training_share: This process's part of the batches of `order`.
        batch_size: Photos that one replica gets in a step.
        steps: Training steps an epoch.
        validation_indices: Numbers of the validation photos of all processes, int64.
        classes: Number of scene classes; 0 for networks that do not classify.

    Raises:
        DatasetError: None of the training photos can be used, or a machine's shards hold too few for a batch.
        DistributionError: The batch cannot be divided by the devices, or the shards by the machines.
    """

    def __init__(self, experiment, photos, share=ALONE):
        count = len(photos.paths)
        train_indices, self.validation_indices = split_photos(count, experiment.validation_fraction, experiment.seed)
        self.store = PhotoStore(
            photos.paths,
            experiment.crop,
            cache_bytes=int(experiment.cache_gigabytes * 1e9),
            margin=experiment.crop_margin,
            old_film=bool(experiment.old_film),
            min_chroma=experiment.min_chroma,
        )
        if self.store.first_usable(self.validation_indices) is None:
            self.validation_indices = self.validation_indices[:0]
        if self.store.first_usable(train_indices) is None:
            raise DatasetError(f"{name_folders(experiment)} holds no photo to learn from: {self.store.count_skipped()}")
        self.classes = len(photos.classes) if experiment.classification_weight else 0
        self.pairs = Pairs(
            experiment.saturation_factor,
            photos.labels if self.classes else None,
            experiment.chroma_factor,
            photo_factors(experiment, photos),
        )
        self.batch_size = divide_batch(min(experiment.batch_size, len(train_indices)), share.replicas)
        shards = None if photos.shards is None else photos.shards[train_indices]
        mine, self.training_share = divide_photos(train_indices, shards, share)
        shards = None if shards is None else photos.shards[mine]

        def order(indices, shards=None, old_film=0.0):
            weights = photo_weights(experiment, photos, indices)
            return TrainingOrder(indices, experiment.seed, experiment.flip, shards, weights, old_film)

        self.order, self.order_of_all = order(mine, shards, experiment.old_film), order(train_indices)
        self.share = share
        self.steps = self.training().steps
        if not self.steps:
            raise DatasetError(
                f"{name_folders(experiment)}: a machine's shards hold fewer photos ({len(mine)}) than its part of a "
                "batch; give a smaller --batch-size"
            )

    def training(self, epoch=0, step=0):
        """`Crops` from a step of an epoch on."""
        return training_crops(self.store, self.order, self.batch_size, self.training_share, epoch, step)

    def pairs_of_all(self):
        """One epoch of pairs of the training photos of all processes, a tf.data.Dataset."""
        crops = training_crops(self.store, self.order_of_all, self.batch_size)
        return self.pairs.of(crops).take(crops.steps)

    def validation(self):
        """`Crops`, or None without photos to validate with."""
        if len(self.validation_indices):
            return validation_crops(self.store, self.validation_indices, self.batch_size, self.share)
        return None

    def feed(self, crops):
        """The dataset for `fit`: pairs, or crops where the training step makes the pairs; see `colors_in_step`."""
        return crops.dataset if colors_in_step() else self.pairs.of(crops)


def colors_in_step():
    """Whether the training step makes the pairs: on a GPU, which takes colour maths off the CPU."""
    return bool(tf.config.list_physical_devices("GPU"))


def photo_weights(experiment, photos, indices):
    """The `sampling_weights` of photos, float64 [indices]; None to draw each once an epoch.

    Raises:
        OptionError: --dataset-weights and --dataset differ in number.
    """
    if not experiment.balance:
        return None
    factors = number_for_each_dataset(experiment, "dataset_weights")
    if not photos.classes:
        return None
    return sampling_weights(photos.labels[indices], factors[photos.datasets[indices]])


def photo_factors(experiment, photos):
    """The factor of each photo's data set on its target's ab, float32 [photos]; None where all are 1.

    Raises:
        OptionError: --dataset-chroma-factors and --dataset differ in number.
    """
    factors = number_for_each_dataset(experiment, "dataset_chroma_factors")
    return None if np.all(factors == 1) else np.float32(factors[photos.datasets])


def number_for_each_dataset(experiment, field):
    """A field of the experiment with a number for each data set, 1 where it is empty: float64 [data sets].

    Raises:
        OptionError: The field and --dataset differ in number.
    """
    numbers = getattr(experiment, field) or (1.0,) * len(experiment.dataset)
    if len(numbers) != len(experiment.dataset):
        option = "--" + field.replace("_", "-")
        raise OptionError(
            f"{option}: {len(numbers)} given; give one for each folder of --dataset, {len(experiment.dataset)} in all"
        )
    return np.asarray(numbers, np.float64)


def name_folders(experiment):
    """The data set's folders, for messages."""
    return ", ".join(map(str, experiment.dataset))
