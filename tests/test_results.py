"""Runs into a folder that holds results: what is done again, what is not, and what is kept."""

import os

import numpy as np
import pytest
from folders import process, touch
from PIL import Image

from colorizing.conversion import Converter
from colorizing.jobs import plan_jobs, process_photos
from common.errors import UserError
from common.images import read_photo, write_photo


def test_a_folder_of_results_is_not_said_to_be_without_photos(tmp_path, photos):
    write_photo(tmp_path / "in" / "a.png", photos[0])
    assert process(plan_jobs([tmp_path / "in"], tmp_path / "out")).done == 1
    plan = plan_jobs([tmp_path / "out"], tmp_path / "again")
    assert not plan.jobs and plan.failures == [
        f"{tmp_path / 'out'}: holds results of earlier runs only; give those that you mean one by one"
    ]
    assert len(plan_jobs([tmp_path / "out" / "a.png"], tmp_path / "again").jobs) == 1


@pytest.mark.parametrize("output", ["outputs", "deep/outputs"])
def test_results_of_earlier_runs_are_not_photos(tmp_path, photos, output):
    write_photo(tmp_path / "a.png", photos[0])
    write_photo(tmp_path / output / "mine.png", photos[1])
    for number in range(3):
        plan = plan_jobs([tmp_path], tmp_path / output)
        assert [photo.name for photo, _ in plan.jobs] == ["a.png", "mine.png"]
        assert plan.notes == (["2 passed over: 2 earlier results"] if number else [])
        assert process(plan).done == 2
    (tmp_path / output / "a.png").unlink()  # The record names it still.
    assert plan_jobs([tmp_path], tmp_path / output).notes == ["1 passed over: 1 earlier result"]
    assert [photo.name for photo, _ in plan_jobs([tmp_path], tmp_path / "others").jobs] == ["a.png", "mine.png"]


def test_the_folder_of_the_photos_is_refused_as_output(tmp_path):
    touch(tmp_path, "in/a.jpg")
    (tmp_path / "same").symlink_to(tmp_path / "in")
    for output in ("in", "same", "in/../in"):
        plan = plan_jobs([tmp_path / "in"], tmp_path / output)
        assert not plan.jobs and len(plan.failures) == 1 and "choose another" in plan.failures[0]


def test_files_that_are_no_results_are_not_overwritten(tmp_path, photos):
    for folder in ("in", "out"):
        write_photo(tmp_path / folder / "a.png", photos[0])
    plan = plan_jobs([tmp_path / "in"], tmp_path / "out")
    assert not plan.jobs and "a.png exists and is not a result of an earlier run" in plan.failures[0]


def done(folder, output, *names):
    """Runs with --skip-existing, with the photo as its result. Returns the names of the photos that were worked on."""
    plan = plan_jobs([folder / name for name in names] or [folder], output)
    todo, notes = plan.record.split(plan.jobs)
    outcome = process_photos(todo, lambda photo, path: photo, plan.record, Converter())
    assert not outcome.failures and not plan.failures
    for photo, result in plan.jobs:
        expected = read_photo(photo)
        np.testing.assert_array_equal(read_photo(result)[..., 0], expected[..., 0])
    return [photo.name for photo, _ in todo], notes


