"""A photo's file: pixels in 8 or 16 bits, gray or colour, transparency, EXIF and colour profile, read and written."""

import io
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from common.errors import UserError
from common.files import describe_error, write_whole

# Formats that hold no colour, and what is written instead.
COLORLESS = {".gif": ".png", ".pbm": ".ppm", ".pgm": ".ppm"}
SIXTEEN_BITS = frozenset({".jp2", ".png", ".pnm", ".ppm", ".tif", ".tiff"})
TRANSPARENT = frozenset({".avif", ".png", ".tif", ".tiff", ".webp"})
TIFF = frozenset({".tif", ".tiff"})
TIFF_HEADERS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
QUALITY_OPTIONS = {
    ".avif": cv2.IMWRITE_AVIF_QUALITY,
    ".jpe": cv2.IMWRITE_JPEG_QUALITY,
    ".jpeg": cv2.IMWRITE_JPEG_QUALITY,
    ".jpg": cv2.IMWRITE_JPEG_QUALITY,
    ".webp": cv2.IMWRITE_WEBP_QUALITY,
}
ORIENTATION, ICC_PROFILE = 0x0112, 34675
# TIFF tags that say something about the photo and not about its file: description, camera, resolution, date, author.
DESCRIPTIVE_TAGS = (270, 271, 272, 282, 283, 296, 305, 306, 315, 33432)
MAX_MEGAPIXELS = 500
QUALITY = 95
# Suffixes of Pillow's names of formats.
FORMATS = {
    "AVIF": ".avif",
    "BMP": ".bmp",
    "GIF": ".gif",
    "JPEG": ".jpg",
    "JPEG2000": ".jp2",
    "MPO": ".jpg",
    "PNG": ".png",
    "PPM": ".ppm",
    "TIFF": ".tif",
    "WEBP": ".webp",
}
MEDIA_TYPES = {
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".jp2": "image/jp2",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".ppm": "image/x-portable-pixmap",
    ".tif": "image/tiff",
    ".webp": "image/webp",
}
# What Pillow raises for files whose header it cannot read.
HEADER_ERRORS = (OSError, UnidentifiedImageError, ValueError, SyntaxError)


class PhotoError(UserError):
    """A photo that cannot be read or written. `cause` says why; the message names the file as well."""

    def __init__(self, path, cause):
        super().__init__(f"{path}: {cause}")
        self.cause = cause


class TooLarge(PhotoError):
    """A photo of more pixels than the limit."""


@dataclass(frozen=True)
class Photo:
    """A photo, upright.

    Attributes:
        pixels: sRGB, uint8 or uint16, [height, width] or [height, width, 3].
        alpha: Of the same type, [height, width]; None for an opaque photo.
        exif: EXIF data, bytes; None without.
        icc: Colour profile, bytes; None without.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    exif: bytes | None = None
    icc: bytes | None = None


def read_photo(path, max_megapixels=MAX_MEGAPIXELS):
    """Reads the pixels of a photo as sRGB, uint8 [height, width, 3], upright: all that training needs.

    Gray and palette files are expanded, CMYK is converted, transparency is dropped, 16 bits are reduced to 8.

    Raises:
        PhotoError: The file is missing, unreadable, empty, damaged, too large, or not an image.
    """
    data = _checked(path, _read_bytes(path), max_megapixels)
    return _decode(path, lambda: cv2.imdecode(data, cv2.IMREAD_COLOR_RGB))


def reread_photo(path):
    """Reads what `read_photo` has read before, without looking at its header again.

    Returns:
        uint8 [height, width, 3], or None if that fails; `read_photo` says why.
    """
    try:
        return cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR_RGB)
    except (cv2.error, OSError):
        return None


def read(path, max_megapixels=MAX_MEGAPIXELS):
    """Reads all of a photo: a `Photo`. Palettes are expanded and CMYK is converted.

    Raises:
        PhotoError: See `read_photo`; also if the pixels are neither 8 nor 16 bits.
    """
    return load(path, _read_bytes(path), max_megapixels)


def load(name, content, max_megapixels=MAX_MEGAPIXELS):
    """What `read` does for the content of a file, bytes; `name` is for the error's message."""
    data = _checked(name, content, max_megapixels)
    pixels, kinds, chunks = _decode(name, lambda: cv2.imdecodeWithMetadata(data, flags=cv2.IMREAD_UNCHANGED))
    if pixels.dtype not in (np.uint8, np.uint16):
        raise PhotoError(name, f"pixels of type {pixels.dtype}; convert it to 8 or 16 bits")
    found = {kind: chunk.tobytes() for kind, chunk in zip(kinds, chunks, strict=True)}
    exif, icc = found.get(cv2.IMAGE_METADATA_EXIF), found.get(cv2.IMAGE_METADATA_ICCP)
    if data[:4].tobytes() in TIFF_HEADERS:
        exif, icc = _tiff_metadata(data)
        if pixels.dtype == np.uint8 and pixels.shape[2:] == (4,):
            # OpenCV gives colours multiplied by their alpha here.
            pixels = _decode(name, lambda: _read_with_pillow(data))[..., [2, 1, 0, 3]]
    exif, orientation = _upright(exif)
    pixels = _turn(pixels, orientation)
    alpha = None
    if pixels.ndim == 3:
        alpha = pixels[..., 3] if pixels.shape[-1] == 4 else None
        pixels = pixels[..., 2::-1]
    return Photo(pixels, alpha, exif, icc)


