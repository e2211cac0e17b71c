"""Encoders: a photo as the content of a file."""

import io
import math
import struct
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import imagecodecs
import numpy as np
import tifffile

from common.errors import PhotoError
from common.metadata import embed, encodable
from common.png import insert_chunk
from common.samples import as_color, rescale


class Format(NamedTuple):
    """What a format holds."""

    longest: float = math.inf  # The longest side in pixels that common decoders read.
    bits: int = 8  # Of a channel, at most.
    alpha: bool = False  # Whether it holds transparency.
    profile: bool = False  # Whether OpenCV writes a colour profile into it.
    quality: int | None = None  # OpenCV's option for it.


FORMATS = {
    ".avif": Format(32_768, 12, alpha=True, profile=True, quality=cv2.IMWRITE_AVIF_QUALITY),
    ".bmp": Format(65_535),
    ".jp2": Format(bits=16, alpha=True),
    ".jpg": Format(65_500, profile=True, quality=cv2.IMWRITE_JPEG_QUALITY),
    ".pgm": Format(65_535, 16),
    ".png": Format(1_000_000, 16, alpha=True, profile=True),
    ".ppm": Format(65_535, 16),
    ".tif": Format(bits=16, alpha=True),
    ".webp": Format(16_383, alpha=True, profile=True, quality=cv2.IMWRITE_WEBP_QUALITY),
}
# Other suffixes.
ALIASES = {".dib": ".bmp", ".jfif": ".jpg", ".jpe": ".jpg", ".jpeg": ".jpg", ".pnm": ".ppm", ".tiff": ".tif"}
# Bytes. Profiles of sRGB have some hundred to some thousand.
LARGEST_PROFILE = 60_000
QUALITY = 95


def has_quality(suffix):
    """Whether the format of a suffix, like ".jpg", takes a quality; False for other files, such as films."""
    return FORMATS.get(ALIASES.get(suffix, suffix), Format()).quality is not None


def check_size(path, width, height, suffix=None):
    """Raises PhotoError if a format, that of the path unless there is a suffix, is unknown or too small for a photo."""
    suffix = suffix or Path(path).suffix.lower()
    format_ = FORMATS.get(ALIASES.get(suffix, suffix))
    if format_ is None:
        raise PhotoError(path, f"'{suffix}' is no format that is written; use .jpg, .png, .webp or .tif")
    if max(width, height) > format_.longest:
        limit = f"at most {format_.longest} a side; use .png or .tif"
        raise PhotoError(path, f"{width} x {height} pixels are too many for {suffix}, {limit}")


def encode(name, photo, suffix, quality=QUALITY):
    """Encodes an `images.Photo` in the format of a suffix, like ".jpg", with as much of it as the format holds.

    Args:
        quality: 1..100, for JPEG, WebP and AVIF.

    Returns:
        (content, losses): bytes; what was left out when the photo was read, and what the format does not hold, a
        sentence each, which begins with `name`.

    Raises:
        PhotoError: The format is unknown, too small, or its encoder fails.
    """
    height, width = photo.pixels.shape[:2]
    check_size(name, width, height, suffix)
    format_ = ALIASES.get(suffix, suffix)
    photo, losses = _reduce(photo, FORMATS[format_], suffix)
    try:
        if format_ == ".avif":  # Which exiv2 does not write.
            metadata, more = encodable(photo.metadata, suffix, width, height)
            content = _encode(photo, format_, quality, metadata)
        else:
            content = _with_resolution(_encode(photo, format_, quality, {}), format_, photo.metadata.resolution)
            content, more = embed(content, format_, photo.metadata, width, height)
    except (cv2.error, ValueError, RuntimeError) as error:
        raise PhotoError(name, f"cannot be written as '{suffix}'; use .jpg, .png, .webp or .tif") from error
    return content, [f"{name}: {loss}" for loss in (*photo.notes, *losses, *more)]


