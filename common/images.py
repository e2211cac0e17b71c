"""A photo's file, read and written: pixels of 8 or 16 bits, gray or colour, transparency, profile and metadata."""

import contextlib
import re
import struct
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from common import profiles
from common.decoders import CHANNELS, COLORS, HIGH_DYNAMIC_RANGE, CannotDecode, space_of
from common.encoding import QUALITY, encode
from common.errors import PhotoError, TooLarge, describe_missing_package
from common.files import describe_error, write_whole
from common.formats import open_image, suffix_of
from common.metadata import Metadata, read_metadata
from common.samples import as_color, as_samples, rescale, turn_upright

MAX_MEGAPIXELS = 500
# What libraries say of files that are whole, and what it means.
MEANINGS = {
    "Invalid ftyp": "AVIF of an unread kind; convert it to PNG",
    "BMFF parsing failed": "a damaged file, or AVIF of an unread kind or over 268 megapixels; convert it to PNG",
    "Reformat failed": "AVIF of a colour matrix that is not read; convert it to sRGB",
    "OutBufferSize failed": "JPEG XL of CMYK or with further channels, which is not read; convert it to RGB",
}
# Errors of Python libraries that did not expect the damage, and say nothing of it.
STUMBLES = (AttributeError, ArithmeticError, LookupError, TypeError, UnicodeDecodeError, struct.error)
# Words of messages that say as little.
SAYS_NOTHING = re.compile(r"unable to|\b(array|broadcast|reshaped?)\b|\b(self\.|int\(\))")
# Names of objects and temporary files in what libraries say.
TEMPORARY = re.compile(r'( for)?( file)? ("/[^"]*"|<[^>]*>)')


@dataclass(frozen=True)
class Photo:
    """A photo, upright."""

    pixels: np.ndarray  # sRGB, uint8 or uint16, [height, width] or [height, width, 3].
    alpha: np.ndarray | None = None  # Straight, of the same type, [height, width]; None for an opaque photo.
    icc: bytes | None = None  # Profile of sRGB to write; None for none, which means sRGB as well.
    metadata: Metadata = field(default_factory=Metadata)  # What the file said about the photo.
    notes: tuple[str, ...] = ()  # What of the file was left out or converted, as words.
    bits: int = 16  # Of a channel in the file that uint16 pixels come from.


def read(path, max_megapixels=MAX_MEGAPIXELS):
    """Reads all of a photo: a `Photo`, in sRGB whatever the file's colour profile is, and upright.

    Raises PhotoError where the file is missing, unreadable, empty, damaged, too large, or no image that is read.
    """
    return decode(path, _read_bytes(path), max_megapixels)


def decode(name, content, max_megapixels=MAX_MEGAPIXELS):
    """Decodes the content of a file, bytes, as `read` does; `name` is for messages, its suffix for camera RAW."""
    photo, image = _decode(name, content, max_megapixels, ", or raise --max-megapixels")
    metadata, notes = read_metadata(content, suffix_of(content), image.resolution, image.orientation)
    return replace(photo, metadata=metadata, notes=(*photo.notes, *notes))


def read_photo(path):
    """Reads the pixels of a photo as sRGB, uint8 [height, width, 3], upright: all that training needs.

    Gray is expanded, transparency is dropped, 16 bits are reduced to 8. Raises PhotoError, as `read` does.
    """
    pixels = _decode(path, _read_bytes(path))[0].pixels
    return np.ascontiguousarray(as_color(rescale(pixels, np.iinfo(pixels.dtype).max, 255)))


def megapixels(name, content=None):
    """Size of a photo by the header of its file; 0 where it cannot be told. Without `content`, `name` is its path."""
    try:
        with _decoding(name):
            image = open_image(_read_bytes(name) if content is None else content, name)
    except (MemoryError, PhotoError):
        return 0.0
    return image.width * image.height / 1e6


def write_photo(path, pixels):
    """Writes pixels as `write` does a `Photo`. Raises ValueError, too, where they are not the pixels of a photo."""
    write(path, Photo(as_samples(pixels)))


