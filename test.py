"""Colorizes photos and films.

    python test.py photo.jpg film.mp4 folder/ --output DIR

Results have the names, sizes and formats of the photos and films; those of a folder keep its sub-folders. Colours are
turned gray first. Nothing is overwritten but results of earlier runs.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from common.command_line import finish, parse, run, tame_native_libraries

if __name__ == "__main__":
    tame_native_libraries()

import keras
import tyro

import models
from colorizing.batching import Batcher
from colorizing.film import process_films
from colorizing.jobs import plan_jobs, process_photos
from colorizing.photo import Pipeline
from colorizing.pixels import side_by_side, to_gray
from colorizing.steadiness import STEADINESS
from common import images
from common.errors import UserError
from common.files import PHOTO_SUFFIXES, REPLACED, is_film
from configs import MODEL, OUTPUTS, SAMPLES
from models.precision import choose_policy


@dataclass(frozen=True)
class Options:
    """Colorizes photos, films, and folders of them."""

    photos: tyro.conf.Positional[tuple[Path, ...]] = (SAMPLES,)
    """Photos and films, and folders to search for them."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = OUTPUTS
    """Folder for the results."""
    model: str = MODEL
    """A trained model: a name (a run of yours or weights that ship), a run's folder, or a .keras file."""
    saturation: float = 1.0
    """Factor on the strength of the colours."""
    temperature: float | None = None
    """Of the annealed mean, for models of Zhang et al.: from 0, vivid and blotchy, to 1, dull. Default: 0.38."""
    render_size: int | None = None
    """Shorter side in pixels of the copy that the network sees. Default: the size it was trained at."""
    compare: bool = False
    """Put the gray photo or film beside the result."""
    format: str | None = None
    """Format of photos' results: jpg, png, webp, tif ... Default: that of each photo."""
    quality: int = images.QUALITY
    """Of JPEG, WebP and AVIF files, 1 to 100."""
    steadiness: float = STEADINESS
    """Of a film's colours over time, from 0, each frame by itself, to 1."""
    skip_existing: bool = False
    """Leave out photos and films whose result is there already."""
    max_megapixels: float = images.MAX_MEGAPIXELS
    """Refuse larger photos, and films of larger frames."""


def check(options):
    """Raises UserError for values that no photo could be done with."""
    if options.format and f".{options.format.lower()}" not in PHOTO_SUFFIXES - REPLACED.keys():
        known = ", ".join(sorted(suffix[1:] for suffix in PHOTO_SUFFIXES - REPLACED.keys()))
        raise UserError(f"--format {options.format}: use one of {known}")
    if not 1 <= options.quality <= 100:
        raise UserError(f"--quality {options.quality}: use 1 to 100")
    if options.render_size is not None and options.render_size < 8:
        raise UserError(f"--render-size {options.render_size}: use at least 8")
    if options.saturation < 0:
        raise UserError(f"--saturation {options.saturation:g}: use 0 or more")
    if not 0 <= options.steadiness <= 1:
        raise UserError(f"--steadiness {options.steadiness:g}: use 0 to 1")


def load_model(options):
    """The model asked for."""
    model = models.load(options.model)
    if options.temperature is not None:
        if not hasattr(model, "temperature"):
            raise models.ModelError(f"{options.model}: --temperature is for models of Zhang et al., which this is not")
        model.temperature = options.temperature
    return model


def main():
    options = parse(Options, "test.py", "[PHOTO|FILM|FOLDER ...] [options]")
    check(options)
    keras.config.set_dtype_policy(choose_policy())
    pipeline = Pipeline(load_model(options), options.render_size, options.saturation)
    shared = replace(pipeline, model=Batcher(pipeline.model))

    def colorize(photo):
        result = shared(photo.pixels)
        if not options.compare:
            return replace(photo, pixels=result)
        return replace(photo, pixels=side_by_side(to_gray(photo.pixels), result), alpha=None)

    suffix = f".{options.format}" if options.format else None
    jobs, missing = plan_jobs(options.photos, options.output, suffix, films=True)
    films = [job for job in jobs if is_film(job[0])]
    photos = [job for job in jobs if not is_film(job[0])]
    todo = [[job for job in kind if not (options.skip_existing and job[1].exists())] for kind in (photos, films)]
    columns = 2 if options.compare else 1
    photos_done = process_photos(todo[0], colorize, options.max_megapixels, options.quality, columns)
    films_done = process_films(
        todo[1],
        pipeline,
        steadiness=options.steadiness,
        compare=options.compare,
        max_megapixels=options.max_megapixels,
    )
    counts = [f"{photos_done.done} of {len(photos)} photos"] if photos or not films else []
    counts += [f"{films_done.done} of {len(films)} films"] if films else []
    skipped = f", {len(jobs) - sum(map(len, todo))} skipped" if options.skip_existing else ""
    failures = missing + photos_done.failures + films_done.failures
    failed = f", {len(failures)} failed" if failures else ""
    summary = f"{' and '.join(counts)} colorized{skipped}{failed}, with {models.find(options.model)}"
    finish(f"{summary}, in {options.output}", failures, photos_done.losses + films_done.losses)


if __name__ == "__main__":
    run(main, interrupted="interrupted; the results so far are whole, and --skip-existing goes on")
