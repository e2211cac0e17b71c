"""Trains one of the experiments in configs.py.

    python train.py                                      the paper's recipe
    python train.py scenes --dataset DIR --epochs 3      another experiment, with fields overridden
    python train.py scenes --dataset DIR --resume        goes on after the last finished epoch

The run's folder, runs/NAME, then holds: config.json, history.csv, best.keras (the best epoch so far), last.weights.h5
(to go on from), logs/ (for TensorBoard) and, at the end, model.keras with model.json: the best epoch in half precision,
for `python test.py --model NAME`, and what made it.
"""

import dataclasses
import json
import sys
import time
from pathlib import Path

from command_line import describe_run, parse, run, tame_native_libraries

if __name__ == "__main__":
    tame_native_libraries()

import keras
import tensorflow as tf
import tyro

import models
from callbacks import Checkpoints, FiniteLoss, Progress, Speed, StopAfter, TrainingError, ValidationPictures
from configs import EXPERIMENTS, RUNS, Experiment
from data.pairs import TrainingOrder, mean_ab, training_pairs, validation_pairs
from data.photos import DatasetError, PhotoStore, find_photos, split_photos
from files import replacing, write_whole
from models.precision import choose_policy

# Steps that the speed is measured over for a time budget, and steps before them that do not count.
TIMED_STEPS = 20
WARMUP_STEPS = 10


def train(experiment, folder, resume=False, minutes=None):
    """Trains an experiment and leaves the run in a folder.

    Args:
        experiment: What to train.
        folder: The run's folder; made if need be.
        resume: Go on after the last epoch that the folder holds, if it holds one.
        minutes: Time for the training steps, instead of the experiment's epochs. The speed is measured first, and the
            time becomes a number of steps, which the run keeps when it goes on.

    Returns:
        The history: one dict an epoch.

    Raises:
        DatasetError: The photos cannot be used.
        TrainingError: The folder holds another run, or training cannot go on.
    """
    photos = find_photos(experiment.dataset)
    checkpoints = prepare_run(folder, experiment, resume)
    policy = choose_policy() if experiment.policy == "auto" else experiment.policy
    keras.config.set_dtype_policy(policy)

    data = prepare_data(experiment, photos)
    print(
        f"{experiment.dataset}: {data.training_photos} training, {data.validation_photos} validation photos; {policy}"
    )
    steps = plan_steps(folder, experiment, data, minutes)
    epochs = -(-steps // len(data.pairs))
    keras.utils.set_random_seed(experiment.seed)
    model = models.build(experiment, data.classes)
    model.compile(optimizer=make_optimizer(experiment, steps))
    model.prepare(data.pairs, folder)
    callbacks = make_callbacks(experiment, folder, data, checkpoints, steps, epochs)
    done = checkpoints.restore(model) if checkpoints.last.exists() else 0
    if done:
        print(f"{folder}: going on after epoch {done}")
    model.fit(
        data.pairs,
        validation_data=data.validation,
        initial_epoch=done,
        epochs=epochs,
        callbacks=callbacks,
        verbose=0,
        shuffle=False,  # The order is the pipeline's.
    )
    finish_run(folder, checkpoints, data)
    return checkpoints.history


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """What a run learns from: the pairs, and what stands behind them."""

    store: PhotoStore
    order: TrainingOrder
    pairs: tf.data.Dataset
    validation: tf.data.Dataset | None
    classes: int
    training_photos: int
    validation_photos: int


def prepare_data(experiment, photos):
    """Splits photos and makes the pipelines of an experiment, with labels where its network classifies.

    Raises:
        DatasetError: None of the training photos can be used.
    """
    train_indices, validation_indices = split_photos(len(photos.paths), experiment.validation_fraction, experiment.seed)
    store = PhotoStore(photos.paths, experiment.crop, int(experiment.cache_gigabytes * 1e9))
    if store.first_usable(train_indices) is None:
        raise DatasetError(f"{experiment.dataset} holds no photo to learn from: {store.count_skipped()}")
    if store.first_usable(validation_indices) is None:
        validation_indices = validation_indices[:0]
    classes = len(photos.classes) if experiment.classification_weight else 0
    options = {
        "batch_size": experiment.batch_size,
        "saturation_factor": experiment.saturation_factor,
        "luma": experiment.luma,
        "labels": photos.labels if classes else None,
    }
    order = TrainingOrder(train_indices, experiment.seed, experiment.flip)
    pairs = training_pairs(store, order, **options)
    validation = validation_pairs(store, validation_indices, **options) if len(validation_indices) else None
    return TrainingData(store, order, pairs, validation, classes, len(train_indices), len(validation_indices))


def plan_steps(folder, experiment, data, minutes):
    """How many steps a run takes: its epochs, or what fits in a time budget. Kept in the run's config.json."""
    config = json.loads((folder / "config.json").read_text())
    if "steps" not in config:
        config["minutes"] = minutes
        config["steps"] = len(data.pairs) * experiment.epochs
        if minutes is not None:
            config["steps"] = max(1, round(minutes * 60 / seconds_per_step(experiment, data)))
        write_whole(folder / "config.json", to_bytes(config))
    return config["steps"]


def seconds_per_step(experiment, data):
    """Measures the experiment's training step, its input included, on a network that is thrown away."""
    model = models.build(experiment, data.classes)
    model.compile(optimizer=make_optimizer(experiment, steps=TIMED_STEPS))
    pairs = data.pairs.repeat()
    model.fit(pairs, steps_per_epoch=WARMUP_STEPS, verbose=0, shuffle=False)
    started = time.perf_counter()
    model.fit(pairs, steps_per_epoch=TIMED_STEPS, verbose=0, shuffle=False)
    return (time.perf_counter() - started) / TIMED_STEPS


def make_callbacks(experiment, folder, data, checkpoints, steps, epochs):
    """What happens around the experiment's training, in the order in which it has to happen."""
    batch_size = min(experiment.batch_size, data.training_photos)
    callbacks = [
        Speed(batch_size),
        keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: setattr(data.order, "epoch", epoch)),
        FiniteLoss(),
        StopAfter(steps),
    ]
    if experiment.schedule == "plateau":
        checkpoints.plateau = keras.callbacks.ReduceLROnPlateau(factor=0.1, patience=10, min_delta=1e-4)
        callbacks.append(checkpoints.plateau)
    callbacks.append(keras.callbacks.TensorBoard(folder / "logs", write_graph=False))
    if data.validation is not None:
        callbacks.append(ValidationPictures(folder / "logs" / "pictures", data.validation))
    return [*callbacks, Progress(epochs, data.training_photos, batch_size), checkpoints]


