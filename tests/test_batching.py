"""Several photos at a time: memory, batches and cores that threads share."""

import threading
import time
import weakref
from concurrent.futures import Future, ThreadPoolExecutor, wait

import numpy as np
import pytest

from colorizing import conversion, jobs
from colorizing.batching import LARGEST, Batcher, Cores, computing
from colorizing.conversion import Converter, WeightedSemaphore
from colorizing.jobs import plan_jobs, process_photos
from common.images import write_photo


def test_room_holds_no_more_than_its_limit():
    semaphore, held, most = WeightedSemaphore(10), [], []

    def hold(amount):
        with semaphore.hold(amount):
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


def test_room_is_for_those_who_came_first():
    semaphore, order, few = WeightedSemaphore(10), [], threading.Semaphore(0)

    def hold(name, amount):
        with semaphore.hold(amount):
            order.append(name)
            few.acquire()

    def start(name, amount):
        before = len(semaphore._waiting) + len(order)
        thread = threading.Thread(target=hold, args=(name, amount))
        thread.start()
        while len(semaphore._waiting) + len(order) == before:
            time.sleep(0.001)
        return thread

    threads = [start("small 1", 4), start("small 2", 4), start("large", 30)]
    threads += [start(f"small {number}", 1) for number in range(3, 9)]
    time.sleep(0.01)
    assert order == ["small 1", "small 2"]  # All others wait behind the large one.
    few.release(2)
    while len(order) < 3:
        time.sleep(0.001)
    assert order[2] == "large"
    few.release(10)
    for thread in threads:
        thread.join(timeout=10)
    assert len(order) == 9


def test_room_is_empty_when_all_have_left():
    """0.1 + 0.2 - 0.1 - 0.2 is not 0 in floating point, and one that waits to be alone must not wait for that."""
    semaphore = WeightedSemaphore(1)
    with semaphore.hold(0.1):
        with semaphore.hold(0.2):
            pass
    first, second = semaphore.hold(0.1), semaphore.hold(0.2)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    alone = threading.Thread(target=lambda: semaphore.hold(5).__enter__(), daemon=True)
    alone.start()
    alone.join(timeout=5)
    assert not alone.is_alive()


@pytest.mark.parametrize("limit", ["MEGABYTES_AT_A_TIME", "MEGAPIXELS_AT_A_TIME"])
def test_files_and_pixels_in_memory_are_bounded(tmp_path, photos, monkeypatch, limit):
    monkeypatch.setattr(conversion, limit, 1e-6)
    monkeypatch.setattr(conversion, "computing", Cores(4))
    for number in range(8):
        write_photo(tmp_path / f"{number}.png", photos[0])
    plan = plan_jobs([tmp_path], tmp_path / "out")
    present, most = [], []

    def work(photo, path):
        present.append(path)
        most.append(len(present))
        time.sleep(0.02)
        present.remove(path)
        return photo

    assert process_photos(plan.jobs, work, plan.record, Converter()).done == 8 and max(most) == 1
    monkeypatch.undo()
    monkeypatch.setattr(conversion, "computing", Cores(4))
    assert process_photos(plan.jobs, work, plan.record, Converter()).done == 8 and max(most) > 1


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


class Held(Doubling):
    """Answers nothing before `going` is set; sets `begun` when it is first asked."""

    def __init__(self):
        super().__init__()
        self.begun, self.going = threading.Event(), threading.Event()

    def colorize(self, lightness):
        self.begun.set()
        assert self.going.wait(timeout=30)
        return super().colorize(lightness)


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
    model = Held()
    batcher = Batcher(model)

    def ask():
        with computing:
            return batcher.colorize(np.zeros((1, 4, 4, 1), np.float32))

    started = time.monotonic()
    with ThreadPoolExecutor(LARGEST) as pool:
        alone = pool.submit(ask)
        assert model.begun.wait(timeout=30)
        together = [pool.submit(ask) for _ in range(2)]
        while batcher._waiting.qsize() < 2:
            time.sleep(0.001)
        model.going.set()
        wait([alone, *together])
        many = []
        for _ in range(LARGEST):
            many.append(pool.submit(ask))
            time.sleep(0.002)
        wait(many)
    assert model.batches == [1, 2, LARGEST] and time.monotonic() - started < 30


def test_batches_of_large_photos_hold_fewer():
    model, answers = Held(), []
    batcher = Batcher(model)
    for height, width in [(2000, 2000)] + [(200, 1600)] * 10 + [(200, 300)] * 20:
        answers.append(Future())
        batcher._waiting.put((np.zeros((1, height, width, 1), np.float32), answers[-1]))
        assert model.begun.wait(timeout=30)  # The first is in the network; the others wait for it.
    model.going.set()
    wait(answers)
    assert model.batches == [1, 4, 4, 2, 16, 4]


def test_a_batcher_that_nobody_needs_gives_its_model_back():
    batcher = Batcher(Doubling())
    model = weakref.ref(batcher._model)
    assert batcher.colorize(np.zeros((1, 4, 4, 1), np.float32)).shape == (1, 4, 4, 2)
    del batcher
    until = time.monotonic() + 30
    while model() is not None and time.monotonic() < until:
        time.sleep(0.001)
    assert model() is None


def test_only_a_thread_that_holds_a_core_releases_it():
    cores = Cores(1)
    with cores.released(), cores:
        pass
    with cores, ThreadPoolExecutor(1) as pool:
        with cores.released():
            assert pool.submit(cores.__enter__).exception(timeout=30) is None
            pool.submit(cores.__exit__).result(timeout=30)
        other = pool.submit(cores.__enter__)
        time.sleep(0.05)
        assert not other.done()
        with cores.released():
            other.result(timeout=30)
            pool.submit(cores.__exit__).result(timeout=30)


def test_threads_share_the_work(tmp_path, photos):
    for number in range(16):
        write_photo(tmp_path / f"{number:02}.png", photos[0])
    plan = plan_jobs([tmp_path], tmp_path / "out")
    threads = set()

    def work(photo, path):
        threads.add(threading.current_thread().name)
        time.sleep(0.02)
        return photo

    assert process_photos(plan.jobs, work, plan.record, Converter()).done == 16 and 1 < len(threads) <= jobs.THREADS
