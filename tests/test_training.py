"""Training: it learns, it survives being killed, and it says what is wrong."""

import contextlib
import csv
import dataclasses
import io
import json
import shutil
import signal
import time
from types import SimpleNamespace

import cv2
import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from processes import Script, full_disk
from small_experiments import PLAIN, class_folders, small, uncompiled
from small_networks import shrink

import models
from common.errors import UserError
from common.files import lock_folder
from common.images import write_photo
from configs import EXPERIMENTS, SAMPLES
from data.pairs import ALONE, ReplicaShare
from data.photos import DatasetError
from models import precision
from train import read_command_line
from training import trainer
from training.callbacks import Checkpoints, FiniteLoss, Speed, TrainingError
from training.run_folder import finish_run, prepare_run
from training.trainer import train


@pytest.fixture(scope="module", autouse=True)
def few_channels():
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two epochs on the photos that ship, small: its experiment, its folder, its history, what it told."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "photos").mkdir()
    for path in SAMPLES.glob("*.jpg"):
        photo = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        scale = 80 / min(photo.shape[:2])
        reduced = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / "photos" / f"{path.stem}.png"), reduced)
    options = dict(edges=True, epochs=2, batch_size=3, optimizer="adam", learning_rate=1e-3, warmup_steps=0)
    experiment = small("scenes", dataset=(folder / "photos",), **options)
    folder = folder / "run"
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        history = train(experiment, folder)
    return experiment, folder, history, errors.getvalue()


def test_two_epochs_on_bundled_photos_lower_the_loss(finished):
    experiment, folder, history, errors = finished
    assert history[1]["loss"] < history[0]["loss"]

    files = {path.name for path in folder.iterdir()}
    wanted = {"config.json", "history.csv", "best.keras", "last.weights.h5", "model.keras", "model.json", "logs"}
    assert files == wanted | {"skipped.txt"}
    rows = list(csv.DictReader((folder / "history.csv").open()))
    assert [float(row["val_loss"]) for row in rows] == [row["val_loss"] for row in history]
    made = json.loads((folder / "model.json").read_text())
    assert made["experiment"]["saturation_factor"] == 1.8 and made["last_epoch"] == history[1]
    assert len(made["mean_ab"]) == 2
    assert "gray" in (folder / "skipped.txt").read_text()
    assert "photos skipped: 8 (8 gray," in errors

    pictures = list((folder / "logs" / "pictures").glob("events*"))
    events = [value for event in tf.compat.v1.train.summary_iterator(str(pictures[0])) for value in event.summary.value]
    # One row a validation photo and epoch, gray beside colorized beside target; one of the 24 photos is held out.
    assert len(events) == 2
    assert tf.io.decode_png(events[0].tensor.string_val[2]).shape == (64, 3 * 64, 3)

    with pytest.raises(TrainingError, match="--resume"):
        train(experiment, folder)
    with pytest.raises(TrainingError, match="--epochs 2"):
        train(dataclasses.replace(experiment, epochs=3), folder, resume=True)
    ab = models.load(folder).colorize(np.full((1, 64, 64, 1), 50, np.float32))
    assert np.isfinite(ab).all()


def start(experiment, folder):
    """Starts a run of the experiment of `finished` in a process of its own, with checkpoints within the epochs."""
    options = ["--crop", 64, 64, "--classification-size", 64, "--policy", "float32", "--epochs", 2, "--batch-size", 3]
    options += ["--optimizer", "adam", "--learning-rate", "1e-3", "--warmup-steps", 0]
    command = ["train.py", "scenes", "--dataset", *experiment.dataset, "--run-dir", folder, "--save-every-steps", 3]
    return Script("-m", "tests.small_networks", *command, *options)


