"""Reads photos out of the shards that `python -m data.shards` packs.

A folder of shards holds TFRecord files, beside each an index that says where in it each photo lies, and a manifest.
Photos are read through the index, one by one and in any order, so training can do with them what it does with files.
"""

import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

from common.errors import DatasetError

MANIFEST = "shards.json"
SHARD_NAME = "photos-{:05}-of-{:05}.tfrecord"
SHARD_PATTERN = "photos-*-of-*.tfrecord"


@dataclass(frozen=True)
class Manifest:
    """What a folder of shards holds.

    Attributes:
        fingerprint: Of the photos' names and of the settings that decide which photo lies where.
        classes: Names of the classes, sorted; empty without.
        shards: {"file", "photos", "bytes", "sha256"} of each shard.
        skipped: {name: cause} of photos that could not be read when they were packed.
    """

    fingerprint: str
    classes: list
    shards: list
    skipped: dict


@dataclass(frozen=True)
class Index:
    """Where the photos of a shard lie. All arrays are [photos], in the order of the records.

    Attributes:
        fingerprint: That of the manifest.
        sha256: Of the shard's file, hexadecimal.
        numbers: int32, place of the photo among all that were found, in the order of their names.
        names: Bytes, path of the photo in the folder that was packed.
        labels: int32, index into the manifest's classes; -1 without.
        offsets: int64, where the photo's file begins in the shard, in bytes.
        lengths: uint32, its size in bytes.
        checksums: uint32, its CRC-32.
    """

    fingerprint: np.ndarray
    sha256: np.ndarray
    numbers: np.ndarray
    names: np.ndarray
    labels: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray
    checksums: np.ndarray


@dataclass(frozen=True, eq=False)
class Shard:
    """A shard's file and its index."""

    path: Path
    index: Index


@dataclass(frozen=True, slots=True)
class PackedPhoto:
    """A photo in a shard. It stands for the path of the photo's file where photos are read and named.

    Attributes:
        shard: The `Shard`.
        position: Which of the shard's photos, from 0.
    """

    shard: Shard
    position: int

    def __str__(self):
        return f"{self.shard.path}/{self.name}"

    def __lt__(self, other):
        return str(self) < str(other)

    @property
    def name(self):
        """Path of the photo in the folder that was packed."""
        return os.fsdecode(self.shard.index.names[self.position])

    @property
    def stem(self):
        return PurePath(self.name).stem

    def relative_to(self, folder):
        """The shard and the photo in it, relative to a folder, as for a path."""
        return PurePath(str(self)).relative_to(folder)

    def read_bytes(self):
        """The photo's file. Raises OSError if the shard cannot be read or does not hold the photo unchanged."""
        index = self.shard.index
        with self.shard.path.open("rb") as file:
            file.seek(int(index.offsets[self.position]))
            content = file.read(int(index.lengths[self.position]))
        if len(content) < index.lengths[self.position]:
            raise OSError("the shard is cut short; pack the photos again")
        if zlib.crc32(content) != index.checksums[self.position]:
            raise OSError("checksum does not match; pack the photos again")
        return content


class PackedPhotos(Sequence):
    """The photos of all shards, in the order of their names, made when asked for: there may be millions."""

    def __init__(self, shards, shard_numbers, positions):
        self._shards = shards
        self._shard_numbers = shard_numbers
        self._positions = positions

    def __len__(self):
        return len(self._positions)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return tuple(self[number] for number in range(*index.indices(len(self))))
        return PackedPhoto(self._shards[self._shard_numbers[index]], int(self._positions[index]))


def holds_shards(folder):
    """Whether a folder holds shards, be they complete or not."""
    return (folder / MANIFEST).exists() or any(folder.glob(SHARD_PATTERN))


def read_shards(folder):
    """Finds the photos in a folder of shards.

    Returns:
        (photos, labels, classes, shard_numbers): `PackedPhotos`, int32 [photos] or None without classes, a tuple of
        names, and int32 [photos], the number of the shard that each lies in.

    Raises:
        DatasetError: The manifest or an index is missing or damaged, or a shard is missing.
    """
    manifest = read_manifest(folder)
    shards = [Shard(folder / entry["file"], read_index(folder, entry, manifest)) for entry in manifest.shards]
    counts = [len(shard.index.numbers) for shard in shards]
    if not sum(counts):
        raise DatasetError(f"{folder} holds shards without photos; pack other photos")
    order = np.argsort(np.concatenate([shard.index.numbers for shard in shards]))
    shard_numbers = np.repeat(np.arange(len(shards), dtype=np.int32), counts)[order]
    positions = np.concatenate([np.arange(count, dtype=np.int32) for count in counts])[order]
    labels = np.concatenate([shard.index.labels for shard in shards])[order]
    classes = tuple(manifest.classes)
    return PackedPhotos(shards, shard_numbers, positions), labels if classes else None, classes, shard_numbers


def read_manifest(folder):
    """The `Manifest` of a folder of shards. Raises DatasetError if it is missing or damaged."""
    path = folder / MANIFEST
    try:
        manifest = Manifest(**json.loads(path.read_bytes()))
        {entry[key] for entry in manifest.shards for key in ("file", "photos", "bytes", "sha256")}
    except FileNotFoundError as error:
        raise DatasetError(f"{path} does not exist; pack the photos again, to the end") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} cannot be used ({error}); pack the photos again") from error
    return manifest


def read_index(folder, entry, manifest):
    """The `Index` of one of a manifest's shards. Raises DatasetError if the shard or its index cannot be used."""
    path = folder / entry["file"]
    if not path.is_file():
        raise DatasetError(f"{path} does not exist; copy or pack the shards again")
    index = load_index(index_path(path))
    if str(index.fingerprint) != manifest.fingerprint or len(index.numbers) != entry["photos"]:
        raise DatasetError(f"{index_path(path)} is not of the shards in {folder / MANIFEST}; pack the photos again")
    return index


def load_index(path):
    """Reads an index. Raises DatasetError if it is missing or damaged."""
    try:
        with np.load(path) as arrays:
            return Index(**arrays)
    except FileNotFoundError as error:
        raise DatasetError(f"{path} does not exist; copy or pack the shards again") from error
    except Exception as error:  # NumPy and zipfile raise whatever damaged data leads them to.
        raise DatasetError(f"{path} cannot be used ({error}); pack the photos again") from error


def index_path(shard_path):
    """Where the index of a shard lies."""
    return shard_path.with_suffix(".npz")
