"""Sets of photos to score models on, and reading them in batches."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from common.errors import DatasetError
from common.files import is_regular
from common.images import PhotoError, read_photo
from data.photos import MIN_SIDE, cut, find_photos, scale_to_cover
from models.zhang import ab_bins, nearest_bins
from utils import ab_from_rgb, lightness_from_rgb

# Crops that are scored at a time.
BATCH = 32


@dataclass(frozen=True)
class PhotoSet:
    """Photos to score models on.

    Attributes:
        name: As given on the command line.
        photos: Pairs of paths: (the photo to colorize, the photo in colour).
        passed_over: One line about the files that were passed over; "" where none was.
    """

    name: str
    photos: tuple[tuple[Path, Path], ...]
    passed_over: str = ""


def find_set(given):
    """The `PhotoSet` of a folder, or of GRAY:COLOUR. Raises DatasetError where a folder or a photo is missing."""
    gray, colon, colour = given.partition(":")
    if colon and not (gray and colour):
        raise DatasetError(f"{given} names one folder; give GRAY:COLOUR, or a folder without a colon")
    found = find_photos(colour or gray)
    if not colour:
        return PhotoSet(given, tuple((path, path) for path in found.paths), found.passed_over)
    pairs = tuple((Path(gray) / path.relative_to(colour), path) for path in found.paths)
    for path, photo in pairs:
        if not is_regular(path):
            raise DatasetError(f"{path} does not exist; for GRAY:COLOUR both need the same files, as {photo}")
    return PhotoSet(given, pairs, found.passed_over)


class GroundTruth:
    """A batch of photos to colorize, with their true colours.

    Attributes:
        pixels: The photos to colorize, sRGB, uint8 [batch, height, width, 3]; `photos` unless given.
        lightness: Their L in 0..100, float32 [batch, height, width, 1].
        photos: The photos in colour, sRGB, uint8 [batch, height, width, 3].
        ab: Their ab in Lab units, float32 [batch, height, width, 2].
        cropped: Whether they are crops.
    """

    def __init__(self, photos, pixels=None, cropped=False):
        self.cropped = cropped
        self.photos = np.asarray(photos)
        self.pixels = self.photos if pixels is None else np.asarray(pixels)
        self.ab = ab_from_rgb(tf.constant(self.photos)).numpy()
        self.lightness = lightness_from_rgb(tf.constant(self.pixels)).numpy()


def read_batches(pairs, crop):
    """Reads photos in batches of crops; without a crop, whole photos one by one.

    Yields:
        (pairs, truth, failures): the pairs that could be read, their `GroundTruth` (None without any), and a sentence
        for each bad file.
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
        truth = GroundTruth(*map(np.stack, zip(*photos, strict=True)), cropped=bool(crop)) if read else None
        yield read, truth, failures


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


def survey(pairs, crop):
    """Reads all photos once. Returns (readable pairs, a sentence for each bad file, pixels in each bin of ab [313])."""
    readable, failures, histogram = [], [], np.zeros(len(ab_bins()), int)
    for read, truth, bad in read_batches(pairs, crop):
        readable += read
        failures += bad
        if read:
            histogram += np.bincount(np.ravel(nearest_bins(truth.ab)), minlength=len(histogram))
    return readable, failures, histogram
