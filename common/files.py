"""Files: which of them are photos and films, and writing them whole or not at all."""

import contextlib
import os
import tempfile
from pathlib import Path

# Photos that are read; of camera RAW there are more kinds than these.
RAW_SUFFIXES = frozenset(".arw .cr2 .cr3 .dng .nef .orf .pef .raf .rw2 .srw".split())
PHOTO_SUFFIXES = RAW_SUFFIXES | frozenset(
    ".avif .bmp .dib .gif .heic .heif .hif .j2k .jfif .jp2 .jpe .jpeg .jpg .jxl .pbm .pgm .png .pnm .ppm "
    ".tif .tiff .webp".split()
)
# Formats that hold no colour, others that are read but not written, and what is written instead.
COLORLESS = {".gif": ".png", ".pbm": ".ppm", ".pgm": ".ppm"}
READ_ONLY = {
    **{".j2k": ".jp2", ".jxl": ".png"},
    **dict.fromkeys([".heic", ".heif", ".hif"], ".jpg"),
    **dict.fromkeys(RAW_SUFFIXES | {".raw"}, ".tif"),
}
REPLACED = COLORLESS | READ_ONLY
# What FFmpeg reads, and the containers that it cannot write so that players know times and colours, with the one that
# is written instead.
FILM_SUFFIXES = frozenset(".avi .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .webm .wmv".split())
REWRAPPED = {".avi": ".mp4", ".mpeg": ".mp4", ".mpg": ".mp4", ".ogv": ".mp4", ".wmv": ".mp4"}


def is_photo(path):
    """Whether the name looks like that of a photo, hidden files excepted."""
    return path.suffix.lower() in PHOTO_SUFFIXES and not path.name.startswith(".")


def is_film(path):
    """Whether the name looks like that of a film, hidden files excepted."""
    return path.suffix.lower() in FILM_SUFFIXES and not path.name.startswith(".")


def describe_error(error):
    """What an OSError has to say, without its number and path."""
    return (error.strerror or str(error)).lower()


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
