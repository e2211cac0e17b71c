"""Training for a given time: it becomes a number of steps, by the speed that is measured first."""

import json
from types import SimpleNamespace

import h5py
import pytest
import tensorflow as tf
from small_experiments import PLAIN, class_folders, small

from data.photos import find_all_photos
from training import trainer
from training.callbacks import TrainingError, steps_done
from training.trainer import train

pytestmark = pytest.mark.usefixtures("few_channels")


def test_time_budget_becomes_steps_that_a_resumed_run_keeps(tmp_path, photos, monkeypatch):
    dataset = class_folders(tmp_path / "photos", photos)
    experiment = small("scenes", dataset=(dataset,), batch_size=4, epochs=99, **PLAIN)
    monkeypatch.setattr("training.trainer.measure_speed", lambda *_, **__: (2.0, 0.0))
    history = train(experiment, tmp_path / "run", minutes=1 / 6)
    # Ten seconds are five steps: epochs of two, two and one.
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert json.loads((tmp_path / "run" / "model.json").read_text())["steps"] == 5
    with h5py.File(tmp_path / "run" / "last.weights.h5") as file:
        assert file["optimizer/vars/0"][()] == 5
    monkeypatch.setattr("training.trainer.measure_speed", lambda *_, **__: (1.0, 0.0))
    assert train(experiment, tmp_path / "run", resume=True, minutes=1 / 6) == history
    with pytest.raises(TrainingError, match="run: --minutes 9: the run keeps its 5 steps; leave it out"):
        train(experiment, tmp_path / "run", resume=True, minutes=9)


def test_measuring_the_speed_keeps_to_its_limit(tmp_path, photos, monkeypatch):
    experiment = small("scenes", dataset=(class_folders(tmp_path / "photos", photos),), batch_size=4, **PLAIN)
    data = trainer.TrainingData(experiment, find_all_photos(experiment.dataset))
    built, build = [], trainer.build
    monkeypatch.setattr("training.trainer.build", lambda *arguments: built.append(build(*arguments)) or built[-1])
    # Without any time, one step compiles and one counts; with much time, so do TIMED_STEPS more.
    for limit, steps in ((0, 2), (1000, 2 + trainer.TIMED_STEPS)):
        seconds, start = trainer.measure_speed(experiment, data, tf.distribute.get_strategy(), limit)
        assert 0 < seconds < start < 60 and steps_done(built[-1]) == steps


def test_measuring_the_speed_counts_frozen_and_learning_steps_by_their_shares(monkeypatch):
    experiment = small("natural", frozen_share=0.25)
    model, frozen = SimpleNamespace(), []
    monkeypatch.setattr("training.trainer.build", lambda *_: model)
    monkeypatch.setattr("training.distribution.distribute", lambda *_: None)
    monkeypatch.setattr("training.trainer.freeze_encoder", lambda _, is_frozen: frozen.append(is_frozen))
    monkeypatch.setattr("training.trainer.time_steps", lambda *_: (0.2, 3.0) if frozen[-1] else (1.0, 5.0))
    data = SimpleNamespace(training=lambda: None, feed=lambda _: None)
    seconds, start = trainer.measure_speed(experiment, data, tf.distribute.get_strategy(), limit=60)
    assert frozen == [True, False] and seconds == pytest.approx(0.25 * 0.2 + 0.75 * 1.0) and 8 <= start < 9


def test_a_time_budget_includes_the_time_for_measuring(tmp_path, monkeypatch):
    class OneStepAnEpoch:
        steps = 1

    now = [0.0]

    def measure(*_, limit):
        assert limit == 6
        now[0] += 20  # Compiling took longer than the limit, and will again.
        return 4.0, 16.0

    monkeypatch.setattr("training.trainer.measure_speed", measure)
    monkeypatch.setattr("training.trainer.time.monotonic", lambda: now[0])
    (tmp_path / "config.json").write_text('{"experiment": {}}')
    strategy = tf.distribute.get_strategy()
    assert trainer.plan_steps(tmp_path, small("scenes"), OneStepAnEpoch(), 1, strategy, writes=True) == 6
