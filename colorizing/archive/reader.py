"""Reads photos in a process of its own, so that one that ends its reader is found out without harm to others.

As a program it reads requests from stdin, a line of JSON each, and answers each with a line when the photo is read,
whether that went well or not.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading

from colorizing.archive.storage import open_storage
from common import images
from common.errors import UserError


class ReaderEnded(UserError):
    """The process that read a photo has ended; the message says how."""


class Reader:
    """A process that reads photos for any thread, one at a time; started when it is needed.

    Args:
        location: Of the storage that the photos are in.
        max_megapixels: See `images.decode`.
    """

    def __init__(self, location, max_megapixels):
        self._arguments = [location, str(max_megapixels)]
        self._process = None
        self._free = threading.Lock()

    def read(self, path):
        """Reads a photo, well or not. Raises ReaderEnded if that ends the process."""
        with self._free:
            if self._process is None:
                self._process = self._start()
            try:
                print(json.dumps(path), file=self._process.stdin, flush=True)
                answer = self._process.stdout.readline()
            except BrokenPipeError:
                answer = ""
            if not answer:
                status = self._process.wait()
                self._process = None
                raise ReaderEnded(describe_end(status))

    def _start(self):
        return subprocess.Popen(
            [sys.executable, "-m", __name__, *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            text=True,
        )


def describe_end(status):
    """How a process that read a photo ended, in words, by its exit status as `subprocess` gives it."""
    if status == -signal.SIGKILL:
        return "the process that read it was killed (SIGKILL), most likely because memory ran out"
    if status < 0:
        return f"the process that read it crashed ({signal.Signals(-status).name})"
    return f"the process that read it ended with status {status}"


def main(location, max_megapixels):
    storage = open_storage(location)
    # Libraries that print do not answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin:
        path = json.loads(line)
        # An error is of no concern here: the one who asked will meet it as well.
        with contextlib.suppress(Exception):
            images.decode(path, storage.read(path), float(max_megapixels))
        print(line, end="", file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
