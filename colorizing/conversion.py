"""Converts contents of photo files into contents of result files, several at a time, within bounds on memory."""

import contextlib
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import PurePath

from colorizing.batching import computing
from common import images
from common.encoding import check_size

# Photos worked on at a time: while some are in the network, others are read and written.
THREADS = 32
# Megabytes of all files that are read and not yet done, at most; a single larger file is let in alone.
MEGABYTES_AT_A_TIME = 256
# Megapixels of all photos that are decoded and not yet encoded, at most; a single larger photo is let in alone.
MEGAPIXELS_AT_A_TIME = 48


@dataclass(eq=False)
class Converter:
    """Decodes photos, has them worked on, and encodes the results, in any number of threads."""

    max_megapixels: float = images.MAX_MEGAPIXELS  # Larger photos are refused.
    quality: int = images.QUALITY  # 1..100, for JPEG, WebP and AVIF.
    widths: int = 1  # How many times as wide as its photo a result is.

    def __post_init__(self):
        self._files = WeightedSemaphore(MEGABYTES_AT_A_TIME)
        self._photos = WeightedSemaphore(MEGAPIXELS_AT_A_TIME)

    def file_in_memory(self, size):
        """A context in which a file of `size` bytes may be in memory. Waits until there is memory for it."""
        return self._files.hold(size / 1e6)

    def convert(self, name, content, result, work):
        """Converts one photo. Waits until there is memory for its pixels and a core is free.

        Args:
            name: Path of the photo, for messages.
            content: Content of its file, bytes.
            result: Path of the result, which gives the format, and for messages.
            work: Function from an `images.Photo` to the one that is encoded.

        Returns (photo, content, losses): what `work` returned, and what `images.encode` returned for it. Raises
        PhotoError where the photo cannot be decoded, is too large, or cannot be encoded in the format of the result.
        """
        with self._photos.hold(min(images.megapixels(name, content), self.max_megapixels)), computing:
            photo = images.decode(name, content, self.max_megapixels)
            height, width = photo.pixels.shape[:2]
            check_size(result, self.widths * width, height)  # Before the work, which would be in vain.
            photo = work(photo)
            return photo, *images.encode(result, photo, PurePath(result).suffix.lower(), self.quality)


class WeightedSemaphore:
    """Lets threads in as long as what they hold together stays below a limit; one that holds more is let in alone.

    First come, first served: a thread that holds much does not wait for ever behind threads that hold little.
    """

    def __init__(self, limit):
        self._limit = limit
        self._held = []
        self._waiting = deque()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def hold(self, amount):
        """A context in which the caller holds an amount. Waits until all together are below the limit."""
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                most = max(self._limit, amount)
                self._changed.wait_for(lambda: self._waiting[0] is ticket and sum(self._held, amount) <= most)
                self._held.append(amount)
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._held.remove(amount)
                self._changed.notify_all()
