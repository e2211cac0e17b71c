"""Keras callbacks of a training run: progress, validation pictures, history, and checkpoints to resume from."""

import contextlib
import json
import math
import time

import h5py
import keras
import tensorflow as tf
from tqdm import tqdm

import models
from common.command_line import say
from common.errors import UserError, first_line
from common.files import replacing, write_csv
from training.optimizers import frozen_steps
from utils import lab_to_rgb, neutral_from_lightness


class TrainingError(UserError):
    """Training cannot start or continue; the message says why and what to do."""


def steps_done(model):
    """Returns the number of training steps that a compiled model has taken."""
    return int(model.optimizer.iterations.numpy())


class Progress(keras.callbacks.Callback):
    """Shows a progress bar during each epoch, then a line with its losses and photos a second.

    Args:
        epochs: Number of epochs, for the line.
        photos: Photos an epoch.
        batch_size: Photos a step, of all replicas.
    """

    def __init__(self, epochs, photos, batch_size):
        super().__init__()
        self.epochs, self.photos, self.batch_size = epochs, photos, batch_size

    def on_epoch_begin(self, epoch, logs=None):
        self.title = f"epoch {epoch + 1}/{self.epochs}"
        self.bar = tqdm(total=self.photos, unit=" photos", desc=self.title, leave=False, disable=None)

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update(min(self.batch_size, self.photos - self.bar.n))
        self.bar.set_postfix(loss=f"{logs['loss']:.5f}", refresh=False)

    def on_test_begin(self, logs=None):
        self.bar.set_description(f"{self.title}, validating")

    def on_epoch_end(self, epoch, logs=None):
        self.bar.close()
        losses = ", ".join(f"{name} {value:.5f}" for name, value in logs.items() if name.endswith("loss"))
        say(f"{self.title}: {losses}, {logs['photos_per_second']:.1f} photos/s")


class Speed(keras.callbacks.Callback):
    """Adds `photos_per_second` of training, without validation, to the logs of each epoch."""

    def __init__(self, batch_size):
        super().__init__()
        self.batch_size = batch_size

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        self.speed = (batch + 1) * self.batch_size / (time.monotonic() - self.started)

    def on_epoch_end(self, epoch, logs=None):
        logs["photos_per_second"] = self.speed


def from_best_epoch(folder):
    """The advice to start from the best epoch in a run's folder, behind other advice; "" where there is none yet."""
    return f", with --start-from {folder} for the weights of its best epoch" if (folder / "best.keras").exists() else ""


class FiniteLoss(keras.callbacks.Callback):
    """Raises TrainingError when the loss is not a finite number. `folder` is that of the run."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_train_batch_end(self, batch, logs=None):
        if not math.isfinite(logs["loss"]):
            raise TrainingError(
                f"the loss is {logs['loss']} at step {batch + 1} of this epoch, so training cannot go on; give a lower "
                f"--learning-rate or --policy float32, and another --run-dir{from_best_epoch(self.folder)}"
            )


class StopAfter(keras.callbacks.Callback):
    """Stops training after a number of steps, also within an epoch."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def on_train_batch_end(self, batch, logs=None):
        if steps_done(self.model) >= self.steps:
            self.model.stop_training = True


def freeze_encoder(model, frozen):
    """Freezes or unfreezes the encoder of a compiled `ResidualEncoder`, from the next training step on."""
    model.encoder.trainable = not frozen
    model.make_train_function(force=True)


