"""Reads photos out of the shards that `python -m data.shards` packs.

A folder of shards holds ArrayRecord files, whose records are the photos' files byte for byte, and a manifest that names
the photo of each record. Records are read one at a time in any order, as files are.
"""

import functools
import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

from common.errors import DatasetError
from common.files import is_regular, write_whole

MANIFEST = "shards.json"
SHARD_NAME = "photos-{:05}-of-{:05}.array_record"
SHARD_PATTERN = "photos-*-of-*.array_record"
# Shards that a process keeps open.
OPEN_SHARDS = 256


@dataclass(frozen=True)
class Manifest:
    """What a folder of shards holds."""

    names: list  # Path of each photo within the packed folder, with slashes, in the order of `find_photos`.
    classes: list  # Names of the class folders, sorted; empty without class folders.
    photos_per_shard: int  # Photos a shard, at most.
    # For each shard the indices into `names` of its records, in their order; None until all are packed.
    shards: list | None = None
    skipped: dict = field(default_factory=dict)  # {name: cause} of the photos that could not be read.

    def write(self, folder):
        """Writes the manifest into a folder of shards, with its checksum."""
        values = asdict(self)
        write_whole(folder / MANIFEST, json.dumps({"sha256": _checksum(values), **values}).encode())


def read_manifest(folder, complete=True):
    """Reads the `Manifest` of a folder of shards.

    Raises DatasetError where it is missing or damaged or, where a complete one is wanted, packing was not finished.
    """
    path = folder / MANIFEST
    try:
        values = json.loads(path.read_bytes())
        checksum = values.pop("sha256")
        manifest = Manifest(**values)
    except FileNotFoundError as error:
        raise DatasetError(f"{path} does not exist; pack the photos again into another folder") from error
    except (OSError, ValueError, AttributeError, LookupError, TypeError) as error:
        raise DatasetError(f"{path} cannot be used ({error}); pack the photos again into another folder") from error
    if checksum != _checksum(values):
        raise DatasetError(f"{path} is damaged; pack the photos again into another folder")
    if complete and manifest.shards is None:
        raise DatasetError(f"{folder} holds a part of the shards only; run the command that packs them again")
    return manifest


def _checksum(values):
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def shard_paths(folder, count):
    """Returns the paths of a number of shards in a folder."""
    return [folder / SHARD_NAME.format(number, count) for number in range(count)]


def holds_shards(folder):
    """Returns whether a folder holds shards, complete or not."""
    return is_regular(folder / MANIFEST) or any(folder.glob(SHARD_PATTERN))


def read_shards(folder):
    """The photos in a folder of shards, in the order of their names, as the first fields of `photos.Photos`.

    Raises DatasetError, as `read_manifest` does, or where a shard is missing.
    """
    manifest = read_manifest(folder)
    paths = shard_paths(folder, len(manifest.shards))
    for path in paths:
        if not path.is_file():
            raise DatasetError(f"{path} does not exist; copy or pack the shards again")
    records = sorted(
        (index, number, position)
        for number, members in enumerate(manifest.shards)
        for position, index in enumerate(members)
    )
    if not records:
        raise DatasetError(f"{folder} holds shards without photos; pack other photos")
    photos = [PackedPhoto(paths[number], position, manifest.names[index]) for index, number, position in records]
    shard_numbers = np.array([number for _, number, _ in records], np.int32)
    classes = tuple(manifest.classes)
    if not classes:
        return photos, None, (), shard_numbers
    labels = np.searchsorted(classes, [photo.name.split("/")[0] for photo in photos])
    return photos, labels.astype(np.int32), classes, shard_numbers


@functools.lru_cache(OPEN_SHARDS)
def open_shard(path):
    """Opens a shard for reading, by any thread. Raises RuntimeError if it is missing or damaged at its end."""
    reader = ArrayRecordReader(os.fsencode(path))
    if not reader.ok():  # It would return empty records.
        raise RuntimeError
    return reader


@dataclass(frozen=True, slots=True)
class PackedPhoto:
    """A photo in a shard. Stands for the path of the photo's file where photos are read and named."""

    shard: Path
    position: int  # Number of the record in the shard, from 0.
    name: str  # Path of the photo within the folder that was packed.

    def __str__(self):
        return f"{self.shard}/{self.name}"

    @property
    def stem(self):
        return PurePath(self.name).stem

    def relative_to(self, folder):
        """Returns the shard and the photo in it, relative to a folder, like `Path.relative_to`."""
        return PurePath(str(self)).relative_to(folder)

    def read_bytes(self):
        """Reads the photo's file. Raises OSError if the shard is missing or damaged at this photo."""
        try:
            return open_shard(self.shard).read([self.position])[0]
        except RuntimeError as error:
            raise OSError("the shard is missing or damaged here; copy or pack it again") from error
