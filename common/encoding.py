"""Encoders: a photo as the content of a file, with as much of it as the format holds."""

import io
from dataclasses import replace

import cv2
import numpy as np
import tifffile

from common.metadata import embed, encodable
from common.profiles import reduce_bits

# Other suffixes of a format.
ALIASES = {".dib": ".bmp", ".jfif": ".jpg", ".jpe": ".jpg", ".jpeg": ".jpg", ".pnm": ".ppm", ".tiff": ".tif"}
WRITTEN = frozenset({".avif", ".bmp", ".jp2", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".webp"})
# Bits of a channel where a format holds more than 8.
DEPTHS = {".avif": 12, ".jp2": 16, ".pgm": 16, ".png": 16, ".ppm": 16, ".tif": 16}
TRANSPARENT = frozenset({".avif", ".png", ".tif", ".webp"})
# Formats that are told their profile by OpenCV. Profiles of sRGB have some hundred to some thousand bytes.
PROFILED = frozenset({".avif", ".jpg", ".png", ".webp"})
LARGEST_PROFILE = 60_000
# The longest side in pixels that common decoders read.
LONGEST = {
    ".avif": 32_768,
    ".bmp": 65_535,
    ".jpg": 65_500,
    ".pgm": 65_535,
    ".png": 1_000_000,
    ".ppm": 65_535,
    ".webp": 16_383,
}
QUALITIES = {
    ".avif": cv2.IMWRITE_AVIF_QUALITY,
    ".jpg": cv2.IMWRITE_JPEG_QUALITY,
    ".webp": cv2.IMWRITE_WEBP_QUALITY,
}


class CannotEncode(Exception):
    """A photo that cannot be written in a format; the message says why, without the photo's name."""


def check_size(suffix, width, height):
    """Raises CannotEncode if a format is unknown, or does not hold a photo of this size."""
    format_ = ALIASES.get(suffix, suffix)
    if format_ not in WRITTEN:
        raise CannotEncode(f"'{suffix}' is no format that is written; use .jpg, .png, .webp or .tif")
    if max(width, height) > LONGEST.get(format_, np.inf):
        raise CannotEncode(
            f"{width} x {height} pixels are too many for {suffix}, at most {LONGEST[format_]} a side; use .png or .tif"
        )


def encode(photo, suffix, quality):
    """Encodes a photo.

    Args:
        photo: An images.Photo.
        suffix: Of the format, like ".jpg".
        quality: 1..100, for JPEG, WebP and AVIF.

    Returns:
        (content, losses): bytes, and what the format does not hold, as words.

    Raises:
        CannotEncode: The format is unknown, too small, or its encoder fails.
    """
    height, width = photo.pixels.shape[:2]
    check_size(suffix, width, height)
    format_ = ALIASES.get(suffix, suffix)
    photo, bits, losses = _reduce(photo, format_, suffix)
    icc = photo.icc if photo.pixels.ndim == 3 and len(photo.icc or b"") < LARGEST_PROFILE else None
    pixels = photo.pixels if photo.alpha is None else _with_alpha(photo.pixels, photo.alpha)
    pixels = np.repeat(pixels[..., None], 3, axis=-1) if pixels.ndim == 2 and format_ == ".ppm" else pixels
    try:
        if format_ == ".tif":
            content, more = _encode_tiff(pixels, photo, icc), []
        else:
            content, more = _encode(pixels, photo, icc, format_, bits, quality)
        if format_ != ".avif":
            content, more = embed(content, format_, photo.metadata, width, height)
    except (cv2.error, ValueError, RuntimeError) as error:
        raise CannotEncode(f"cannot be written as '{suffix}'; use .jpg, .png, .webp or .tif") from error
    return content, [*losses, *more]


def _reduce(photo, format_, suffix):
    """(photo, bits, losses): the part of a photo that a format holds, as many bits, and what is lost, as words."""
    losses = []
    bits = 8 * photo.pixels.itemsize
    if bits > DEPTHS.get(format_, 8):
        bits = DEPTHS.get(format_, 8)
        pixels, alpha = (
            None if values is None else reduce_bits(values, bits) for values in (photo.pixels, photo.alpha)
        )
        photo = replace(photo, pixels=pixels, alpha=alpha)
        if photo.bits > bits:
            losses.append(f"{photo.bits} bits reduced to {bits}, since {suffix} holds no more")
    if photo.alpha is not None and format_ not in TRANSPARENT:
        photo = replace(photo, alpha=None)
        losses.append(f"transparency dropped, since {suffix} holds none")
    return photo, bits, losses


def _with_alpha(pixels, alpha):
    """[height, width, 4]: three equal channels for gray, since not all formats know gray with transparency."""
    color = np.broadcast_to(np.atleast_3d(pixels), (*alpha.shape, 3))
    return np.concatenate([color, alpha[..., None]], axis=-1)


def _encode(pixels, photo, icc, format_, bits, quality):
    """(content, losses) by OpenCV, which takes blue first and alpha last."""
    height, width = pixels.shape[:2]
    if pixels.ndim == 3:
        pixels = pixels[..., [2, 1, 0, 3]] if pixels.shape[2] == 4 else pixels[..., ::-1]
    metadata, losses = encodable(photo.metadata, width, height) if format_ == ".avif" else ({}, [])
    if icc and format_ in PROFILED:
        metadata[cv2.IMAGE_METADATA_ICCP] = np.frombuffer(icc, np.uint8)
    options = [QUALITIES[format_], quality] if format_ in QUALITIES else []
    options += [cv2.IMWRITE_AVIF_DEPTH, bits] if format_ == ".avif" and bits > 8 else []
    done, content = cv2.imencodeWithMetadata(
        format_, np.ascontiguousarray(pixels), list(metadata), list(metadata.values()), options
    )
    if not done:
        raise ValueError("the encoder failed")
    return content.tobytes(), losses


def _encode_tiff(pixels, photo, icc):
    options = {"extrasamples": ["unassalpha"]} if photo.alpha is not None else {}
    if photo.metadata.resolution:
        options |= {"resolution": photo.metadata.resolution, "resolutionunit": 2}
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        pixels,
        photometric="rgb" if pixels.ndim == 3 else "minisblack",
        compression="zlib",
        metadata=None,
        software="",
        iccprofile=icc,
        **options,
    )
    return file.getvalue()