class FrozenEncoder(keras.callbacks.Callback):
    """Keeps the encoder of a `ResidualEncoder` frozen for a number of steps; after them all weights learn."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def on_train_begin(self, logs=None):
        freeze_encoder(self.model, steps_done(self.model) < self.steps)

    def on_train_batch_end(self, batch, logs=None):
        if steps_done(self.model) == self.steps:
            freeze_encoder(self.model, False)


class ValidationPictures(keras.callbacks.Callback):
    """Writes the same validation photos to TensorBoard after every epoch: gray, colorized, and the target.

    Args:
        folder: Folder of the TensorBoard log.
        pairs: Validation set, a tf.data.Dataset of (L, ab) or (L, (ab, labels)).
    """

    PHOTOS = 6

    def __init__(self, folder, pairs):
        super().__init__()
        self.writer = tf.summary.create_file_writer(str(folder))
        self.lightness, target = next(iter(pairs.unbatch().batch(self.PHOTOS)))
        self.ab = target[0] if isinstance(target, tuple) else target

    def on_epoch_end(self, epoch, logs=None):
        predicted = self.model.colorize(self.lightness)
        gray = tf.repeat(neutral_from_lightness(self.lightness), 3, axis=-1)
        colored = [lab_to_rgb(tf.concat([self.lightness, ab], axis=-1)) for ab in (predicted, self.ab)]
        rows = tf.concat([gray, *colored], axis=2)
        with self.writer.as_default():
            tf.summary.image("gray, colorized, target", rows, step=epoch, max_outputs=len(rows))


class Checkpoints(keras.callbacks.Callback):
    """Saves the best epoch, the last epoch and the history in the run's folder.

    - `best.keras`: the model of the epoch with the lowest val_loss, or the lowest loss without validation.
    - `last.weights.h5`: the checkpoint to resume from: weights, optimizer, history, and the states of ReduceLROnPlateau
      and the metrics, in one file that is replaced atomically.
    - `history.csv`: one row an epoch.

    Args:
        folder: The run's folder.
        save_every_steps: Number of steps after which `last.weights.h5` is saved within an epoch; None for epochs only.
        writes: Whether this process writes the files.
        by_loss: Whether losses tell which epoch is the best; otherwise it is the last.

    Attributes:
        last: Path of the checkpoint to resume from.
        plateau: The run's ReduceLROnPlateau callback, whose state is saved; None without one.
        history: A dict of metrics for each finished epoch.
    """

    PLATEAU_STATE = ("best", "wait", "cooldown_counter")

    def __init__(self, folder, save_every_steps=None, writes=True, by_loss=True):
        super().__init__()
        self.folder = folder
        self.last = folder / "last.weights.h5"
        self.plateau = None
        self.save_every_steps = save_every_steps
        self.writes = writes
        self.by_loss = by_loss
        self.history = []
        self._plateau_state = {}
        # Of an epoch that is resumed: the steps taken before, and the values of the metrics' variables after them.
        self._steps_before = 0
        self._metrics_before = []

    def best_epoch(self):
        """The row of the history with the lowest finite val_loss, or loss without validation; None without any.

        With `by_loss` off, the last row.
        """
        if not self.by_loss:
            return self.history[-1] if self.history else None
        rows = [row for row in self.history if math.isfinite(row.get("val_loss", row["loss"]))]
        return min(rows, key=lambda row: row.get("val_loss", row["loss"]), default=None)

    def restore(self, model):
        """Loads the last checkpoint into a compiled model, whose optimizer is built.

        Returns:
            (epoch, step): where to resume, both counted from 0.

        Raises:
            TrainingError: The checkpoint is damaged or of another network.
        """
        try:
            with h5py.File(self.last) as file:
                state = json.loads(file.attrs["state"])
            self.history, self._plateau_state = list(state["history"]), state["plateau"]
            self._steps_before, self._metrics_before = state.get("step", 0), state.get("metrics", [])
            model.load_weights(self.last)
            with h5py.File(self.last) as file:
                for number, variable in enumerate(model.checkpointed_variables):
                    variable.assign(file[f"training/{number}"][()])
        except Exception as error:  # Whatever a damaged file makes h5py or Keras raise.
            raise TrainingError(
                f"{self.last}: the checkpoint cannot be read ({first_line(error)}); give another "
                f"--run-dir{from_best_epoch(self.folder)}"
            ) from error
        return len(self.history), self._steps_before

    def on_train_begin(self, logs=None):
        # Keras has just reset the plateau's state.
        for name, value in self._plateau_state.items():
            setattr(self.plateau, name, value)

    def on_epoch_begin(self, epoch, logs=None):
        # Keras has just reset the metrics.
        for variable, value in zip(self.model.metrics_variables, self._metrics_before, strict=False):
            variable.assign(value)

    def on_train_batch_end(self, batch, logs=None):
        is_last = self.model.stop_training or batch + 1 == self.params["steps"]  # Then `on_epoch_end` saves.
        if self.save_every_steps and not is_last and steps_done(self.model) % self.save_every_steps == 0:
            # On several machines reading a metric sums it up over them, so every process has to read it.
            metrics = [float(variable.numpy()) for variable in self.model.metrics_variables]
            if self.writes:
                with self._explain_write_error(f"step {batch + 1}"):
                    self._save_last(self._steps_before + batch + 1, metrics)

    def on_epoch_end(self, epoch, logs=None):
        self._steps_before, self._metrics_before = 0, []
        if self.plateau:
            self._plateau_state = {name: float(getattr(self.plateau, name)) for name in self.PLATEAU_STATE}
        self.history.append({"epoch": epoch + 1, **{name: float(value) for name, value in logs.items()}})
        if self.writes:
            with self._explain_write_error(f"epoch {epoch + 1}"):
                if self.best_epoch() is self.history[-1]:
                    with replacing(self.folder / "best.keras") as path:
                        models.save(self.model, path)
                self._save_last()
                self.write_history()

    def write_history(self):
        """Writes history.csv. Raises OSError."""
        names = list(self.history[0])
        rows = [[row[name] for name in names] for row in self.history]
        write_csv(self.folder / "history.csv", [names, *rows])

    @contextlib.contextmanager
    def _explain_write_error(self, what):
        try:
            yield
        except (OSError, RuntimeError) as error:
            raise TrainingError(
                f"{self.folder}: {what} cannot be saved ({error}); make room and go on with --resume"
            ) from error

    def _save_last(self, step=0, metrics=()):
        state = {"history": self.history, "plateau": self._plateau_state, "step": step, "metrics": metrics}
        with replacing(self.last) as path:
            self.model.save_weights(path, overwrite=True)
            with h5py.File(path, "a") as file:
                file.attrs["state"] = json.dumps(state)
                for number, variable in enumerate(self.model.checkpointed_variables):
                    file[f"training/{number}"] = variable.numpy()


def make_callbacks(experiment, folder, data, checkpoints, steps, epochs):
    """The callbacks of a run, in the order in which Keras has to call them.

    Those that add to the logs, or end a run whose state must not be saved, come first. The checkpoints come behind
    them, since they save the logs and the state of the others. Last, on the chief alone, comes `Progress`.
    """
    batch_size = data.batch_size * data.share.replicas
    callbacks = [Speed(batch_size), FiniteLoss(folder)]
    validation = data.validation()
    if experiment.schedule == "plateau":
        monitor = "val_loss" if validation else "loss"
        checkpoints.plateau = keras.callbacks.ReduceLROnPlateau(monitor, factor=0.1, patience=10, min_delta=1e-4)
        callbacks.append(checkpoints.plateau)
    callbacks.append(StopAfter(steps))
    if experiment.frozen_share:
        callbacks.append(FrozenEncoder(frozen_steps(experiment, steps)))
    if data.share.is_chief:
        callbacks.append(keras.callbacks.TensorBoard(folder / "logs", write_graph=False))
        if validation:
            callbacks.append(ValidationPictures(folder / "logs" / "pictures", data.pairs.of(validation)))
        return [*callbacks, checkpoints, Progress(epochs, data.steps * batch_size, batch_size)]
    return [*callbacks, checkpoints]