def test_every_photo_ends_with_its_own_result_after_photos_are_added_and_renamed(tmp_path, photos):
    folder, output = tmp_path / "in", tmp_path / "out"
    gray = [np.ascontiguousarray(np.repeat(photo[..., :1], 3, axis=-1)) for photo in photos]
    write_photo(folder / "a.png", gray[0])
    write_photo(folder / "b.png", gray[1])
    assert done(folder, output) == (["a.png", "b.png"], [])
    assert done(folder, output) == ([], [])
    Image.fromarray(photos[2][..., 0]).save(folder / "a.gif")
    assert done(folder, output) == (["a.gif"], [])
    for old, new in (("a.png", "c.png"), ("b.png", "a.png"), ("c.png", "b.png")):
        (folder / old).rename(folder / new)
    names, notes = done(folder, output)
    assert names == ["a.png", "b.png"] and len(notes) == 2 and "out/a.png: made anew" in notes[0]
    assert done(folder, output) == ([], [])
    # Of the same size and date as before.
    status = (folder / "a.png").stat()
    write_photo(folder / "a.png", gray[3])
    os.utime(folder / "a.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert done(folder, output)[0] == ["a.png"]
    # Of the same name, from other folders.
    write_photo(tmp_path / "in" / "x" / "d.png", gray[0])
    write_photo(tmp_path / "in" / "y" / "d.png", gray[1])
    assert done(folder, tmp_path / "flat", "y/d.png")[0] == ["d.png"]
    names, notes = done(folder, tmp_path / "flat", "x/d.png", "y/d.png")
    assert names == ["d.png", "d.png"] and "flat/d.png: made anew" in notes[0]


def test_results_of_other_settings_are_made_anew(tmp_path, photos):
    for name in ("a.png", "b.png"):
        write_photo(tmp_path / "in" / name, photos[0])

    def split(settings):
        plan = plan_jobs([tmp_path / "in"], tmp_path / "out", settings_of=settings and (lambda path: settings))
        todo, notes = plan.record.split(plan.jobs)
        process(plan)
        return len(todo), notes

    # Without settings, as colorizing.gray has none.
    assert split(None) == (2, [])
    for settings in ("vivid", "dull"):
        assert split(settings) == (2, ["2 results made anew, since made with another model or other options"])
        assert split(settings) == (0, [])


def test_a_record_that_was_cut_short_is_used_as_far_as_it_goes(tmp_path, photos):
    write_photo(tmp_path / "in" / "a.png", photos[0])
    write_photo(tmp_path / "in" / "b.png", photos[1])
    process(plan_jobs([tmp_path / "in" / "a.png"], tmp_path / "out"))
    record = next((tmp_path / "out").glob(".*"))
    record.write_text(record.read_text() + '\n{"result": "b.p')
    plan = plan_jobs([tmp_path / "in"], tmp_path / "out")
    waiting, _ = plan.record.split(plan.jobs)
    assert process_photos(waiting, lambda photo, path: photo, plan.record, Converter()).done == 1
    plan = plan_jobs([tmp_path / "in"], tmp_path / "out")
    assert plan.record.split(plan.jobs) == ([], [])


def test_a_record_that_cannot_be_used_is_named(tmp_path, photos):
    write_photo(tmp_path / "in" / "a.png", photos[0])
    write_photo(tmp_path / "in" / "sub" / "b.png", photos[1])
    record = tmp_path / "in" / "sub" / ".colorized.jsonl"
    record.mkdir()
    plan = plan_jobs([tmp_path / "in"], tmp_path / "out")
    assert plan.failures == [f"{record}: is a directory; results that it names are taken for photos"]
    (tmp_path / "out").mkdir()
    plan.record.folder.joinpath(".colorized.jsonl").mkdir()
    outcome = process(plan)
    assert outcome.done == 0 and outcome.failures[0] == (
        f"{tmp_path / 'out' / 'a.png'}: cannot be written, since {tmp_path / 'out' / '.colorized.jsonl'} cannot: "
        "is a directory"
    )
    with pytest.raises(UserError, match=r"\.colorized\.jsonl: is a directory; choose another --output"):
        plan_jobs([tmp_path / "in"], tmp_path / "out")


def test_what_changes_while_it_is_worked_on_is_done_again(tmp_path, photos):
    for name in ("a.png", "b.png", "c.png"):
        write_photo(tmp_path / "in" / name, photos[0])
        (tmp_path / "in" / f"{name}.json").write_text("old")
    plan = plan_jobs([tmp_path / "in"], tmp_path / "out", hints_of=lambda path: path.with_name(f"{path.name}.json"))

    def work(photo, path):
        if path.name == "a.png":
            write_photo(path, photos[1])
        if path.name == "b.png":
            path.with_name("b.png.json").write_text("new")
        return photo

    assert process(plan, work).done == 3
    assert [photo.name for photo, _ in plan.record.split(plan.jobs)[0]] == ["a.png", "b.png"]


def test_a_file_that_appears_where_a_result_belongs_is_kept(tmp_path, photos):
    write_photo(tmp_path / "in" / "a.png", photos[0])
    write_photo(tmp_path / "other" / "a.png", photos[1])
    plan, same, other = (plan_jobs([tmp_path / name], tmp_path / "out") for name in ("in", "in", "other"))
    touch(tmp_path, "out/a.png")
    message = f"{tmp_path / 'out' / 'a.png'}: another file has appeared there since this run began; choose another"
    assert process(plan).failures[0].startswith(message)
    assert (tmp_path / "out" / "a.png").read_text() == "out/a.png"
    (tmp_path / "out" / "a.png").unlink()
    assert process(plan).done == process(same).done == 1  # As two runs at once.
    assert process(other).failures[0].startswith(message)
    np.testing.assert_array_equal(read_photo(tmp_path / "out" / "a.png"), photos[0])
