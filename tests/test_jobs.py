"""Runs over many photos: what is read, where results go, and several at a time."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from colorizing import jobs
from colorizing.batching import LARGEST, Batcher, Cores, computing
from colorizing.jobs import Room, plan_jobs, process_photos
from common.files import is_photo
from common.images import read_photo, write_photo


def test_jobs_keep_subfolders_and_never_share_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["album/a.jpg", "album/sub/a.jpg", "other/a.jpg", "album/notes.txt", "album/.hidden.jpg", "out/a.png"]
    for name in map(Path, names):
        name.parent.mkdir(parents=True, exist_ok=True)
        name.touch()
    inputs = [Path("album"), Path("other/a.jpg"), Path("album/a.jpg"), Path("none"), Path("empty"), Path("out/a.png")]
    Path("empty").mkdir()
    planned, failures = plan_jobs(inputs, Path("out"))
    assert {str(photo): str(result) for photo, result in planned} == {
        "album/a.jpg": "out/a.jpg",
        "album/sub/a.jpg": "out/sub/a.jpg",
        "other/a.jpg": "out/a-2.jpg",
        "out/a.png": "out/a-2.png",
    }
    assert [failure.split(":")[0] for failure in failures] == ["none", "empty"]


def test_results_have_the_format_asked_for_or_one_that_holds_colour(tmp_path):
    for name in ("a.gif", "b.pgm", "c.JPG", "d.v2.png"):
        (tmp_path / name).touch()
    names = {result.name for _, result in plan_jobs([tmp_path], tmp_path / "out")[0]}
    assert names == {"a.png", "b.ppm", "c.JPG", "d.v2.png"}
    names = {result.name for _, result in plan_jobs([tmp_path], tmp_path / "out", ".webp")[0]}
    assert names == {"a.webp", "b.webp", "c.webp", "d.v2.webp"}


def test_another_format_is_said(tmp_path, photos):
    write_photo(tmp_path / "a.pgm", photos[0][..., 0])
    outcome = process_photos(plan_jobs([tmp_path], tmp_path / "out")[0], lambda photo: replace(photo, pixels=photos[0]))
    assert outcome.done == 1 and len(outcome.losses) == 1
    assert "a.ppm: written in this format, since .pgm holds no colour" in outcome.losses[0]


def test_results_of_an_earlier_run_are_not_photos(tmp_path):
    for name in ("a.jpg", "outputs/a.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    planned, _ = plan_jobs([tmp_path], tmp_path / "outputs")
    assert planned == [(tmp_path / "a.jpg", tmp_path / "outputs" / "a.jpg")]


def test_a_bad_photo_does_not_stop_the_others(tmp_path, photos):
    for number in range(6):
        write_photo(tmp_path / f"{number}.png", photos[number % 4])
    (tmp_path / "2.png").write_text("text")
    planned, _ = plan_jobs([tmp_path], tmp_path / "out")
    (tmp_path / "3.png").unlink()  # Vanished since the listing.

    def work(photo):
        if np.array_equal(photo.pixels, photos[1]):
            raise MemoryError("out of memory")
        return replace(photo, pixels=photo.pixels[::-1])

    outcome = process_photos(planned, work)
    assert outcome.done == 2 and outcome.losses == []
    causes = ("1.png: cannot be done (MemoryError: out of memory", "2.png: not an image", "3.png: no such", "5.png: c")
    assert len(outcome.failures) == 4
    assert all(cause in failure for cause, failure in zip(causes, outcome.failures, strict=True))
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"0.png", "4.png"}
    np.testing.assert_array_equal(read_photo(tmp_path / "out" / "4.png"), photos[0][::-1])
    assert is_photo(Path("A.JPG")) and not is_photo(Path("a.txt")) and not is_photo(Path(".a.jpg"))


def test_interruption_leaves_whole_files_only(tmp_path, photos, monkeypatch):
    monkeypatch.setattr(jobs, "THREADS", 4)
    for number in range(40):
        write_photo(tmp_path / f"{number:02}.png", photos[0])
    planned, _ = plan_jobs([tmp_path], tmp_path / "out")
    started = []

    def work(photo):
        started.append(photo)
        time.sleep(0.01)
        if len(started) >= 12:
            raise KeyboardInterrupt
        return photo

    with pytest.raises(KeyboardInterrupt):
        process_photos(planned, work)
    written = list((tmp_path / "out").iterdir())
    assert 0 < len(written) < 40 and len(started) < 40
    for path in written:
        np.testing.assert_array_equal(read_photo(path), photos[0])


def test_room_holds_no_more_than_its_limit():
    room, held, most = Room(10), [], []

    def hold(amount):
        with room.hold(amount):
            held.append(amount)
            most.append(list(held))
            time.sleep(0.002)
            held.remove(amount)

    threads = [threading.Thread(target=hold, args=(amount,)) for amount in [4, 4, 4, 30, 1, 9, 2, 30, 5, 5] * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert len(most) == 30
    assert all(sum(together) <= 10 or len(together) == 1 for together in most)
    assert max(map(len, most)) > 1


def test_room_is_empty_when_all_have_left():
    """0.1 + 0.2 - 0.1 - 0.2 is not 0 in floating point, and one that waits to be alone must not wait for that."""
    room = Room(1)
    with room.hold(0.1):
        with room.hold(0.2):
            pass
    first, second = room.hold(0.1), room.hold(0.2)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    alone = threading.Thread(target=lambda: room.hold(5).__enter__(), daemon=True)
    alone.start()
    alone.join(timeout=5)
    assert not alone.is_alive()


class Doubling:
    """Stands for a network: doubles, notes the batches it sees, and refuses odd heights."""

    native_size = 8
    grid = 8

    def __init__(self):
        self.batches = []

    def colorize(self, lightness):
        self.batches.append(len(lightness))
        time.sleep(0.02)
        if lightness.shape[1] % 2:
            raise ValueError("odd")
        return np.concatenate([lightness, lightness], axis=-1) * 2


def test_calls_of_several_threads_go_through_the_network_together():
    model = Doubling()
    batcher = Batcher(model)
    results, errors = {}, {}

    def ask(number):
        lightness = np.full((1, 4 + number % 3, 4, 1), number, np.float32)
        try:
            results[number] = batcher.colorize(lightness)
        except ValueError as error:
            errors[number] = error

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert sum(model.batches) == 24 and len(model.batches) < 24 and max(model.batches) > 1
    assert sorted(errors) == list(range(1, 24, 3)) and len(results) == 16
    for number, result in results.items():
        assert result.shape == (1, 4 + number % 3, 4, 2) and (result == 2 * number).all()


def test_calls_that_come_together_wait_for_a_full_batch_and_a_lone_one_does_not(monkeypatch):
    monkeypatch.setattr("colorizing.batching.PATIENCE", 30.0)
    begun, going = threading.Event(), threading.Event()

    class Held(Doubling):
        def colorize(self, lightness):
            begun.set()
            assert going.wait(timeout=30)
            return super().colorize(lightness)

    model = Held()
    batcher = Batcher(model)

    def ask():
        with computing:
            return batcher.colorize(np.zeros((1, 4, 4, 1), np.float32))

    started = time.monotonic()
    with ThreadPoolExecutor(LARGEST) as pool:
        alone = pool.submit(ask)
        assert begun.wait(timeout=30)
        together = [pool.submit(ask) for _ in range(2)]
        while batcher._waiting.qsize() < 2:
            time.sleep(0.001)
        going.set()
        wait([alone, *together])
        many = []
        for _ in range(LARGEST):
            many.append(pool.submit(ask))
            time.sleep(0.002)
        wait(many)
    assert model.batches == [1, 2, LARGEST] and time.monotonic() - started < 30


def test_only_a_thread_that_holds_a_core_lends_it():
    cores = Cores(1)
    with cores.lent(), cores:
        pass
    with cores, ThreadPoolExecutor(1) as pool:
        with cores.lent():
            assert pool.submit(cores.__enter__).exception(timeout=30) is None
            pool.submit(cores.__exit__).result(timeout=30)
        other = pool.submit(cores.__enter__)
        time.sleep(0.05)
        assert not other.done()
        with cores.lent():
            other.result(timeout=30)
            pool.submit(cores.__exit__).result(timeout=30)


def test_threads_share_the_work(tmp_path, photos):
    for number in range(16):
        write_photo(tmp_path / f"{number:02}.png", photos[0])
    planned, _ = plan_jobs([tmp_path], tmp_path / "out")
    threads = set()

    def work(photo):
        threads.add(threading.current_thread().name)
        time.sleep(0.02)
        return photo

    assert process_photos(planned, work).done == 16 and 1 < len(threads) <= jobs.THREADS
