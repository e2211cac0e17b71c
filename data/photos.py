"""Finds the photos of a data set and decodes them.

Photos become upright sRGB of 8 bits: palettes are expanded, transparency is dropped, CMYK is converted. Gray photos,
photos longer than 8:1 or smaller than 16 pixels, and files that are damaged or not images are skipped and counted.
"""

import functools
import hashlib
import itertools
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from common.errors import DatasetError
from common.files import describe_passed_over, is_photo, list_files
from common.images import PhotoError, read_photo
from common.record import known_results
from configs import DATASETS, FETCHED
from data.old_film import as_luminance, as_old_film
from data.packed import PackedPhoto, holds_shards, read_shards

MAX_ELONGATION = 8
MIN_SIDE = 16
# Alignment of TensorFlow's tensors in bytes.
ALIGNMENT = 64
# Photos are reduced to at most this many times the size that covers the crop, so that a crop shows more than a detail.
MAX_MARGIN = 1.25
WAY_OUT = "give a folder with photos (for train.py: --dataset, or the experiment's dataset in configs.py)"


@dataclass(frozen=True)
class Photos:
    """The photos of a data set, in the order of their names."""

    paths: Sequence[Path | PackedPhoto]
    labels: np.ndarray | None = None  # Index into `classes`, int32 [photos]; None without class folders.
    classes: tuple[str, ...] = ()  # Names of the class folders, sorted; empty without.
    shards: np.ndarray | None = None  # Number of each photo's shard, int32 [photos]; None for a folder.
    datasets: np.ndarray | None = None  # Number of each photo's data set, int32 [photos]; set by `find_all_photos`.
    names: Sequence[bytes] = ()  # Path of each photo within the folder.
    passed_over: str = ""  # One line about the files that were passed over; "" where none was.

    @functools.cached_property
    def fingerprint(self):
        """Identifies these photos: {"count": their number, "sha256": checksum of their names}."""
        return {"count": len(self.paths), "sha256": hashlib.sha256(b"\0".join(self.names)).hexdigest()}


def find_all_photos(folders):
    """Finds the photos of several data sets, as one. A data set without class folders is a class of its own.

    Raises DatasetError, as `find_photos` does, or where a folder is given twice, or lies in another one.
    """
    places = [Path(folder).resolve() for folder in folders]
    for inner, outer in itertools.permutations(range(len(places)), 2):
        if places[inner].is_relative_to(places[outer]):
            raise DatasetError(
                f"{folders[inner]}: its photos belong to {folders[outer]}, too, and would be both learned from and "
                "validated with; give only one of the two"
            )
    found = [find_photos(folder) for folder in folders]
    datasets = np.repeat(np.arange(len(found), dtype=np.int32), [len(photos.paths) for photos in found])
    if len(found) == 1:
        return replace(found[0], datasets=datasets)
    paths, labels, classes, shards, passed_over = [], [], [], [], []
    for folder, photos in zip(folders, found, strict=True):
        # Photos without class folders are of one class, and files that are not in shards count as one shard.
        zeros = np.zeros(len(photos.paths), np.int32)
        labels.append((photos.labels if photos.classes else zeros) + np.int32(len(classes)))
        classes += [f"{folder}/{name}" for name in photos.classes] or [str(folder)]
        further = np.int32(1 + max((numbers.max() for numbers in shards), default=-1))
        shards.append((zeros if photos.shards is None else photos.shards) + further)
        paths += photos.paths
        if photos.passed_over:
            passed_over.append(f"{folder}: {photos.passed_over}")
    packed = any(photos.shards is not None for photos in found)
    names = [b"%d/%b" % (number, name) for number, photos in enumerate(found) for name in photos.names]
    return Photos(
        paths,
        labels=np.concatenate(labels),
        classes=tuple(classes),
        shards=np.concatenate(shards) if packed else None,
        datasets=datasets,
        names=names,
        passed_over="; ".join(passed_over),
    )


