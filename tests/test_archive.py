"""Archives: what is listed, what the ledger says, object storage, and runs whose workers and driver are killed."""

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
from processes import call, run

for package in ("ray", "pyarrow", "s3fs", "moto"):
    pytest.importorskip(package, reason="archives need requirements-archive.txt")

import pyarrow.dataset as ds

import archive as archive_script
import models
from colorizing.archive import storage
from colorizing.archive.ledger import DONE, FAILED, FOLDER, LEFT_OUT, SCHEMA, WAITING, Ledger, bucket_of
from colorizing.archive.listing import list_files
from colorizing.archive.reader import ReaderEnded, try_to_read
from colorizing.archive.storage import open_storage
from colorizing.archive.worker import Work, Worker
from colorizing.jobs import plan_jobs
from colorizing.photo import Pipeline
from common.errors import OptionError, UserError
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


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def listed(folder, skipped=None, suffix=None, made_by=("model", "settings")):
    return list(list_files(open_storage(str(folder)), skipped, suffix, made_by))


def test_every_file_is_listed_with_the_result_that_test_py_writes(tmp_path):
    source = tmp_path / "in"
    touch(
        source, "a.gif", "a.gif.png", "b/a.jpg", "b/c/d.tif", "b/notes.txt", ".hidden.png", "@eaDir/e.jpg", "film.mp4"
    )
    os.mkfifo(source / "pipe.jpg")
    (source / "broken.jpg").symlink_to("nowhere")
    (source / "folder.jpg").symlink_to(source / "b")
    rows = {row["path"]: row for row in listed(source)}
    expected = {
        str(photo.relative_to(source)): str(result.relative_to(tmp_path / "out"))
        for photo, result in plan_jobs([source], tmp_path / "out").jobs
    }
    assert len(expected) == 4 and expected["a.gif.png"] == "a.gif-2.png"
    assert {path: row["result"] for path, row in rows.items() if row["state"] == WAITING} == expected
    assert {path: row["cause"] for path, row in rows.items() if row["state"] == LEFT_OUT} == {
        "b/notes.txt": "not a photo by its name",
        ".hidden.png": "a hidden file",
        "@eaDir/e.jpg": "in a hidden folder, or one of thumbnails or deleted files",
        "film.mp4": "a film, which test.py colorizes",
        "pipe.jpg": "not a regular file",
        "broken.jpg": "a broken link",
        "folder.jpg": "a link to a folder",
    }


def refuse(*_):
    raise PermissionError(13, "Permission denied")


def test_a_file_that_may_not_be_read_is_not_left_out():
    assert storage._file(SimpleNamespace(name="a.jpg", stat=refuse)).oddity == ""


def test_a_source_that_cannot_be_listed_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "scandir", refuse)
    (row,) = listed(tmp_path)
    assert (row["path"], row["state"], row["cause"]) == ("./", FAILED, "the folder cannot be read: permission denied")


def test_results_of_an_earlier_run_are_not_listed(tmp_path):
    touch(tmp_path, "a.jpg", "out/a.jpg", "out/b/c.jpg", "b/out/d.jpg")
    assert [row["path"] for row in listed(tmp_path, skipped="out")] == ["a.jpg", "b/out/d.jpg"]


def test_a_name_that_no_table_can_hold_is_said(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).touch()
    (row,) = listed(tmp_path)
    assert (row["path"], row["state"], row["cause"]) == (r"caf\udce9.jpg", FAILED, "its path is not UTF-8; rename it")