def write(path, photo, quality=QUALITY):
    """Writes a `Photo` as `encode` does. The file appears whole or not at all, and its folder is made if need be.

    Returns what was left out when the photo was read, and what the format cannot hold: a sentence each. Raises
    PhotoError, as `encode` does, or where the disk or its rights do not allow the file.
    """
    content, losses = encode(path, photo, Path(path).suffix.lower(), quality)
    write_content(path, content)
    return losses


def write_content(path, content):
    """Writes the content of a photo's file, bytes, whole or not at all, and makes its folder. Raises PhotoError."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        raise PhotoError(path, f"cannot be written: {describe_error(error)}") from error


@contextlib.contextmanager
def _decoding(name):
    """Turns what libraries say of a file into PhotoErrors with its name."""
    try:
        yield
    except (MemoryError, PhotoError):
        raise
    except ModuleNotFoundError as error:  # Only some formats need it.
        raise PhotoError(name, describe_missing_package(error)) from error
    except Exception as error:  # They raise whatever damaged data leads them to.
        raise PhotoError(name, str(error) if isinstance(error, CannotDecode) else _describe(error)) from error


def _describe(error):
    """What a library says of a file that it does not decode, as words. The file counts as damaged unless they say that
    the library does not support it or its size."""
    said = error.args[0] if error.args else None
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(error)
    # Pillow may hand on the error that a damaged file led to.
    text = "" if isinstance(error, STUMBLES) or isinstance(said, STUMBLES) else TEMPORARY.sub("", text)
    if known := next((meaning for words, meaning in MEANINGS.items() if words in text), None):
        return known
    # imagecodecs may give a few random bytes for a message.
    lines = [line.strip() for line in text.splitlines() if " " in line.strip() and not SAYS_NOTHING.search(line)]
    if unsupported := next((line for line in lines if "upport" in line or "exceeds limit" in line), None):
        return f"cannot be read ({unsupported}); convert it to PNG"
    return f"a damaged file ({lines[0]})" if lines else "a damaged file"


def _read_bytes(path):
    try:
        return (path if hasattr(path, "read_bytes") else Path(path)).read_bytes()
    except OSError as error:
        raise PhotoError(path, describe_error(error)) from error


def _decode(name, content, max_megapixels=MAX_MEGAPIXELS, or_else=""):
    """(photo, image): the `Photo` in a file's content, without metadata, and the `Image` that it was decoded from.

    `or_else` follows the advice to reduce a photo that is too large.
    """
    with _decoding(name):
        image = open_image(content, name)
        size = image.width * image.height / 1e6
        if size > max_megapixels:
            raise TooLarge(name, f"more than {max_megapixels:g} megapixels ({size:.6g}); reduce the photo{or_else}")
        values, icc = image.decode()
        values = np.atleast_3d(turn_upright(values, image.orientation))
        space = image.space or space_of(values)
        count, channels = COLORS[space], values.shape[2]
        if channels < count:
            raise CannotDecode(f"a damaged file ({channels} of {count} channels are there)")
        if profiles.HIGH_DYNAMIC_RANGE.search(icc or b""):
            raise CannotDecode(HIGH_DYNAMIC_RANGE)
    pixels, icc, converted = _convert(values[..., :count], space, icc)
    notes = (*CHANNELS * (channels > count + 1), *image.notes, *converted)
    alpha = values[..., count] if channels > count else None
    if alpha is not None and not alpha.any():
        alpha, notes = None, (*notes, "transparency left out, since nothing of the photo would be seen")
    pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    return Photo(pixels, alpha, icc, notes=notes, bits=image.bits), image


def _convert(values, space, icc):
    """Converts pixels to sRGB: (pixels, the profile to write with them, notes).

    Arguments and pixels as for `profiles.to_srgb`; a damaged profile is left out. Profile and notes as in `Photo`.
    """
    if space == "gray" and icc and icc[16:20] == b"RGB ":
        values, space = values.repeat(3, axis=2), "rgb"
    try:
        pixels = profiles.to_srgb(values, space, icc)
        same = icc is None or profiles.is_srgb(icc, space)
    except profiles.BrokenProfile as error:
        note = f"colour profile left out, since it cannot be used ({error})"
        return profiles.to_srgb(values, space, None), None, (note,)
    if icc is not None and not (same and space == "rgb"):
        icc = profiles.srgb()
    return pixels, icc, () if same else ("converted from its colour profile to sRGB",)
