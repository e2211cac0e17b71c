"""Scores trained models on a folder of colour photos.

    python evaluate.py datasets/intel-scenes/test --models scenes runs/zhang --output results

Each photo's central crop is turned gray, colorized, and compared with what it was. Beside the models stand the photos
themselves, gray output (ab = 0), and the mean colour of the training set everywhere. With --boundaries, the photos are
also colorized at their own size and the colours compared with human boundary maps. With --output, results.json holds
the means, the differences from the first model and what made them, and photos.csv the scores of each photo. What the
figures are is said in evaluation/: metrics.py, boundaries.py and fid.py.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

from common.command_line import finish, parse, run, tame_native_libraries

if __name__ == "__main__":
    tame_native_libraries()

import keras
import numpy as np
import tensorflow as tf
import tyro
from tqdm import tqdm

import models
from colorizing.photo import Pipeline, join
from common.images import PhotoError, read_photo
from data.pairs import lab_pair
from data.photos import cut, find_photos, scale_to_cover
from evaluation import boundaries, metrics
from evaluation.fid import Inception, frechet_distance
from evaluation.scores import Scores, format_differences, format_means
from models.precision import choose_policy
from models.zhang import ab_bins, nearest_bins
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
    boundaries: Path | None = None
    """Folder of human boundary maps, PNG files named like the photos, as BSDS500 has them."""
    fid: bool = False
    """Compute the Fréchet Inception distance too; Keras downloads weights for it once."""
    output: Path | None = None
    """Folder for results.json and photos.csv."""


class Truth:
    """What a batch of photos was: `photos`, uint8 [batch, height, width, 3], `lightness`, and `ab` in Lab units."""

    def __init__(self, photos):
        self.photos = np.asarray(photos)
        lab = rgb_to_lab(tf.constant(self.photos)).numpy()
        self.lightness, self.ab = lab[..., :1], lab[..., 1:]


def make_painters(colorizers, mean_colors, colorize):
    """All that is scored: {name: function from `Truth` to ab, [batch, height, width, 2]}, the photos themselves first.

    Args:
        colorizers: {name: colorizer}.
        mean_colors: {name: ab}, colours to paint everywhere.
        colorize: Function from a colorizer and a `Truth` to ab.
    """
    painters = {"photo": lambda truth: truth.ab, "gray": lambda truth: np.zeros_like(truth.ab)}
    for name, ab in mean_colors.items():
        painters[name] = lambda truth, ab=ab: np.broadcast_to(np.float32(ab), truth.ab.shape)
    for name, colorizer in colorizers.items():
        painters[name] = lambda truth, colorizer=colorizer: np.asarray(colorize(colorizer, truth))
    return painters


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


def survey(paths, crop):
    """A first pass over the photos. Returns (readable paths, a sentence a bad file, how many pixels each bin has)."""
    readable, failures, histogram = [], [], np.zeros(len(ab_bins()), int)
    for read, crops, bad in read_crops(paths, crop):
        readable += read
        failures += bad
        if read:
            histogram += np.bincount(np.ravel(nearest_bins(Truth(crops).ab)), minlength=len(histogram))
    return readable, failures, histogram


def score(ab, truth, saturated_ab, weights):
    """Scores a batch of colorized photos.

    Args:
        ab: What was painted, float [batch, height, width, 2], Lab units.
        truth: The photos' `Truth`.
        saturated_ab: Their ab with the saturation raised.
        weights: Of each pixel, for the class-balanced accuracy; see `metrics.raw_accuracy`.

    Returns:
        {figure: float [batch]}.
    """
    results = join(truth.lightness, ab).numpy()
    colorfulness = metrics.colorfulness(results)
    return {
        "mse": metrics.squared_error(ab, saturated_ab),
        "psnr": metrics.psnr(results, truth.photos),
        "ssim": metrics.ssim(results, truth.photos),
        "ab_rmse": metrics.ab_rmse(ab, truth.ab),
        "auc": metrics.raw_accuracy(ab, truth.ab),
        "auc_balanced": metrics.raw_accuracy(ab, truth.ab, weights),
        "ciede2000": metrics.ciede2000(*(np.concatenate([truth.lightness, x], axis=-1) for x in (ab, truth.ab))),
        "colorfulness": colorfulness,
        "colorfulness_gap": colorfulness - metrics.colorfulness(truth.photos),
        "nyquist": metrics.nyquist_energy(ab),
    }


def score_crops(painters, paths, crop, saturation_factor, histogram):
    """Scores the central crops of photos that can all be read: {name: {figure: float [photos]}}.

    Args:
        painters: See `make_painters`.
        paths: The photos.
        crop: Height and width of the crops.
        saturation_factor: The paper's T.
        histogram: How many of all pixels lie in each bin of ab.
    """
    bin_weight = metrics.balancing_weights(histogram)
    batches = {name: [] for name in painters}
    with tqdm(total=len(paths), unit=" photos", leave=False, disable=None) as bar:
        for read, crops, _ in read_crops(paths, crop):
            truth = Truth(crops)
            _, saturated_ab = lab_pair(tf.constant(crops), saturation_factor)
            weights = bin_weight[nearest_bins(truth.ab)]
            for name, paint in painters.items():
                batches[name].append(score(paint(truth), truth, saturated_ab, weights))
            bar.update(len(read))
    return {
        name: {figure: np.concatenate([batch[figure] for batch in own]) for figure in own[0]}
        for name, own in batches.items()
    }


def score_boundaries(painters, paths, folder):
    """Compares colours with human boundary maps, at the photos' own size: {name: {figure: float [photos]}}.

    Args:
        painters: See `make_painters`.
        paths: The photos.
        folder: Folder of the maps.
    """
    maps = {path: boundaries.read_map(folder / f"{path.stem}.png") for path in paths}

    def truths():
        for path, drawn in maps.items():
            truth = Truth(read_photo(path)[None])
            if drawn.shape != truth.photos.shape[1:3]:
                raise PhotoError(path, f"has another size than its boundary map in {folder}")
            yield truth, drawn

    threshold = boundaries.best_threshold((truth.ab[0], drawn) for truth, drawn in truths())
    rows = {name: [] for name in painters}
    for truth, drawn in tqdm(truths(), total=len(paths), unit=" boundary maps", leave=False, disable=None):
        for name, paint in painters.items():
            rows[name].append(boundaries.figures(paint(truth)[0], truth.ab[0], drawn, threshold))
    return {name: {figure: np.array([row[figure] for row in own]) for figure in own[0]} for name, own in rows.items()}


def score_as_sets(painters, paths, crop):
    """The Fréchet Inception distance of the results from the photos: {name: {"fid": float}}."""
    inception = Inception()
    features = {name: [] for name in painters}
    for _, crops, _ in read_crops(paths, crop):
        truth = Truth(crops)
        for name, paint in painters.items():
            features[name].append(inception.features(join(truth.lightness, paint(truth))))
    features = {name: np.concatenate(batches) for name, batches in features.items()}
    return {name: {"fid": frechet_distance(own, features["photo"])} for name, own in features.items()}


def evaluate(colorizers, mean_colors, paths, options):
    """Scores models on photos, as `Options` say.

    Args:
        colorizers: {name: colorizer}.
        mean_colors: {name: ab}.
        paths: The photos.

    Returns:
        (scores, failures): `Scores`, or None if no photo could be read, and a sentence for each that could not.
    """
    paths, failures, histogram = survey(paths, options.crop)
    if not paths:
        return None, failures
    painters = make_painters(colorizers, mean_colors, lambda model, truth: model.colorize(truth.lightness))
    values = score_crops(painters, paths, options.crop, options.saturation_factor, histogram)
    if options.boundaries:
        full_size = make_painters(
            colorizers, mean_colors, lambda model, truth: Pipeline(model).full_size_ab(truth.photos[0])[None]
        )
        for name, figures in score_boundaries(full_size, paths, options.boundaries).items():
            values[name] |= figures
    sets = score_as_sets(painters, paths, options.crop) if options.fid else {}
    return Scores([str(path.relative_to(options.photos)) for path in paths], values, sets), failures


def find_mean_colors(names):
    """The mean colours of the models' training sets, {"mean colour": ab}; more, named by model, where they differ."""
    known = {}
    for short, name in models.short_names(names).items():
        ab = models.describe(name).get("mean_ab")
        if ab and ab not in known.values():
            known["mean colour" if not known else f"mean colour, {short}"] = ab
    return known


def main():
    options = parse(Options, "evaluate.py", "FOLDER [options]")
    keras.config.set_dtype_policy(choose_policy())
    paths = find_photos(options.photos).paths
    names = models.short_names(options.models)
    colorizers = {short: models.load(name) for short, name in names.items()}
    scores, failures = evaluate(colorizers, find_mean_colors(options.models), paths, options)
    summary = f"{len(paths) - len(failures)} of {len(paths)} photos of {options.photos}, {options.crop}"
    if scores:
        first = next(iter(names))
        summary += f"\n{format_means(scores.means())}"
        if len(names) > 1:
            summary += f"\ndifferences from {first}, 95 % intervals\n{format_differences(scores.differences(first))}"
        if options.output:
            scores.save(options.output, asdict(options), first)
    finish(summary, failures)


if __name__ == "__main__":
    run(main)
