"""Trains an experiment on its photos, and leaves the run's folder."""

import sys
import time
from pathlib import Path

import keras
import tensorflow as tf

import models
from common.command_line import say
from common.files import write_json
from data.photos import find_all_photos
from models.precision import choose_policy, describe_devices
from training import distribution
from training.callbacks import Checkpoints, Speed, TrainingError, freeze_encoder, make_callbacks
from training.data import TrainingData, colors_in_step, name_folders
from training.optimizers import make_optimizer
from training.run_folder import finish_run, own_folder, prepare_run, read_config

# Settings of networks that give their inputs or outputs another meaning.
MEANINGS = ("lightness_scale", "flow", "encoding")

# Share of a time budget that measuring the speed may take, and the most steps that are timed.
MEASURING_SHARE = 0.1
TIMED_STEPS = 20


def train(experiment, folder, resume=False, minutes=None, save_every_steps=None):
    """Trains an experiment and leaves the run in a folder.

    Args:
        experiment: What to train.
        folder: The run's folder; made if need be. Several machines have to share it.
        resume: Go on from the last checkpoint in the folder, if there is one.
        minutes: Time for measuring the speed and for the training steps, instead of the experiment's epochs. The time
            left after measuring becomes a number of steps, which a resumed run keeps.
        save_every_steps: Steps between two checkpoints within an epoch; None for one after each epoch only.

    Returns:
        The history: a dict of metrics for each epoch.

    Raises:
        DatasetError: The photos cannot be used.
        DistributionError: The devices or machines cannot train together.
        TrainingError: The folder holds another run, or training cannot go on.
    """
    folder = Path(folder)
    strategy = distribution.choose_strategy()
    share = distribution.share_of(strategy)
    photos = find_all_photos(experiment.dataset)
    writes = share.is_chief
    with own_folder(folder, writes):
        checkpoints = Checkpoints(folder, save_every_steps, writes, by_loss=not experiment.adversarial_weight)
        prepare_run(checkpoints, experiment, photos, resume)
        policy = choose_policy() if experiment.policy == "auto" else experiment.policy
        keras.config.set_dtype_policy(policy)

        data = TrainingData(experiment, photos, share)
        print_plan(experiment, data, policy)
        if photos.passed_over:
            print(photos.passed_over, file=sys.stderr)
        with distribution.explain_lost_worker(share):
            steps = plan_steps(folder, experiment, data, minutes, strategy, writes=writes)
            model, epoch, step = build_or_restore(folder, experiment, data, steps, strategy, checkpoints)
            if epoch or step:
                say(f"{folder}: going on after epoch {epoch}" + (f", step {step}" if step else ""))
            epochs = -(-steps // data.steps)
            callbacks = make_callbacks(experiment, folder, data, checkpoints, steps, epochs)
            if step:
                fit(model, data, strategy, callbacks, epoch, epoch + 1, step)
                epoch += 1
            if not model.stop_training:
                fit(model, data, strategy, callbacks, epoch, epochs)
        if writes:
            finish_run(folder, checkpoints, data)
        with distribution.explain_lost_worker(share):
            distribution.from_chief(strategy, 0)  # A machine that ends while the chief still writes counts as lost.
        return checkpoints.history


def build_or_restore(folder, experiment, data, steps, strategy, checkpoints):
    """Builds the network, with its initial weights or those of the last checkpoint.

    Returns:
        (model, epoch, step): the compiled model, and the epoch and step to begin with, from 0.

    Raises:
        TrainingError: The weights to start from are of another network, or the machines find different checkpoints.
    """
    keras.utils.set_random_seed(experiment.seed)
    with strategy.scope():
        model = build(experiment, data, steps)
        model.prepare(data.pairs_of_all(), folder)
        epoch, step = 0, 0
        if checkpoints.last.exists():
            epoch, step = checkpoints.restore(model)
        elif experiment.start_from:
            start_from(model, experiment.start_from)
    done = epoch * data.steps + step
    if distribution.from_chief(strategy, done) != done:
        raise TrainingError(f"{folder}: the machines find different checkpoints here; give a folder that all share")
    return model, epoch, step


def build(experiment, data, steps):
    """The experiment's network, ready to be trained for a number of steps."""
    model = models.build(experiment, data.classes)
    model.compile(optimizer=make_optimizer(experiment, steps), to_pair=data.pairs if colors_in_step() else None)
    model.optimizer.build(model.trainable_variables)  # With all weights, before some are frozen.
    if data.share.machines > 1:
        distribution.enable_multi_worker_fit(model)
    return model


def start_from(model, name):
    """Gives a network the weights of a trained model. Raises TrainingError where that is another network."""
    trained = models.load(name)
    try:
        if any(getattr(trained, setting, None) != getattr(model, setting, None) for setting in MEANINGS):
            raise ValueError("weights for other numbers")
        model.set_weights(trained.get_weights())
    except ValueError as error:
        network = next(network for network, kind in models.NETWORKS.items() if type(trained) is kind)
        raise TrainingError(
            f"--start-from {name}: its weights, of the network {network}, do not fit; give a model of the same network "
            "and settings as this experiment's"
        ) from error


def print_plan(experiment, data, policy):
    """Prints how many photos are learned from and validated with, the batches, the numeric policy and the devices."""
    counts = f"{len(data.order_of_all.indices)} training, {len(data.validation_indices)} validation photos"
    batches = f"batches of {data.batch_size * data.share.replicas}"
    if data.share.replicas > 1:
        batches += f", {data.batch_size} on each of {data.share.replicas} devices"
    say(f"{name_folders(experiment)}: {counts}; {batches}; {policy}, on {describe_devices()}")
    if experiment.classification_weight and not data.classes:
        print(f"{name_folders(experiment)}: no class folders, so the network does not classify", file=sys.stderr)


def fit(model, data, strategy, callbacks, epoch, epochs, step=0):
    """Trains from a step of an epoch on, up to a number of epochs. Raises TrainingError where memory runs out."""
    crops, validation = data.training(epoch, step), data.validation()
    try:
        model.fit(
            distribution.distribute(strategy, data.feed(crops)),
            steps_per_epoch=crops.steps - step,
            validation_data=validation and distribution.distribute(strategy, data.feed(validation)),
            validation_steps=validation and validation.steps,
            initial_epoch=epoch,
            epochs=epochs,
            callbacks=callbacks,
            verbose=0,
            shuffle=False,  # The order is the pipeline's.
        )
    except tf.errors.ResourceExhaustedError as error:
        raise TrainingError("memory ran out; give a smaller --batch-size, or a smaller --crop") from error


def plan_steps(folder, experiment, data, minutes, strategy, writes):
    """Number of training steps of a run: its epochs, or what fits in a time budget. Kept in the run's config.json.

    Raises:
        TrainingError: config.json cannot be read, or the run that goes on had another time budget.
    """
    config = read_config(folder) if writes else {}
    steps = round(distribution.from_chief(strategy, config.get("steps", 0)))
    if steps:
        if writes and minutes not in (None, config.get("minutes")):
            raise TrainingError(f"{folder}: --minutes {minutes:g}: the run keeps its {steps} steps; leave it out")
        return steps
    if minutes is None:
        steps = data.steps * experiment.epochs
    else:
        started = time.monotonic()
        seconds, start = measure_speed(experiment, data, strategy, limit=minutes * 60 * MEASURING_SHARE)
        left = minutes * 60 - (time.monotonic() - started) - start
        steps = round(distribution.from_chief(strategy, max(1, round(left / seconds))))
    if writes:
        write_json(folder / "config.json", {**config, "minutes": minutes, "steps": steps})
    return steps


def measure_speed(experiment, data, strategy, limit):
    """Times the experiment's training step, with its input, on a network that is thrown away.

    Args:
        limit: Seconds for measuring, with building the network. It takes at least two steps, one that compiles and one
            that is timed; twice as many where the encoder is frozen for a share of the steps.

    Returns:
        (mean seconds a step, seconds for building and compiling).
    """
    started = time.monotonic()
    with strategy.scope():
        model = build(experiment, data, TIMED_STEPS)
    feed = distribution.distribute(strategy, data.feed(data.training()))
    building = time.monotonic() - started
    if not experiment.frozen_share:
        seconds, start = time_steps(model, feed, strategy, limit - building)
        return seconds, building + start
    share, half = experiment.frozen_share, (limit - building) / 2
    freeze_encoder(model, True)
    frozen_seconds, frozen_start = time_steps(model, feed, strategy, half)
    freeze_encoder(model, False)
    seconds, start = time_steps(model, feed, strategy, half)
    return share * frozen_seconds + (1 - share) * seconds, building + frozen_start + start


def time_steps(model, feed, strategy, limit):
    """(seconds a training step, seconds of the first step, which compiles) of a compiled model."""
    started = time.monotonic()
    model.fit(feed, steps_per_epoch=1, verbose=0, shuffle=False)
    start, steps = time.monotonic() - started, 1
    while True:
        # The steps alone, without starting and ending the loop over the data.
        speed = Speed(batch_size=1)
        model.fit(feed, steps_per_epoch=steps, callbacks=[speed], verbose=0, shuffle=False)
        seconds = distribution.from_chief(strategy, 1 / speed.speed)
        left = distribution.from_chief(strategy, limit - (time.monotonic() - started))
        if steps > 1 or left < 2 * seconds:
            return seconds, start
        steps = min(TIMED_STEPS, int(left / seconds))
