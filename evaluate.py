"""Scores trained models on a folder of colour photos.

    python evaluate.py datasets/intel-scenes/test --models scenes runs/zhang --output results

Each photo's central crop is turned gray, colorized, and compared with what it was. Gray output (ab = 0) is scored
beside the models. With --output, results.json holds the means and what made them, and photos.csv the scores of each
photo.
"""

import csv
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from command_line import describe_run, finish, parse, run, silence_native_libraries

if __name__ == "__main__":
    silence_native_libraries()

import keras
import numpy as np
import tensorflow as tf
import tyro
from tqdm import tqdm

import metrics
import models
from colorize import join
from data.pairs import lab_pair
from data.photos import cut, find_photos, scale_to_cover
from files import PhotoError, read_photo, write_whole
from models.precision import choose_policy
from utils import rgb_to_lab

BATCH = 32


@dataclass(frozen=True)
class Options:
    """Scores trained models on a folder of colour photos."""

    photos: tyro.conf.Positional[Path]
    """Folder of colour photos, searched recursively. Gray photos count like all others."""
    models: tuple[str, ...] = ("scenes",)
    """Trained models: names (runs of yours or weights that ship), runs' folders, or .keras files."""
    crop: tuple[int, int] = (128, 128)
    """Height and width in pixels of the central crops that are scored."""
    saturation_factor: float = 1.8
    """The paper's T, for the target of mse alone; all else is compared with the photo itself."""
    output: Path | None = None
    """Folder for results.json and photos.csv."""


def score(predict, crops, saturation_factor):
    """Scores a batch of crops.

    Args:
        predict: Function from L, float32 [batch, height, width, 1], to ab.
        crops: uint8 [batch, height, width, 3].
        saturation_factor: The paper's T.

    Returns:
        {figure: float [batch]}.
    """
    lightness, saturated_ab = lab_pair(tf.constant(crops), saturation_factor)
    lab = rgb_to_lab(crops).numpy()
    ab = np.asarray(predict(lightness))
    results = join(lightness, ab).numpy()
    return {
        "mse": metrics.squared_error(ab, saturated_ab),
        "psnr": metrics.psnr(results, crops),
        "ssim": metrics.ssim(results, crops),
        "ab_rmse": metrics.ab_rmse(ab, lab[..., 1:]),
        "auc": metrics.raw_accuracy(ab, lab[..., 1:]),
        "ciede2000": metrics.ciede2000(np.concatenate([lab[..., :1], ab], axis=-1), lab),
        "colorfulness": metrics.colorfulness(results),
        "colorfulness_photo": metrics.colorfulness(crops),
    }


def read_crops(paths, crop):
    """Reads central crops in batches. Yields (paths, crops, failures): uint8 crops, and a sentence a bad file."""
    for start in range(0, len(paths), BATCH):
        read, crops, failures = [], [], []
        for path in paths[start : start + BATCH]:
            try:
                crops.append(cut(scale_to_cover(read_photo(path), crop), crop))
                read.append(path)
            except PhotoError as error:
                failures.append(str(error))
        yield read, np.array(crops), failures


def evaluate(predictors, paths, crop, saturation_factor):
    """Scores models on photos.

    Args:
        predictors: {name: function from L to ab}.
        paths: The photos.
        crop: Height and width of the central crops.
        saturation_factor: The paper's T.

    Returns:
        (rows, failures): a dict {"model", "photo", figures...} for each model and photo, and a sentence for each photo
        that could not be read.
    """
    rows, all_failures = [], []
    with tqdm(total=len(paths), unit=" photos", leave=False, disable=None) as bar:
        for read, crops, failures in read_crops(paths, crop):
            all_failures += failures
            for name, predict in predictors.items() if read else ():
                figures = score(predict, crops, saturation_factor)
                for number, path in enumerate(read):
                    values = {figure: float(value[number]) for figure, value in figures.items()}
                    rows.append({"model": name, "photo": str(path), **values})
            bar.update(len(read) + len(failures))
    return rows, all_failures


def means(rows):
    """{model: {figure: mean over its photos}}. The infinite psnr of a photo that comes back exactly is left out."""
    table = {}
    for name in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == name]
        values = {figure: np.array([row[figure] for row in own]) for figure in list(own[0])[2:]}
        table[name] = {figure: float(np.mean(column[np.isfinite(column)])) for figure, column in values.items()}
    return table


def format_table(table):
    """The means as aligned text, a line a model."""
    figures = list(next(iter(table.values())))
    lines = [["", *figures], *([name, *(f"{row[figure]:.4g}" for figure in figures)] for name, row in table.items())]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def save(folder, options, rows, table):
    """Writes results.json and photos.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    summary = {"photos": len({row["photo"] for row in rows}), "results": table, "options": asdict(options)}
    content = json.dumps({**summary, **describe_run()}, indent=2, default=str)
    write_whole(folder / "results.json", f"{content}\n".encode())
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(folder / "photos.csv", text.getvalue().encode())


def main():
    options = parse(Options, "evaluate.py", "FOLDER [options]")
    keras.config.set_dtype_policy(choose_policy())
    paths = find_photos(options.photos).paths
    predictors = {"gray": lambda lightness: tf.zeros([*lightness.shape[:3], 2])}
    predictors |= {name: models.load(name).colorize for name in options.models}
    rows, failures = evaluate(predictors, paths, options.crop, options.saturation_factor)
    table = means(rows)
    if rows and options.output:
        save(options.output, options, rows, table)
    scored = f"{len(paths) - len(failures)} of {len(paths)} photos of {options.photos}, {options.crop}"
    finish(f"{scored}\n{format_table(table)}" if rows else scored, failures)


if __name__ == "__main__":
    run(main)