def final_state(folder):
    """Every weight and optimizer variable of a run's last checkpoint, and its losses."""
    values = {}
    with h5py.File(folder / "last.weights.h5") as file:
        file.visititems(lambda name, item: values.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
        history = json.loads(file.attrs["state"])["history"]
    return values, [{key: row[key] for key in row if key != "photos_per_second"} for row in history]


def assert_bit_equal(folder, other):
    """Two runs have ended with the same state."""
    (values, history), (expected, expected_history) = final_state(folder), final_state(other)
    assert history == expected_history and len(history) == 2
    assert values.keys() == expected.keys() and any(key.startswith("optimizer") for key in values)
    for key, value in expected.items():
        np.testing.assert_array_equal(values[key], value, err_msg=key)


def steps_into_epoch(checkpoint):
    with h5py.File(checkpoint) as file:
        return json.loads(file.attrs["state"])["step"]


def test_a_run_that_is_killed_and_then_finds_the_disk_full_ends_bit_equal(finished, tmp_path, monkeypatch):
    experiment, straight, *_ = finished
    killed = start(experiment, tmp_path)
    checkpoint = tmp_path / "last.weights.h5"
    while not checkpoint.exists():
        assert killed.status is None, killed.wait()
        time.sleep(0.01)
    killed.send(signal.SIGKILL)
    assert killed.wait()[0] == -signal.SIGKILL
    assert not (tmp_path / "model.keras").exists() and steps_into_epoch(checkpoint) > 0
    unfinished = set(tmp_path.glob(".*"))

    save, of_first_epoch = Checkpoints.on_epoch_end, []

    def save_with_little_room(self, epoch, logs=None):
        if epoch == 0:
            return save(self, epoch, logs)
        of_first_epoch.append(checkpoint.read_bytes())
        with full_disk(100_000):
            save(self, epoch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "on_epoch_end", save_with_little_room)
        with pytest.raises(TrainingError, match=r"epoch 2 cannot be saved .*; make room and go on with --resume"):
            train(experiment, tmp_path, resume=True)
    assert checkpoint.read_bytes() == of_first_epoch[0] and steps_into_epoch(checkpoint) == 0
    assert set(tmp_path.glob(".*")) == unfinished

    train(experiment, tmp_path, resume=True)
    assert_bit_equal(tmp_path, straight)


@uncompiled()
def test_a_run_that_is_killed_in_validation_ends_bit_equal(tmp_path, unclassified, monkeypatch):
    """Checkpoints within the epochs fall on their last step, too, behind which validation begins."""
    folder, experiment, _ = unclassified
    for epoch in range(2):

        def kill(self, logs=None, epoch=epoch):
            if len(self.history) == epoch:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Checkpoints, "on_test_begin", kill)
            with pytest.raises(KeyboardInterrupt):
                train(experiment, tmp_path, resume=True, save_every_steps=1)
    train(experiment, tmp_path, resume=True, save_every_steps=1)
    assert_bit_equal(tmp_path, folder / "run")


def test_a_history_that_a_killed_run_did_not_write_is_written(tmp_path, unclassified):
    folder, experiment, _ = unclassified
    run = shutil.copytree(folder / "run", tmp_path / "run")
    expected = (run / "history.csv").read_text()
    (run / "history.csv").unlink()
    train(experiment, run, resume=True)
    assert (run / "history.csv").read_text() == expected


class Tiny(keras.Sequential):
    """A model with what checkpoints ask of a `Colorizer`."""

    checkpointed_variables = ()


def test_plateau_goes_on_where_it_was(tmp_path):
    def run(epochs, folder, restore=False):
        model = Tiny([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.0), loss="mse")
        model.optimizer.build(model.trainable_variables)
        checkpoints = Checkpoints(folder)
        checkpoints.plateau = keras.callbacks.ReduceLROnPlateau(factor=0.1, patience=3)
        done, _ = checkpoints.restore(model) if restore else (0, 0)
        data = np.ones((4, 1), np.float32)
        callbacks = [Speed(batch_size=4), checkpoints.plateau, checkpoints]
        model.fit(
            data, data, validation_data=(data, data), initial_epoch=done, epochs=epochs, callbacks=callbacks, verbose=0
        )
        return checkpoints

    # With a learning rate of zero nothing improves: best at epoch 1, so the wait is 2 after epoch 3.
    run(3, tmp_path)
    resumed = run(3, tmp_path, restore=True)
    assert resumed.plateau.wait == 2 and resumed.plateau.best == resumed.history[0]["val_loss"]
    history = run(5, tmp_path, restore=True).history
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5]
    assert all(row["photos_per_second"] > 0 and row["learning_rate"] == 0 for row in history)


