"""Batches the calls that several threads make to one network."""

import contextlib
import itertools
import math
import os
import queue
import threading
import weakref
from concurrent.futures import Future

import numpy as np

# Photos and pixels a batch at most. Self-attention compares each place of a photo with all others, so 16 panoramas
# would take gigabytes.
LARGEST, PIXELS = 16, 1_500_000
# Seconds to wait for another call after a batch of several: a fuller batch takes less time per photo.
PATIENCE = 0.005


class Batcher:
    """A `Colorizer` that many threads can share: calls that arrive while the network is busy become its next batch."""

    def __init__(self, model):
        self.native_size, self.grid = model.native_size, model.grid
        self._model = model
        self._waiting = queue.SimpleQueue()
        # The thread has no reference to the batcher: when the batcher is freed, the thread ends and frees the model.
        threading.Thread(target=_work, args=[model, self._waiting], daemon=True).start()
        weakref.finalize(self, self._waiting.put, None).atexit = False

    def colorize(self, lightness):
        """See `models.colorizer.Colorizer.colorize`; returns a NumPy array. For any thread."""
        future = Future()
        self._waiting.put((lightness, future))
        with computing.released():
            return future.result()

    def features(self, lightness):
        """See `models.colorizer.Colorizer.features`. Computed at once, not in batches."""
        return self._model.features(lightness)

    def likely_colors(self, lightness, place):
        """See `models.colorizer.Colorizer.likely_colors`. Computed at once, not in batches."""
        return self._model.likely_colors(lightness, place)


def _work(model, waiting):
    """Answers calls, (lightness, future), from a queue until it gives None."""
    patience = 0
    while (first := waiting.get()) is not None:
        calls = [first, *_gather(waiting, patience)]
        for shape in dict.fromkeys(np.shape(lightness)[1:] for lightness, _ in calls):
            alike = [call for call in calls if np.shape(call[0])[1:] == shape]
            size = max(1, min(LARGEST, PIXELS // math.prod(shape)))
            for start in range(0, len(alike), size):
                _run_batch(model, alike[start : start + size])
        patience = PATIENCE if len(calls) > 1 else 0


def _gather(waiting, patience):
    """Yields all queued calls after a first one; below LARGEST, waits up to `patience` seconds for each further one."""
    with contextlib.suppress(queue.Empty):
        for count in itertools.count(1):
            yield waiting.get(timeout=patience if count < LARGEST else 0)


def _run_batch(model, calls):
    """Answers calls, (lightness, future), of one height and width by one call of the network."""
    photos = [len(lightness) for lightness, _ in calls]
    try:
        batch = np.concatenate([lightness for lightness, _ in calls])
        results = np.split(np.asarray(model.colorize(batch)), np.cumsum(photos)[:-1])
    except Exception as error:  # The callers get it, whatever it is; the thread goes on.
        for _, future in calls:
            future.set_exception(error)
        return
    for (_, future), result in zip(calls, results, strict=True):
        future.set_result(result)


class Cores:
    """Lets at most `count` threads compute at a time. A context manager, held by a thread that computes.

    With more such threads than cores, Python's lock costs more than they gain.
    """

    def __init__(self, count):
        self._free = threading.Semaphore(count)
        self._own = threading.local()

    def __enter__(self):
        self._free.acquire()
        self._own.held = True

    def __exit__(self, *error):
        self._own.held = False
        self._free.release()

    @contextlib.contextmanager
    def released(self):
        """A context in which another thread may compute while this one waits. For threads without a core, no change."""
        if not getattr(self._own, "held", False):
            yield
            return
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()


def available_cores():
    """Number of cores this process may use: OMP_NUM_THREADS, which Ray sets for each worker, or else all."""
    share = os.environ.get("OMP_NUM_THREADS", "")
    return int(share) if share.isdecimal() and int(share) else os.cpu_count() or 1


# The cores that all threads of the process share.
computing = Cores(available_cores())
