"""Draws the pictures of the documentation, and comparisons of models.

python -m evaluation.figures docs                                       those of the README and of docs/hints.md
python -m evaluation.figures compare PHOTO ... --models A B -o OUT.jpg  photo, gray, and each model's colours
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from common.command_line import parse, prepare_imports, printable, run

if __name__ == "__main__":
    prepare_imports()

import matplotlib

matplotlib.use("Agg")

import keras
import numpy as np
import tyro
from matplotlib import pyplot as plt

import models
from colorizing.hints import read_hints
from colorizing.photo import Pipeline
from colorizing.pixels import shrink, to_gray
from colorizing.serving.hint_editor import Edits, draw_dots
from common.errors import OptionError
from common.files import HINTS_SUFFIX, is_photo, replacing
from common.images import read_photo
from common.options import IfGiven, Model, Needed, OutputFolder, Picture, Share
from common.trained import short_names
from configs import DOCS, MODEL, SAMPLES
from data.photos import cut, find_photos, is_gray
from models.precision import choose_policy

BEFORE_AFTER = ("kitten-garden.jpg", "great-wall-hills.jpg", "prairie-shack.jpg")
# Pictures side by side in a comparison, and the size of their titles in points: readable on a phone.
COLUMNS = 4
TITLE_SIZE = 15
WIDTH = 9
# Longer side in pixels that photos are reduced to for a comparison.
PHOTO_SIZE = 480
JPEG = {"quality": 80, "optimize": True, "progressive": True}


@dataclass(frozen=True)
class Docs:
    """Draws the pictures of the README and of docs/hints.md."""

    model: Model = MODEL
    output: Annotated[OutputFolder, tyro.conf.arg(aliases=["-o"])] = DOCS  # Folder for the pictures.


@dataclass(frozen=True)
class Compare:
    """Draws photos, their gray copies, and each model's colours."""

    photos: tyro.conf.Positional[Needed[tuple[Path, ...]]]  # Photos, and folders to search for photos.
    output: Annotated[Picture, tyro.conf.arg(aliases=["-o"])]  # The picture: a .jpg, .pdf, .png, .svg or .webp file.
    models: tuple[str, ...] = (MODEL,)  # Trained models: names, runs' folders, or .keras files.
    # Show a square detail below each picture: its centre down and right, and its side, as shares of the photo's height,
    # width and shorter side.
    zoom: IfGiven[tuple[Share, Share, Share]] = None


def draw_photos(rows, path, width=WIDTH, title_size=TITLE_SIZE):
    """Draws titled pictures in rows.

    Args:
        rows: Rows of pairs (title, picture): uint8 [height, width] or [height, width, 3]. Short rows end in gaps.
        path: File to write.
        width: Width of the whole in inches of 100 pixels.
        title_size: Size of the titles in points.
    """
    ratios = [max(picture.shape[0] / picture.shape[1] for _, picture in row) for row in rows]
    columns = max(map(len, rows))
    titles = sum(any(title for title, _ in row) for row in rows)
    height = sum(width / columns * ratio + 0.05 for ratio in ratios) + titles * title_size / 36
    figure, axes = plt.subplots(
        len(rows), columns, figsize=(width, height), squeeze=False, layout="constrained", height_ratios=ratios
    )
    for axis in axes.flat:
        axis.axis("off")
    for row, row_axes in zip(rows, axes, strict=True):
        for (title, picture), axis in zip(row, row_axes, strict=False):
            axis.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="lanczos", interpolation_stage="rgba")
            axis.set_title(printable(title), fontsize=title_size)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=100, pil_kwargs=JPEG if Path(path).suffix in (".jpg", ".jpeg") else None)
    plt.close(figure)


def draw_docs(options):
    """Draws three sample photos before and after, the sheet of all of them, and those with hints."""
    pipeline = Pipeline(models.load(options.model))
    photos = {path.name: read_photo(path) for path in sorted(SAMPLES.iterdir()) if is_photo(path)}
    colored = {name: pipeline(photo) for name, photo in photos.items()}
    (options.output / "hints").mkdir(parents=True, exist_ok=True)

    size = tuple(min(photos[name].shape[axis] for name in BEFORE_AFTER) for axis in (0, 1))
    before = [("gray", cut(to_gray(photos[name]), size)) for name in BEFORE_AFTER]
    after = [("colorized", cut(colored[name], size)) for name in BEFORE_AFTER]
    draw_photos([before, after], options.output / "before-after.jpg", width=12, title_size=10)

    # By shape, so that the two photos of a row have about the same height.
    names = sorted(photos, key=lambda name: photos[name].shape[0] / photos[name].shape[1])
    pictures = [each for name in names for each in ((name, to_gray(photos[name])), ("colorized", colored[name]))]
    draw_photos(in_rows(pictures), options.output / "samples.jpg", title_size=10)

    for file in sorted((DOCS / "hints").glob(f"*{HINTS_SUFFIX}")):
        name, hints = file.name.replace(HINTS_SUFFIX, ".jpg"), read_hints(file)
        after = pipeline(photos[name], hints)
        pictures = [("before", colored[name]), ("hints", draw_dots(after, Edits(tuple(hints)))), ("after", after)]
        draw_photos([pictures], options.output / "hints" / name, width=12, title_size=10)


def compare(options):
    """Draws a row for each photo, of at most COLUMNS pictures; with more models, several rows."""
    models.check_distinct(options.models)
    colorizers = {short: models.load(name) for short, name in short_names(options.models).items()}
    paths = [path for given in options.photos for path in (find_photos(given).paths if given.is_dir() else [given])]
    if options.output.resolve() in (path.resolve() for path in paths):
        raise OptionError(f"--output {options.output}: one of the photos; give another name")
    rows = []
    for path in paths:
        photo = read_photo(path)
        photo = shrink(photo, PHOTO_SIZE / max(photo.shape[:2]))
        pictures = [] if is_gray(photo) else [(path.stem, photo)]
        pictures.append(("gray" if pictures else path.stem, to_gray(photo)))
        pictures += [(short, Pipeline(model)(photo)) for short, model in colorizers.items()]
        rows += in_rows(pictures)
        if options.zoom:
            rows += in_rows([("", detail(picture, *options.zoom)) for _, picture in pictures])
    draw_photos(rows, options.output)


def detail(picture, down, right, side):
    """A square of a picture; see `Compare.zoom`."""
    height, width = picture.shape[:2]
    side = max(1, round(side * min(height, width)))
    top, left = (
        round(np.clip(share * size - side / 2, 0, size - side)) for share, size in ((down, height), (right, width))
    )
    return picture[top : top + side, left : left + side]


def in_rows(pictures):
    """Pictures in rows of COLUMNS; the last row may be shorter."""
    return [pictures[start : start + COLUMNS] for start in range(0, len(pictures), COLUMNS)]


def main():
    options = parse(Docs | Compare, "-m evaluation.figures", description="Draws pictures of models.")
    keras.config.set_dtype_policy(choose_policy())
    {Docs: draw_docs, Compare: compare}[type(options)](options)


if __name__ == "__main__":
    run(main)