def test_without_validation_photos_the_plateau_is_that_of_the_loss(tmp_path):
    checkpoints, data = Checkpoints(tmp_path), SimpleNamespace(batch_size=1, share=ReplicaShare(2, 1, 1))
    for validation, monitor in ((None, "loss"), (object(), "val_loss")):
        data.validation = lambda validation=validation: validation
        trainer.make_callbacks(small("paper"), tmp_path, data, checkpoints, steps=1, epochs=1)
        assert checkpoints.plateau.monitor == monitor


@uncompiled()
def test_loss_that_is_not_finite_stops_the_run(tmp_path):
    with pytest.raises(TrainingError, match=r"the loss is .* give a lower --learning-rate .*, and another --run-dir$"):
        train(small("paper", learning_rate=float("nan"), batch_size=2), tmp_path / "run")
    (tmp_path / "run" / "best.keras").touch()
    with pytest.raises(TrainingError, match=r"another --run-dir, with --start-from .*run for .* its best epoch$"):
        FiniteLoss(tmp_path / "run").on_train_batch_end(0, {"loss": float("inf")})


def test_unusable_data_is_one_sentence(tmp_path):
    with pytest.raises(DatasetError, match="does not exist"):
        train(small("paper", dataset=(tmp_path / "none",)), tmp_path / "run")
    (tmp_path / "photos").mkdir()
    for name in ("1.jpg", "2.jpg", "3.jpg"):
        (tmp_path / "photos" / name).write_text("no photo")
    with pytest.raises(DatasetError, match="no photo to learn from: 3 not an image"):
        train(small("paper", dataset=(tmp_path / "photos",)), tmp_path / "run")


def test_unwritable_folder_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match="file/run: the run's folder cannot be used"):
        train(small("scenes"), tmp_path / "file" / "run")


def train_on_class_folders(folder, photos, weight):
    """Two epochs. Returns (experiment, history); the run and its photos lie in the folder."""
    dataset = class_folders(folder / "photos", photos)
    experiment = small("scenes", dataset=(dataset,), epochs=2, batch_size=4, classification_weight=weight, **PLAIN)
    return experiment, train(experiment, folder / "run")


@pytest.fixture(scope="module")
@uncompiled()
def unclassified(tmp_path_factory, photos):
    """What `train_on_class_folders` leaves and returns for a network that does not classify."""
    folder = tmp_path_factory.mktemp("unclassified")
    return folder, *train_on_class_folders(folder, photos, 0.0)


def test_class_folders_are_learnt_where_asked(tmp_path, photos, unclassified):
    wanted = {"color_loss", "scene_loss", "accuracy", "val_color_loss", "val_scene_loss", "val_accuracy"}
    assert not unclassified[2][0].keys() & wanted
    _, (row, _) = train_on_class_folders(tmp_path, photos, 0.01)
    assert row.keys() >= wanted
    np.testing.assert_allclose(row["loss"], row["color_loss"] + 0.01 * row["scene_loss"], rtol=1e-4)


@uncompiled()
def test_training_starts_from_a_trained_model(tmp_path, unclassified):
    folder, experiment, _ = unclassified
    start = shutil.copy(folder / "run" / "model.keras", tmp_path / "start.keras")
    again = dataclasses.replace(experiment, epochs=1, seed=1, learning_rate=1e-9, start_from=str(start))
    history = train(again, tmp_path / "second")
    pairs = zip(*(models.load(run).get_weights() for run in (folder / "run", tmp_path / "second")), strict=True)
    for first, second in pairs:
        np.testing.assert_allclose(first, second, atol=1e-3)
    with pytest.raises(TrainingError, match="its weights, of the network paper, do not fit"):
        train(dataclasses.replace(again, edges=True), tmp_path / "third")
    with pytest.raises(TrainingError, match="a model of the same network and settings"):
        train(dataclasses.replace(again, lightness_scale=1.0), tmp_path / "fourth")
    start.unlink()
    assert train(again, tmp_path / "second", resume=True) == history


