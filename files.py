"""Image files: which there are, reading and writing them, and a run over many of them."""

import contextlib
import os
import tempfile
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from errors import UserError

PHOTO_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def is_photo(path):
    """Whether the name looks like that of a photo, hidden files excepted."""
    return path.suffix.lower() in PHOTO_SUFFIXES and not path.name.startswith(".")


class PhotoError(UserError):
    """A photo that cannot be read or written. `cause` says why; the message names the file as well."""

    def __init__(self, path, cause):
        super().__init__(f"{path}: {cause}")
        self.cause = cause


def read_photo(path):
    """Reads a photo as sRGB, uint8 [height, width, 3], upright.

    Gray and palette files are expanded, CMYK is converted, transparency is dropped, 16 bits are reduced to 8 and the
    EXIF orientation is applied.

    Raises:
        PhotoError: The file is missing, unreadable, empty, damaged, or not an image.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise PhotoError(path, _cause(error)) from error
    if not data:
        raise PhotoError(path, "the file is empty")
    try:
        photo = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise PhotoError(path, f"cannot be decoded ({error.err or error})") from error
    if photo is None:
        raise PhotoError(path, "not an image in a format that can be read, or a damaged one")
    return photo


def write_photo(path, photo):
    """Writes uint8 [height, width] or [height, width, 3] (RGB) in the format that the name asks for.

    The file appears whole or not at all, and its folder is made if need be.

    Raises:
        PhotoError: The format is unknown, or the disk or its rights do not allow it.
    """
    path = Path(path)
    try:
        pixels = photo if photo.ndim == 2 else cv2.cvtColor(photo, cv2.COLOR_RGB2BGR)
        _, data = cv2.imencode(path.suffix, pixels)
    except cv2.error as error:
        raise PhotoError(path, f"cannot be written as '{path.suffix}'; use .jpg, .png, .webp or .tif") from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data.tobytes())
    except OSError as error:
        raise PhotoError(path, f"cannot be written: {_cause(error)}") from error


def write_whole(path, data):
    """Writes bytes so that the file holds all of them or, after a failure, what it held before. Raises OSError."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def replacing(path):
    """Gives a temporary path beside `path`, which replaces `path` in one step at the end unless there was an error."""
    path = Path(path)
    # The suffixes are kept, since some writers choose the format by them.
    handle, name = tempfile.mkstemp(prefix=".", suffix="".join(path.suffixes), dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # Temporary files are private; the result gets the rights of any new file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _cause(error):
    return (error.strerror or str(error)).lower()


def plan_jobs(inputs, output):
    """Decides which photos are read and where each result goes.

    Args:
        inputs: Paths of photos, and of folders to search for photos.
        output: Folder of the results.

    Returns:
        (jobs, failures): a list of (photo, result) in which no result has the path of a photo or of another result,
        and one sentence for each input that is missing or a folder without photos.
    """
    photos, failures = {}, []
    for path in inputs:
        if path.is_dir():
            # Results of an earlier run are not photos, when they lie inside the folder.
            inside = path.resolve() in output.resolve().parents
            found = [
                file
                for file in sorted(path.rglob("*"))
                if is_photo(file) and not (inside and output.resolve() in file.resolve().parents)
            ]
            photos.update({file.resolve(): (file, file.relative_to(path)) for file in found})
            if not found:
                failures.append(f"{path}: a folder without photos ({', '.join(sorted(PHOTO_SUFFIXES))})")
        elif path.exists():
            photos[path.resolve()] = (path, Path(path.name))
        else:
            failures.append(f"{path}: no such file or folder")
    taken, jobs = set(photos), []
    for photo, name in photos.values():
        result, copies = output / name, 1
        while result.resolve() in taken:
            copies += 1
            result = output / name.with_stem(f"{name.stem}-{copies}")
        taken.add(result.resolve())
        jobs.append((photo, result))
    return jobs, failures


def process_files(jobs, work):
    """Reads, works on and writes photos one after the other, with a progress bar; a bad one does not stop the others.

    Args:
        jobs: Pairs of (photo, result) paths.
        work: Function from a photo, uint8 [height, width, 3], to the result; see `write_photo`.

    Returns:
        One sentence for each photo that could not be done.
    """
    failures = []
    for photo_path, result_path in tqdm(jobs, unit=" photos", leave=False, disable=None):
        try:
            write_photo(result_path, work(read_photo(photo_path)))
        except PhotoError as error:
            failures.append(str(error))
    return failures