class Archive:
    """Photos that are no photos, their listing, and a ledger in which a test plays the worker."""

    def __init__(self, folder, names):
        self.source, self.output = folder / "in", folder / "out"
        touch(self.source, *names)
        self.ledger = Ledger(open_storage(str(self.output)))
        self.runs = 0

    def list(self, made_by=("model", "settings")):
        self.runs += 1
        run = {"run": f"run-{self.runs}", "source": "in", "model": made_by[0], "settings": made_by[1]}
        rows = [{"run": run["run"], **row} for row in listed(self.source, made_by=made_by)]
        self.ledger.add("listed", run["run"], rows)
        run["files"] = len(rows)
        self.ledger.add("run", run["run"], [run])
        return run

    def work(self, run, **states):
        rows = [row for row, state, _ in self.ledger.look_up(run, 0, 1) if row["path"].split(".")[0] in states]
        for row in rows:
            row.update(run=run["run"], bucket=bucket_of(row["path"]), **states[row["path"].split(".")[0]])
            if row["state"] == DONE:
                (self.output / row["result"]).write_bytes(b"colours")
        self.ledger.add("worked", run["run"], rows)

    def states(self, run, **options):
        return {row["path"]: (state, cause) for row, state, cause in self.ledger.look_up(run, 0, 1, **options)}


@pytest.fixture
def archive(tmp_path):
    archive = Archive(tmp_path, ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "notes.txt"])
    done = {"state": DONE, "result_size": len(b"colours")}
    archive.work(archive.list(), a=done, b=done, c={"state": FAILED, "cause": "damaged"})
    return archive


def test_a_ledger_tells_done_from_waiting(archive):
    run = archive.ledger.last_run()
    assert archive.states(run) == {
        "a.jpg": (DONE, None),
        "b.jpg": (DONE, None),
        "c.jpg": (FAILED, "damaged"),
        "d.jpg": (WAITING, "new"),
        "notes.txt": (LEFT_OUT, "not a photo by its name"),
    }
    standing = archive.ledger.standing(run)
    assert standing.states == {DONE: 2, FAILED: 1, WAITING: 1, LEFT_OUT: 1}
    assert sum(standing.states.values()) == sum(standing.causes.values()) == run["files"] == 5
    assert standing.failures == [("c.jpg", "damaged")]


def test_a_later_run_sees_what_changed(archive):
    os.utime(archive.source / "a.jpg", ns=(1, 1))
    (archive.output / "b.jpg").write_bytes(b"col")
    touch(archive.source, "e.jpg")
    run = archive.list()
    assert archive.states(run) == {
        "a.jpg": (WAITING, "changed since"),
        "b.jpg": (WAITING, "its result is gone"),
        "c.jpg": (FAILED, "damaged"),
        "d.jpg": (WAITING, "new"),
        "e.jpg": (WAITING, "new"),
        "notes.txt": (LEFT_OUT, "not a photo by its name"),
    }
    assert archive.states(run, retry_failed=True)["c.jpg"] == (WAITING, "failed before")


def test_a_result_that_goes_during_its_run_has_failed(archive):
    run = archive.ledger.last_run()
    (archive.output / "a.jpg").unlink()  # Two files may also share the name of a result, on some disks.
    assert archive.states(run)["a.jpg"] == (FAILED, "its result was removed or replaced meanwhile")
    assert archive.states(archive.list())["a.jpg"] == (WAITING, "its result is gone")


def test_what_a_run_did_holds_for_it_though_a_later_one_writes_too(archive):
    run, later = archive.ledger.last_run(), archive.list(made_by=("model", "others"))
    archive.work(later, a={"state": DONE, "result_size": len(b"colours")})
    assert archive.states(run)["a.jpg"] == archive.states(later)["a.jpg"] == (DONE, None)


@pytest.mark.parametrize("kind", ["run", "listed", "worked"])
@pytest.mark.parametrize("kept", [0, 0.7])
def test_a_damaged_part_of_the_ledger_is_named(archive, kind, kept):
    part = next((archive.output / FOLDER).glob(f"*-{kind}.parquet"))
    part.write_bytes(part.read_bytes()[: int(kept * part.stat().st_size)])
    status, _, errors = call("archive.py", "--report", archive.output)
    assert status == 1 and len(errors) == 1 and errors[0].startswith(f"{part}: a damaged part of the ledger"), errors
    assert "delete it" in errors[0]


def test_photos_that_wait_are_not_all_right(archive):
    for state in ("a", "b", "c"):
        archive.work(archive.ledger.last_run(), **{state: {"state": DONE, "result_size": len(b"colours")}})
    status, told, errors = call("archive.py", "--report", archive.output)
    assert (status, errors) == (1, ["1 wait: the same command as before goes on"]) and "3 done" in told


