"""Runs over many photos: what is read, where results go, and several at a time."""

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from folders import process, touch
from PIL import Image
from processes import full_disk, ordinary_user

from colorizing import jobs
from colorizing.conversion import Converter
from colorizing.jobs import find_inputs, plan_jobs, process_photos
from common.command_line import printable
from common.files import is_photo, write_whole
from common.images import read_photo, write_photo


def test_jobs_keep_subfolders_and_never_share_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch(
        tmp_path, "album/a.jpg", "album/sub/a.jpg", "other/a.jpg", "album/notes.txt", "album/.hidden.jpg", "out/a.png"
    )
    inputs = [Path("album"), Path("other/a.jpg"), Path("album/a.jpg"), Path("none"), Path("empty"), Path("out/a.png")]
    Path("empty").mkdir()
    plan = plan_jobs(inputs, Path("out"))
    assert {str(photo): str(result) for photo, result in plan.jobs} == {
        "album/a.jpg": "out/a.jpg",
        "album/sub/a.jpg": "out/sub/a.jpg",
        "other/a.jpg": "out/a-2.jpg",
        "out/a.png": "out/a-2.png",
    }
    assert [failure.split(":")[0] for failure in plan.failures] == ["none", "empty"]
    assert plan.notes == [
        "other/a.jpg: the result is out/a-2.jpg, since out/a.jpg belongs to album/a.jpg",
        "out/a.png: the result is out/a-2.png, since out/a.png belongs to out/a.png",
    ]


@pytest.mark.parametrize(
    ("suffix", "names"),
    [
        (None, {"a.gif": "a.gif.png", "b.pgm": "b.pgm.ppm", "c.JPG": "c.JPG", "d.v2.png": "d.v2.png"}),
        (".png", {"a.gif": "a.gif.png", "b.pgm": "b.pgm.png", "c.JPG": "c.JPG.png", "d.v2.png": "d.v2.png"}),
    ],
)
def test_a_name_does_not_depend_on_other_inputs(tmp_path, suffix, names):
    touch(tmp_path / "all", *names)
    together = plan_jobs([tmp_path / "all"], tmp_path / "out", suffix)
    assert {photo.name: result.name for photo, result in together.jobs} == names and not together.notes
    for name, expected in names.items():
        touch(tmp_path / name, name)
        ((_, result),) = plan_jobs([tmp_path / name], tmp_path / "out", suffix).jobs
        assert result.name == expected


def test_names_that_differ_by_case_alone_get_results_of_their_own_on_any_disk(tmp_path):
    touch(tmp_path, "in/A.JPG", "in/a.jpg", "in/b.gif", "in/B.GIF", "in/sub/a.jpg")
    plan = plan_jobs([tmp_path / "in"], tmp_path / "out")
    results = [str(result.relative_to(tmp_path / "out")) for _, result in plan.jobs]
    assert results == ["A.JPG", "B.GIF.png", "a-2.jpg", "b.gif-2.png", "sub/a.jpg"]
    a = tmp_path / "in" / "a.jpg"
    assert plan.notes[0] == (
        f"{a}: the result is {tmp_path / 'out' / 'a-2.jpg'}, since {tmp_path / 'out' / 'a.jpg'} belongs to "
        f"{tmp_path / 'in' / 'A.JPG'}"
    )


def test_names_that_differ_by_how_letters_are_composed_get_results_of_their_own(tmp_path):
    touch(tmp_path, "in/e\u0301.jpg", "in/\u00e9.jpg")
    plan = plan_jobs([tmp_path / "in"], tmp_path / "out")
    assert [result.name for _, result in plan.jobs] == ["e\u0301.jpg", "\u00e9-2.jpg"]


def test_another_format_is_said(tmp_path, photos):
    write_photo(tmp_path / "a.pgm", photos[0][..., 0])
    outcome = process(plan_jobs([tmp_path], tmp_path / "out"), lambda photo, path: replace(photo, pixels=photos[0]))
    assert outcome.done == 1 and len(outcome.losses) == 1
    assert "a.pgm.ppm: written in this format, since .pgm holds no colour" in outcome.losses[0]


# --- what is no photo


