"""Archives: object storage, and runs whose workers and driver are killed; see test_ledger.py for the rest."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT
from folders import touch
from processes import call, run
from small_networks import Gray

for package in ("ray", "pyarrow", "s3fs", "moto"):
    pytest.importorskip(package, reason="archives need requirements-archive.txt")

import pyarrow.dataset as ds

import archive
import models
from colorizing.archive import cluster
from colorizing.archive.ledger import DONE, FAILED, FOLDER, LEFT_OUT, SCHEMA, WAITING, Ledger
from colorizing.archive.listing import list_files
from colorizing.archive.reader import try_to_read
from colorizing.archive.storage import open_storage
from colorizing.archive.worker import Work, Worker
from colorizing.photo import Pipeline
from colorizing.pixels import to_gray
from common.errors import UserError
from common.files import UNFINISHED
from common.images import read_photo, write_photo

# Python processes that find this on their path are killed, as if memory had run out, by photos with a word in them.
KILLER = """
import os, pathlib, signal
read_bytes = pathlib.Path.read_bytes
def read_or_die(path):
    content = read_bytes(path)
    if content.endswith(b"kills its reader"):
        os.kill(os.getpid(), signal.SIGKILL)
    return content
pathlib.Path.read_bytes = read_or_die
"""


@pytest.fixture
def bucket(monkeypatch):
    """URL of a bucket on an S3 server of this machine."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("photos")
    yield "s3://photos"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_a_home_that_may_not_be_written_to_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    found = rf"^{tmp_path}/file/\.ray: not a directory; Ray needs a home folder that may be written to \(HOME\)$"
    with pytest.raises(UserError, match=found), cluster.connected():
        pass


