"""Draws the pictures of the README into docs/, from the sample photos and a trained model.

    python figures.py

The model is the one that ships, unless --model names another.
"""

from dataclasses import dataclass
from pathlib import Path

from command_line import parse, run, silence_native_libraries

if __name__ == "__main__":
    silence_native_libraries()

import matplotlib

matplotlib.use("Agg")

import keras
from matplotlib import pyplot as plt

import models
from colorize import colorize_photo
from configs import DOCS, SAMPLES
from data.photos import cut
from diagrams import DIAGRAMS, draw_diagram
from files import is_photo, read_photo
from models.precision import choose_policy
from utils import to_gray

BEFORE_AFTER = ("canyon-river.jpg", "mountain-lake.jpg", "great-wall-hills.jpg")


@dataclass(frozen=True)
class Options:
    """Draws the pictures of the README."""

    model: str = "scenes"
    """A trained model: a name (a run of yours or weights that ship), a run's folder, or a .keras file."""
    output: Path = DOCS
    """Folder for the pictures."""


def draw_photos(rows, path, width):
    """Draws titled pictures in rows.

    Args:
        rows: Rows of pairs (title, picture), of equal length; pictures uint8 [height, width] or [height, width, 3].
        path: File to write.
        width: Width of the whole in inches of 100 pixels.
    """
    ratios = [max(picture.shape[0] / picture.shape[1] for _, picture in row) for row in rows]
    columns = len(rows[0])
    height = sum(width / columns * ratio + 0.3 for ratio in ratios)
    figure, axes = plt.subplots(
        len(rows), columns, figsize=(width, height), squeeze=False, layout="constrained", height_ratios=ratios
    )
    for row, row_axes in zip(rows, axes, strict=True):
        for (title, picture), axis in zip(row, row_axes, strict=True):
            axis.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="lanczos", interpolation_stage="rgba")
            axis.set_title(title, fontsize=10)
            axis.axis("off")
    figure.savefig(path, dpi=100, pil_kwargs={"quality": 80, "optimize": True, "progressive": True})
    plt.close(figure)


def main():
    options = parse(Options, "figures.py", "[options]")
    keras.config.set_dtype_policy(choose_policy())
    model = models.load(options.model)
    options.output.mkdir(parents=True, exist_ok=True)
    photos = {path.name: read_photo(path) for path in sorted(SAMPLES.iterdir()) if is_photo(path)}
    colored = {name: colorize_photo(model, photo) for name, photo in photos.items()}

    size = tuple(min(photos[name].shape[axis] for name in BEFORE_AFTER) for axis in (0, 1))
    before = [("gray", cut(to_gray(photos[name]), size)) for name in BEFORE_AFTER]
    after = [("colorized", cut(colored[name], size)) for name in BEFORE_AFTER]
    draw_photos([before, after], options.output / "before-after.jpg", width=12)

    pairs = [[(name, to_gray(photos[name])), ("colorized", colored[name])] for name in photos]
    middle = -(-len(pairs) // 2)
    halves = zip(pairs[:middle], pairs[middle:], strict=True)
    draw_photos([left + right for left, right in halves], options.output / "samples.jpg", width=9)
    for name in DIAGRAMS:
        draw_diagram(name, options.output / f"{name}.png")


if __name__ == "__main__":
    run(main)
