"""How skin comes out, by its tone.

    python -m benchmarks.skin faces

The folder holds colour photos with a face in the middle of each. Skin is the median of the photo's central part. Its
tone is the individual typology angle, atan((L - 50) / b) in degrees (Chardon, Cretois and Hourseau, 1991). The table
gives, for each tone, the mean a and b of skin in the photos and in the results, and the mean distance between them in
the ab plane with its 95 % interval, beside that of gray.
"""

from dataclasses import dataclass
from pathlib import Path

from common.command_line import counted, parse, prepare_imports, run

if __name__ == "__main__":
    prepare_imports()

import numpy as np
import tyro

import models
from benchmarks.timing import print_table
from colorizing.photo import Pipeline
from common.errors import DatasetError
from common.images import read_photo
from common.options import Model
from configs import MODEL
from data.photos import find_photos
from evaluation.scores import describe_mean
from utils import rgb_to_lab

# The least angle of each tone, in degrees.
TONES = {"very light": 55, "light": 41, "intermediate": 28, "tan": 10, "brown": -30, "dark": -90}
# Where skin has a lower b, the photo is gray or toned, or has a blue cast; it is left out.
LOWEST_B = 3
# Share of a photo's height and width that counts as its middle.
MIDDLE = 0.4


@dataclass(frozen=True)
class Options:
    """Measures how skin comes out, by its tone."""

    photos: tyro.conf.Positional[Path]  # Folder of colour photos, each with a face in its middle.
    model: Model = MODEL


def skin_of(photo):
    """Median L, a and b of the middle of a photo, uint8 [height, width, 3]."""
    top, left = (round(side * (1 - MIDDLE) / 2) for side in photo.shape[:2])
    middle = photo[top : photo.shape[0] - top, left : photo.shape[1] - left]
    return np.median(rgb_to_lab(middle).numpy().reshape(-1, 3), axis=0)


def tone_of(skin):
    """The tone of skin of a colour L, a, b with b > 0, a key of `TONES`."""
    angle = np.degrees(np.arctan((skin[0] - 50) / skin[2]))
    return next(tone for tone, least in TONES.items() if angle >= least)


def rows_of(pairs):
    """The table's rows, from (skin of a photo, skin of its result) for each photo."""
    for tone in TONES:
        chosen = np.array([pair for pair in pairs if tone_of(pair[0]) == tone])
        if len(chosen):
            photos, results = chosen[:, 0], chosen[:, 1]
            colors = [f"{a:.1f}, {b:.1f}" for a, b in (each[:, 1:].mean(axis=0) for each in (photos, results))]
            distances = [np.linalg.norm(each[:, 1:], axis=1) for each in (results - photos, photos)]
            means = [describe_mean(each, 1) for each in distances]
            yield [tone, str(len(chosen)), f"{photos[:, 0].mean():.0f}", *colors, *means]


def main():
    options = parse(Options, "-m benchmarks.skin")
    pipeline = Pipeline(models.load(options.model))
    pairs = []
    for path in find_photos(options.photos).paths:
        photo = read_photo(path)
        if (skin := skin_of(photo))[2] >= LOWEST_B:
            pairs.append((skin, skin_of(pipeline(photo))))
    if not pairs:
        raise DatasetError(f"no photo in {options.photos} shows skin in its middle; choose photos of faces in colour")
    print(f"{counted(len(pairs), 'photo')} of {options.photos}, colours of {options.model}\n")
    print_table(["skin", "photos", "L", "a, b", "a, b, colorized", "error", "error of gray"], rows_of(pairs))


if __name__ == "__main__":
    run(main)
