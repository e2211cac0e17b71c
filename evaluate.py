"""Scores trained models on folders of colour photos.

    python evaluate.py datasets/intel-scenes/test --models natural scenes
    python evaluate.py photos/a photos/b plates/green:plates/colour --output results

Each photo is turned gray, colorized, and compared with what it was; in GRAY:COLOUR, a folder of gray photos and one of
the same photos in colour, the gray ones are colorized. Beside the models stand the photos themselves, gray output
(ab = 0), and the mean colour of the training set everywhere. With --boundaries, colours are also compared with human
boundary maps. With --output, results.json holds the means, the differences from the first model and what made them, and
photos.csv the scores of each photo. What the figures are is said in docs/evaluation.md.
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
from colorizing.photo import Pipeline
from common.images import PhotoError, read_photo
from common.options import Folder, NotNegative, OutputFolder, Side
from configs import MODEL
from data.pairs import lab_pair
from data.photos import DatasetError, cut, find_photos, scale_to_cover
from evaluation import boundaries, metrics, semantics
from evaluation.scores import Scores, format_differences, format_means
from models.precision import choose_policy, describe_devices
from models.zhang import ab_bins, nearest_bins
from utils import encode_rgb, rgb_to_lab

# Crops that are scored at a time.
BATCH = 32


@dataclass(frozen=True)
class Options:
    """Scores trained models on folders of colour photos."""

    photos: tyro.conf.Positional[tuple[str, ...]]
    """Folders of colour photos, searched recursively, or GRAY:COLOUR for two folders. Each is a set of its own."""
    models: tuple[str, ...] = (MODEL,)
    """Trained models: names (runs of yours or weights that ship), runs' folders, or .keras files."""
    crop: tuple[Side, Side] | None = None
    """Height and width in pixels of central crops to score. Default: each photo at its own size."""
    saturation_factor: NotNegative = 1.8
    """The paper's T, for the target of mse alone; all else is compared with the photo itself."""
    boundaries: Folder | None = None
    """Folder of human boundary maps of the one set, PNG files named like the photos, as BSDS500 has them."""
    output: OutputFolder | None = None
    """Folder for results.json and photos.csv; with several sets, for a folder each."""


@dataclass(frozen=True)
class PhotoSet:
    """Photos to score models on.

    Attributes:
        name: As given on the command line.
        photos: Paths of (what is colorized, what it should look like).
        passed_over: See `data.photos.Photos`.
    """

    name: str
    photos: tuple[tuple[Path, Path], ...]
    passed_over: str = ""


def find_set(given):
    """The `PhotoSet` of a folder, or of GRAY:COLOUR. Raises DatasetError where a folder or a photo is missing."""
    gray, _, colour = given.partition(":")
    found = find_photos(colour or gray)
    if not colour:
        return PhotoSet(given, tuple((path, path) for path in found.paths), found.passed_over)
    pairs = tuple((Path(gray) / path.relative_to(colour), path) for path in found.paths)
    for path, photo in pairs:
        if not path.is_file():
            raise DatasetError(f"{path} does not exist; for GRAY:COLOUR both need the same files, as {photo}")
    return PhotoSet(given, pairs, found.passed_over)


class Truth:
    """What a batch of photos was.

    Attributes:
        pixels: What is colorized, uint8 [batch, height, width, 3].
        lightness: Its L in 0..100, float32 [batch, height, width, 1].
        photos: What it should look like, uint8 [batch, height, width, 3].
        ab: Their ab in Lab units, float32 [batch, height, width, 2].
    """

    def __init__(self, photos, pixels=None):
        self.photos = np.asarray(photos)
        self.pixels = self.photos if pixels is None else np.asarray(pixels)
        self.ab = rgb_to_lab(tf.constant(self.photos)).numpy()[..., 1:]
        self.lightness = rgb_to_lab(tf.constant(self.pixels)).numpy()[..., :1]


@tf.function(reduce_retracing=True)  # Not compiled: photos at their own sizes would each be compiled anew.
def join(lightness, ab):
    """sRGB, uint8 [batch, height, width, 3], of L in 0..100 and ab in Lab units."""
    return encode_rgb(tf.concat([lightness, ab], axis=-1), tf.uint8)


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


