"""Colorizes photos.

    python test.py photo.jpg folder/ --output DIR

Results have the names, sizes and formats of the photos; those of a folder keep its sub-folders. A colour photo is
turned gray first. Photos are never overwritten.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from command_line import finish, parse, run, silence_native_libraries

if __name__ == "__main__":
    silence_native_libraries()

import keras
import tyro

import models
from colorize import colorize_photo, side_by_side
from configs import OUTPUTS, SAMPLES
from files import plan_jobs, process_files
from models.precision import choose_policy
from utils import to_gray


@dataclass(frozen=True)
class Options:
    """Colorizes photos and folders of photos."""

    photos: tyro.conf.Positional[tuple[Path, ...]] = (SAMPLES,)
    """Photos, and folders to search for photos."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = OUTPUTS
    """Folder for the results."""
    model: str = "scenes"
    """A trained model: a name (a run of yours or weights that ship), a run's folder, or a .keras file."""
    temperature: float | None = None
    """Of the annealed mean, for models of Zhang et al.: from 0, vivid and blotchy, to 1, dull. Default: 0.38."""
    compare: bool = False
    """Put the gray photo beside the result."""


def main():
    options = parse(Options, "test.py", "[PHOTO|FOLDER ...] [options]")
    keras.config.set_dtype_policy(choose_policy())
    path = models.find(options.model)
    model = models.load(path)
    if options.temperature is not None:
        if not hasattr(model, "temperature"):
            raise models.ModelError(f"{options.model}: --temperature is for models of Zhang et al., which this is not")
        model.temperature = options.temperature

    def colorize(photo):
        result = colorize_photo(model, photo)
        return side_by_side(to_gray(photo), result) if options.compare else result

    jobs, missing = plan_jobs(options.photos, options.output)
    failed = process_files(jobs, colorize)
    finish(
        f"{len(jobs) - len(failed)} of {len(jobs)} photos colorized with {path}, in {options.output}", missing + failed
    )


if __name__ == "__main__":
    run(main, interrupted="interrupted; the results so far are whole")
