"""Several devices and several machines against one: same losses, same weights, and no hanging."""

import json
import os
import signal
import socket
import time

import numpy as np
import pytest
from processes import Script

from common.images import write_photo
from data.pairs import ReplicaShare
from training.distribution import DistributionError, choose_strategy, divide_batch, divide_photos

EPOCHS = 2
# Of stderr that a failed test shows.
LINES = 30


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, photos):
    """A folder of 24 photos, of which every sixth is gray and so left out."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(24):
        photo = np.roll(photos[number % 4], 5 * number, axis=1)
        write_photo(folder / f"{number:02}.png", photo if number % 6 else photo[..., 0])
    return folder


def start(dataset, folder, workers=1, devices=1, epochs=EPOCHS, missing=0):
    """Starts the processes of one training: one a worker but for the last `missing`, each a `Script`."""
    sockets = [socket.socket() for _ in range(workers)]
    for found in sockets:
        found.bind(("localhost", 0))
    cluster = {"worker": [f"localhost:{found.getsockname()[1]}" for found in sockets]}
    for found in sockets:
        found.close()
    processes = []
    for worker in range(workers - missing):
        config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": worker}})
        arguments = [dataset, folder, weights_file(folder, worker), devices, epochs]
        env = os.environ | ({"TF_CONFIG": config} if workers > 1 else {})
        processes.append(Script("-m", "tests.training_process", *arguments, env=env))
    return processes


def weights_file(folder, worker):
    return folder.with_name(f"{folder.name}-{worker}.npz")


def finish(processes):
    """The history that each process prints, as an array [epochs, (loss, val_loss)]."""
    histories = []
    for number, (status, output, errors) in enumerate([process.wait() for process in processes]):
        assert status == 0, "\n".join([f"process {number}:", *errors[-LINES:]])
        rows = json.loads(output.splitlines()[-1])
        histories.append(np.array([[row["loss"], row["val_loss"]] for row in rows]))
    return histories


@pytest.fixture(scope="module")
def alone(dataset, tmp_path_factory):
    """The history of one process with one device."""
    return finish(start(dataset, tmp_path_factory.mktemp("alone") / "run"))[0]


def test_two_devices_learn_what_one_does(dataset, tmp_path, alone):
    (history,) = finish(start(dataset, tmp_path / "run", devices=2))
    assert history.shape == (EPOCHS, 2)
    np.testing.assert_allclose(history, alone, rtol=1e-4)


def assert_equal_weights(folder, workers):
    chief, *others = (np.load(weights_file(folder, worker)) for worker in range(workers))
    for other in others:
        assert other.files == chief.files
        for name in chief.files:
            np.testing.assert_array_equal(other[name], chief[name])


def test_workers_learn_what_one_process_does_and_go_on_after_one_was_killed(dataset, tmp_path, alone):
    epochs = 2 * EPOCHS  # More than pass until the kill.
    processes = start(dataset, tmp_path / "run", 3, epochs=epochs)
    checkpoint = tmp_path / "run" / "last.weights.h5"
    while not checkpoint.exists():
        assert all(process.status is None for process in processes)
        time.sleep(0.01)
    processes[2].send(signal.SIGKILL)
    (status, _, errors), *_ = [process.wait() for process in processes]
    told = "\n".join(errors)
    assert status == 1 and "another machine has stopped" in told and "--resume" in told
    for history in finish(start(dataset, tmp_path / "run", 3, epochs=epochs)):
        assert len(history) == epochs
        np.testing.assert_allclose(history[:EPOCHS], alone, rtol=1e-4)
    assert_equal_weights(tmp_path / "run", workers=3)
    # Only the chief writes: one set of logs a run, and no temporary files left behind.
    assert len(list((tmp_path / "run" / "logs" / "train").iterdir())) == 2
    assert not list((tmp_path / "run").glob(".*"))


def test_a_machine_says_for_which_others_it_waits_and_ctrl_c_ends_it(dataset, tmp_path):
    (process,) = start(dataset, tmp_path / "run", workers=2, missing=1)
    while "waits for localhost:" not in process.output:
        assert process.status is None
        time.sleep(0.1)
    time.sleep(2)  # TensorFlow waits now.
    process.send(signal.SIGINT)
    assert process.wait(timeout=60)[0] == -signal.SIGINT


def test_sigterm_ends_a_machine_that_is_connected(monkeypatch):
    def connect():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # As TensorFlow's handler does.
        return "strategy"

    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 0}}')
    monkeypatch.setattr("tensorflow.distribute.MultiWorkerMirroredStrategy", connect)
    assert choose_strategy() == "strategy"
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_batches_that_cannot_be_shared_say_so():
    assert divide_batch(12, 3) == 4
    with pytest.raises(DistributionError, match="--batch-size that is a multiple of 3"):
        divide_batch(16, 3)


def test_machines_read_shards_of_their_own():
    indices, shards = np.array([0, 2, 3, 5, 8, 9]), np.array([0, 1, 2, 1, 2, 0])
    for worker, expected in enumerate([[0, 3, 8, 9][:2], [2, 5]]):
        mine, share = divide_photos(indices, shards, ReplicaShare(4, 2 * worker, 2))
        np.testing.assert_array_equal(mine, expected)
        assert share == ReplicaShare(2, 0, 2)
    for unchanged in [(indices, None, ReplicaShare(4, 2, 2)), (indices, shards, ReplicaShare(2, 0, 2))]:
        mine, share = divide_photos(*unchanged)
        assert mine is indices and share is unchanged[2]
    with pytest.raises(DistributionError, match="fewer shards than machines"):
        divide_photos(indices, shards, ReplicaShare(4, 0, 1))


@pytest.mark.parametrize("config", ["no json", '{"cluster": {"worker": ["a:1", "b:2"]}}', '{"cluster": 3}'])
def test_broken_tf_config_is_one_sentence(monkeypatch, config):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(DistributionError, match="TF_CONFIG cannot be understood; it looks like"):
        choose_strategy()
