"""Training on several devices of a machine, and on several machines.

All GPUs of a machine share each batch. Several machines are described by the environment variable TF_CONFIG, as
TensorFlow knows it, and run the same command: see docs/training.md.
"""

import contextlib
import json
import os

import keras
import numpy as np
import tensorflow as tf

from common.errors import UserError
from data.pairs import Share

# What TensorFlow raises when another machine stops in the middle of a step.
LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)


class DistributionError(UserError):
    """Devices or machines that cannot train together; the message says why and what to do."""


def choose_strategy():
    """The tf.distribute strategy for this machine's devices and, if TF_CONFIG names more, other machines.

    Comes before anything else that TensorFlow does, since it connects the machines.

    Raises:
        DistributionError: TF_CONFIG cannot be understood, or the other machines cannot be reached.
    """
    if len(_tasks(_tf_config())) > 1:
        try:
            return tf.distribute.MultiWorkerMirroredStrategy()
        except (ValueError, RuntimeError, tf.errors.OpError) as error:
            raise DistributionError(f"the machines of TF_CONFIG cannot train together: {_first_line(error)}") from error
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) > 1:
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.get_strategy()


def share_of(strategy):
    """Which replicas of a strategy are this process's: a `Share`."""
    config = _tf_config()
    tasks = _tasks(config)
    if len(tasks) < 2:
        return Share(strategy.num_replicas_in_sync, 0, strategy.num_replicas_in_sync)
    count = strategy.num_replicas_in_sync // len(tasks)
    return Share(strategy.num_replicas_in_sync, _task_number(config) * count, count)


def is_chief(share):
    """Whether this process is the one that writes the run's folder."""
    return share.first == 0


def divide_batch(batch_size, replicas):
    """Photos that each replica gets of a batch. Raises DistributionError where the batch cannot be divided."""
    if batch_size % replicas:
        raise DistributionError(
            f"{replicas} devices cannot share batches of {batch_size} photos equally; give a --batch-size that is a "
            f"multiple of {replicas}"
        )
    return batch_size // replicas


def divide_photos(indices, shards, share):
    """The photos that this process reads, and its part of the batches made of them.

    Each machine reads shards of its own, as many photos as the one with the fewest; files are not divided.

    Args:
        indices: All photos, int64 [photos].
        shards: The shard that each lies in, int32 [photos]; None for files.
        share: This process's part of all batches.

    Returns:
        (indices, `Share`).

    Raises:
        DistributionError: There are fewer shards than machines.
    """
    machines = share.replicas // share.count
    if shards is None or machines == 1:
        return indices, share
    owners = shards % machines
    smallest = np.bincount(owners, minlength=machines).min()
    if not smallest:
        raise DistributionError(
            f"fewer shards than machines, {machines}; pack the photos with fewer --photos-per-shard"
        )
    return indices[owners == share.first // share.count][:smallest], Share(share.count, 0, share.count)


def distribute(strategy, dataset):
    """A dataset of this process's batches as one that Keras hands to the process's replicas, a batch each."""
    return strategy.distribute_datasets_from_function(lambda _: dataset)


def from_chief(strategy, number):
    """The chief's value of a number, float. Every process has to ask at the same time."""

    def contribution():
        first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
        return tf.where(first, tf.constant(number, tf.float64), 0)

    @tf.function
    def total():
        return strategy.reduce("SUM", strategy.run(contribution), axis=None)

    return float(total())


@contextlib.contextmanager
def clear_about_lost_machines(share):
    """Says so in one sentence when another machine stops answering."""
    try:
        yield
    except LOST as error:
        if share.replicas == share.count:
            raise
        raise DistributionError(
            f"another machine has stopped ({type(error).__name__}); start the same command with --resume on all of them"
        ) from error


def mend_keras(model):
    """Makes `fit` of a compiled, functional model work on several machines: keras issue 20585.

    Keras 3.15 feeds the model the mean of a batch over the replicas, to build what is not built yet, which fails; this
    model needs no more than its optimizer. And it averages the logs of a step over their first axis, though they are
    scalars; each gets an axis here. To be deleted once Keras does without.
    """
    model.optimizer.build(model.trainable_variables)
    model._maybe_symbolic_build = lambda **_: None

    def with_axis(step):
        return lambda data: keras.tree.map_structure(lambda value: tf.reshape(value, [1]), step(data))

    model.train_step = with_axis(model.train_step)
    model.test_step = with_axis(model.test_step)


def _tf_config():
    text = os.environ.get("TF_CONFIG", "{}")
    try:
        config = json.loads(text)
        _tasks(config), _task_number(config)
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        example = {"cluster": {"worker": ["host1:12345", "host2:12345"]}, "task": {"type": "worker", "index": 0}}
        raise DistributionError(f"TF_CONFIG cannot be understood; it looks like {json.dumps(example)}") from error
    return config


def _tasks(config):
    cluster = config.get("cluster", {})
    return [*cluster.get("chief", []), *cluster.get("worker", [])]


def _task_number(config):
    if not _tasks(config):
        return 0
    task = config["task"]
    before = 0 if task["type"] == "chief" else len(config["cluster"].get("chief", []))
    return before + int(task["index"])


def _first_line(error):
    return str(error).strip().splitlines()[0]
