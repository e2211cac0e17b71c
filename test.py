"""Colorizes photos and films.

    python test.py photo.jpg film.mp4 folder/ --output DIR

Results have the names, sizes and formats of the photos and films; those of a folder keep its sub-folders. Colours are
turned gray first. Nothing is overwritten but results of earlier runs.
"""

import functools
import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from common.command_line import finish, parse, prepare_imports, run, say

if __name__ == "__main__":
    prepare_imports()

import keras
import numpy as np
import tyro
from annotated_types import Interval

import models
from colorizing.batching import Batcher
from colorizing.conversion import Converter
from colorizing.film.colorize import process_films
from colorizing.film.steadiness import STEADINESS
from colorizing.hints import read_hints
from colorizing.jobs import plan_jobs, process_photos
from colorizing.photo import Pipeline, warm_up
from colorizing.pixels import side_by_side, to_gray
from common import images
from common.encoding import has_quality
from common.errors import OptionError
from common.files import HINTS_SUFFIX, is_film
from common.options import IfGiven, Model, OutputFolder, PhotoFormat, Positive, Quality, RenderSize, Saturation, Share
from common.record import checksum
from configs import MODEL, OUTPUTS, SAMPLES
from models.precision import choose_policy, describe_devices


@dataclass(frozen=True)
class Options:
    """Colorizes photos, films, and folders of them."""

    photos: tyro.conf.Positional[tuple[Path, ...]] = (SAMPLES,)  # Photos and films, and folders to search for them.
    output: Annotated[OutputFolder, tyro.conf.arg(aliases=["-o"])] = OUTPUTS  # Folder for the results.
    model: Model = MODEL
    saturation: Saturation = 1.0
    # Temperature of the annealed mean, for models that choose among bins, as Zhang's: 0.01 gives vivid and blotchy
    # colours, 1 dull ones. Default: 0.38.
    temperature: IfGiven[Annotated[float, Interval(ge=0.01, le=1)]] = None
    # Shorter side in pixels of the copy that the network sees. Default: the size it was trained at.
    render_size: IfGiven[RenderSize] = None
    # JSON file with colours that you know of the one photo or film given, see docs/hints.md. Without this option, those
    # of `album/a.jpg` are read from `album/a.hints.json` if that exists.
    hints: IfGiven[Path] = None
    compare: bool = False  # Put the gray photo or film beside the result.
    format: IfGiven[PhotoFormat] = None  # Format of photos' results. Default: that of each photo.
    quality: Quality = images.QUALITY
    # How steady a film's colours are over time: 0 colorizes each frame by itself, 1 keeps a shot's first colours.
    steadiness: Share = STEADINESS
    # Leave out photos and films whose result is there already, unless they, their hints, the model or options that
    # decide the result changed since.
    skip_existing: bool = False
    max_megapixels: Positive = images.MAX_MEGAPIXELS  # Refuse larger photos, and films of larger frames.


def hints_file(options, path):
    """The file with the hints of a photo or film: that of --hints, or else NAME.hints.json beside it, if any."""
    return options.hints or path.with_name(path.stem + HINTS_SUFFIX)


def check_hints(file, jobs):
    """Raises OptionError where --hints names no file, or the one of more than one job."""
    if not file.exists():
        raise OptionError(f"--hints {file}: no such file")
    if file.is_dir() or len(jobs) != 1:
        raise OptionError(
            f"--hints {file}: give one file for one photo or film; hints of several lie beside them: NAME.hints.json"
        )


def find_hints(options, path):
    """The list of `Hint` of a photo or film, [] where it has none. Raises HintError."""
    file = hints_file(options, path)
    return read_hints(file, is_film(path)) if options.hints or os.path.lexists(file) else []


def describe_settings(options, path):
    """All that decides the result of a photo or film besides itself and its hints, as a text."""
    names = ("saturation", "temperature", "render_size", "compare", "steadiness" if is_film(path) else "quality")
    return f"{model_checksum(options.model)} {[getattr(options, name) for name in names]}"


