"""Packs a folder of photos into ArrayRecord shards, for network disks, where many small files are slow.

    python -m data.shards my/photos -o my/shards          packs; run again, it continues where it was interrupted
    python train.py scenes --dataset my/shards            trains on them
    python -m data.shards --verify my/shards              names damaged shards

Each record is a photo's file byte for byte; the manifest, shards.json, says which photo it is (data/packed.py). Photos
are shuffled over the shards by a fixed seed, so that each shard is a fair sample of all. Whole shards of an earlier run
are kept unless one of their photos changed since.
"""

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from common.command_line import counted, finish, parse, prepare_imports, run

if __name__ == "__main__":
    prepare_imports()

import numpy as np
import tyro
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from tqdm import tqdm

from common.errors import DatasetError, OptionError
from common.files import describe_error, replacing
from common.options import Count, IfGiven, OutputFolder
from data.packed import Manifest, holds_shards, read_manifest, shard_paths
from data.photos import find_photos

SEED = 0
# Each record can be read by itself. Photos are compressed already.
WRITER_OPTIONS = "group_size:1,uncompressed"
# Records that are read at a time where all of a shard are checked.
CHECKED_AT_A_TIME = 64


def pack(folder, output, photos_per_shard):
    """Packs a folder of photos into shards of at most `photos_per_shard`, in a folder that is made if need be.

    Returns the `Manifest`. Raises DatasetError where the folder holds no photos or holds shards, or where `output`
    holds other shards or the photos, and OSError where a shard cannot be written.
    """
    photos = find_photos(folder)
    if photos.passed_over:
        print(photos.passed_over, file=sys.stderr)
    if photos.shards is not None:
        raise DatasetError(f"{folder} holds shards already; give the folder of photos that they were packed from")
    if output.resolve() == folder.resolve():
        raise DatasetError(f"{output} holds the photos; give another folder for the shards")
    names = [path.relative_to(folder).as_posix() for path in photos.paths]
    manifest = Manifest(names, list(photos.classes), photos_per_shard)
    check_output(output, manifest)
    output.mkdir(parents=True, exist_ok=True)
    manifest.write(output)

    order = np.random.default_rng(SEED).permutation(len(names))
    plan = [part.tolist() for part in np.array_split(order, -(-len(names) // photos_per_shard))]
    shards, skipped = [], {}
    with tqdm(total=len(names), unit=" photos", leave=False, disable=None) as bar:
        for path, wanted in zip(shard_paths(output, len(plan)), plan, strict=True):
            members = [photos.paths[index] for index in wanted]
            if count_records(path) == len(wanted) and not any(changed_since(photo, path) for photo in members):
                bar.update(len(wanted))
                shards.append(wanted)
                continue
            unreadable = write_shard(path, members, bar.update)
            skipped |= {names[wanted[position]]: cause for position, cause in unreadable.items()}
            shards.append([index for position, index in enumerate(wanted) if position not in unreadable])
    manifest = replace(manifest, shards=shards, skipped=skipped)
    manifest.write(output)
    return manifest


def check_output(output, manifest):
    """Raises DatasetError if a folder holds shards other than an earlier part of those that a `Manifest` describes."""
    if not holds_shards(output):
        return
    try:
        earlier = read_manifest(output, complete=False)
    except DatasetError as error:
        raise DatasetError(f"{output} holds shards that cannot be continued; give another folder ({error})") from error
    if replace(earlier, shards=None, skipped={}) != manifest:
        raise DatasetError(f"{output} holds shards of other photos or of another size; give another folder")


def write_shard(path, photos, progress):
    """Writes a shard of photos by their paths, whole or not at all. Calls `progress` after each photo.

    Returns {position: cause} of the photos that could not be read. Raises OSError where the shard cannot be written.
    """
    unreadable = {}
    with replacing(path) as temporary:
        writer = ArrayRecordWriter(os.fsencode(temporary), WRITER_OPTIONS)
        try:
            for position, photo in enumerate(photos):
                try:
                    content = photo.read_bytes()
                except OSError as error:
                    unreadable[position] = describe_error(error)
                else:
                    writer.write(content)
                progress()
            writer.close()
        except RuntimeError as error:
            raise OSError(f"{path.parent}: a shard cannot be written: {error}") from error
    return unreadable


def changed_since(photo, path):
    """Whether a photo was written, put in another one's place, or removed after a shard was packed."""
    try:
        status = photo.stat()
    except OSError:
        return True  # Packed again, it is named as unreadable.
    return max(status.st_mtime_ns, status.st_ctime_ns) > path.stat().st_mtime_ns


def count_records(path):
    """Reads all of a shard. Returns how many records it has; None if it is missing or damaged."""
    reader = ArrayRecordReader(os.fsencode(path))
    try:
        count = reader.num_records()
        for start in range(0, count, CHECKED_AT_A_TIME):
            reader.read(range(start, min(start + CHECKED_AT_A_TIME, count)))
        reader.close()  # Raises for a file that could not be opened.
    except RuntimeError:
        return None
    return count


def verify(folder):
    """Reads all of a folder of shards.

    Returns its `Manifest`, and a sentence for each missing or damaged shard. Raises DatasetError, as `read_manifest`
    does.
    """
    manifest = read_manifest(folder)
    paths = shard_paths(folder, len(manifest.shards))
    failures = []
    for path, members in zip(tqdm(paths, unit=" shards", leave=False, disable=None), manifest.shards, strict=True):
        if count_records(path) != len(members):
            state = "damaged" if path.exists() else "does not exist"
            failures.append(f"{path}: {state}; copy or pack the shards again")
    return manifest, failures


@dataclass(frozen=True)
class Options:
    """Packs a folder of photos into ArrayRecord shards, or checks such shards."""

    folder: tyro.conf.Positional[Path]  # Folder of photos, searched recursively. With --verify: folder of shards.
    output: Annotated[IfGiven[OutputFolder], tyro.conf.arg(aliases=["-o"])] = None  # Folder for the shards.
    photos_per_shard: Count = 1024  # Photos a shard, at most.
    verify: bool = False  # Check every shard instead, and name the damaged ones.


def main():
    options = parse(Options, "-m data.shards")
    if options.verify:
        if options != Options(options.folder, verify=True):
            raise OptionError("--verify: no other option has an effect with it; leave it out")
        manifest, failures = verify(options.folder)
        finish(f"{len(manifest.shards) - len(failures)} of {len(manifest.shards)} shards are whole", failures)
    if options.output is None:
        raise OptionError("give a folder for the shards: -o DIR")
    manifest = pack(options.folder, options.output, options.photos_per_shard)
    packed = sum(map(len, manifest.shards))
    shards = counted(len(manifest.shards), "shard")
    summary = f"{packed} of {len(manifest.names)} photos packed into {shards}, in {options.output}"
    finish(summary, [f"{options.folder / name}: {cause}" for name, cause in manifest.skipped.items()])


if __name__ == "__main__":
    run(main, interrupted="interrupted; the shards so far are whole, and the same command continues")