def test_a_working_directory_that_is_gone(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(FileNotFoundError):
        archive.open_places(archive.Options(str(tmp_path), str(tmp_path / "out")))


def test_sigterm_ends_a_run_as_ctrl_c_does(monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("ray.init", lambda **_: signal.signal(signal.SIGTERM, lambda *_: sys.exit(15)))  # As Ray does.
    ended = []
    monkeypatch.setattr("ray.shutdown", lambda: ended.append("Ray"))
    try:
        with pytest.raises(KeyboardInterrupt), cluster.connected():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended == ["Ray"]


def test_ray_stops_working_before_it_may_print_where_the_ledger_cannot_be_written(tmp_path, monkeypatch):
    events = []

    @contextlib.contextmanager
    def quiet():
        try:
            yield
        finally:
            events.append("may print")

    def answers(*_):
        try:
            yield [{"path": "a.jpg", "state": DONE}]
        finally:
            events.append("stopped")

    monkeypatch.setattr(cluster, "quiet", quiet)
    monkeypatch.setattr(cluster, "one_pass", answers)
    monkeypatch.setattr(cluster, "worker_pool", lambda: (1, {}))
    monkeypatch.setattr(cluster, "find_waiting", lambda *_: ["a.jpg"])
    (tmp_path / FOLDER).touch()
    run = {"run": "run", "model": "m", "settings": "s"}
    with pytest.raises(UserError, match="the ledger cannot be written"):
        cluster.work_through(Ledger(open_storage(str(tmp_path))), run, None, b"", int, False)
    assert events == ["stopped", "may print"]


def test_object_storage_holds_photos_results_and_the_ledger(bucket):
    source, output = open_storage(f"{bucket}/in"), open_storage(f"{bucket}/in/out")
    assert not source.exists()
    content = np.random.default_rng(0).bytes(6_000_000)  # More than a part of a multipart upload.
    for path in ("a.jpg", "b/c.png", "b/d.txt", "out/e.jpg"):
        source.write(path, content)
    assert source.exists() and source.read("b/c.png") == content
    assert source.path_inside(output) == "out" and output.path_inside(source) is None
    rows = list(list_files(source, "out", None, ("model", "settings")))
    assert [(row["path"], row["state"], row["size"]) for row in rows] == [
        ("a.jpg", WAITING, 6_000_000),
        ("b/c.png", WAITING, 6_000_000),
        ("b/d.txt", LEFT_OUT, 6_000_000),
    ]
    ledger, run = Ledger(output), {"run": "run", "files": 3}
    ledger.add("listed", "run", [{"run": "run", **row} for row in rows])
    output.write("a.jpg", b"colours")
    ledger.add("worked", "run", [{"run": "run", **rows[0], "state": DONE, "result_size": 7}])
    assert ledger.summary(run).states == {DONE: 1, WAITING: 1, LEFT_OUT: 1}
    source.write("a.jpg", b"another photo")
    assert next(row["key"] for row in list_files(source, "out", None, ("model", "settings"))) != rows[0]["key"]
    with pytest.raises(FileNotFoundError) as error:
        open_storage("s3://never-made/out").write("a.jpg", b"colours")
    assert error.value.filename == "s3://never-made/out"


@pytest.mark.parametrize("use", ["list_folder", "open", "read"])
def test_storage_that_cannot_be_used_is_named(monkeypatch, use):
    def fail(*_, **__):
        raise LookupError("Unable to locate credentials\nand more")

    place = open_storage("s3://photos/out")
    monkeypatch.setattr(place, "_files", SimpleNamespace(ls=fail, open=fail, cat_file=fail))
    with pytest.raises(UserError, match=r"^s3://photos/out: .*LookupError: Unable to locate credentials\)"):
        getattr(place, use)("a")


def test_other_storage_is_refused():
    with pytest.raises(UserError, match="ftp://host/photos: use a folder, or a URL of s3://"):
        open_storage("ftp://host/photos")


def test_bad_command_lines_are_told_in_a_sentence(tmp_path):
    touch(tmp_path, "a.jpg")
    cases = {
        (): "name a SOURCE and an OUTPUT",
        (tmp_path / "none", tmp_path / "out"): "none: no such folder",
        (tmp_path, tmp_path): "holds the photos themselves",
        ("--report", tmp_path): "no ledger of an archive",
        ("--report", tmp_path, "--quality", 50): "--report OUTPUT: nothing else has an effect with it",
        (tmp_path, tmp_path / "out", "--report", tmp_path): "--report OUTPUT: nothing else has an effect with it",
        (tmp_path, tmp_path / "out", "--quality", 0): "--quality 0: use a number greater than or equal to 1",
        (tmp_path, tmp_path / "out", "--model", "nix"): "nix: no such model; there are ",
        (tmp_path, tmp_path / "out", "--cluster", "127.0.0.1:9"): "127.0.0.1:9: no cluster to connect to (connection r",
    }
    for arguments, cause in cases.items():
        status, _, (error,) = call("archive.py", *arguments)
        assert cause in error and status == (2 if cause.startswith(("name", "--")) else 1)


def test_files_that_are_no_results_are_not_replaced(tmp_path):
    touch(tmp_path, "in/a.jpg", "out/a.jpg")
    command = ("archive.py", tmp_path / "in", tmp_path / "out", "--model", "nix")
    assert "out: holds files, but no ledger of an archive" in call(*command)[2][0]
    (tmp_path / "out" / "a.jpg").rename(tmp_path / "out" / ".a.jpg")
    assert "nix: no such model" in call(*command)[2][0]


def test_the_driver_stays_small():
    code = "import sys, archive; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120).returncode == 0


@pytest.fixture
def killer(tmp_path, monkeypatch):
    """Makes photos that end with certain words kill the process that reads them, in processes started from now on."""
    (tmp_path / "killer").mkdir()
    (tmp_path / "killer" / "sitecustomize.py").write_text(KILLER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "killer"))
    monkeypatch.syspath_prepend(tmp_path / "killer")

    def kill(path):
        path.write_bytes(path.read_bytes() + b"kills its reader")

    return kill


def test_a_photo_too_wide_for_its_format_is_refused_before_work(tmp_path, monkeypatch):
    write_photo(tmp_path / "in" / "wide.png", np.zeros((1, 70_000), np.uint8))
    monkeypatch.setattr("colorizing.archive.worker.load_pipeline", lambda model, work: pytest.fail)
    worker = Worker(Work(str(tmp_path / "in"), str(tmp_path / "out"), 1.0, None, 95, 500), b"", 0)
    file = {"path": "wide.png", "result": "wide.png.jpg", "size": 100}
    (row,) = json.loads(worker({"files": json.dumps([file]), "problem": None})["rows"])
    assert row["state"] == FAILED and "70000 x 1 pixels are too many for .jpg, at most 65500 a side" in row["cause"]


def test_a_model_that_cannot_be_loaded_is_told_without_the_name_of_a_copy(tmp_path, monkeypatch):
    monkeypatch.setattr("models.precision.choose_policy", lambda: "float32")
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with pytest.raises(models.ModelError, match=r"^not a \.keras file, or damaged$"):
        Worker(Work(str(tmp_path), str(tmp_path), 1.0, None, 95, 500), b"no model", 0)


def test_a_worker_answers_for_every_photo(tmp_path, photos, monkeypatch):
    monkeypatch.setattr("colorizing.archive.worker.load_pipeline", lambda model, work: Pipeline(Gray()))
    write_photo(tmp_path / "in" / "a.png", photos[0])
    (tmp_path / "in" / "b.png").write_text("no photo")
    worker = Worker(Work(str(tmp_path / "in"), str(tmp_path / "out"), 1.0, None, 95, 500), b"", 0)
    files = [{"path": name, "result": f"x/{name}", "size": 100} for name in ("a.png", "b.png")]
    done, failed = json.loads(worker({"files": json.dumps(files), "problem": None})["rows"])
    result = read_photo(tmp_path / "out" / "x" / "a.png").astype(int)
    assert np.abs(result - to_gray(photos[0])[..., None]).max() <= 1
    assert done["state"] == DONE and done["result_size"] == (tmp_path / "out" / "x" / "a.png").stat().st_size
    assert done["sha256"] == hashlib.sha256((tmp_path / "in" / "a.png").read_bytes()).hexdigest()
    assert failed["state"] == FAILED and failed["cause"].startswith("not an image") and failed["path"] == "b.png"


def test_a_reader_that_is_killed_is_told(tmp_path, photos, killer):
    write_photo(tmp_path / "good.jpg", photos[0])
    write_photo(tmp_path / "bad.jpg", photos[1])
    killer(tmp_path / "bad.jpg")
    for name in ("good.jpg", "none.jpg"):
        try_to_read(str(tmp_path), name, 500)
    with pytest.raises(UserError, match=r"killed \(SIGKILL\)"):
        try_to_read(str(tmp_path), "bad.jpg", 500)


def fill(folder, photos, count):
    """Writes photos of two shapes into two folders."""
    for number in range(count):
        shape = (96, 128) if number % 3 else (96, 80)
        photo = np.roll(photos[number % 4], number, axis=1)[: shape[0], : shape[1]]
        write_photo(folder / "ab"[number % 2] / f"{number:03}.png", photo)


def ledger_rows(output):
    """All rows of the ledger about photos that were worked on."""
    files = [str(path) for path in (output / FOLDER).glob("*-worked.parquet")]
    return ds.dataset(files, schema=SCHEMA).to_table().to_pylist() if files else []


def check_archive(source, output, model_file, failed):
    """Asserts that all photos but those that failed have results like test.py's, and that the ledger says so."""
    pipeline = Pipeline(models.load(model_file))
    paths = {str(path.relative_to(source)) for path in source.rglob("*.png")} - failed
    # A process that is killed while it writes leaves a hidden file, which a later run removes.
    results = {str(path.relative_to(output)) for path in output.rglob("*.png") if not path.name.startswith(UNFINISHED)}
    assert results == paths
    for path in paths:
        expected = pipeline(read_photo(source / path)).astype(int)
        assert np.abs(read_photo(output / path) - expected).max() <= 1, path
    last = {row["path"]: row for row in ledger_rows(output)}
    assert {path for path, row in last.items() if row["state"] == DONE} == paths
    assert all(len(row["sha256"]) == 64 and row["seconds"] > 0 for row in last.values() if row["state"] == DONE)


def test_an_archive_has_the_results_of_test_py_and_accounts_for_every_file(tmp_path, photos, model_file):
    source, output = tmp_path / "in", tmp_path / "out"
    fill(source, photos, 10)
    (source / "a" / "text.jpg").write_text("no photo")
    touch(source, "notes.txt")
    command = ("archive.py", source, output, "--model", model_file)
    status, told, errors = run(*command, timeout=400)
    assert status == 1 and "12 files: 10 done, 1 failed, 1 left out, 0 waiting" in told
    assert len(errors) == 1 and errors[0].startswith("a/text.jpg: not an image")
    check_archive(source, output, model_file, failed={"a/text.jpg"})
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.png")}
    assert call(*command)[1] == call("archive.py", "--report", output)[1] + f"in {output}\n"
    assert before == {path: path.stat().st_mtime_ns for path in output.rglob("*.png")}


@pytest.mark.slow
def test_an_archive_whose_driver_and_readers_are_killed_goes_on_and_is_whole(tmp_path, photos, model_file, killer):
    source, output = tmp_path / "in", tmp_path / "out"
    fill(source, photos, 40)
    killer(source / "b" / "007.png")
    command = ("archive.py", source, output, "--model", model_file)
    driver = subprocess.Popen([sys.executable, *map(str, command)], cwd=ROOT, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not list(output.glob("[ab]/*.png")) and time.monotonic() < deadline:
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert list(output.glob("[ab]/*.png"))
    status, told, errors = run(*command, timeout=400)
    assert status == 1 and "40 files: 39 done, 1 failed, 0 left out, 0 waiting" in told
    assert len(errors) == 1
    assert errors[0].startswith("b/007.png: the process that read it was killed (SIGKILL)")
    check_archive(source, output, model_file, failed={"b/007.png"})


@pytest.mark.slow
def test_a_lost_node_loses_no_photo(tmp_path, photos, model_file):
    from ray.cluster_utils import Cluster

    source, output = tmp_path / "in", tmp_path / "out"
    fill(source, photos, 300)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        node = cluster.add_node(num_cpus=1)
        command = ("archive.py", source, output, "--model", model_file, "--cluster", cluster.address)
        driver = subprocess.Popen([sys.executable, *map(str, command)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 240
        while len(list(output.glob("[ab]/*.png"))) < 40 and time.monotonic() < deadline:
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)
        told, _ = driver.communicate(timeout=400)
    finally:
        cluster.shutdown()
    assert driver.returncode == 0 and "300 files: 300 done, 0 failed, 0 left out, 0 waiting" in told
    check_archive(source, output, model_file, failed=set())
