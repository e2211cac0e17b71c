"""Turns colour photos gray.

    python -m colorizing.gray FOLDER --output DIR

Gray is the neutral of equal L. Results have the names, sizes and formats of the photos.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from common.command_line import finish, parse, prepare_imports, run
from common.options import Needed, OutputFolder

if __name__ == "__main__":
    prepare_imports()

import tyro

from colorizing.conversion import Converter
from colorizing.jobs import plan_jobs, process_photos
from colorizing.pixels import to_gray


@dataclass(frozen=True)
class Options:
    """Turns colour photos gray, each pixel into the neutral of equal lightness."""

    photos: tyro.conf.Positional[Needed[tuple[Path, ...]]]  # Photos, and folders to search for photos.
    output: Annotated[OutputFolder, tyro.conf.arg(aliases=["-o"])]  # Folder for the results.


def main():
    options = parse(Options, "-m colorizing.gray")
    plan = plan_jobs(options.photos, options.output)
    outcome = process_photos(
        plan.jobs, lambda photo, path: replace(photo, pixels=to_gray(photo.pixels)), plan.record, Converter()
    )
    summary = f"{outcome.done} of {len(plan.jobs)} photos turned gray, in {options.output}"
    finish(summary, plan.failures + outcome.failures, plan.notes + outcome.losses)


if __name__ == "__main__":
    run(main)
