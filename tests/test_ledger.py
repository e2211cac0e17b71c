"""The listing and the ledger of an archive."""

import os
from types import SimpleNamespace

import pytest
from folders import touch
from processes import call

for package in ("ray", "pyarrow", "s3fs"):
    pytest.importorskip(package, reason="archives need requirements-archive.txt")

from colorizing.archive import ledger, storage
from colorizing.archive.ledger import DONE, FAILED, FOLDER, LEFT_OUT, WAITING, Ledger, bucket_of
from colorizing.archive.listing import list_files
from colorizing.archive.storage import open_storage
from colorizing.jobs import plan_jobs
from common.errors import UserError


def listed(folder, skipped=None, suffix=None, made_by=("model", "settings")):
    return list(list_files(open_storage(str(folder)), skipped, suffix, made_by))


def test_every_file_is_listed_with_the_result_that_test_py_writes(tmp_path):
    source = tmp_path / "in"
    touch(
        source, "a.gif", "a.gif.png", "b/a.jpg", "b/c/d.tif", "b/notes.txt", ".hidden.png", "@eaDir/e.jpg", "film.mp4"
    )
    touch(source, "b/A.JPG", "\u00fc.png", "u\u0308.png")  # Disks that ignore case and composition take them for one.
    touch(source, "a.hints.json")
    os.mkfifo(source / "pipe.jpg")
    (source / "broken.jpg").symlink_to("nowhere")
    (source / "folder.jpg").symlink_to(source / "b")
    rows = {row["path"]: row for row in listed(source)}
    expected = {
        str(photo.relative_to(source)): str(result.relative_to(tmp_path / "out"))
        for photo, result in plan_jobs([source], tmp_path / "out").jobs
    }
    assert len(expected) == 7 and expected["a.gif.png"] == "a.gif-2.png" and expected["b/a.jpg"] == "b/a-2.jpg"
    assert {path: row["result"] for path, row in rows.items() if row["state"] == WAITING} == expected
    assert {path: row["cause"] for path, row in rows.items() if row["state"] == LEFT_OUT} == {
        "b/notes.txt": "not a photo by its name",
        ".hidden.png": "a hidden file",
        "@eaDir/e.jpg": "in a hidden folder, or one of thumbnails or deleted files",
        "film.mp4": "a film, which test.py colorizes",
        "a.hints.json": "hints, which test.py takes",
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


def test_a_ledger_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / FOLDER).touch()
    with pytest.raises(UserError, match=f"/{FOLDER}: the ledger cannot be written .a file .*; put this"):
        Ledger(open_storage(str(tmp_path))).add("run", "run", [{"run": "run"}])


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
        rows = [row for row, state, _ in self.ledger.look_up(run) if row["path"].split(".")[0] in states]
        for row in rows:
            row.update(run=run["run"], bucket=bucket_of(row["path"]), **states[row["path"].split(".")[0]])
            if row["state"] == DONE:
                (self.output / row["result"]).write_bytes(b"colours")
        self.ledger.add("worked", run["run"], rows)

    def states(self, run, **options):
        return {row["path"]: (state, cause) for row, state, cause in self.ledger.look_up(run, **options)}


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
    summary = archive.ledger.summary(run)
    assert summary.states == {DONE: 2, FAILED: 1, WAITING: 1, LEFT_OUT: 1}
    assert sum(summary.states.values()) == sum(summary.causes.values()) == run["files"] == 5
    assert summary.failures == [("c.jpg", "damaged")]


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
    assert (status, errors) == (1, ["waiting: 1; the same command as before goes on"]) and "3 done" in told


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
    assert status == 1 and errors == [f"{tmp_path / 'in'}: a folder without photos; other files, left out: 1"]


def test_a_changed_setting_is_seen(archive):
    before = archive.list()
    after = archive.list(made_by=("model", "others"))
    other = (WAITING, "done with another model or other settings")
    assert archive.states(after)["a.jpg"] == archive.states(after)["c.jpg"] == other
    assert archive.states(before)["a.jpg"] == (DONE, None)


def test_shares_of_a_ledger_are_all_of_it_once(archive, monkeypatch):
    run = archive.ledger.last_run()
    for files, count in ((5, 1), (3, 2), (1, 5)):
        monkeypatch.setattr(ledger, "FILES_AT_A_TIME", files)
        assert ledger.shares(run) == count
        found = [row["path"] for share in range(count) for row, *_ in archive.ledger.look_up(run, share)]
        assert sorted(found) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "notes.txt"]
        assert found == [row["path"] for row, *_ in archive.ledger.look_up(run)]


def test_parts_are_only_ever_added(archive):
    before = {path: path.read_bytes() for path in (archive.output / FOLDER).iterdir()}
    archive.work(archive.list(), d={"state": FAILED, "cause": "damaged"})
    after = {path: path.read_bytes() for path in (archive.output / FOLDER).iterdir()}
    assert len(after) > len(before) and before.items() <= after.items()
