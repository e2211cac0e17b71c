"""How well colours keep to their edges when a network's ab is brought to a photo's size.

    python -m benchmarks.enlarging data/samples
    python -m benchmarks.enlarging datasets/bsds500/images --boundaries datasets/bsds500/boundaries

The photos' own ab is reduced and enlarged again, so the error is that of enlarging alone. The table gives the mean
distance in the ab plane over all photos, everywhere and, with boundary maps, at most 3 pixels from a boundary. With
opencv-contrib-python-headless in place of opencv-python-headless, a row for its guided filter is added.
"""

from dataclasses import dataclass
from pathlib import Path

from common.command_line import counted, parse, prepare_imports, run

if __name__ == "__main__":
    prepare_imports()

import cv2
import numpy as np
import tyro

from benchmarks.timing import print_table
from colorizing.enlarge import Enlargement
from common.errors import UserError
from common.images import read_photo
from common.options import Folder, IfGiven
from data.photos import find_photos, is_gray
from evaluation.boundaries import errors_at_boundaries, read_map
from utils import rgb_to_lab

# How many times the photos are reduced.
FACTORS = (2.5, 6, 10)
WAYS = ("bilinear", "bicubic", "guided") + (("guided filter",) if hasattr(cv2, "ximgproc") else ())


@dataclass(frozen=True)
class Options:
    """Measures how well colours keep to their edges at full size."""

    photos: tyro.conf.Positional[Path]  # Folder of colour photos; gray ones are left out.
    boundaries: IfGiven[Folder] = None  # Folder of human boundary maps, PNG files named like the photos.


def enlarge(kind, ab, lightness, full_lightness):
    """ab, [rows, columns, 2], at the size of `full_lightness`, [height, width, 1], by one of `WAYS`."""
    height, width = full_lightness.shape[:2]
    if kind == "guided":
        return Enlargement(ab, lightness, height, width).ab(full_lightness[..., 0])
    interpolation = cv2.INTER_LINEAR if kind == "bilinear" else cv2.INTER_CUBIC
    enlarged = cv2.resize(ab, (width, height), interpolation=interpolation)
    if kind != "guided filter":
        return enlarged
    # The best radius and regularisation of those that were tried.
    radius = max(1, round(height / ab.shape[0] / 4))
    return cv2.ximgproc.guidedFilter(full_lightness, enlarged, radius, 0.1)


def errors(photo, drawn, factor):
    """{way: (error, error at boundaries)} of one photo; nan without a boundary map."""
    lab = rgb_to_lab(photo).numpy()
    size = [max(1, round(side / factor)) for side in photo.shape[1::-1]]
    small = cv2.resize(lab, size, interpolation=cv2.INTER_AREA)
    found = {}
    for kind in WAYS:
        ab = enlarge(kind, small[..., 1:], small[..., :1], lab[..., :1])
        overall = float(np.linalg.norm(ab - lab[..., 1:], axis=-1).mean())
        found[kind] = overall, np.nan if drawn is None else errors_at_boundaries(ab, lab[..., 1:], drawn)[0]
    return found


def main():
    options = parse(Options, "-m benchmarks.enlarging")
    photos = {path: read_photo(path) for path in find_photos(options.photos).paths}
    photos = {path: photo for path, photo in photos.items() if not is_gray(photo)}
    if not photos:
        raise UserError(f"{options.photos}: holds gray photos only; give a folder with photos in colour")
    maps = {path: read_map(options.boundaries / f"{path.stem}.png") if options.boundaries else None for path in photos}
    print(f"{counted(len(photos), 'photo')} of {options.photos}\n")
    rows = []
    for factor in FACTORS:
        found = [errors(photo, maps[path], factor) for path, photo in photos.items()]
        means = [np.mean([each[kind] for each in found], axis=0) for kind in WAYS]
        words = "{:.2f} ({:.2f})" if options.boundaries else "{:.2f}"
        rows.append([f"{factor} times", *(words.format(*mean) for mean in means)])
    print_table(["reduced", *WAYS], rows)


if __name__ == "__main__":
    run(main)
