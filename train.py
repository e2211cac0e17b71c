"""Trains one of the experiments in configs.py.

    python train.py                                      the paper's recipe
    python train.py scenes --dataset DIR --epochs 3      another experiment, with fields overridden
    python train.py scenes --dataset DIR --resume        goes on after the last finished epoch

All GPUs of a machine are used; several machines train together where TF_CONFIG says so, see docs/training.md.

The run's folder, runs/NAME, then holds: config.json, history.csv, best.keras (the best epoch so far), last.weights.h5
(to go on from), logs/ (for TensorBoard) and, at the end, model.keras with model.json: the best epoch in half precision,
for `python test.py --model NAME`, and what made it.
"""

import dataclasses
import functools
import json
import sys
import time

from common.command_line import describe_run, parse, printable, run, tame_native_libraries

if __name__ == "__main__":
    tame_native_libraries()

import keras
import numpy as np
import tensorflow as tf
import tyro

import models
from common.errors import OptionError
from common.files import replacing, write_whole
from common.options import Count, OutputFolder, Positive, find_idle
from configs import EXPERIMENTS, RUNS, Experiment
from data.pairs import ALONE, Pairs, Share, TrainingOrder, balance, mean_ab, training_crops, validation_crops
from data.photos import DatasetError, PhotoStore, find_all_photos, split_photos
from models.precision import choose_policy, describe_devices
from training.callbacks import (
    Checkpoints,
    FiniteLoss,
    FrozenEncoder,
    Progress,
    Speed,
    StopAfter,
    TrainingError,
    ValidationPictures,
)
from training.distribution import (
    choose_strategy,
    distribute,
    divide_batch,
    divide_photos,
    enable_multi_worker_fit,
    explain_lost_worker,
    from_chief,
    is_chief,
    share_of,
)
from training.optimizers import frozen_steps, make_optimizer

# Of a time budget, the share that measuring the speed may take, and the steps that it is measured over at most.
MEASURING_SHARE = 0.1
TIMED_STEPS = 20