@pytest.mark.parametrize(("weight", "classes", "told"), [(0.01, 0, True), (0.01, 2, False), (0, 0, False)])
def test_missing_class_folders_are_told(capsys, weight, classes, told):
    data = SimpleNamespace(
        order_of_all=SimpleNamespace(indices=[]), validation_indices=[], batch_size=1, share=ALONE, classes=classes
    )
    trainer.print_plan(small("scenes", classification_weight=weight), data, "float32")
    assert ("no class folders, so the network does not classify" in capsys.readouterr().err) == told


@pytest.mark.parametrize("name", ["config.json", "last.weights.h5"])
@pytest.mark.parametrize("content", [None, b"", b"garbage", b"[]"])
def test_a_damaged_run_is_one_sentence(tmp_path, unclassified, name, content):
    folder, experiment, _ = unclassified
    file = shutil.copytree(folder / "run", tmp_path / "run") / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if content is None else content)
    with pytest.raises(TrainingError, match=rf"run/{name}: .* cannot be read .*--start-from .*run") as error:
        train(experiment, tmp_path / "run", resume=True)
    assert "\n" not in str(error.value)
    (tmp_path / "run" / "best.keras").unlink()
    with pytest.raises(TrainingError, match=r"give another --run-dir$"):
        train(experiment, tmp_path / "run", resume=True)


@pytest.mark.parametrize("change", [{"steps": "many"}, {"photos": None}])
def test_a_config_that_was_changed_by_hand_is_one_sentence(tmp_path, unclassified, change):
    folder, experiment, _ = unclassified
    file = shutil.copytree(folder / "run", tmp_path / "run") / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(TrainingError, match=r"config\.json: it cannot be read"):
        train(experiment, tmp_path / "run", resume=True)


def test_a_checkpoint_with_another_state_is_one_sentence(tmp_path, unclassified):
    folder, experiment, _ = unclassified
    with h5py.File(shutil.copytree(folder / "run", tmp_path / "run") / "last.weights.h5", "a") as file:
        file.attrs["state"] = "[]"
    with pytest.raises(TrainingError, match=r"the checkpoint cannot be read .*--start-from"):
        train(experiment, tmp_path / "run", resume=True)


def test_the_options_to_go_on_with_are_those_of_the_command_line(tmp_path):
    made = dataclasses.replace(EXPERIMENTS["scenes"], crop=(64, 96), flip=False, edges=False, render_size=99, epochs=2)
    photos = SimpleNamespace(fingerprint={"count": 0}, paths=[])
    prepare_run(Checkpoints(tmp_path), made, photos, resume=False)
    (tmp_path / "last.weights.h5").touch()
    with pytest.raises(TrainingError, match=r"train longer, .* --start-from .*; to go on, pass ") as error:
        prepare_run(Checkpoints(tmp_path), EXPERIMENTS["scenes"], photos, resume=True)
    options = str(error.value).partition("to go on, pass ")[2].split()
    assert read_command_line(["scenes", *options])[1].experiment == made
    with pytest.raises(TrainingError, match="holds a run of the network paper; give another --run-dir"):
        prepare_run(Checkpoints(tmp_path), EXPERIMENTS["zhang"], photos, resume=True)


def test_a_new_run_learns_the_bins_of_its_own_photos(tmp_path):
    """Not those of a run that was given up before its first checkpoint."""
    photos = SimpleNamespace(fingerprint={"count": 0}, paths=[])
    (tmp_path / "ab_histogram.csv").write_text("of other photos")
    prepare_run(Checkpoints(tmp_path, writes=False), EXPERIMENTS["zhang"], photos, resume=False)
    assert (tmp_path / "ab_histogram.csv").exists()
    prepare_run(Checkpoints(tmp_path), EXPERIMENTS["zhang"], photos, resume=False)
    assert not (tmp_path / "ab_histogram.csv").exists()