def find_photos(folder):
    """Finds all photos under a folder, or in the shards there: `Photos`.

    Results of earlier runs do not count where there are other photos. Where all photos lie in sub-folders, the name of
    its top sub-folder is a photo's class. Raises DatasetError where the folder is missing, is not a folder, or holds no
    photo, or its shards cannot be used.
    """
    folder = Path(folder)
    if not folder.is_dir():
        state = "is not a folder" if folder.exists() else "does not exist"
        known = folder.name in DATASETS and folder.resolve() == (FETCHED / folder.name).resolve()
        fetch = f"python -m data.fetch {folder.name} downloads it, or " if known else ""
        raise DatasetError(f"{folder} {state}; {fetch}{WAY_OUT}")
    if holds_shards(folder):
        photos = Photos(*read_shards(folder))
        return replace(photos, names=[os.fsencode(photo.name) for photo in photos.paths])
    listing = list_files(folder, is_photo)
    results, unreadable = known_results(folder, listing.files)
    if failures := listing.failures + unreadable:
        raise DatasetError(f"{failures[0]}; {WAY_OUT}")
    # A folder of nothing else, as colorizing.gray makes it, is meant as it is.
    paths = tuple(path for path in listing.files if path not in results) or tuple(listing.files)
    kinds = listing.passed_over + Counter({"earlier result": len(listing.files) - len(paths)})
    if not paths:
        raise DatasetError(f"{folder} holds no photo of a format that is read, see docs/colorizing.md; {WAY_OUT}")
    inside = [path.relative_to(folder) for path in paths]
    names = [os.fsencode(path) for path in inside]
    passed_over = describe_passed_over(kinds) if kinds else ""
    if not all(path.parts[:-1] for path in inside):
        return Photos(paths, names=names, passed_over=passed_over)
    classes, labels = np.unique([path.parts[0] for path in inside], return_inverse=True)
    return Photos(paths, labels.astype(np.int32), tuple(classes.tolist()), names=names, passed_over=passed_over)


def split_photos(count, validation_fraction, seed):
    """Splits photos 0..count-1 into training and validation indices, both sorted.

    Validation gets the share given, rounded, but at least one photo when the share is not zero.
    """
    order = np.random.default_rng(seed).permutation(count)
    held_out = min(max(round(count * validation_fraction), validation_fraction > 0), count - 1)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def scale_to_cover(photo, crop, margin=MAX_MARGIN):
    """Resizes a photo to at least the size of a crop (height, width), and to at most `margin` times the size needed."""
    height, width = photo.shape[:2]
    cover = max(crop[0] / height, crop[1] / width)
    scale = cover if cover > 1 else min(1, cover * margin)
    if scale == 1:
        return photo
    size = max(crop[1], round(width * scale)), max(crop[0], round(height * scale))
    return cv2.resize(photo, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)


def cut(photo, crop, down=0.5, right=0.5):
    """Cuts a crop of (height, width) out of a photo; `down` and `right` in 0..1 say where, 0.5 is the centre."""
    top = int(down * (photo.shape[0] - crop[0]) + 0.5)
    left = int(right * (photo.shape[1] - crop[1]) + 0.5)
    return photo[top : top + crop[0], left : left + crop[1]]