def make_optimizer(experiment, steps):
    """The experiment's optimizer with its learning rate schedule over a number of steps."""
    rate = experiment.learning_rate
    if experiment.schedule == "cosine":
        warmup = min(experiment.warmup_steps, steps // 2)
        rate = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=0.0 if warmup else rate,
            decay_steps=steps - warmup,
            warmup_target=rate if warmup else None,
            warmup_steps=warmup,
        )
    optimizers = {
        "sgd": keras.optimizers.SGD,
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "adadelta": keras.optimizers.Adadelta,
    }
    options = {"weight_decay": experiment.weight_decay} if experiment.optimizer == "adamw" else {}
    return optimizers[experiment.optimizer](rate, **options)


def prepare_run(folder, experiment, resume):
    """Makes a run's folder with its config.json, or checks that it holds the same experiment. Returns `Checkpoints`.

    Raises:
        TrainingError: The folder holds a run that was not asked to go on, or one of another experiment, or cannot be
            written.
    """
    checkpoints = Checkpoints(folder)
    config = as_json(experiment)
    try:
        if checkpoints.last.exists():
            if not resume:
                raise TrainingError(f"{folder} holds a run already; pass --resume to go on, or --run-dir for a new one")
            before = json.loads((folder / "config.json").read_text())["experiment"]
            # The photos may have moved, and memory does not change the outcome; all else would make it another run.
            free = {"dataset", "cache_gigabytes"}
            changed = [key for key in config if key not in free and before.get(key) != config[key]]
            if changed:
                options = ", ".join(f"--{key.replace('_', '-')} {before.get(key)}" for key in changed)
                raise TrainingError(f"{folder} holds a run with other settings; to go on, pass {options}")
            return checkpoints
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "config.json", to_bytes({"experiment": config, **describe_run()}))
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(f"{folder}: the run's folder cannot be used ({error})") from error
    return checkpoints


def finish_run(folder, checkpoints, data):
    """Leaves model.keras, the best epoch in half precision, with model.json, and names the photos that were skipped."""
    with replacing(folder / "model.keras") as path:
        models.save(models.load(folder / "best.keras"), path, precision="float16")
    config = json.loads((folder / "config.json").read_text())
    best = checkpoints.best_epoch()
    made = {"best_epoch": best, "last_epoch": checkpoints.history[-1]}
    # What a constant colour would have to be, for evaluate.py.
    made["mean_ab"] = mean_ab(data.store, data.order.indices).round(3).tolist()
    write_whole(folder / "model.json", to_bytes({**config, **made}))
    print(f"{folder / 'model.keras'}: the model of epoch {best['epoch']}")
    skipped = data.store.skipped
    if skipped:
        listing = folder / "skipped.txt"
        write_whole(listing, "".join(f"{path}: {cause}\n" for path, cause in sorted(skipped.items())).encode())
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
    run_dir: Path | None = None
    """The run's folder. Default: a folder in RUNS (configs.py) named like the experiment."""
    minutes: float | None = None
    """Time for the training steps, instead of --epochs: the speed is measured first and the schedule ends with it."""
    resume: bool = False
    """Go on after the last finished epoch of the run's folder; start anew where there is none."""


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
    return name, parse(
        Options, f"train.py {name}", usage, description=description, default=Options(EXPERIMENTS[name]), args=rest
    )


def main():
    name, options = read_command_line(sys.argv[1:])
    train(options.experiment, options.run_dir or RUNS / name, options.resume, options.minutes)


if __name__ == "__main__":
    run(main, interrupted="interrupted; pass --resume to go on after the last finished epoch")
