"""Which of visitors' files the page takes: what it received itself, and nothing else on the server's disk."""

from pathlib import Path

import gradio


class Blocks(gradio.Blocks):
    """A gradio.Blocks that takes no file from a visitor but those in the folder that uploads are put into.

    A browser names a file that it has uploaded by its path on the server. Anybody can name another one, or an address
    that Gradio would fetch, in place of any value that the page sends.
    """

    def __init__(self, folder, **options):
        """
        Args:
            folder: Path of the folder of uploads.
            options: Those of gradio.Blocks.
        """
        super().__init__(**options)
        self._folder = Path(folder).resolve()
        # Gradio's own check of paths is off until its `launch` sets this, which a page mounted into a server never
        # calls. It covers what the page sends to the browser, too.
        self.has_launched = True

    async def preprocess_data(self, block_fn, inputs, *rest):
        """Passes on what a visitor sends, before Gradio touches a file.

        Raises:
            gradio.Error: It names a file that is not among the uploads, whether there is such a file or not.
        """
        if not all(is_file_in(path, self._folder) for path in paths_in(inputs)):
            raise gradio.Error("This file is not on the server any more; choose it again", print_exception=False)
        return await super().preprocess_data(block_fn, inputs, *rest)


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
