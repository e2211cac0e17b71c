"""Files: which of them are photos and films, and writing them whole or not at all."""

import contextlib
import csv
import errno
import functools
import io
import json
import os
import secrets
import stat
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError

try:
    import fcntl
except ImportError:  # Windows has no such locks.
    fcntl = None

# Photos that are read; of camera RAW there are more kinds than these.
RAW_SUFFIXES = frozenset(".arw .cr2 .cr3 .dng .nef .orf .pef .raf .rw2 .srw".split())
PHOTO_SUFFIXES = RAW_SUFFIXES | frozenset(
    ".avif .bmp .dib .gif .heic .heif .hif .j2k .jfif .jp2 .jpe .jpeg .jpg .jps .jxl .mpo .pbm .pgm .png .pnm .ppm "
    ".tif .tiff .webp".split()
)
# What the name of a photo or film's file of hints ends with, in place of its own suffix.
HINTS_SUFFIX = ".hints.json"
# Formats that hold no colour, others that are read but not written, and what is written instead.
COLORLESS = {".gif": ".png", ".pbm": ".ppm", ".pgm": ".ppm"}
READ_ONLY = {
    **{".j2k": ".jp2", ".jxl": ".png"},
    **dict.fromkeys([".heic", ".heif", ".hif", ".jps", ".mpo"], ".jpg"),
    **dict.fromkeys(RAW_SUFFIXES | {".raw"}, ".tif"),
}
REPLACED = COLORLESS | READ_ONLY
# Films that FFmpeg reads. In some containers, players would not find the times and colours that FFmpeg writes; another
# one is written instead.
FILM_SUFFIXES = frozenset(
    ".3gp .avi .dv .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .ogv .ts .vob .webm .wmv".split()
)
REWRAPPED = dict.fromkeys(".avi .flv .mpeg .mpg .ogv .vob .wmv".split(), ".mp4") | {".dv": ".mov", ".mxf": ".mov"}

# Other formats of photos and films, which are not read: files of these kinds in a folder are counted.
OTHER_MEDIA = frozenset(
    ".264 .265 .3fr .3g2 .ai .apng .asf .avifs .crw .dcr .divx .djvu .eps .erf .exr .f4v .fff .h264 .h265 .hdr .heics "
    ".heifs .hevc .ico .iiq .ivf .j2c .jpc .jpf .jpx .jxr .kdc .m1v .m2v .mef .mjpeg .mos .mrw .nrw .nut "
    ".ogm .pam .pct .pcx .pdf .pfm .pict .psb .psd .qt .raw .rm .rmvb .rwl .sr2 .srf .svg .swf .tga .tod .wdp .wtv "
    ".x3f .xcf .y4m".split()
)
MEDIA = PHOTO_SUFFIXES | FILM_SUFFIXES | OTHER_MEDIA
# What the names of temporary files begin with, and after how many seconds no process writes to one any more.
UNFINISHED, ABANDONED = ".unfinished-", 86_400
# Folders of thumbnails and of deleted files, as network disks and systems make them; hidden ones have a dot.
SYSTEM_FOLDERS = frozenset(
    "@eadir, @recently-snapshot, @recycle, #recycle, #snapshot, $recycle.bin, __macosx, lost+found, "
    "network trash folder, recycled, recycler, system volume information, trash".split(", ")
)


@dataclass(frozen=True)
class Listing:
    """What a folder holds."""

    files: list  # Paths of the files that were wanted, sorted.
    # {kind: count} of what was passed over: photos, films, and other things with such names. A kind is a suffix, or
    # words that take an "s".
    passed_over: Counter
    failures: list  # A sentence for each folder or wanted file that may not be read.


def list_files(folder, wanted):
    """The `Listing` of a folder, a Path, and its sub-folders, without hidden ones and those of `SYSTEM_FOLDERS`.

    Links to files count as files; links to folders are not followed, since they could lead in circles. `wanted` says of
    a Path, by its name, whether it is wanted.
    """
    listing = Listing([], Counter(), [])

    def fail(error):
        listing.failures.append(f"{Path(error.filename)}: {describe_error(error)}")

    for place, folders, names in os.walk(folder, onerror=fail):
        folders[:] = filter(is_shown, folders)  # It enters these, apart from links.
        for name in folders:
            if Path(place, name).is_symlink():
                listing.passed_over["linked folder"] += 1
        for path in (Path(place, name) for name in names if is_shown(name)):
            if wanted(path):
                _add_wanted(path, listing)
            elif path.suffix.lower() in MEDIA:
                listing.passed_over[path.suffix.lower()] += 1
    listing.files.sort()
    return listing


