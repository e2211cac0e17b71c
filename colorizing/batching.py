"""Puts what several threads ask of a network at the same time into batches."""

import contextlib
import os
import queue
import threading
from concurrent.futures import Future

import numpy as np

# Photos a batch at most.
LARGEST = 16
# Seconds that the network waits for a fuller batch, where calls come together: a small batch would cost it more.
PATIENCE = 0.005
# Held by threads that compute: with more of them than cores, Python's lock costs more than they gain.
computing = threading.Semaphore(os.cpu_count() or 1)


@contextlib.contextmanager
def waiting():
    """Lets another thread compute while this one, which holds `computing`, waits."""
    computing.release()
    try:
        yield
    finally:
        computing.acquire()


class Batcher:
    """A colorizer that many threads can share: calls that wait while the network is busy go through it together.

    Args:
        model: A colorizer, see models/colorizer.py.
    """

    def __init__(self, model):
        self.native_size = model.native_size
        self._model = model
        self._waiting = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def colorize(self, lightness):
        """See `models.colorizer.Colorizer.colorize`; returns a NumPy array. For any thread that holds `computing`."""
        future = Future()
        self._waiting.put((lightness, future))
        with waiting():
            return future.result()

    def _gather(self, patience):
        """All calls that wait; fewer than a batch, and those that come within some seconds of the one before."""
        calls = [self._waiting.get()]
        with contextlib.suppress(queue.Empty):
            while True:
                calls.append(self._waiting.get(timeout=patience if len(calls) < LARGEST else 0))
        return calls

    def _work(self):
        calls = []
        while True:
            calls = self._gather(PATIENCE if len(calls) > 1 else 0)
            for shape in dict.fromkeys(np.shape(lightness)[1:] for lightness, _ in calls):
                alike = [call for call in calls if np.shape(call[0])[1:] == shape]
                for start in range(0, len(alike), LARGEST):
                    self._run(alike[start : start + LARGEST])

    def _run(self, calls):
        photos = [len(lightness) for lightness, _ in calls]
        try:
            batch = np.concatenate([lightness for lightness, _ in calls])
            results = np.split(np.asarray(self._model.colorize(batch)), np.cumsum(photos)[:-1])
        except Exception as error:  # Whatever it is, it belongs to those who asked, and the thread goes on.
            for _, future in calls:
                future.set_exception(error)
            return
        for (_, future), result in zip(calls, results, strict=True):
            future.set_result(result)