def train(experiment, folder, resume=False, minutes=None, save_every_steps=None):
    """Trains an experiment and leaves the run in a folder.

    Args:
        experiment: What to train.
        folder: The run's folder; made if need be. Of several machines, all have to reach it.
        resume: Go on after the last epoch that the folder holds, if it holds one.
        minutes: Time for measuring the speed and for the training steps, instead of the experiment's epochs. What is
            left after measuring becomes a number of steps, which the run keeps when it goes on.
        save_every_steps: Save what is needed to go on not only after each epoch, but also after so many steps.

    Returns:
        The history: one dict an epoch.

    Raises:
        DatasetError: The photos cannot be used.
        DistributionError: The devices or machines cannot train together.
        TrainingError: The folder holds another run, or training cannot go on.
    """
    strategy = choose_strategy()
    share = share_of(strategy)
    photos = find_all_photos(experiment.dataset)
    checkpoints = prepare_run(folder, experiment, photos, resume, save_every_steps, writes=is_chief(share))
    policy = choose_policy() if experiment.policy == "auto" else experiment.policy
    keras.config.set_dtype_policy(policy)

    data = prepare_data(experiment, photos, share)
    print_plan(experiment, data, policy)
    if photos.passed_over:
        print(photos.passed_over, file=sys.stderr)
    with explain_lost_worker(share):
        steps = plan_steps(folder, experiment, data, minutes, strategy, writes=is_chief(share))
        keras.utils.set_random_seed(experiment.seed)
        with strategy.scope():
            model = build(experiment, data, steps)
            model.prepare(data.pairs.of(data.every).take(data.every.steps), folder)
            if experiment.start_from:
                start_from(model, experiment.start_from)
            epoch, step = checkpoints.restore(model) if checkpoints.last.exists() else (0, 0)
        if from_chief(strategy, epoch * data.steps + step) != epoch * data.steps + step:
            raise TrainingError(f"{folder}: the machines find different checkpoints here; give a folder that all share")
        if epoch or step:
            print(f"{folder}: going on after epoch {epoch}" + (f", step {step}" if step else ""))
        epochs = -(-steps // data.steps)
        callbacks = make_callbacks(experiment, folder, data, checkpoints, steps, epochs)
        if step:
            fit(model, data, strategy, callbacks, epoch, epoch + 1, step)
            epoch += 1
        if not model.stop_training:
            fit(model, data, strategy, callbacks, epoch, epochs)
    if is_chief(share):
        finish_run(folder, checkpoints, data)
    return checkpoints.history


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """What this process learns from.

    Attributes:
        order: Of the photos that this process reads, and
        training_share: the part of their batches that is its own.
        share: The same for validation.
        batch_size: Photos that one replica gets in a step.
        training_indices: Of all processes, as are validation_indices.
        classes: Names of scenes to tell apart; 0 for networks that do not classify.
    """

    store: PhotoStore
    order: TrainingOrder
    pairs: Pairs
    share: Share
    training_share: Share
    batch_size: int
    training_indices: np.ndarray
    validation_indices: np.ndarray
    classes: int

    @functools.cached_property
    def steps(self):
        """Training steps an epoch."""
        return self.training().steps

    def training(self, epoch=0, step=0):
        """`Crops` from a step of an epoch on."""
        return training_crops(self.store, self.order, self.batch_size, self.training_share, epoch, step)

    @property
    def every(self):
        """`Crops` of all training photos of all processes."""
        order = TrainingOrder(self.training_indices, self.order.seed, self.order.flip, weights=self.order.weights)
        return training_crops(self.store, order, self.batch_size)

    def validation(self):
        """`Crops`, or None without photos to validate with."""
        if len(self.validation_indices):
            return validation_crops(self.store, self.validation_indices, self.batch_size, self.share)
        return None

    def feed(self, crops):
        """What `fit` is given: pairs, or crops where the training step turns these into pairs."""
        return crops.dataset if colors_in_step() else self.pairs.of(crops)


def colors_in_step():
    """Whether colour maths belongs into the training step: where that does not run on the CPU anyway."""
    return bool(tf.config.list_physical_devices("GPU"))


def prepare_data(experiment, photos, share=ALONE):
    """Splits photos and says how they become pairs, with labels where the experiment's network classifies.

    Raises:
        DatasetError: None of the training photos can be used.
        DistributionError: The batch cannot be divided by the devices, or the shards by the machines.
    """
    train_indices, validation_indices = split_photos(len(photos.paths), experiment.validation_fraction, experiment.seed)
    cache_bytes = int(experiment.cache_gigabytes * 1e9)
    store = PhotoStore(
        photos.paths,
        experiment.crop,
        cache_bytes,
        margin=experiment.crop_margin,
        old_film=bool(experiment.old_film),
        min_chroma=experiment.min_chroma,
    )
    if store.first_usable(train_indices) is None:
        folders = name_folders(experiment)
        raise DatasetError(f"{folders} holds no photo to learn from: {store.count_skipped()}")
    if store.first_usable(validation_indices) is None:
        validation_indices = validation_indices[:0]
    classes = len(photos.classes) if experiment.classification_weight else 0
    pairs = Pairs(experiment.saturation_factor, photos.labels if classes else None)
    batch_size = divide_batch(min(experiment.batch_size, len(train_indices)), share.replicas)
    shards = None if photos.shards is None else photos.shards[train_indices]
    mine, training_share = divide_photos(train_indices, shards, share)
    weights = photo_weights(experiment, photos, mine)
    shards = None if shards is None else photos.shards[mine]
    order = TrainingOrder(mine, experiment.seed, experiment.flip, shards, weights, experiment.old_film)
    return TrainingData(
        store, order, pairs, share, training_share, batch_size, train_indices, validation_indices, classes
    )


def photo_weights(experiment, photos, indices):
    """How often each of the photos is seen, float64 [indices]; None where all are alike."""
    if not experiment.balance:
        return None
    factors = experiment.dataset_weights or [1.0] * len(experiment.dataset)
    if len(factors) != len(experiment.dataset):
        raise DatasetError(f"--dataset-weights: give {len(experiment.dataset)} numbers, one for each --dataset")
    if not photos.classes:
        return None
    return balance(photos.labels[indices], np.asarray(factors)[photos.owners])


def build(experiment, data, steps):
    """The experiment's network, ready to be trained for a number of steps."""
    model = models.build(experiment, data.classes)
    model.compile(optimizer=make_optimizer(experiment, steps), to_pair=data.pairs if colors_in_step() else None)
    model.optimizer.build(model.trainable_variables)  # Of all weights, before some are frozen.
    if data.share.replicas > data.share.count:
        enable_multi_worker_fit(model)
    return model


def name_folders(experiment):
    """The data set's folders, for messages."""
    return ", ".join(map(str, experiment.dataset))


def start_from(model, name):
    """Gives a network the weights of a trained model. Raises TrainingError where that is another network."""
    try:
        model.set_weights(models.load(name).get_weights())
    except ValueError as error:
        raise TrainingError(f"--start-from {name}: a model of another network or of other settings") from error


def print_plan(experiment, data, policy):
    counts = f"{len(data.training_indices)} training, {len(data.validation_indices)} validation photos"
    batches = f"batches of {data.batch_size * data.share.replicas}"
    if data.share.replicas > 1:
        batches += f", {data.batch_size} on each of {data.share.replicas} devices"
    print(f"{name_folders(experiment)}: {counts}; {batches}; {policy}, on {describe_devices()}", flush=True)


def fit(model, data, strategy, callbacks, epoch, epochs, step=0):
    """Trains from a step of an epoch on, up to a number of epochs."""
    crops, validation = data.training(epoch, step), data.validation()
    model.fit(
        distribute(strategy, data.feed(crops)),
        steps_per_epoch=crops.steps - step,
        validation_data=validation and distribute(strategy, data.feed(validation)),
        validation_steps=validation and validation.steps,
        initial_epoch=epoch,
        epochs=epochs,
        callbacks=callbacks,
        verbose=0,
        shuffle=False,  # The order is the pipeline's.
    )


def plan_steps(folder, experiment, data, minutes, strategy, writes):
    """How many steps a run takes: its epochs, or what fits in a time budget. Kept in the run's config.json."""
    config = json.loads((folder / "config.json").read_text()) if writes else {}
    steps = round(from_chief(strategy, config.get("steps", 0)))
    if not steps:
        steps = data.steps * experiment.epochs
        if minutes is not None:
            started = time.monotonic()
            seconds, start = measure_speed(experiment, data, strategy, limit=minutes * 60 * MEASURING_SHARE)
            left = minutes * 60 - (time.monotonic() - started) - start
            steps = round(from_chief(strategy, max(1, round(left / seconds))))
        if writes:
            write_whole(folder / "config.json", to_bytes({**config, "minutes": minutes, "steps": steps}))
    return steps


def measure_speed(experiment, data, strategy, limit):
    """Measures the experiment's training step, its input included, on a network that is thrown away.

    Args:
        limit: Seconds that measuring may take, building the network included. At least two steps are taken: one that
            compiles, and one that counts.

    Returns:
        (seconds a step, seconds until the first step is compiled).
    """
    started = time.monotonic()
    with strategy.scope():
        model = build(experiment, data, TIMED_STEPS)
    feed = distribute(strategy, data.feed(data.training()))
    model.fit(feed, steps_per_epoch=1, verbose=0, shuffle=False)
    start, steps = time.monotonic() - started, 1
    while True:
        # The steps alone, without what starting and ending a loop over the data takes.
        speed = Speed(batch_size=1)
        model.fit(feed, steps_per_epoch=steps, callbacks=[speed], verbose=0, shuffle=False)
        seconds = from_chief(strategy, 1 / speed.speed)
        left = from_chief(strategy, limit - (time.monotonic() - started))
        if steps > 1 or left < 2 * seconds:
            return seconds, start
        steps = min(TIMED_STEPS, int(left / seconds))


def make_callbacks(experiment, folder, data, checkpoints, steps, epochs):
    """What happens around the experiment's training, in the order in which it has to happen."""
    batch_size = data.batch_size * data.share.replicas
    callbacks = [Speed(batch_size), FiniteLoss(), StopAfter(steps)]
    if experiment.schedule == "plateau":
        checkpoints.plateau = keras.callbacks.ReduceLROnPlateau(factor=0.1, patience=10, min_delta=1e-4)
        callbacks.append(checkpoints.plateau)
    if experiment.frozen_share:
        callbacks.append(FrozenEncoder(frozen_steps(experiment, steps)))
    if is_chief(data.share):
        callbacks.append(keras.callbacks.TensorBoard(folder / "logs", write_graph=False))
        if data.validation() is not None:
            pairs = data.pairs.of(data.validation())
            callbacks.append(ValidationPictures(folder / "logs" / "pictures", pairs))
        callbacks.append(Progress(epochs, data.steps * batch_size, batch_size))
    return [*callbacks, checkpoints]


def prepare_run(folder, experiment, photos, resume, save_every_steps=None, writes=True):
    """Makes a run's folder with its config.json, or checks that it holds the same experiment on the same photos.

    Returns `Checkpoints`.

    Of several machines, only the one that `writes` makes the folder.

    Raises:
        TrainingError: The folder holds a run that was not asked to go on, or one of another experiment or on other
            photos, or cannot be written.
    """
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:
        raise TrainingError(f"{folder}: TensorFlow writes to names in UTF-8 only; give another --run-dir") from error
    checkpoints = Checkpoints(folder, save_every_steps=save_every_steps, writes=writes)
    config = as_json(experiment)
    try:
        if checkpoints.last.exists():
            if not resume:
                raise TrainingError(f"{folder} holds a run already; pass --resume to go on, or --run-dir for a new one")
            made = json.loads((folder / "config.json").read_text())
            before, found = made["experiment"], made.get("photos", photos.fingerprint)
            # The photos may have moved, and memory does not change the outcome; all else would make it another run.
            free = {"dataset", "cache_gigabytes"}
            # A field that is younger than the run had its default.
            before = {**as_json(Experiment()), **before}
            changed = [key for key in config if key not in free and before[key] != config[key]]
            if changed:
                options = ", ".join(f"--{key.replace('_', '-')} {before[key]}" for key in changed)
                raise TrainingError(f"{folder} holds a run with other settings; to go on, pass {options}")
            if found != photos.fingerprint:
                # The split depends on which photos there are: some that were learned from would be validated with.
                raise TrainingError(
                    f"{name_folders(experiment)}: photos were added or are gone since {folder} began, with "
                    f"{found['count']} photos where now are {len(photos.paths)}; give the same photos, or --run-dir "
                    "for a new run"
                )
        elif writes:
            folder.mkdir(parents=True, exist_ok=True)
            made = {"experiment": config, "photos": photos.fingerprint, **describe_run()}
            write_whole(folder / "config.json", to_bytes(made))
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(f"{folder}: the run's folder cannot be used ({error})") from error
    return checkpoints


def finish_run(folder, checkpoints, data):
    """Leaves model.keras, the best epoch in half precision, with model.json, and names the photos that were skipped."""
    best = checkpoints.best_epoch()
    if best is None:
        raise TrainingError(f"{folder}: no epoch had a val_loss that is a finite number, so there is no best model")
    with replacing(folder / "model.keras") as path:
        models.save(models.load(folder / "best.keras"), path, precision="float16")
    config = json.loads((folder / "config.json").read_text())
    made = {"best_epoch": best, "last_epoch": checkpoints.history[-1]}
    # What a constant colour would have to be, for evaluate.py.
    made["mean_ab"] = mean_ab(data.store, data.order.indices).round(3).tolist()
    write_whole(folder / "model.json", to_bytes({**config, **made}))
    print(f"{folder / 'model.keras'}: the model of epoch {best['epoch']}")
    skipped = data.store.skipped
    if skipped:
        listing = folder / "skipped.txt"
        lines = [printable(f"{path}: {cause}") for path, cause in sorted(skipped.items())]
        write_whole(listing, "".join(f"{line}\n" for line in lines).encode())
        print(f"skipped {len(skipped)} photos: {data.store.count_skipped()}; see {listing}", file=sys.stderr)


def as_json(experiment):
    """The experiment as a dict of JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(experiment), default=str))


def to_bytes(value):
    return (json.dumps(value, indent=2) + "\n").encode()


@dataclasses.dataclass(frozen=True)
class Options:
    """Trains one of the experiments in configs.py; without a name, `paper`."""

    experiment: tyro.conf.OmitArgPrefixes[Experiment]
    run_dir: OutputFolder | None = None
    """The run's folder. Default: a folder in RUNS (configs.py) named like the experiment."""
    minutes: Positive | None = None
    """Time for the training steps, instead of --epochs: the speed is measured first and the schedule ends with it.
    Validation comes on top."""
    resume: bool = False
    """Go on after the last finished epoch, or saved step, of the run's folder; start anew where there is none."""
    save_every_steps: Count | None = None
    """Save what is needed to go on after so many steps too, not only after each epoch."""


def read_command_line(arguments):
    """Reads an experiment's name, if the first argument is one, and fields to override. Returns (name, Options)."""
    usage = f"[{'|'.join(EXPERIMENTS)}] [options]"
    name, rest = (
        (arguments[0], arguments[1:]) if arguments and not arguments[0].startswith("-") else ("paper", arguments)
    )
    if name not in EXPERIMENTS:
        print(f"no experiment is named {name}\nusage: python train.py {usage}", file=sys.stderr)
        sys.exit(2)
    description = f"{Options.__doc__} There are {', '.join(EXPERIMENTS)}; the defaults shown are those of {name}."
    options = parse(
        Options, f"train.py {name}", usage, description=description, default=Options(EXPERIMENTS[name]), args=rest
    )
    check_effect(options, rest)
    return name, options


def check_effect(options, arguments):
    """Raises OptionError for an option that is given and would have no effect, since another one rules it out."""
    experiment = options.experiment
    reasons = dict.fromkeys(
        models.fields_of_others(experiment.model), f"the network {experiment.model} does not know it"
    )
    reasons |= find_idle(experiment)
    if options.minutes is not None:
        reasons["epochs"] = "--minutes decides instead"
    given = {argument.partition("=")[0].replace("_", "-") for argument in arguments}
    for name, reason in reasons.items():
        option = name.replace("_", "-")
        for spelling in given & {f"--{option}", f"--no-{option}"}:
            raise OptionError(f"{spelling}: {reason}")


def main():
    name, options = read_command_line(sys.argv[1:])
    train(options.experiment, options.run_dir or RUNS / name, options.resume, options.minutes, options.save_every_steps)


if __name__ == "__main__":
    run(main, interrupted="interrupted; pass --resume to go on after the last finished epoch")