def megapixels(file):
    """Size of a photo by the header of its file, a path or a binary file; 0 where it cannot be told."""
    try:
        with _header(file) as image:
            return image.width * image.height / 1e6
    except HEADER_ERRORS:
        return 0.0


def suffix_of(content):
    """The suffix, like ".png", of the format that a file's content has; None where it cannot be told."""
    try:
        with _header(io.BytesIO(content)) as image:
            return FORMATS.get(image.format)
    except HEADER_ERRORS:
        return None


def write_photo(path, pixels):
    """Writes pixels, see `Photo`, in the format that the name asks for. Raises PhotoError, as `write` does."""
    write(path, Photo(pixels))


def write(path, photo, quality=QUALITY):
    """Writes a photo in the format that the name asks for, with as much of it as the format holds.

    The file appears whole or not at all, and its folder is made if need be.

    Args:
        path: Where to.
        photo: A `Photo`.
        quality: 1..100, for JPEG, WebP and AVIF.

    Returns:
        What the format could not hold, as a sentence each.

    Raises:
        PhotoError: The format is unknown, or the disk or its rights do not allow it.
    """
    path = Path(path)
    content, losses = dump(path, photo, path.suffix.lower(), quality)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        raise PhotoError(path, f"cannot be written: {describe_error(error)}") from error
    return losses


def dump(name, photo, suffix, quality=QUALITY):
    """What `write` writes. Returns (content, losses): bytes, and a sentence for each loss."""
    photo, losses = _reduce(photo, suffix)
    try:
        content = _encode_tiff(photo) if suffix in TIFF else _encode(photo, suffix, quality)
    except (cv2.error, ValueError) as error:
        raise PhotoError(name, f"cannot be written as '{suffix}'; use .jpg, .png, .webp or .tif") from error
    return content, [f"{name}: {loss}" for loss in losses]


def _read_bytes(path):
    try:
        return (path if hasattr(path, "read_bytes") else Path(path)).read_bytes()
    except OSError as error:
        raise PhotoError(path, describe_error(error)) from error


def _checked(name, content, max_megapixels):
    """A file's content as uint8 [size], unless it is empty or its header says that it is too large to decode."""
    if not content:
        raise PhotoError(name, "the file is empty")
    size = megapixels(io.BytesIO(content))
    if size > max_megapixels:
        raise TooLarge(name, f"{size:.3g} megapixels; the limit is {max_megapixels:g} (--max-megapixels)")
    return np.frombuffer(content, np.uint8)


def _decode(name, function):
    """What a decoder gives, or a `PhotoError` for what it cannot decode."""
    try:
        decoded = function()
    except (cv2.error, OSError) as error:
        raise PhotoError(name, f"cannot be decoded ({getattr(error, 'err', '') or error})") from error
    if decoded is None or decoded[0] is None:
        raise PhotoError(name, "not an image in a format that can be read, or a damaged one")
    return decoded


def _header(file):
    # The limits are ours, see `read_file`: Pillow only reads the header here.
    Image.MAX_IMAGE_PIXELS = None
    return Image.open(file)


