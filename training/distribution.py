"""Training on several devices of a machine, and on several machines.

All GPUs of a machine share each batch. Several machines are described by the environment variable TF_CONFIG, as
TensorFlow knows it, and run the same command: see docs/training.md.
"""

import contextlib
import functools
import json
import signal

import keras
import numpy as np
import tensorflow as tf

from common.command_line import say
from common.errors import UserError, first_line
from data.pairs import ReplicaShare

# TensorFlow's errors for a step in which another machine stops answering.
LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)


class DistributionError(UserError):
    """Devices or machines cannot train together; the message says why and what to do."""


def choose_strategy():
    """Returns the tf.distribute strategy for this machine's devices and the machines that TF_CONFIG names.

    Call it before any other TensorFlow operation, because it connects the machines.

    Raises:
        DistributionError: TF_CONFIG is malformed, or another machine cannot be reached.
    """
    hosts, number = _machines()
    if len(hosts) > 1:
        try:
            return _connect([host for other, host in enumerate(hosts) if other != number])
        except (ValueError, RuntimeError, tf.errors.OpError) as error:
            raise DistributionError(f"the machines of TF_CONFIG cannot train together: {first_line(error)}") from error
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) > 1:
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.get_strategy()


def _connect(others):
    """Returns the strategy for several machines once the `others`, HOST:PORT each, have started."""
    say(f"waits for {', '.join(others)}, as TF_CONFIG says")
    # While it waits, no Python code runs, so Ctrl-C has to end the process without any. TensorFlow puts a handler in
    # place of that for SIGTERM, which would end nothing while the machines train.
    terminate, interrupt = signal.getsignal(signal.SIGTERM), signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    finally:
        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTERM, terminate)


def share_of(strategy):
    """Returns this process's replicas of a strategy as a `ReplicaShare`."""
    hosts, number = _machines()
    count = strategy.num_replicas_in_sync // max(1, len(hosts))
    return ReplicaShare(strategy.num_replicas_in_sync, number * count, count)


def divide_batch(batch_size, replicas):
    """Returns how many photos of a batch each replica gets. Raises DistributionError if these would not be equal."""
    if batch_size % replicas:
        raise DistributionError(
            f"{replicas} devices cannot share batches of {batch_size} photos equally; give a --batch-size that is a "
            f"multiple of {replicas}"
        )
    return batch_size // replicas


def divide_photos(indices, shards, share):
    """Divides photos that lie in shards among the machines.

    Each machine gets whole shards, cut to the number of photos of the machine with the fewest. Photos that lie in files
    are not divided: every machine reads all of them.

    Args:
        indices: All training photos, int64 [photos].
        shards: Shard number of each photo, int32 [photos]; None for files.
        share: This process's replicas.

    Returns:
        (indices, share): the photos that this process reads, and the `ReplicaShare` of their batches that it trains on.

    Raises:
        DistributionError: There are fewer shards than machines.
    """
    if shards is None or share.machines == 1:
        return indices, share
    owners = shards % share.machines
    smallest = np.bincount(owners, minlength=share.machines).min()
    if not smallest:
        raise DistributionError(
            f"fewer shards than machines, {share.machines}; pack the photos with fewer --photos-per-shard"
        )
    return indices[owners == share.first // share.count][:smallest], ReplicaShare(share.count, 0, share.count)


def distribute(strategy, dataset):
    """Returns a dataset that gives each of this process's replicas one batch of `dataset` a step."""
    return strategy.distribute_datasets_from_function(lambda _: dataset)


def from_chief(strategy, number):
    """Returns the chief's value of `number`, a float. Blocks until every process has called it."""
    return float(_chiefs_value(strategy)(tf.constant(number, tf.float64)))


@functools.cache
def _chiefs_value(strategy):
    def contribution(number):
        first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
        return tf.where(first, number, 0)

    return tf.function(lambda number: strategy.reduce("SUM", strategy.run(contribution, [number]), axis=None))


@contextlib.contextmanager
def explain_lost_worker(share):
    """Context manager that turns TensorFlow's error for a lost machine into a `DistributionError`."""
    try:
        yield
    except LOST as error:
        if share.machines == 1:
            raise
        raise DistributionError(
            f"another machine has stopped ({type(error).__name__}); start the same command with --resume on all of them"
        ) from error


def enable_multi_worker_fit(model):
    """Makes `fit` of a compiled functional model work on several machines (keras issue 20585).

    Keras 3.15 has two faults there. It builds the model by calling it on the mean of a batch over the replicas, which
    fails; a functional model whose optimizer is built does not need it. It also averages the logs of a step over their
    first axis although they are scalars, so each log gets an axis of length 1 here. Delete this function once Keras is
    fixed.
    """
    model._maybe_symbolic_build = lambda **_: None

    def with_axis(step):
        return lambda data: keras.tree.map_structure(lambda value: tf.reshape(value, [1]), step(data))

    model.train_step = with_axis(model.train_step)
    model.test_step = with_axis(model.test_step)


def _machines():
    """The machines that TF_CONFIG names, HOST:PORT each, and which of them this one is, from 0."""
    try:
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        cluster = resolver.cluster_spec()
        hosts = [host for job in ("chief", "worker") if job in cluster.jobs for host in cluster.job_tasks(job)]
        if len(hosts) < 2:
            return hosts, 0
        return hosts, hosts.index(cluster.task_address(resolver.task_type, resolver.task_id))
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        example = {"cluster": {"worker": ["host1:12345", "host2:12345"]}, "task": {"type": "worker", "index": 0}}
        raise DistributionError(f"TF_CONFIG cannot be understood; it looks like {json.dumps(example)}") from error