def test_a_run_with_an_option_that_is_gone_does_not_go_on_without_it(tmp_path):
    photos = SimpleNamespace(fingerprint={"count": 0}, paths=[])
    prepare_run(Checkpoints(tmp_path), EXPERIMENTS["scenes"], photos, resume=False)
    (tmp_path / "last.weights.h5").touch()
    config = json.loads((tmp_path / "config.json").read_text())
    config["experiment"] |= {"random_scale": False}
    (tmp_path / "config.json").write_text(json.dumps(config))
    prepare_run(Checkpoints(tmp_path), EXPERIMENTS["scenes"], photos, resume=True)
    config["experiment"] |= {"random_scale": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(TrainingError, match="a run with --random-scale, which this version does not know"):
        prepare_run(Checkpoints(tmp_path), EXPERIMENTS["scenes"], photos, resume=True)


@pytest.mark.parametrize("content", [None, b"garbage"])
def test_a_best_epoch_that_cannot_be_read_is_named(tmp_path, content):
    if content:
        (tmp_path / "best.keras").write_bytes(content)
    with pytest.raises(TrainingError, match=r"best\.keras: gone or damaged, and it held the best epoch, 7"):
        finish_run(tmp_path, SimpleNamespace(best_epoch=lambda: {"epoch": 7}), None)


def test_a_trained_model_without_its_checkpoint_is_not_replaced(tmp_path, unclassified):
    folder, experiment, _ = unclassified
    run = shutil.copytree(folder / "run", tmp_path / "run")
    (run / "last.weights.h5").unlink()
    for resume in (False, True):
        with pytest.raises(TrainingError, match="run holds a trained model already; give another --run-dir"):
            train(experiment, run, resume)


def test_a_second_run_in_the_same_folder_is_refused(tmp_path, unclassified):
    folder, experiment, history = unclassified
    with lock_folder(folder / "run"), pytest.raises(UserError, match="run: another run writes there"):
        train(experiment, folder / "run", resume=True)
    assert train(experiment, folder / "run", resume=True) == history


def test_a_run_goes_on_with_the_same_photos_only(tmp_path, photos, unclassified):
    folder, experiment, history = unclassified
    shutil.copytree(folder / "run", tmp_path / "run")
    moved = shutil.copytree(folder / "photos", tmp_path / "moved")
    experiment = dataclasses.replace(experiment, dataset=(moved,))
    assert train(experiment, tmp_path / "run", resume=True) == history
    write_photo(moved / "sea" / "new.png", photos[0])
    with pytest.raises(TrainingError, match=r"photos were added or removed since .* \(12 then, 13 now\)"):
        train(experiment, tmp_path / "run", resume=True)
    (moved / "sea" / "0.png").unlink()
    with pytest.raises(TrainingError, match="photos were added or removed"):
        train(experiment, tmp_path / "run", resume=True)


@pytest.mark.parametrize(("losses", "best"), [([0.3, np.nan, 0.2], 3), ([np.nan, 0.5, np.inf], 2), ([np.nan], None)])
def test_a_val_loss_that_is_not_finite_is_never_the_best(tmp_path, losses, best, monkeypatch):
    model = Tiny([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", loss="mse")
    checkpoints = Checkpoints(tmp_path)
    checkpoints.set_model(model)
    saved = []
    monkeypatch.setattr(models, "save", lambda model, path: saved.append(len(checkpoints.history)) or path.touch())
    for epoch, loss in enumerate(losses):
        checkpoints.on_epoch_end(epoch, {"loss": 0.1, "val_loss": loss})
    found = checkpoints.best_epoch()
    assert (found and found["epoch"]) == best and (saved[-1:] or [None]) == [best]
    if best is None:
        with pytest.raises(TrainingError, match="no epoch had a val_loss that is a finite number"):
            trainer.finish_run(tmp_path, checkpoints, None)


@pytest.mark.parametrize(
    ("choose", "hardware", "policy"),
    [
        (precision.policy_for_cpu, {"avx2", "amx_bf16"}, "mixed_bfloat16"),
        (precision.policy_for_cpu, {"avx512f", "avx512_bf16"}, "mixed_bfloat16"),
        (precision.policy_for_cpu, {"avx2", "avx512f"}, "float32"),
        (precision.policy_for_cpu, set(), "float32"),
        (precision.policy_for_gpu, (9, 0), "mixed_bfloat16"),
        (precision.policy_for_gpu, (7, 5), "mixed_float16"),
        (precision.policy_for_gpu, (6, 1), "float32"),
    ],
)
def test_policy_follows_the_hardware(choose, hardware, policy):
    assert choose(hardware) == policy