def _read_with_pillow(data):
    with _header(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGBA"))


def _tiff_metadata(data):
    """(EXIF, colour profile) of a TIFF file, which OpenCV does not give; EXIF of its descriptive tags."""
    try:
        with _header(io.BytesIO(data)) as image:
            tags, icc = image.getexif(), image.info.get("icc_profile")
    except HEADER_ERRORS:
        return None, None
    exif = Image.Exif()
    exif.update({tag: tags[tag] for tag in DESCRIPTIVE_TAGS if tag in tags})
    return exif.tobytes() if len(exif) else None, icc


def _load_exif(data):
    """EXIF data as Pillow's mapping of tags; empty where it is damaged."""
    exif = Image.Exif()
    try:
        exif.load(data)
    except Exception:  # Pillow raises whatever damaged data leads it to; a photo is worth more than its EXIF.
        return Image.Exif()
    return exif


def _upright(data):
    """(EXIF for the upright photo, its orientation before: 1..8)."""
    if data is None:
        return None, 1
    exif = _load_exif(data)
    orientation = exif.get(ORIENTATION, 1)
    if orientation == 1:
        return data, 1
    exif[ORIENTATION] = 1
    return exif.tobytes(), orientation


def _turn(pixels, orientation):
    """Pixels turned upright from an EXIF orientation; unknown ones are left alone."""
    if orientation in (5, 6, 7, 8):
        pixels = np.swapaxes(pixels, 0, 1)
    down = {3: -1, 4: -1, 7: -1, 8: -1}.get(orientation, 1)
    right = {2: -1, 3: -1, 6: -1, 7: -1}.get(orientation, 1)
    return pixels[::down, ::right]


def _reduce(photo, suffix):
    """The part of a photo that a format holds, and what is lost, as words."""
    losses = []
    if photo.pixels.dtype == np.uint16 and suffix not in SIXTEEN_BITS:
        eight = [None if values is None else _eight_bits(values) for values in (photo.pixels, photo.alpha)]
        photo = replace(photo, pixels=eight[0], alpha=eight[1])
        losses.append(f"16 bits reduced to 8, since {suffix} holds no more")
    if photo.alpha is not None and suffix not in TRANSPARENT:
        photo = replace(photo, alpha=None)
        losses.append(f"transparency dropped, since {suffix} holds none")
    if photo.icc is not None and photo.pixels.ndim == 3 and photo.icc[16:20] != b"RGB ":
        # The profile of a gray or CMYK file says nothing about RGB values.
        photo = replace(photo, icc=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    return photo, losses


def _eight_bits(values):
    return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _encode(photo, suffix, quality):
    pixels = photo.pixels if photo.pixels.ndim == 2 else photo.pixels[..., ::-1]
    if photo.alpha is not None:
        pixels = _with_alpha(pixels, photo.alpha)
    metadata = {cv2.IMAGE_METADATA_EXIF: photo.exif, cv2.IMAGE_METADATA_ICCP: photo.icc}
    metadata = {kind: np.frombuffer(data, np.uint8) for kind, data in metadata.items() if data}
    options = [QUALITY_OPTIONS[suffix], quality] if suffix in QUALITY_OPTIONS else []
    return cv2.imencodeWithMetadata(
        suffix, np.ascontiguousarray(pixels), list(metadata), list(metadata.values()), options
    )[1].data


def _with_alpha(pixels, alpha):
    """[height, width, 4]: three equal channels for gray, since not all formats know gray with transparency."""
    color = np.broadcast_to(np.atleast_3d(pixels), (*alpha.shape, 3))
    return np.concatenate([color, alpha[..., None]], axis=-1)


def _encode_tiff(photo):
    exif = _load_exif(photo.exif) if photo.exif else {}
    pixels = photo.pixels
    if photo.alpha is not None:
        pixels = _with_alpha(pixels, photo.alpha)
    options = {"extrasamples": ["unassalpha"]} if photo.alpha is not None else {}
    strings = [(tag, 2, None, str(exif[tag]), True) for tag in (270, 271, 272, 306, 315, 33432) if tag in exif]
    profile = [(ICC_PROFILE, 7, len(photo.icc), photo.icc, True)] if photo.icc else []
    if 282 in exif and 283 in exif:
        options |= {"resolution": (float(exif[282]), float(exif[283])), "resolutionunit": exif.get(296, 2)}
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        pixels,
        photometric="rgb" if pixels.ndim == 3 else "minisblack",
        compression="zlib",
        metadata=None,
        software="",
        extratags=strings + profile,
        **options,
    )
    return file.getbuffer()