def colorize_crops(model, truth):
    """The ab that a model paints on crops, which it sees as they are."""
    return model.colorize(truth.lightness)


def colorize_whole(model, truth):
    """The ab that a model paints on whole photos, which it sees reduced."""
    return np.stack([Pipeline(model).full_size_ab(pixels) for pixels in truth.pixels])


def read_batches(pairs, crop):
    """Reads photos in batches of crops, or whole ones one by one where `crop` is None.

    Yields:
        (pairs, `Truth`, failures): those that could be read, and a sentence a bad file.
    """
    size = BATCH if crop else 1
    for start in range(0, len(pairs), size):
        read, photos, failures = [], [], []
        for pair in pairs[start : start + size]:
            try:
                photos.append(read_pair(pair, crop))
                read.append(pair)
            except PhotoError as error:
                failures.append(str(error))
        yield read, Truth(*map(np.stack, zip(*photos, strict=True))) if read else None, failures


def read_pair(pair, crop):
    """Two uint8 [height, width, 3]: what a photo should look like, and what is colorized."""
    gray, colour = pair
    photo = read_photo(colour)
    pixels = photo if gray == colour else read_photo(gray)
    if pixels.shape != photo.shape:
        raise PhotoError(gray, f"has another size than {colour}")
    return [cut(scale_to_cover(image, crop), crop) if crop else image for image in (photo, pixels)]


def survey(pairs, crop):
    """A first pass over the photos. Returns (readable pairs, a sentence a bad file, how many pixels each bin has)."""
    readable, failures, histogram = [], [], np.zeros(len(ab_bins()), int)
    for read, truth, bad in read_batches(pairs, crop):
        readable += read
        failures += bad
        if read:
            histogram += np.bincount(np.ravel(nearest_bins(truth.ab)), minlength=len(histogram))
    return readable, failures, histogram


def score(ab, truth, saturated_ab, weights):
    """Scores a batch of colorized photos.

    Args:
        ab: What was painted, float [batch, height, width, 2], Lab units.
        truth: The photos' `Truth`.
        saturated_ab: Their ab with the saturation raised.
        weights: Of each pixel, for the class-balanced accuracy; see `metrics.raw_accuracy`.

    Returns:
        ({figure: float [batch]}, the colorized photos, uint8 [batch, height, width, 3]).
    """
    results = join(tf.constant(truth.lightness), tf.constant(ab, tf.float32)).numpy()
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
        "colorfulness_ddcolor": metrics.colorfulness_ddcolor(results),
        "nyquist": metrics.nyquist_energy(ab),
    }, results


def score_photos(painters, pairs, crop, saturation_factor, histogram):
    """Scores photos that can all be read.

    Args:
        painters: See `make_painters`.
        pairs: See `PhotoSet`.
        crop: Height and width of central crops, None for whole photos.
        saturation_factor: The paper's T.
        histogram: How many of all pixels lie in each bin of ab.

    Returns:
        ({name: {figure: float [photos]}}, {name: {figure: float}} for those of all photos together).
    """
    bin_weight = metrics.balancing_weights(histogram)
    classifier = semantics.Classifier()
    batches, seen = {name: [] for name in painters}, {name: [] for name in painters}
    with tqdm(total=len(pairs), unit=" photos", leave=False, disable=None) as bar:
        for read, truth, _ in read_batches(pairs, crop):
            _, saturated_ab = lab_pair(tf.constant(truth.photos), saturation_factor)
            weights = bin_weight[nearest_bins(truth.ab)]
            for name, paint in painters.items():
                figures, results = score(paint(truth), truth, saturated_ab, weights)
                batches[name].append(figures)
                seen[name].append(classifier(results))
            bar.update(len(read))
    values, sets = {}, {}
    true_features, true_labels = _concatenate(seen["photo"])
    for name, own in batches.items():
        features, labels = _concatenate(seen[name])
        values[name] = {figure: np.concatenate([batch[figure] for batch in own]) for figure in own[0]}
        values[name]["agreement_lite2"] = semantics.agreement(labels, true_labels)
        sets[name] = {
            "frechet_lite2": semantics.frechet_distance(features, true_features) if len(features) > 1 else float("nan"),
            "ab_rmse_all": float(np.sqrt(np.mean(values[name]["ab_rmse"] ** 2))),
        }
    return values, sets


