"""The folder of a training run: made or checked before training, completed after it."""

import contextlib
import dataclasses
import json
import shlex
import sys

import models
from common.command_line import describe_run, printable
from common.errors import first_line
from common.files import describe_error, lock_folder, replacing, write_json, write_whole
from configs import Experiment
from data.pairs import mean_ab
from models.zhang import HISTOGRAM
from training.callbacks import TrainingError, from_best_epoch
from training.data import name_folders


@contextlib.contextmanager
def own_folder(folder, writes):
    """A context that makes a run's folder and locks it against other runs; only where this process `writes`.

    Raises:
        TrainingError: The folder cannot be made, or TensorFlow cannot write to it.
        UserError: Another run is in it.
    """
    try:
        str(folder).encode()
        if writes:
            folder.mkdir(parents=True, exist_ok=True)
    except UnicodeEncodeError as error:
        raise TrainingError(f"{folder}: TensorFlow writes to names in UTF-8 only; give another --run-dir") from error
    except OSError as error:
        raise TrainingError(
            f"{folder}: the run's folder cannot be used ({describe_error(error)}); give another --run-dir"
        ) from error
    with lock_folder(folder) if writes else contextlib.nullcontext():
        yield


def prepare_run(checkpoints, experiment, photos, resume):
    """Writes a run's config.json, or checks that its folder holds the same experiment on the same photos.

    Args:
        checkpoints: The run's `Checkpoints`.
        experiment: What to train.
        photos: The `Photos` to train on.
        resume: Whether the folder may hold a run already.

    Raises:
        TrainingError: The folder holds a run that was not asked to go on, or one of another experiment or on other
            photos, or cannot be written.
    """
    folder = checkpoints.folder
    try:
        if checkpoints.last.exists():
            if not resume:
                raise TrainingError(f"{folder} holds a run already; pass --resume to go on, or --run-dir for a new one")
            check_unchanged(folder, experiment, photos)
        elif (folder / "model.keras").exists():
            raise TrainingError(f"{folder} holds a trained model already; give another --run-dir")
        elif checkpoints.writes:
            (folder / HISTOGRAM).unlink(missing_ok=True)  # That of a run that was given up.
            made = {"experiment": as_json(experiment), "photos": photos.fingerprint, **describe_run()}
            write_json(folder / "config.json", made)
    except OSError as error:
        raise TrainingError(f"{folder}: the run's folder cannot be used ({describe_error(error)})") from error


def check_unchanged(folder, experiment, photos):
    """Raises TrainingError where a folder's run is of another experiment or on other photos."""
    made, wanted = read_config(folder), as_json(experiment)
    # Fields that were added after the run began had their defaults.
    before = {**as_json(Experiment()), **made["experiment"]}
    # Moved photos and another cache train the same weights; any other change would make another run.
    may_differ = {"dataset", "cache_gigabytes"}
    changed = [name for name in wanted if name not in may_differ and before[name] != wanted[name]]
    if "model" in changed:
        raise TrainingError(f"{folder} holds a run of the network {before['model']}; give another --run-dir")
    if changed:
        options = " ".join(as_option(name, before[name]) for name in changed)
        longer = f"; to train longer, begin a new run: --start-from {folder} --run-dir NEW" * ("epochs" in changed)
        raise TrainingError(f"{folder} holds a run with other settings{longer}; to go on, pass {options}")
    # Without effect, a field is False, 0 or null.
    if unknown := [as_option(name, value) for name, value in before.items() if value and name not in wanted]:
        raise TrainingError(
            f"{folder} holds a run with {' '.join(unknown)}, which this version does not know; go on with the version "
            "that began the run, or give another --run-dir"
        )
    found = made["photos"] or photos.fingerprint
    if found != photos.fingerprint:
        # The split depends on which photos there are: some that were learned from would be validated with.
        raise TrainingError(
            f"{name_folders(experiment)}: photos were added or removed since {folder} began ({found['count']} then, "
            f"{len(photos.paths)} now); give the same photos, or --run-dir for a new run"
        )


def read_config(folder):
    """What the config.json of a run's folder holds, a dict. Raises TrainingError where it is damaged or missing."""
    path = folder / "config.json"
    try:
        config = {"photos": {}, "steps": 0, **json.loads(path.read_bytes())}
        checked = {name: dict(config[name]) for name in ("experiment", "photos")}
        return {**config, **checked, "steps": max(0, config["steps"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"{path}: it cannot be read ({first_line(error)}), so the run cannot go on; give another "
            f"--run-dir{from_best_epoch(folder)}"
        ) from error


def finish_run(folder, checkpoints, data):
    """Writes model.keras (the best epoch in half precision), model.json and skipped.txt (the photos skipped).

    Raises:
        TrainingError: No epoch had a finite val_loss, or best.keras or config.json cannot be read.
    """
    best = checkpoints.best_epoch()
    if best is None:
        raise TrainingError(f"{folder}: no epoch had a val_loss that is a finite number, so there is no best model")
    try:
        model = models.load(folder / "best.keras")
    except models.ModelError as error:
        raise TrainingError(
            f"{folder / 'best.keras'}: gone or damaged, and it held the best epoch, {best['epoch']}; put it back, or "
            "train anew with another --run-dir"
        ) from error
    checkpoints.write_history()  # A run that was killed just before it did ends here.
    with replacing(folder / "model.keras") as path:
        models.save(model, path, precision="float16")
    config = read_config(folder)
    made = {"best_epoch": best, "last_epoch": checkpoints.history[-1]}
    # evaluate.py scores it as a constant colour.
    made["mean_ab"] = mean_ab(data.store, data.order.indices).round(3).tolist()
    write_json(folder / "model.json", {**config, **made})
    print(f"{folder / 'model.keras'}: the model of epoch {best['epoch']}")
    if data.store.skipped:
        list_skipped(data.store, folder / "skipped.txt")


def list_skipped(store, file):
    """Writes a line for each photo that a `PhotoStore` has skipped, with the cause, and says how many there are."""
    lines = sorted(printable(f"{path}: {cause}") for path, cause in store.skipped.items())
    write_whole(file, "".join(f"{line}\n" for line in lines).encode())
    print(f"photos skipped: {len(lines)} ({store.count_skipped()}); see {file}", file=sys.stderr)


def as_option(name, value):
    """A field of an experiment, a JSON value, as it is written on the command line."""
    option = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{option}" if value else f"--no-{option}"
    return shlex.join([f"--{option}", *map(str, value if isinstance(value, list) else [value])])


def as_json(experiment):
    """The experiment as a dict of JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(experiment), default=str))
