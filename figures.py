"""Draws the pictures of the README into docs/, from the sample photos and a trained model.

python figures.py
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from command_line import parse, silence_native_libraries

if __name__ == "__main__":
    silence_native_libraries()

import matplotlib

matplotlib.use("Agg")

import keras
from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch

import models
from colorize import colorize_photo
from configs import DOCS, SAMPLES
from data.photos import cut
from files import is_photo, read_photo
from models import classification, edge_detection, local_features
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


def draw_architecture(path):
    """Draws the paper's network with its four components, from the layer tables in models/."""

    def describe(layout):
        names = [f"{filters}{'↓' if strides == 2 else ''}" for filters, strides in layout]
        return " · ".join(names[:6]) + ("\n" + " · ".join(names[6:]) if names[6:] else "")

    dense = " · ".join(str(units) for units in classification.DENSE)
    edn = [(filters, 2) for filters in edge_detection.EDGE_FILTERS]
    # (left, bottom, width, height), title, text, colour
    boxes = [
        ((0.0, 2.2, 1.3, 0.9), "L", "0..100", "#eeeeee"),
        ((2.0, 4.2, 4.2, 1.0), "Local features network", describe(local_features.LAYERS), "#cfe3f5"),
        (
            (2.0, 1.9, 4.2, 1.5),
            "Classification network (fixed size)",
            f"{describe(classification.LAYERS)}\ndense {dense}, repeated over the grid",
            "#d9efd3",
        ),
        ((2.0, 0.1, 1.6, 1.0), "Canny", "edge map of L", "#eeeeee"),
        ((3.9, 0.1, 2.3, 1.0), "Edge detection\nnetwork", describe(edn), "#fbe3c4"),
        ((6.9, 2.1, 1.7, 1.1), "Fusion", "1x1 conv 256", "#e5daf3"),
        ((9.2, 2.1, 3.3, 1.1), "Colorization network", "128 ↑ 64 ↑ 32 · 16 · 2 (tanh) ↑", "#f8d3d6"),
        ((13.1, 2.2, 1.3, 0.9), "ab", "x 128", "#eeeeee"),
    ]
    arrows = [
        ((1.3, 2.65), (2.0, 4.7)),
        ((1.3, 2.65), (2.0, 2.65)),
        ((1.3, 2.65), (2.0, 0.6)),
        ((3.6, 0.6), (3.9, 0.6)),
        ((6.2, 4.7), (6.9, 2.9)),
        ((6.2, 2.65), (6.9, 2.65)),
        ((6.2, 0.6), (6.9, 2.4)),
        ((8.6, 2.65), (9.2, 2.65)),
        ((12.5, 2.65), (13.1, 2.65)),
    ]
    figure, axis = plt.subplots(figsize=(12, 4.6), dpi=120, layout="constrained")
    axis.set(xlim=(-0.1, 14.5), ylim=(-0.6, 5.4), aspect="equal")
    axis.axis("off")
    for (left, bottom, width, height), title, text, color in boxes:
        style = "round,pad=0,rounding_size=0.12"
        axis.add_patch(
            FancyBboxPatch((left, bottom), width, height, boxstyle=style, facecolor=color, edgecolor="#555555")
        )
        middle = left + width / 2
        axis.text(middle, bottom + height - 0.14, title, ha="center", va="top", fontsize=11, weight="bold")
        axis.text(middle, bottom + 0.12, text, ha="center", va="bottom", fontsize=9.5)
    for start, end in arrows:
        axis.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "#333333", "lw": 1.3})
    legend = "Numbers are filters of 3x3 convolutions with ReLU;  ↓ halves height and width (stride 2),  ↑ doubles them"
    axis.text(7.2, -0.45, legend, ha="center", fontsize=9.5, color="#444444")
    figure.savefig(path)
    plt.close(figure)


def main():
    options = parse(Options, "figures.py", "[options]")
    keras.config.set_dtype_policy(choose_policy())
    try:
        model = models.load(options.model)
    except models.ModelError as error:
        sys.exit(str(error))
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
    draw_architecture(options.output / "architecture.png")


if __name__ == "__main__":
    main()
