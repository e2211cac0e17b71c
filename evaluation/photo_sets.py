"""Sets of photos to score models on, and reading them in batches."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from common.errors import DatasetError, OptionError, UserError
from common.files import is_regular
from common.images import PhotoError, read_photo
from data.photos import MIN_SIDE, cut, find_photos, scale_to_cover
from models.zhang import ab_bins, nearest_bins
from utils import ab_from_rgb, lightness_from_rgb

# Crops that are scored at a time.
BATCH = 32


@dataclass(frozen=True)
class PhotoSet:
    """Photos to score models on."""

    name: str  # As given on the command line.
    photos: tuple[tuple[Path, Path], ...]  # Pairs of paths: (the photo to colorize, the photo in colour).
    passed_over: str = ""  # One line about the files that were passed over; "" where none was.


def find_set(given):
    """The `PhotoSet` of a folder, or of GRAY:COLOUR. Raises OptionError, or DatasetError for what is missing."""
    gray, colon, colour = given.partition(":")
    if colon and not (gray and colour):
        raise OptionError(f"{given} names one folder; give GRAY:COLOUR, or a folder without a colon")
    found = find_photos(colour or gray)
    if not colour:
        return PhotoSet(given, tuple((path, path) for path in found.paths), found.passed_over)
    pairs = tuple((Path(gray) / path.relative_to(colour), path) for path in found.paths)
    for path, photo in pairs:
        if not is_regular(path):
            raise DatasetError(f"{path} does not exist; for GRAY:COLOUR both need the same files, as {photo}")
    return PhotoSet(given, pairs, found.passed_over)


def survey(pairs, crop):
    """Reads all photos once. Returns (readable pairs, a sentence for each bad file, pixels in each bin of ab [313])."""
    readable, failures, histogram = [], [], np.zeros(len(ab_bins()), int)
    for pair in pairs:
        try:
            photo, _ = read_pair(pair, crop)
        except PhotoError as error:
            failures.append(str(error))
            continue
        readable.append(pair)
        bins = nearest_bins(ab_from_rgb(tf.constant(photo)))
        histogram += np.bincount(np.ravel(bins), minlength=len(histogram))
    return readable, failures, histogram


class GroundTruth:
    """A batch of photos to colorize, with their true colours.

    Attributes:
        photos: The photos in colour, sRGB, uint8 [batch, height, width, 3].
        ab: Their ab in Lab units, float32 [batch, height, width, 2].
        pixels: The photos to colorize, sRGB, uint8 [batch, height, width, 3].
        lightness: Their L in 0..100, float32 [batch, height, width, 1].
        cropped: Whether they are crops.
    """

    def __init__(self, photos, pixels, cropped):
        self.photos, self.pixels, self.cropped = photos, pixels, cropped
        self.ab = ab_from_rgb(tf.constant(photos)).numpy()
        self.lightness = lightness_from_rgb(tf.constant(pixels)).numpy()


def read_batches(pairs, crop):
    """Reads photos in batches of crops; without a crop, whole photos one by one.

    Args:
        pairs: Pairs that `survey` could read.
        crop: Height and width of central crops in pixels; None for whole photos.

    Yields:
        (pairs, truth): the pairs of a batch, and their `GroundTruth`.

    Raises:
        UserError: A photo cannot be read any more.
    """
    size = BATCH if crop else 1
    for start in range(0, len(pairs), size):
        batch = pairs[start : start + size]
        try:
            photos, pixels = map(np.stack, zip(*(read_pair(pair, crop) for pair in batch), strict=True))
        except PhotoError as error:
            raise UserError(f"{error}; it could be read when the scoring began, so start again") from error
        yield batch, GroundTruth(photos, pixels, cropped=bool(crop))


def read_pair(pair, crop):
    """(the photo in colour, the photo to colorize), sRGB, uint8 [height, width, 3] each.

    Raises:
        PhotoError: A photo cannot be read, is smaller than MIN_SIDE, or the two differ in size.
    """
    gray, colour = pair
    photo = read_photo(colour)
    pixels = photo if gray == colour else read_photo(gray)
    if min(photo.shape[:2]) < MIN_SIDE:
        raise PhotoError(colour, f"less than {MIN_SIDE} pixels high or wide, so too small to score")
    if pixels.shape != photo.shape:
        raise PhotoError(gray, f"has another size than {colour}")
    return [cut(scale_to_cover(image, crop), crop) if crop else image for image in (photo, pixels)]