def is_shown(name):
    """Whether the name of a file or folder is neither that of a hidden one nor one of `SYSTEM_FOLDERS`."""
    return not name.startswith(".") and name.casefold() not in SYSTEM_FOLDERS


def _add_wanted(path, listing):
    """Adds a path that has the name of a wanted file to a `Listing`, as what it is."""
    try:
        if stat.S_ISREG(path.stat().st_mode):
            listing.files.append(path)
        else:
            listing.passed_over["special file"] += 1
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            listing.passed_over["broken link"] += 1
        else:
            listing.failures.append(f"{path}: {describe_error(error)}")


def is_regular(path):
    """Whether a path, or what it links to, is a regular file: not missing, a folder, a pipe or a device."""
    return os.path.isfile(path)  # noqa: PTH113  Path.is_file raises for some links.


def describe_passed_over(kinds):
    """One line about what was passed over, see `Listing`: "12 passed over: 10 .psd, 2 .x3f"."""
    words = [
        f"{count} {kind}{'s' if count > 1 and not kind.startswith('.') else ''}" for kind, count in kinds.most_common()
    ]
    return f"{kinds.total()} passed over: {', '.join(words)}"


def is_photo(path):
    """Whether the name looks like that of a photo, hidden files excepted."""
    return path.suffix.lower() in PHOTO_SUFFIXES and not path.name.startswith(".")


def is_film(path):
    """Whether the name looks like that of a film, hidden files excepted."""
    return path.suffix.lower() in FILM_SUFFIXES and not path.name.startswith(".")


def describe_error(error):
    """What an OSError has to say, without its number and path."""
    if isinstance(error, FileExistsError):  # Only making a folder raises it.
        return "a file or a broken link has the name of its folder"
    if error.errno == errno.ENOENT and error.filename is None:  # Making a path absolute asks for this directory.
        return "the working directory is gone; change to another one"
    return (error.strerror or str(error)).lower()


def write_whole(path, data):
    """Writes bytes so that the file holds all of them or, after a failure, what it held before. Raises OSError."""
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        error.filename = str(path)  # Not that of the temporary file, or none where the disk is full.
        raise


def write_json(path, value):
    """Writes a JSON value, indented, as `write_whole` does. Raises OSError."""
    write_whole(path, f"{json.dumps(value, indent=2)}\n".encode())


def write_csv(path, rows):
    """Writes a table, of which the first row is the header, as `write_whole` does. Raises OSError."""
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows(rows)
    write_whole(path, table.getvalue().encode(errors="backslashreplace"))


@functools.cache
def _remove_unfinished(folder):
    """Removes temporary files that processes left in a folder when they were killed, once a process."""
    for path in folder.glob(f"{UNFINISHED}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink()


@contextlib.contextmanager
def replacing(path):
    """Gives a temporary path beside `path`, which replaces `path` in one step at the end unless there was an error."""
    path = Path(path)
    # Some writers choose the format by both suffixes, as in .weights.h5; a name full of dots would become too long.
    suffixes = "".join(path.suffixes[-2:])
    suffix = suffixes if len(suffixes) <= 32 else path.suffix
    _remove_unfinished(path.parent)
    temporary = path.with_name(f"{UNFINISHED}{secrets.token_hex(8)}{suffix}")
    temporary.touch(exist_ok=False)  # With the rights of any new file, which the result keeps.
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def lock_folder(folder):
    """A context that only one process of this machine at a time enters for a folder.

    Raises UserError where another one is in it, and OSError where the folder cannot be opened.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            cause = "another run writes there; wait for its end, or choose another folder"
            raise UserError(f"{folder}: {cause}") from error
        except OSError:
            pass  # Some network disks have no locks.
        yield
    finally:
        os.close(handle)