def test_only_regular_files_outside_of_hidden_and_system_folders(tmp_path):
    folders = ("@eaDir/a.jpg", ".thumbnails", "#recycle", "$RECYCLE.BIN", "@Recycle", ".Trash-1000", "lost+found")
    touch(tmp_path, "a.jpg", "album.jpg/b.jpg", *(f"{folder}/thumb.jpg" for folder in folders))
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / "c.jpg").symlink_to("a.jpg")
    (tmp_path / "null.jpg").symlink_to(os.devnull)
    plan = plan_jobs([tmp_path], tmp_path / "out")
    assert [photo.name for photo, _ in plan.jobs] == ["a.jpg", "b.jpg", "c.jpg"] and not plan.failures
    (note,) = plan.notes
    assert note.startswith("5 passed over: ")
    assert set(note.split(": ")[1].split(", ")) == {"2 broken links", "2 special files", "1 linked folder"}
    given = [tmp_path / name for name in ("pipe.jpg", "self.jpg", "gone.jpg", "null.jpg")]
    plan = plan_jobs(given, tmp_path / "out")
    causes = ("not a regular file", "too many levels of symbolic links", "no such file", "not a regular file")
    assert not plan.jobs and all(map(str.__contains__, plan.failures, causes))


def test_media_that_are_passed_over_are_counted(tmp_path):
    touch(tmp_path, *(f"{number}.X3F" for number in range(10)), *(f"{number}.pam" for number in range(3)))
    touch(tmp_path, "a.psd", "sub/b.psd", "film.mp4", "scan.pdf", "notes.txt", "a.jpg")
    kinds = "10 .x3f, 3 .pam, 2 .psd"
    assert plan_jobs([tmp_path], tmp_path / "out").notes == [f"17 passed over: {kinds}, 1 .mp4, 1 .pdf"]
    assert plan_jobs([tmp_path], tmp_path / "out", films=True).notes == [f"16 passed over: {kinds}, 1 .pdf"]


