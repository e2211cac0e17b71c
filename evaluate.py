"""Scores a trained model on a folder of colour photos.

    python evaluate.py datasets/intel-scenes/test --model scenes

Gray output (ab = 0) is scored beside the model.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from command_line import finish, parse, run, silence_native_libraries

if __name__ == "__main__":
    silence_native_libraries()

import keras
import numpy as np
import tensorflow as tf
import tyro
from tqdm import tqdm

import models
from colorize import join
from data.pairs import lab_pair
from data.photos import cut, find_photos, scale_to_cover
from files import PhotoError, read_photo
from metrics import colorfulness, squared_error
from models.precision import choose_policy

BATCH = 32


@dataclass(frozen=True)
class Options:
    """Scores a trained model on a folder of colour photos."""

    photos: tyro.conf.Positional[Path]
    """Folder of colour photos, searched recursively. Gray photos count like all others."""
    model: str = "scenes"
    """A trained model: a name (a run of yours or weights that ship), a run's folder, or a .keras file."""
    crop: tuple[int, int] = (128, 128)
    """Height and width in pixels of the central crops that are scored."""
    saturation_factor: float = 1.8
    """The paper's T, for the target of the squared error."""


def score(model, crops, saturation_factor):
    """Scores a batch of crops, uint8 [batch, height, width, 3]; returns {figure: float [batch]}."""
    lightness, target = lab_pair(tf.constant(crops), saturation_factor)
    ab = model.colorize(lightness)
    return {
        "mse": squared_error(ab, target),
        "mse_gray": squared_error(tf.zeros_like(target), target),
        "colorfulness": colorfulness(join(lightness, ab)),
        "colorfulness_photo": colorfulness(crops),
    }


def evaluate(model, paths, crop, saturation_factor):
    """Scores all photos that can be read.

    Returns:
        (scores, failures): {figure: float [photos]} and one sentence for each photo that could not be read.
    """
    batch, scores, failures = [], [], []
    for number, path in enumerate(tqdm(paths, unit=" photos", leave=False, disable=None), start=1):
        try:
            batch.append(cut(scale_to_cover(read_photo(path), crop), crop))
        except PhotoError as error:
            failures.append(str(error))
        if batch and (len(batch) == BATCH or number == len(paths)):
            scores.append(score(model, np.stack(batch), saturation_factor))
            batch = []
    return {name: np.concatenate([part[name] for part in scores]) for name in scores[0]} if scores else {}, failures


def main():
    options = parse(Options, "evaluate.py", "FOLDER [options]")
    keras.config.set_dtype_policy(choose_policy())
    paths = find_photos(options.photos).paths
    model = models.load(options.model)
    scores, failures = evaluate(model, paths, options.crop, options.saturation_factor)
    means = {name: float(values.mean()) for name, values in scores.items()}
    finish(json.dumps({"photos": len(paths) - len(failures), **means}, indent=2), failures)


if __name__ == "__main__":
    run(main)
