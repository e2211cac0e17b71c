"""Packs a folder of photos into TFRecord shards, for network disks, where many small files are slow.

    python -m data.shards my/photos -o my/shards          packs; run again, it goes on where it was interrupted
    python train.py scenes --dataset my/shards            trains on them
    python -m data.shards --verify my/shards              names damaged shards

Each record is a tf.train.Example of `image`, the photo's file byte for byte, `name`, its path in the folder, `label`
(-1 without class folders) and `class`. Photos are shuffled over the shards by a fixed seed, so that each shard is a
fair sample. Beside each shard lies an index, see data/packed.py; the manifest, shards.json, is written last. Shards of
an earlier run are kept if they are whole and hold all their photos; a photo that changed since under the same name is
not noticed.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from common.command_line import finish, parse, run, tame_native_libraries

if __name__ == "__main__":
    tame_native_libraries()

import numpy as np
import tensorflow as tf
import tyro
from tqdm import tqdm

from common.errors import DatasetError
from common.files import describe_error, replacing, write_whole
from data.packed import (
    MANIFEST,
    SHARD_NAME,
    SHARD_PATTERN,
    Index,
    Manifest,
    index_path,
    load_index,
    read_index,
    read_manifest,
)
from data.photos import Photos, find_photos

SEED = 0
# TFRecord puts a record's length (8 bytes) and that one's checksum (4) before it, and its own checksum (4) behind it.
RECORD_HEADER, RECORD_FOOTER = 12, 4


@dataclass(frozen=True)
class Plan:
    """Which photo goes where.

    Attributes:
        photos: The `Photos` of the folder.
        names: Path of each in the folder, as bytes.
        shards: The numbers of each shard's photos, int arrays, in the order of the records.
        fingerprint: Of all this, hexadecimal.
    """

    photos: Photos
    names: Sequence[bytes]
    shards: Sequence[np.ndarray]
    fingerprint: str


def pack(folder, output, photos_per_shard):
    """Packs a folder of photos into shards.

    Args:
        folder: The folder, a Path.
        output: Folder for the shards; made if need be.
        photos_per_shard: Photos a shard, at most.

    Returns:
        The `Manifest`. Its `skipped` are the photos that could not be read.

    Raises:
        DatasetError: The folder holds no photos or is packed already, or `output` is not for its shards.
        OSError: A shard cannot be written.
    """
    plan = make_plan(folder, photos_per_shard)
    if output.resolve() == folder.resolve():
        raise DatasetError(f"{output} holds the photos; give another folder for the shards")
    output.mkdir(parents=True, exist_ok=True)
    earlier = find_earlier(output, plan)
    entries, skipped = [], {}
    with tqdm(total=len(plan.names), unit=" photos", leave=False, disable=None) as bar:
        for number, members in enumerate(plan.shards):
            path = output / SHARD_NAME.format(number, len(plan.shards))
            index = earlier.get(path)
            if index and len(index.numbers) == len(members) and hash_file(path) == str(index.sha256):
                bar.update(len(members))
            else:
                index, unreadable = write_shard(path, plan, members, bar.update)
                skipped |= unreadable
            facts = {"photos": len(index.numbers), "bytes": path.stat().st_size, "sha256": str(index.sha256)}
            entries.append({"file": path.name, **facts})
    manifest = Manifest(plan.fingerprint, list(plan.photos.classes), entries, skipped)
    write_whole(output / MANIFEST, (json.dumps(asdict(manifest), indent=2) + "\n").encode())
    return manifest


def make_plan(folder, photos_per_shard):
    """Decides which photo goes into which shard, by the seed and the photos' names alone. Raises DatasetError."""
    if photos_per_shard < 1:
        raise DatasetError(f"--photos-per-shard {photos_per_shard}: use at least 1")
    photos = find_photos(folder)
    if photos.shards is not None:
        raise DatasetError(f"{folder} holds shards already; give the folder of photos that they were packed from")
    names = [os.fsencode(path.relative_to(folder)) for path in photos.paths]
    order = np.random.default_rng(SEED).permutation(len(names))
    shards = np.array_split(order, -(-len(names) // photos_per_shard))
    settings = f"{SEED} {photos_per_shard}\0".encode()
    return Plan(photos, names, shards, hashlib.sha256(settings + b"\0".join(names)).hexdigest())


def find_earlier(output, plan):
    """The shards that an earlier run of a plan left: {path: Index}; those without a usable index are left out.

    Raises:
        DatasetError: The folder holds shards of another plan.
    """
    indexes = {path: _unless_damaged(load_index, index_path(path)) for path in output.glob(SHARD_PATTERN)}
    indexes = {path: index for path, index in indexes.items() if index}
    found = [*indexes.values(), _unless_damaged(read_manifest, output)]
    if any(str(part.fingerprint) != plan.fingerprint for part in found if part):
        raise DatasetError(f"{output} holds shards of other photos or of another size; give another folder")
    return indexes


def _unless_damaged(read, path):
    try:
        return read(path)
    except DatasetError:
        return None


def write_shard(path, plan, members, progress):
    """Writes a shard, then its index, each whole or not at all.

    Args:
        path: The shard's file.
        plan: The `Plan`.
        members: Numbers of the shard's photos.
        progress: Called after each photo.

    Returns:
        (index, skipped): its `Index`, and {name: cause} of photos that could not be read.

    Raises:
        OSError: The disk or its rights do not allow it.
    """
    with replacing(path) as temporary:
        rows, skipped = write_records(temporary, plan, members, progress)
        sha256 = hash_file(temporary)
    columns = zip(*rows, strict=True) if rows else [()] * 6
    types = (np.int32, np.bytes_, np.int32, np.int64, np.uint32, np.uint32)
    arrays = [np.array(column, dtype) for column, dtype in zip(columns, types, strict=True)]
    index = Index(np.array(plan.fingerprint), np.array(sha256), *arrays)
    with replacing(index_path(path)) as temporary:
        np.savez(temporary, **vars(index))
    return index, skipped


def write_records(path, plan, members, progress):
    """Writes a shard's records. Returns (rows, skipped): what the `Index` says of each photo, and see `write_shard`."""
    rows, skipped, position = [], {}, 0
    try:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for number in members:
                name = plan.names[number]
                label = -1 if plan.photos.labels is None else int(plan.photos.labels[number])
                try:
                    content = plan.photos.paths[number].read_bytes()
                except OSError as error:
                    skipped[os.fsdecode(name)] = describe_error(error)
                else:
                    record = make_record(content, name, label, plan.photos.classes)
                    offset = position + RECORD_HEADER + record.index(content)
                    rows.append((number, name, label, offset, len(content), zlib.crc32(content)))
                    writer.write(record)
                    position += RECORD_HEADER + len(record) + RECORD_FOOTER
                progress()
    except tf.errors.OpError as error:
        raise OSError(f"{path.parent}: a shard cannot be written: {error.message}") from error
    return rows, skipped


def make_record(content, name, label, classes):
    """A photo as a serialized tf.train.Example: always the same bytes for the same photo."""
    features = {
        "image": _bytes(content),
        "name": _bytes(name),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        "class": _bytes(os.fsencode(classes[label]) if classes else b""),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def _bytes(value):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def hash_file(path):
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(folder):
    """Checks the manifest, every index and every shard of a folder of shards.

    Returns:
        (manifest, failures): the `Manifest`, and a sentence for each shard that is missing or damaged.

    Raises:
        DatasetError: The manifest is missing or damaged.
    """
    manifest, failures = read_manifest(folder), []
    for entry in tqdm(manifest.shards, unit=" shards", leave=False, disable=None):
        path = folder / entry["file"]
        try:
            read_index(folder, entry, manifest)
            if hash_file(path) != entry["sha256"]:
                failures.append(f"{path}: checksum does not match; copy or pack the shards again")
        except (DatasetError, OSError) as error:
            failures.append(str(error))
    return manifest, failures


@dataclass(frozen=True)
class Options:
    """Packs a folder of photos into TFRecord shards, or checks such shards."""

    folder: tyro.conf.Positional[Path]
    """Folder of photos, searched recursively. With --verify: folder of shards."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Folder for the shards."""
    photos_per_shard: int = 1024
    """Photos a shard, at most."""
    verify: bool = False
    """Check every shard instead, and name the damaged ones."""


def main():
    options = parse(Options, "-m data.shards", "FOLDER -o DIR [options] | --verify DIR")
    if options.verify:
        manifest, failures = verify(options.folder)
        finish(f"{len(manifest.shards) - len(failures)} of {len(manifest.shards)} shards are whole", failures)
    if options.output is None:
        raise DatasetError("give a folder for the shards: -o DIR")
    manifest = pack(options.folder, options.output, options.photos_per_shard)
    packed = sum(entry["photos"] for entry in manifest.shards)
    total = packed + len(manifest.skipped)
    summary = f"{packed} of {total} photos packed into {len(manifest.shards)} shards, in {options.output}"
    finish(summary, [f"{options.folder / name}: {cause}" for name, cause in manifest.skipped.items()])


if __name__ == "__main__":
    run(main, interrupted="interrupted; the shards so far are whole, and the same command goes on")