@functools.cache
def model_checksum(name):
    """The checksum of a model's file. Raises ModelError or OSError."""
    return checksum(models.find(name))


def find_idle(options, jobs):
    """A list of sentences about options without effect on any of the jobs."""
    if not jobs:
        return []
    notes = []
    if options.steadiness != STEADINESS and not any(is_film(source) for source, _ in jobs):
        notes.append("--steadiness has no effect: there is no film")
    if options.quality != images.QUALITY and not any(has_quality(result.suffix.lower()) for _, result in jobs):
        notes.append("--quality has no effect: no result is JPEG, WebP or AVIF")
    return notes


def load_model(options):
    """The model of --model with the temperature of --temperature. Raises OptionError where the model has none."""
    model = models.load(options.model)
    if options.temperature is not None:
        if not hasattr(model, "temperature"):
            raise OptionError(f"--temperature is for models that choose among bins, as Zhang's; not {options.model}")
        model.temperature = options.temperature
    return model


def colorize_photos(photos, pipeline, record, options):
    """Colorizes photos, several at a time, see `process_photos`. Returns an `Outcome`."""
    pipeline = replace(pipeline, model=Batcher(pipeline.model))

    def colorize(photo, path):
        result = pipeline(photo.pixels, find_hints(options, path))
        if not options.compare:
            return replace(photo, pixels=result)
        alpha = None if photo.alpha is None else np.tile(photo.alpha, 2)
        return replace(photo, pixels=side_by_side(to_gray(photo.pixels), result), alpha=alpha)

    converter = Converter(options.max_megapixels, options.quality, widths=2 if options.compare else 1)
    return process_photos(photos, colorize, record, converter)


def count(jobs, photos, films):
    """How many of all jobs are done, as words, from the `Outcome`s of photos and films."""
    all_films = sum(is_film(source) for source, _ in jobs)
    all_photos = len(jobs) - all_films
    counts = [f"{photos.done} of {all_photos} photos"] if all_photos or not all_films else []
    counts += [f"{films.done} of {all_films} films"] if all_films else []
    return " and ".join(counts)


def main():
    options = parse(Options, "test.py")
    suffix = options.format and f".{options.format}"
    hints_of = functools.partial(hints_file, options)
    settings_of = functools.partial(describe_settings, options)
    plan = plan_jobs(options.photos, options.output, suffix, films=True, hints_of=hints_of, settings_of=settings_of)
    if not plan.jobs:
        finish("", plan.failures, plan.notes)
    if options.hints:
        check_hints(options.hints, plan.jobs)
    todo, notes = plan.record.split(plan.jobs) if options.skip_existing else (plan.jobs, [])
    notes += find_idle(options, plan.jobs)
    keras.config.set_dtype_policy(choose_policy())
    say(f"colorizes on {describe_devices()}")
    photos = [job for job in todo if not is_film(job[0])]
    films = [job for job in todo if is_film(job[0])]
    if photos:
        pixels = 1e6 * min(images.megapixels(photos[0][0]), options.max_megapixels)
        threading.Thread(target=warm_up, args=[int(pixels)]).start()
    pipeline = Pipeline(load_model(options), options.render_size, options.saturation)
    photos_done = colorize_photos(photos, pipeline, plan.record, options)
    films_done = process_films(
        films,
        pipeline,
        plan.record,
        functools.partial(find_hints, options),
        steadiness=options.steadiness,
        compare=options.compare,
        max_megapixels=options.max_megapixels,
    )
    failures = photos_done.failures + films_done.failures
    skipped = f", {len(plan.jobs) - len(todo)} skipped" if options.skip_existing else ""
    failed = f", {len(failures)} failed" if failures else ""
    summary = f"{count(plan.jobs, photos_done, films_done)} colorized{skipped}{failed}"
    where = f"with {models.find(options.model)}, in {options.output}"
    finish(f"{summary}, {where}", plan.failures + failures, plan.notes + notes + photos_done.losses + films_done.losses)


if __name__ == "__main__":
    run(main, interrupted="interrupted; the results so far are whole, and --skip-existing goes on")