def _concatenate(batches):
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


def score_boundaries(painters, pairs, folder):
    """Compares colours with human boundary maps, at the photos' own size: {name: {figure: float [photos]}}.

    Args:
        painters: See `make_painters`.
        pairs: See `PhotoSet`.
        folder: Folder of the maps.
    """
    maps = [boundaries.read_map(folder / f"{path.stem}.png") for _, path in pairs]

    def truths():
        for (read, truth, _), drawn in zip(read_batches(pairs, None), maps, strict=True):
            if drawn.shape != truth.photos.shape[1:3]:
                raise PhotoError(read[0][1], f"has another size than its boundary map in {folder}")
            yield truth, drawn

    threshold = boundaries.best_threshold((truth.ab[0], drawn) for truth, drawn in truths())
    rows = {name: [] for name in painters}
    for truth, drawn in tqdm(truths(), total=len(pairs), unit=" boundary maps", leave=False, disable=None):
        for name, paint in painters.items():
            rows[name].append(boundaries.figures(paint(truth)[0], truth.ab[0], drawn, threshold))
    return {name: {figure: np.array([row[figure] for row in own]) for figure in own[0]} for name, own in rows.items()}


def evaluate(colorizers, mean_colors, photo_set, options):
    """Scores models on a set of photos, as `Options` say.

    Args:
        colorizers: {name: colorizer}.
        mean_colors: {name: ab}.
        photo_set: The `PhotoSet`.

    Returns:
        (scores, failures): `Scores`, or None if no photo could be read, and a sentence for each that could not.
    """
    pairs, failures, histogram = survey(photo_set.photos, options.crop)
    if not pairs:
        return None, failures
    painters = make_painters(colorizers, mean_colors, colorize_crops if options.crop else colorize_whole)
    values, sets = score_photos(painters, pairs, options.crop, options.saturation_factor, histogram)
    if options.boundaries:
        whole = make_painters(colorizers, mean_colors, colorize_whole)
        for name, figures in score_boundaries(whole, pairs, options.boundaries).items():
            values[name] |= figures
    folder = photo_set.name.rpartition(":")[2]
    return Scores([str(path.relative_to(folder)) for _, path in pairs], values, sets), failures


def find_mean_colors(names):
    """The mean colours of the models' training sets, {"mean colour": ab}; more, named by model, where they differ."""
    known = {}
    for short, name in models.short_names(names).items():
        ab = models.describe(name).get("mean_ab")
        if ab and ab not in known.values():
            known["mean colour" if not known else f"mean colour, {short}"] = ab
    return known


def main():
    options = parse(Options, "evaluate.py", "FOLDER|GRAY:COLOUR ... [options]")
    if options.boundaries and len(options.photos) > 1:
        raise DatasetError("--boundaries belongs to one set of photos; give one folder")
    keras.config.set_dtype_policy(choose_policy())
    sets = [find_set(given) for given in options.photos]
    print(f"scores on {describe_devices()}", flush=True)
    names = models.short_names(options.models)
    colorizers = {short: models.load(name) for short, name in names.items()}
    mean_colors, first = find_mean_colors(options.models), next(iter(names))
    summary, failures = [], []
    for photo_set in sets:
        scores, bad = evaluate(colorizers, mean_colors, photo_set, options)
        failures += bad
        count = len(photo_set.photos)
        how = f"crops of {options.crop}" if options.crop else "each at its own size"
        summary.append(f"{count - len(bad)} of {count} photos of {photo_set.name}, {how}")
        if not scores:
            continue
        summary.append(format_means(scores.means()))
        if len(names) > 1:
            summary.append(f"differences from {first}, 95 % intervals\n{format_differences(scores.differences(first))}")
        if options.output:
            folder = options.output if len(sets) == 1 else options.output / photo_set.name.replace(":", "-for-")
            scores.save(folder, asdict(options), first)
    finish("\n".join(summary), failures, [photo_set.passed_over for photo_set in sets if photo_set.passed_over])


if __name__ == "__main__":
    run(main)