def _reduce(photo, format_, suffix):
    """(photo, losses): the part of a photo that a format holds, and what is lost, as words."""
    losses = []
    if 8 * photo.pixels.itemsize > format_.bits:
        top = (1 << format_.bits) - 1
        alpha = None if photo.alpha is None else rescale(photo.alpha, 65535, top)
        photo = replace(photo, pixels=rescale(photo.pixels, 65535, top), alpha=alpha)
        if photo.bits > format_.bits:
            losses.append(f"{photo.bits} bits reduced to {format_.bits}, since {suffix} holds no more")
    if photo.alpha is not None and not format_.alpha:
        photo = replace(photo, alpha=None)
        losses.append(f"transparency dropped, since {suffix} holds none")
    return photo, losses


def _encode(photo, format_, quality, metadata):
    """The content of a file that holds a photo; metadata are {OpenCV's kind: bytes}."""
    pixels = photo.pixels
    icc = photo.icc if pixels.ndim == 3 and len(photo.icc or b"") < LARGEST_PROFILE else None
    if photo.alpha is not None:  # Not all formats know gray with transparency.
        pixels = np.concatenate([as_color(pixels), photo.alpha[..., None]], axis=-1)
    if format_ == ".tif":
        return _encode_tiff(pixels, icc, photo.metadata.resolution)
    if format_ == ".jp2":  # OpenCV writes neither alpha nor small photos.
        content = imagecodecs.jpeg2k_encode(np.ascontiguousarray(pixels), level=0, codecformat="jp2")
        return content if photo.alpha is None else _with_named_alpha(content)
    if format_ == ".ppm":
        pixels = as_color(pixels)
    if pixels.ndim == 3:  # OpenCV takes blue first and alpha last.
        pixels = pixels[..., [2, 1, 0, 3]] if pixels.shape[2] == 4 else pixels[..., ::-1]
    if icc and FORMATS[format_].profile:
        metadata = metadata | {cv2.IMAGE_METADATA_ICCP: np.frombuffer(icc, np.uint8)}
    options = [FORMATS[format_].quality, quality] if FORMATS[format_].quality else []
    options += [cv2.IMWRITE_AVIF_DEPTH, 12] if format_ == ".avif" and pixels.dtype == np.uint16 else []
    pixels = np.ascontiguousarray(pixels)
    done, content = cv2.imencodeWithMetadata(format_, pixels, [*metadata], [*metadata.values()], options)
    if not done:
        raise ValueError("the encoder failed")
    return content.tobytes()


def _with_resolution(content, suffix, resolution):
    """A file's content with the resolution in its header, where the format has a place for it."""
    if resolution is None:
        return content
    per_meter = [round(value / 0.0254) for value in resolution]
    if suffix == ".jpg":
        return content[:13] + struct.pack(">BHH", 1, *map(round, resolution)) + content[18:]
    if suffix == ".png":
        return insert_chunk(content, b"pHYs", struct.pack(">IIB", *per_meter, 1))
    if suffix == ".bmp":
        return content[:38] + struct.pack("<II", *per_meter) + content[46:]
    return content


def _with_named_alpha(content):
    """The content of a JPEG 2000 file of four channels, with a box that says that the last one is alpha."""
    kinds = struct.pack(">I4s13H", 34, b"cdef", 4, *(0, 0, 1), *(1, 0, 2), *(2, 0, 3), *(3, 1, 0))
    start = content.index(b"jp2h") - 4
    size = int.from_bytes(content[start : start + 4])
    header = struct.pack(">I", size + len(kinds)) + content[start + 4 : start + size] + kinds
    return content[:start] + header + content[start + size :]


def _encode_tiff(pixels, icc, resolution):
    file = io.BytesIO()
    photometric = "rgb" if pixels.ndim == 3 else "minisblack"
    # The size is that of the pixels, in bytes, that threads compress before the results are written.
    options = {"compression": "zlib", "metadata": None, "software": "", "buffersize": 1 << 24}
    tifffile.imwrite(file, pixels, photometric=photometric, iccprofile=icc, resolution=resolution, **options)
    return file.getvalue()