@dataclass(eq=False)
class PhotoStore:
    """The pixels of a data set's photos: decodes on demand, caches what fits in memory, counts what it skips.

    Threads may share it; at worst two of them decode the same photo.
    """

    paths: Sequence[Path | PackedPhoto]  # See `Photos`.
    crop: tuple[int, int]  # Height and width of crops in pixels.
    cache_bytes: int  # Room that is left in the cache.
    margin: float = MAX_MARGIN  # See `scale_to_cover`.
    old_film: bool = False  # Give crops a fourth channel, the gray input; see `load_crops`.
    min_chroma: float = 0.0  # Least `chroma_spread` of a photo, in Lab units; others are skipped.
    skipped: dict = field(default_factory=dict)  # {path: cause} of the photos skipped so far.

    def __post_init__(self):
        self.channels = 4 if self.old_film else 3  # Of a crop.
        self._kept = {}

    def load(self, index):
        """The photo as sRGB, uint8 [height, width, 3], scaled to cover the crop; None if it has to be skipped."""
        path = self.paths[index]
        if index in self._kept or path in self.skipped:
            return self._kept.get(index)
        try:
            photo = scale_to_cover(self._decode(path), self.crop, self.margin)
        except PhotoError as error:
            self.skipped[path] = error.cause
            return None
        if photo.nbytes <= self.cache_bytes:
            self.cache_bytes -= photo.nbytes
            self._kept[index] = photo
        return photo

    def load_crops(self, indices, draws, positions):
        """Crops of photos; in place of a photo that is skipped comes the next usable one in the order.

        Args:
            indices: The order of the photos, int64 [photos].
            draws: float32 [photos, 4] in 0..1: place of the crop down and right (see `cut`), 1 to mirror it, and the
                seed of `as_old_film`, or 0 for the gray of equal lightness.
            positions: Places in the order; past its end it starts again.

        Returns (crops uint8 [positions, height, width, channels], numbers of their photos int64 [positions]). The
        fourth channel is the gray input. Raises DatasetError where all photos of the order have to be skipped.
        """
        crops = _aligned((len(positions), *self.crop, self.channels))
        used = np.empty(len(positions), np.int64)
        for row, wanted in enumerate(positions):
            position, photo = self._next_usable(indices, wanted)
            down, right, mirrored, film = draws[position]
            crop = cut(photo, self.crop, down, right)
            crop = cv2.flip(crop, 1) if mirrored else crop
            crops[row, ..., :3] = crop
            if self.channels == 4:
                seed = film.view(np.uint32)
                crops[row, ..., 3] = as_old_film(crop, np.random.default_rng(seed)) if film else as_luminance(crop)
            used[row] = indices[position]
        return crops, used

    def _next_usable(self, indices, wanted):
        for position in range(wanted, wanted + len(indices)):
            position %= len(indices)
            photo = self.load(indices[position])
            if photo is not None:
                return position, photo
        raise DatasetError(f"no photo is left to learn from: {self.count_skipped()}")

    def first_usable(self, indices):
        """The first of the indices whose photo can be used; None if there is none."""
        return next((index for index in indices if self.load(index) is not None), None)

    def count_skipped(self):
        """How many photos were skipped so far for which cause: "3 the file is empty, 1 more than 8:1 long"."""
        causes = Counter(cause.split(" (")[0] for cause in self.skipped.values())
        return ", ".join(f"{count} {cause}" for cause, count in causes.most_common())

    def _decode(self, path):
        photo = read_photo(path)
        height, width = photo.shape[:2]
        if max(height, width) > MAX_ELONGATION * min(height, width):
            raise PhotoError(path, f"more than {MAX_ELONGATION}:1 long")
        if min(height, width) < MIN_SIDE:
            raise PhotoError(path, f"less than {MIN_SIDE} pixels high or wide")
        if is_gray(photo[::32, ::32]) and is_gray(photo):  # The sample settles it for nearly all photos.
            raise PhotoError(path, "gray, so without colour to learn")
        if self.min_chroma and chroma_spread(photo) < self.min_chroma:
            raise PhotoError(path, "toned, or with hardly any colour to learn")
        return photo


def chroma_spread(photo):
    """Standard deviation of ab in Lab units, near 0 for gray and toned photos, of sRGB uint8 [height, width, 3]."""
    small = cv2.resize(photo, (64, 64), interpolation=cv2.INTER_AREA)
    ab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[..., 1:].reshape(-1, 2)
    return np.sqrt(np.sum(np.var(ab, axis=0)))


def _aligned(shape):
    """An empty uint8 array with the alignment with which TensorFlow takes arrays without copying them."""
    size = math.prod(shape)
    room = np.empty(size + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room[start : start + size].reshape(shape)


def is_gray(photo):
    """Whether all channels of a photo, [height, width, 3], are equal."""
    return bool((photo == photo[..., :1]).all())
