"""Colorizes photos for the page and the HTTP API of app.py, within limits."""

import asyncio
import ctypes
import functools
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import PurePath

import models
from colorizing.batching import Batcher
from colorizing.conversion import THREADS, Converter
from colorizing.photo import Pipeline
from common import images
from common.errors import UserError
from common.files import REPLACED
from common.options import Count, Positive

# Seconds without visitors before memory is given back.
PAUSE = 0.5
# Of glibc's malloc.h.
M_ARENA_MAX = -8


class Busy(UserError):
    """Too many photos are waiting, or one took too long."""


@dataclass(frozen=True)
class Limits:
    """What a visitor may ask for."""

    max_megabytes: Positive = 50  # Size of an upload.
    max_megapixels: Positive = 100  # Size of a photo.
    max_waiting: Count = 32  # Photos that wait or are worked on; further visitors are turned away.
    max_seconds: Positive = 60  # Time for a photo, waiting included.


@dataclass(frozen=True)
class Result:
    """A colorized photo."""

    photo: images.Photo
    content: bytes  # Of its file.
    suffix: str  # Suffix of its format, like ".jpg".
    losses: list  # What was left out or converted, a sentence each.
    likely: tuple = ()  # The ab that the network thinks likely at the place asked for, see `Colorizer.likely_colors`.


class Service:
    """Colorizes photos for many visitors at once, who share batches. Models are loaded when first asked for."""

    def __init__(self, limits):
        self.limits = limits
        self._pool = ThreadPoolExecutor(THREADS)
        self._pending = set()
        self._converter = Converter(limits.max_megapixels)
        self._loading = threading.Lock()

    async def colorize(self, name, content, model, saturation=1.0, hints=(), asked=None):
        """Colorizes a photo; waits for its turn. The `Result` has the photo's own format or one that holds colour.

        Args:
            name: Name of the photo, for messages.
            content: Content of its file, bytes.
            model: One of `models.names()`.
            saturation: Factor on the strength of the colours.
            hints: Colours that are known, see `colorizing.hints.Hint`.
            asked: The hint whose likely colours the result has; None for none.

        Raises:
            models.ModelError: There is no such model.
            images.PhotoError: The photo cannot be read; images.TooLarge if it exceeds a limit.
            Busy: Too many are waiting, or it took too long.
        """
        limits = self.limits
        if len(content) > limits.max_megabytes * 1e6:
            raise images.TooLarge(name, f"more than {limits.max_megabytes:g} MB; reduce the photo")
        if len(self._pending) >= limits.max_waiting:
            raise Busy(f"too many photos are waiting (at most {limits.max_waiting}); try again in a minute")
        future = self._pool.submit(self._work, name, content, model, saturation, hints, asked)
        self._pending.add(future)
        # After a time-out, too, the photo counts until the work on it is done.
        future.add_done_callback(self._done)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), limits.max_seconds)
        except TimeoutError:
            raise Busy(f"{name}: took longer than {limits.max_seconds:g} seconds; try a smaller photo") from None

    def _work(self, name, content, model, saturation, hints, asked):
        pipeline = Pipeline(self._model(model), saturation=saturation)
        suffix = images.suffix_of(content) or ".png"
        suffix = REPLACED.get(suffix, suffix)
        result = f"{PurePath(name).stem}{suffix}"
        photo, content, losses = self._converter.convert(
            name, content, result, lambda photo: replace(photo, pixels=pipeline(photo.pixels, hints))
        )
        likely = pipeline.likely_colors(photo.pixels, asked) if asked else ()
        return Result(photo, content, suffix, losses, likely)

    def _done(self, future):
        """Counts a photo as done. After the last one, gives memory back unless others come within PAUSE seconds."""
        self._pending.discard(future)
        if not self._pending:
            timer = threading.Timer(PAUSE, self._give_memory_back)
            timer.daemon = True
            timer.start()

    def _give_memory_back(self):
        if not self._pending:
            give_back_memory()

    def _model(self, name):
        if name not in models.names():
            raise models.ModelError(f"{name}: no such model; there are {', '.join(models.names())}")
        with self._loading:
            return _load(name)


@functools.cache
def _load(name):
    return Batcher(models.load(name))


def share_one_heap():
    """Makes threads that start later share one heap. A heap of each thread would keep its largest size."""
    if sys.platform == "linux":
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def give_back_memory():
    """Returns free memory of the heap to the system, which takes milliseconds."""
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