def test_a_second_run_on_the_same_output_is_refused(archive, model_file):
    command = ("archive.py", archive.source, archive.output, "--model", model_file)
    with open_storage(str(archive.output)).lock():
        status, _, errors = call(*command)
    assert status == 1 and errors == [
        f"{archive.output}: another run writes there; wait for its end, or choose another folder"
    ]


def test_a_source_without_photos_is_told(tmp_path, model_file):
    touch(tmp_path / "in", "notes.txt")
    status, _, errors = call("archive.py", tmp_path / "in", tmp_path / "out", "--model", model_file)
    assert status == 1 and errors == [f"{tmp_path / 'in'}: a folder without photos; 1 other files are left out"]


def test_a_changed_setting_is_seen(archive):
    before = archive.list()
    after = archive.list(made_by=("model", "others"))
    other = (WAITING, "done with another model or other settings")
    assert archive.states(after)["a.jpg"] == archive.states(after)["c.jpg"] == other
    assert archive.states(before)["a.jpg"] == (DONE, None)


def test_shares_of_a_ledger_are_all_of_it_once(archive):
    run = archive.ledger.last_run()
    for count in (1, 2, 7):
        shares = [row["path"] for number in range(count) for row, *_ in archive.ledger.look_up(run, number, count)]
        assert sorted(shares) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "notes.txt"]


def test_parts_are_only_ever_added(archive):
    before = {path: path.read_bytes() for path in (archive.output / FOLDER).iterdir()}
    archive.work(archive.list(), d={"state": FAILED, "cause": "damaged"})
    after = {path: path.read_bytes() for path in (archive.output / FOLDER).iterdir()}
    assert len(after) > len(before) and before.items() <= after.items()


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
    assert ledger.standing(run).states == {DONE: 1, WAITING: 1, LEFT_OUT: 1}
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


def test_bad_command_lines_are_told_in_a_sentence(tmp_path, monkeypatch):
    touch(tmp_path, "a.jpg")
    cases = {
        (): "name a SOURCE and an OUTPUT",
        (tmp_path / "none", tmp_path / "out"): "none: no such folder",
        (tmp_path, tmp_path): "holds the photos themselves",
        ("--report", tmp_path): "no ledger of an archive",
        (tmp_path, tmp_path / "out", "--quality", 0): "--quality 0: use a number greater than or equal to 1",
        (tmp_path, tmp_path / "out", "--model", "nix"): "nix: no such model; there are ",
    }
    for arguments, cause in cases.items():
        monkeypatch.setattr(sys, "argv", ["archive.py", *map(str, arguments)])
        with pytest.raises(UserError, match=cause) as error:
            archive_script.main()
        assert isinstance(error.value, OptionError) == (not arguments or "--quality" in arguments)


def test_files_that_are_no_results_are_not_replaced(tmp_path, monkeypatch):
    touch(tmp_path, "in/a.jpg", "out/a.jpg")
    monkeypatch.setattr(sys, "argv", ["archive.py", str(tmp_path / "in"), str(tmp_path / "out"), "--model", "nix"])
    with pytest.raises(UserError, match="out: holds files, but no ledger of an archive"):
        archive_script.main()
    (tmp_path / "out" / "a.jpg").rename(tmp_path / "out" / ".a.jpg")
    with pytest.raises(UserError, match="nix: no such model"):
        archive_script.main()


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


def test_a_reader_that_is_killed_is_told(tmp_path, photos, killer):
    write_photo(tmp_path / "good.jpg", photos[0])
    write_photo(tmp_path / "bad.jpg", photos[1])
    killer(tmp_path / "bad.jpg")
    for name in ("good.jpg", "none.jpg"):
        try_to_read(str(tmp_path), name, 500)
    with pytest.raises(ReaderEnded, match=r"killed \(SIGKILL\)"):
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
    assert {str(path.relative_to(output)) for path in output.rglob("*.png")} == paths
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
    assert {row["path"] for row in ledger_rows(output) if row["state"] == DONE} == {
        str(path.relative_to(output)) for path in output.glob("[ab]/*.png")
    }