def test_folders_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    touch(tmp_path, "a.jpg", "closed/b.jpg")
    scan = os.scandir

    def refuse(place):
        if Path(place).name == "closed":
            raise PermissionError(13, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr("os.scandir", refuse)
    plan = plan_jobs([tmp_path], tmp_path / "out")
    assert len(plan.jobs) == 1 and plan.failures == [f"{tmp_path / 'closed'}: permission denied"]


def test_a_folder_that_may_be_listed_but_not_entered_stops_nothing(tmp_path):
    touch(tmp_path, "in/a.jpg", "in/locked/b.jpg", "in/locked/notes.txt", "in/z.jpg")
    (tmp_path / "in" / "locked").chmod(0o444)
    with ordinary_user(tmp_path):
        found = find_inputs([Path("in")], Path("out"), films=False)
    assert [str(path) for path, _ in found[0]] == ["in/a.jpg", "in/z.jpg"]
    assert found[1] == ["in/locked/b.jpg: permission denied"]
    (tmp_path / "in" / "locked").chmod(0o755)


def test_a_photo_that_is_given_twice_is_done_once(tmp_path):
    touch(tmp_path, "in/a.jpg", "in/sub/b.jpg")
    (tmp_path / "link").symlink_to("in")
    (tmp_path / "in" / "gone.jpg").symlink_to("nowhere")
    (tmp_path / "in" / "long.jpg").symlink_to("x" * 300)
    again = [tmp_path / "in", tmp_path / "in" / "sub" / "..", tmp_path / "link", tmp_path / "link" / "a.jpg"]
    plan = plan_jobs(again, tmp_path / "out")
    assert [photo for photo, _ in plan.jobs] == [tmp_path / "in" / "a.jpg", tmp_path / "in" / "sub" / "b.jpg"]
    assert plan.notes == ["1 passed over: 1 broken link"]
    assert plan.failures == [f"{tmp_path / 'in' / 'long.jpg'}: file name too long"]


# --- results that cannot be written, and names


def test_a_file_that_may_not_be_written_is_named_itself(tmp_path):
    with ordinary_user(tmp_path), pytest.raises(PermissionError) as error:
        write_whole(Path("a.jpg"), b"")
    assert error.value.filename == "a.jpg"
    with full_disk(10), pytest.raises(OSError) as error:
        write_whole(tmp_path / "b.jpg", bytes(100))
    assert error.value.filename == str(tmp_path / "b.jpg") and not list(tmp_path.iterdir())


def test_causes_name_the_file_that_has_them(tmp_path, photos):
    for name in ("a.png", "sub/b.png", "lost/c.png"):
        write_photo(tmp_path / "in" / name, photos[0])
    hints = tmp_path / "in" / "hints"
    hints.mkdir()
    touch(tmp_path, "out/sub")
    (tmp_path / "out" / "lost").symlink_to("nowhere")
    plan = plan_jobs([tmp_path / "in"], tmp_path / "out", hints_of=lambda path: path.with_name("hints"))
    assert process(plan).failures == [
        f"{hints}: is a directory",
        *(
            f"{tmp_path / 'out' / name}: cannot be written: a file or a broken link has the name of its folder"
            for name in ("lost/c.png", "sub/b.png")
        ),
    ]


def test_results_have_the_rights_of_new_files(tmp_path, monkeypatch):
    before = os.umask(0o027)
    monkeypatch.setattr(os, "umask", None)  # Other threads would make files while it is changed.
    try:
        write_whole(tmp_path / "a.png", b"")
    finally:
        monkeypatch.undo()
        os.umask(before)
    assert (tmp_path / "a.png").stat().st_mode & 0o777 == 0o640


def test_names_of_any_bytes(tmp_path, photos):
    folder = tmp_path / os.fsdecode(b"K\xf6ln \xff")
    names = [os.fsdecode(b"M\xfcnchen.png"), "zwei\nZeilen.png", "\N{SNOWMAN}.png", " .png", "a\\b.png"]
    for name in names:
        write_photo(folder / name, photos[0])
    (folder / os.fsdecode(b"broken\xe9.png")).write_bytes(b"broken")
    plan = plan_jobs([folder], tmp_path / "out")
    outcome = process(plan)
    assert outcome.done == 5 and len(outcome.failures) == 1
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == set(names)
    line = printable(outcome.failures[0])
    assert "broken\\udce9.png: not an image" in line and line.encode().decode() == line and "\n" not in line
    plan = plan_jobs([folder], tmp_path / "out")
    assert [photo.name for photo, _ in plan.record.split(plan.jobs)[0]] == [os.fsdecode(b"broken\xe9.png")]


def test_names_that_are_as_long_as_the_system_allows(tmp_path, photos):
    """Those of results that would be longer are refused before the work."""
    write_photo(tmp_path / "in" / f"{'x' * 251}.png", photos[0])
    for name in ("x" * 251 + ".gif", "y" * 247 + ".gif", "\u00e4" * 125 + ".gif"):  # In UTF-8, that one has two bytes.
        Image.fromarray(photos[0]).save(tmp_path / "in" / name)
    for todo in (2, 0):
        plan = plan_jobs(
            [tmp_path / "in"], tmp_path / "out", hints_of=lambda path: path.with_name(f"{path.stem}.json.x")
        )
        waiting, _ = plan.record.split(plan.jobs)
        assert len(waiting) == todo
        outcome = process_photos(waiting, lambda photo, path: photo, plan.record, Converter())
        assert outcome.done == todo and outcome.failures == []
        assert sorted(failure.partition(": ")[2] for failure in plan.failures) == [
            f"its result's name has {length} bytes, of 255 at most; shorten it" for length in (258, 259)
        ]


# --- the work


def test_a_bad_photo_does_not_stop_the_others(tmp_path, photos):
    for number in range(6):
        write_photo(tmp_path / f"{number}.png", photos[number % 4])
    (tmp_path / "2.png").write_text("text")
    plan = plan_jobs([tmp_path], tmp_path / "out")
    (tmp_path / "3.png").unlink()  # Vanished since the listing.

    def work(photo, path):
        if np.array_equal(photo.pixels, photos[1]):
            raise MemoryError("out of memory")
        return replace(photo, pixels=photo.pixels[::-1])

    outcome = process(plan, work)
    assert outcome.done == 2 and outcome.losses == []
    causes = ("1.png: cannot be done (MemoryError: out of memory", "2.png: not an image", "3.png: no such", "5.png: c")
    assert len(outcome.failures) == 4
    assert all(cause in failure for cause, failure in zip(causes, outcome.failures, strict=True))
    written = {path.name for path in (tmp_path / "out").glob("[!.]*")}
    assert written == {"0.png", "4.png"}
    np.testing.assert_array_equal(read_photo(tmp_path / "out" / "4.png"), photos[0][::-1])
    assert is_photo(Path("A.JPG")) and not is_photo(Path("a.txt")) and not is_photo(Path(".a.jpg"))


def test_interruption_leaves_whole_files_only(tmp_path, photos, monkeypatch):
    monkeypatch.setattr(jobs, "THREADS", 4)
    for number in range(40):
        write_photo(tmp_path / f"{number:02}.png", photos[0])
    plan = plan_jobs([tmp_path], tmp_path / "out")
    started = []

    def work(photo, path):
        started.append(photo)
        time.sleep(0.01)
        if len(started) >= 12:
            raise KeyboardInterrupt
        return photo

    with pytest.raises(KeyboardInterrupt):
        process(plan, work)
    written = list((tmp_path / "out").glob("[!.]*"))
    assert 0 < len(written) < 40 and len(started) < 40
    for path in written:
        np.testing.assert_array_equal(read_photo(path), photos[0])
