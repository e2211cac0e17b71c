"""Visitors' files: the page takes what it received itself, nothing else on the server's disk, and removes it later."""

import asyncio
import contextlib
import os
import time
from pathlib import Path

import gradio

# Seconds after which visitors' files are removed, and seconds between two searches for such files.
KEPT_SECONDS, LOOK_SECONDS = 600, 60


class Blocks(gradio.Blocks):
    """A gradio.Blocks that takes no file from a visitor but those in the folder that uploads are put into.

    A browser names a file that it has uploaded by its path on the server. Anybody can name another one, or an address
    that Gradio would fetch, in place of any value that the page sends.
    """

    def __init__(self, folder, **options):
        super().__init__(**options)
        self._folder = Path(folder).resolve()
        # Gradio's own check of paths is off until its `launch` sets this, which a page mounted into a server never
        # calls. It covers what the page sends to the browser, too.
        self.has_launched = True

    async def preprocess_data(self, block_fn, inputs, *rest):
        """Passes on what a visitor sends, before Gradio touches a file.

        Raises gradio.Error where it names a file that is not among the uploads, whether there is such a file or not.
        """
        if not all(is_file_in(path, self._folder) for path in paths_in(inputs)):
            raise gradio.Error("This file is not on the server any more; choose it again", print_exception=False)
        return await super().preprocess_data(block_fn, inputs, *rest)

    @contextlib.asynccontextmanager
    async def sweeping(self, server):
        """A context in which visitors' files are removed when they are old. It is what FastAPI takes as a lifespan.

        Gradio's `delete_cache` would leave uploads that broke off. What is there at the beginning stays: the examples.
        """
        kept = {path for path, _ in walk(self._folder)}
        task = asyncio.create_task(self._sweep_again_and_again(kept))
        yield
        task.cancel()

    async def _sweep_again_and_again(self, kept):
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await asyncio.to_thread(sweep, self._folder, kept)
            # Gradio's lists of files would grow for ever. Other threads add to them meanwhile.
            for files in self.temp_file_sets:
                files.difference_update([file for file in list(files) if not Path(file).exists()])


def walk(folder):
    """Yields what is in a folder, at any depth, and at last the folder: a path, and whether it is a folder."""
    for place, _, names in os.walk(folder, topdown=False):
        yield from ((Path(place, name), False) for name in names)
        yield Path(place), True


def sweep(folder, kept):
    """Removes files in a folder, at any depth, that were written KEPT_SECONDS ago, and empty folders of that age.

    The paths in `kept` stay.
    """
    oldest = time.time() - KEPT_SECONDS
    for path, is_folder in walk(folder):
        with contextlib.suppress(OSError):  # It is gone by now, or the folder is not empty.
            if path not in kept and path.stat().st_mtime < oldest:
                path.rmdir() if is_folder else path.unlink()


def paths_in(value):
    """Yields what a value from JSON has as "path", at any depth."""
    if isinstance(value, dict):
        if value.get("path") is not None:
            yield value["path"]
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from paths_in(part)


def is_file_in(path, folder):
    """Whether a path, of whatever type a visitor has sent, is that of a regular file in a folder, a resolved Path."""
    try:
        path = Path(path).resolve()
        return path.is_relative_to(folder) and path.is_file()
    except (OSError, RuntimeError, TypeError, ValueError):  # Links in a circle, null characters, no text at all.
        return False
