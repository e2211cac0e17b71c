"""Reads a photo in a process of its own, to find out whether it ends the process that reads it."""

import contextlib
import os
import signal
import subprocess
import sys

from colorizing.archive.storage import open_storage
from common import images
from common.errors import UserError


def try_to_read(location, path, max_megapixels):
    """Reads the photo at a path in the storage at a location in a process of its own, and ignores its errors.

    Raises UserError where reading ended the process; the message says how.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", __name__, location, path, str(max_megapixels)]
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    status = subprocess.run(command, env=environment, **streams).returncode
    if status == -signal.SIGKILL:
        raise UserError("the process that read it was killed (SIGKILL), most likely because memory ran out")
    if status < 0:
        raise UserError(f"the process that read it crashed ({signal.Signals(-status).name})")
    if status:
        raise UserError(f"the process that read it ended with status {status}")


def main(location, path, max_megapixels):
    # The worker reads the photo afterwards and reports the errors.
    with contextlib.suppress(Exception):
        images.decode(path, open_storage(location).read(path), float(max_megapixels))


if __name__ == "__main__":
    main(*sys.argv[1:])
