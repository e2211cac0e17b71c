"""Folders of files that tests make, and what a run over photos gives."""

from colorizing.conversion import Converter
from colorizing.jobs import process_photos


def touch(folder, *names):
    """Writes files that hold their own names, and the folders that they lie in."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def process(plan, work=lambda photo, path: photo):
    """The outcome of a plan's jobs; by default a photo is its own result."""
    return process_photos(plan.jobs, work, plan.record, Converter())
