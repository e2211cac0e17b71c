"""Colorizes sets of photos with several models and scores the results."""

import functools

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from common.errors import DatasetError
from common.files import is_regular
from common.images import PhotoError
from data.pairs import lab_pair
from evaluation import boundaries, metrics, semantics
from evaluation.photo_sets import read_batches, survey
from evaluation.scores import Scores
from models.zhang import nearest_bins
from utils import encode_rgb


def evaluate(pipelines, mean_colors, photo_set, crop=None, saturation_factor=1.8, boundary_maps=None):
    """Scores models on a set of photos.

    Args:
        pipelines: {name: `Pipeline`}.
        mean_colors: {name: ab}, constant colours to score beside the models.
        photo_set: The `PhotoSet`.
        crop: Height and width in pixels of central crops to score; None for each photo at its own size.
        saturation_factor: The paper's T, for the target of mse.
        boundary_maps: Folder of human boundary maps, see `score_boundaries`; None for none.

    Returns:
        (scores, failures): `Scores`, or None if no photo could be read, and a sentence for each that could not.
    """
    pairs, failures, histogram = survey(photo_set.photos, crop)
    if not pairs:
        return None, failures
    predictors = make_predictors(pipelines, mean_colors)
    # First, so that a missing map is named before the photos are scored, which takes longer.
    near_boundaries = score_boundaries(predictors, pairs, boundary_maps) if boundary_maps else {}
    values, sets = score_photos(predictors, pairs, crop, saturation_factor, histogram)
    for name, more in near_boundaries.items():
        values[name] |= more
    folder = photo_set.name.rpartition(":")[2]
    return Scores([str(path.relative_to(folder)) for _, path in pairs], values, sets), failures


def make_predictors(pipelines, mean_colors):
    """{name: function from a `GroundTruth` to ab, [batch, height, width, 2]}: photos, gray, mean colours, models.

    Models see crops at their own size, and whole photos reduced.
    """

    def colorize(pipeline, truth):
        if truth.cropped:
            return pipeline.predict(truth.lightness)
        return np.stack([pipeline.full_size_ab(pixels) for pixels in truth.pixels])

    predictors = {"photo": lambda truth: truth.ab, "gray": lambda truth: np.zeros_like(truth.ab)}
    for name, ab in mean_colors.items():
        predictors[name] = lambda truth, ab=ab: np.broadcast_to(np.float32(ab), truth.ab.shape)
    for name, pipeline in pipelines.items():
        predictors[name] = functools.partial(colorize, pipeline)
    return predictors


def score(ab, results, truth, saturated_ab, weights):
    """Scores a batch of colorized photos.

    Args:
        ab: Predicted ab in Lab units, float [batch, height, width, 2].
        results: The colorized photos, sRGB, uint8 [batch, height, width, 3].
        truth: The photos' `GroundTruth`.
        saturated_ab: True ab with the saturation raised, the target of mse.
        weights: Weight of each pixel in auc_balanced, float [batch, height, width]; see `metrics.balancing_weights`.

    Returns:
        {metric: float [batch]}.
    """
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
    }


def score_photos(predictors, pairs, crop, saturation_factor, histogram):
    """Scores photos that can all be read.

    Args:
        predictors: {name: function}, see `make_predictors`.
        pairs: See `PhotoSet.photos`.
        crop, saturation_factor: As for `evaluate`.
        histogram: How many pixels of all photos are nearest to each bin of ab, [313].

    Returns:
        ({name: {metric: float [photos]}}, {name: {metric: float}}): metrics of each photo, and of all photos together.
    """
    bin_weight = metrics.balancing_weights(histogram)
    classifier = semantics.Classifier()
    batches, seen = {name: [] for name in predictors}, {name: [] for name in predictors}
    with tqdm(total=len(pairs), unit=" photos", leave=False, disable=None) as bar:
        for read, truth in read_batches(pairs, crop):
            _, saturated_ab = lab_pair(tf.constant(truth.photos), saturation_factor)
            weights = bin_weight[nearest_bins(truth.ab)]
            for name, predict in predictors.items():
                ab = predict(truth)
                results = join(tf.constant(truth.lightness), tf.constant(ab, tf.float32)).numpy()
                batches[name].append(score(ab, results, truth, saturated_ab, weights))
                seen[name].append(classifier(results))
            bar.update(len(read))
    values, sets = {}, {}
    true_features, true_labels = _concatenate(seen["photo"])
    for name, own in batches.items():
        features, labels = _concatenate(seen[name])
        values[name] = {metric: np.concatenate([batch[metric] for batch in own]) for metric in own[0]}
        values[name]["agreement_lite2"] = (labels == true_labels).astype(float)
        sets[name] = {
            "frechet_lite2": semantics.frechet_distance(features, true_features) if len(features) > 1 else float("nan"),
            "ab_rmse_all": float(np.sqrt(np.mean(values[name]["ab_rmse"] ** 2))),
        }
    return values, sets


def _concatenate(batches):
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


def score_boundaries(predictors, pairs, folder):
    """Compares colours with human boundary maps, NAME.png for each photo, at the photos' own size.

    Returns:
        {name: {metric: float [photos]}}, see `boundaries.boundary_metrics`.

    Raises:
        DatasetError: A map is missing.
        PhotoError: A map cannot be read, or has another size than its photo.
    """
    for _, path in pairs:
        if not is_regular(drawn := folder / f"{path.stem}.png"):
            raise DatasetError(f"{drawn} does not exist; --boundaries needs a map of this name for {path}")
    maps = [boundaries.read_map(folder / f"{path.stem}.png") for _, path in pairs]

    def truths():
        for (read, truth), drawn in zip(read_batches(pairs, None), maps, strict=True):
            if drawn.shape != truth.photos.shape[1:3]:
                raise PhotoError(read[0][1], f"has another size than its boundary map in {folder}")
            yield truth, drawn

    threshold = boundaries.best_threshold((truth.ab[0], drawn) for truth, drawn in truths())
    rows = {name: [] for name in predictors}
    for truth, drawn in tqdm(truths(), total=len(pairs), unit=" boundary maps", leave=False, disable=None):
        for name, predict in predictors.items():
            rows[name].append(boundaries.boundary_metrics(predict(truth)[0], truth.ab[0], drawn, threshold))
    return {name: {metric: np.array([row[metric] for row in own]) for metric in own[0]} for name, own in rows.items()}


# Not compiled by XLA, which would compile it anew for each size of a photo.
@tf.function(reduce_retracing=True, autograph=False)
def join(lightness, ab):
    """sRGB, uint8 [batch, height, width, 3], of L in 0..100 and ab in Lab units."""
    return encode_rgb(tf.concat([lightness, ab], axis=-1), tf.uint8)
