"""Downloads a data set that has a name in configs.py, through TensorFlow Datasets, into a folder of photos.

    python -m data.fetch faces                    into datasets/faces, a folder a category
    python -m data.fetch places2 --limit 10000    the first 10,000 photos of it
    python train.py --dataset datasets/faces

Only the training photos are taken; train.py splits some off for validation. Files are written byte for byte, each of
them whole, and the same command goes on after an interruption. TensorFlow Datasets keeps its downloads and its own copy
of the photos in ~/tensorflow_datasets, or in the folder of the environment variable TFDS_DATA_DIR; both may be deleted
afterwards. An archive that did not arrive whole is downloaded anew; its part, a folder *.tmp.* in downloads/, may be
deleted.
"""

import contextlib
import io
import logging
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal
from urllib.parse import urlsplit

from common.command_line import counted, end_native_log, parse, prepare_imports, run, say

if __name__ == "__main__":
    prepare_imports()

import tensorflow as tf
import tyro
from tqdm import tqdm

from common.errors import DatasetError, first_line
from common.files import describe_error, write_whole
from common.images import suffix_of
from common.options import Count, IfGiven, OutputFolder
from configs import DATASETS, FETCHED
from data.categories import OUTDOOR_NATURAL

# Peak of the disk space that TensorFlow Datasets takes, in sizes of the download: itself, a shuffled copy, the result.
COPIES = 3


def fetch(name, folder, limit=None, data_dir=None):
    """Downloads a data set by its name in configs.DATASETS, and writes its photos, at most `limit`, into a folder.

    `data_dir` is the folder of TensorFlow Datasets, instead of its default. Returns how many photos of the data set the
    folder holds, and their `tfds.core.DatasetBuilder`. Raises DatasetError where something cannot be downloaded or
    written.
    """
    source = DATASETS[name]
    categories = OUTDOOR_NATURAL if source.natural else None
    builder = import_tfds().builder(source.name, data_dir=data_dir)
    if not builder.is_prepared():
        prepare(builder)
    return write_photos(builder, categories, folder, limit), builder


def import_tfds():
    """The package tensorflow_datasets, without its warnings."""
    import importlib_resources  # noqa: F401  Needed by TensorFlow Datasets, which does not ask for it.
    import tensorflow_datasets

    for name in ("absl", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return tensorflow_datasets


def prepare(builder):
    """Has TensorFlow Datasets download and prepare a data set. Raises DatasetError if that fails."""
    data_dir = Path(builder.data_dir_root)
    gigabytes = sum(info.size for info in builder.url_infos.values()) / 1e9
    hosts = ", ".join(sorted({urlsplit(url).hostname for url in builder.url_infos}))
    place = next(path for path in (data_dir, *data_dir.absolute().parents) if path.is_dir())
    say(
        f"{builder.name}: downloads {gigabytes:.1f} GB from {hosts}, where a refused download is tried again for some "
        f"minutes, and takes about {COPIES * gigabytes:.1f} GB in {data_dir}, "
        f"which has {shutil.disk_usage(place).free / 1e9:.1f} GB left"
    )
    if not sys.stderr.isatty():
        import_tfds().disable_progress_bar()
    try:
        # It prints sizes, which it does not know.
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare()
    except Exception as error:  # Downloads, archives and disks fail in the ways of half a dozen packages.
        archives = ", ".join(sorted(info.filename for info in builder.url_infos.values()))
        raise DatasetError(
            f"{builder.name} cannot be downloaded ({first_line(error)}); start again, whole downloads are kept, or get "
            f"{archives} by other means from {hosts} and put them into {data_dir / 'downloads' / 'manual'}"
        ) from error


def write_photos(builder, categories, folder, limit):
    """Writes the training photos of a prepared data set, at most `limit`, into a sub-folder for each category.

    The `tfds.core.DatasetBuilder` has the features image, label, and filename if there is one; `categories` are the
    names of those to keep, None for all. Returns how many of these photos the folder holds; files that exist are not
    written again. Raises DatasetError where the prepared data set is damaged, or the disk does not allow it.
    """
    tfds = import_tfds()
    label = builder.info.features["label"]
    to_name = getattr(label, "int2str", bytes.decode)  # Labels that are no numbers are names, in bytes.
    photos = builder.as_dataset(
        split="train",
        shuffle_files=False,
        decoders={"image": tfds.decode.SkipDecoding()},
        read_config=tfds.ReadConfig(try_autocache=False),  # Each photo is read once.
    )
    done = 0
    try:
        bar = tqdm(photos.as_numpy_iterator(), total=len(photos), unit=" photos", leave=False, disable=None)
        for number, photo in enumerate(bar):
            category = to_name(photo["label"])
            if categories is not None and category not in categories:
                continue
            write_photo(folder / category.replace("/", "-"), photo, number)
            done += 1
            if done == limit:
                break
    except tf.errors.OpError as error:
        raise DatasetError(f"{builder.data_dir} is damaged ({first_line(error)}); delete it and start again") from error
    except OSError as error:
        cause = describe_error(error)
        raise DatasetError(f"{folder}: photos cannot be written ({cause}); start again to go on") from error
    return done


def write_photo(folder, photo, number):
    """Writes a photo unless its file exists, named as in the data set or else by its number. Raises OSError."""
    content = photo["image"]
    if "filename" in photo:
        path = folder / PurePosixPath(photo["filename"].decode()).name
    else:
        path = folder / f"{number:08}{suffix_of(content) or '.jpg'}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)


@dataclass(frozen=True)
class Options:
    """Downloads a data set that has a name in configs.py into a folder of photos."""

    name: tyro.conf.Positional[Literal[*DATASETS]]  # The data set.
    # Folder for the photos. Default: a folder of that name in FETCHED (configs.py).
    output: Annotated[IfGiven[OutputFolder], tyro.conf.arg(aliases=["-o"])] = None
    limit: IfGiven[Count] = None  # Photos, at most: the first in the order of TensorFlow Datasets, which is shuffled.


def main():
    options = parse(Options, "-m data.fetch", description=f"{Options.__doc__} There are {', '.join(DATASETS)}.")
    folder = options.output or FETCHED / options.name
    photos, builder = fetch(options.name, folder, options.limit)
    print(f"{counted(photos, 'photo')} in {folder}; to train on them: --dataset {folder}")
    print(f"{builder.data_dir} and its downloads are not needed any more")


if __name__ == "__main__":
    try:
        run(main, interrupted="interrupted; the photos so far are whole, and the same command goes on")
    except SystemExit as end:
        if not isinstance(end.code, str):
            raise
        print(end.code, file=sys.stderr, flush=True)
        end_native_log()
        # Python would first wait for the downloads that TensorFlow Datasets still has under way.
        os._exit(1)
