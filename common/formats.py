"""Formats: which one a file's content has, and what decodes it."""

import logging
import re

from common import decoders
from common.files import RAW_SUFFIXES
from common.jpeg import open_jpeg
from common.jpeg_2000 import open_jpeg_2000
from common.jpeg_xl import open_jpeg_xl
from common.tiff import open_camera_raw, open_tiff

# Formats whose decoders take zeros in place of lost bytes for pixels, and what stands before the pixels.
COMPRESSED = {".avif": b"mdat", ".heic": b"mdat", ".j2k": b"\xff\x93", ".jp2": b"\xff\x93", ".webp": b"VP8"}

# {suffix: (what reads the header, how a file begins)}; ".raw" is camera RAW. In ISO media files (AVIF, HEIC, films) one
# of the brands decides; as files may have several, the order matters.
FORMATS = {
    ".jpg": (open_jpeg, rb"\xff\xd8"),
    ".png": (decoders.open_png, rb"\x89PNG\r\n\x1a\n"),
    ".gif": (decoders.open_gif, rb"GIF8[79]a"),
    ".webp": (decoders.open_webp, rb"RIFF....WEBP"),
    ".avif": (decoders.open_avif, rb"....ftyp(....)*avi[fs]"),
    ".raw": (open_camera_raw, rb"....ftyp(....)*crx |II......CR|IIRO|IIRS|IIU\0|MMOR|FUJIFILMCCD-RAW"),
    ".heic": (decoders.open_heic, rb"....ftyp(....)*(he(ic|ix|im|is|vc|vx)|m[is]f1)"),
    ".tif": (open_tiff, rb"II[*+]\0|MM\0[*+]"),
    ".bmp": (decoders.open_bmp, rb"BM|[\x28\x6c\x7c]\0\0\0.{8}\x01\0[\x01\4\x08\x10\x18\x20]\0[\0-\3]\0\0\0"),
    ".jp2": (open_jpeg_2000, rb"\0\0\0\x0cjP  \r\n\x87\n"),
    ".j2k": (open_jpeg_2000, rb"\xff\x4f\xff\x51"),
    ".jxl": (open_jpeg_xl, rb"\0\0\0\x0cJXL \r\n\x87\n|\xff\x0a"),
    ".pbm": (decoders.open_netpbm, rb"P[14]"),
    ".pgm": (decoders.open_netpbm, rb"P[25]"),
    ".ppm": (decoders.open_netpbm, rb"P[36]"),
}


def suffix_of(content):
    """The suffix, like ".png", of the format that a file's content has, see `FORMATS`; None if unknown."""
    start = content[:256]
    if start[4:8] == b"ftyp":
        start = start[: max(16, int.from_bytes(start[:4], "big"))]
    return next((suffix for suffix, (_, signature) in FORMATS.items() if re.match(signature, start, re.DOTALL)), None)


def open_image(content, name):
    """Reads the header of the content, bytes, of a file of that name. Raises whatever damage leads to."""
    for library in ("imagecodecs", "tifffile"):  # What matters of a damaged file is raised as well.
        logging.getLogger(library).setLevel(logging.CRITICAL)
    found = suffix_of(content)
    if not content:
        raise decoders.CannotDecode("the file is empty")
    if found is None:
        raise decoders.CannotDecode("not an image in a format that can be read")
    if found == ".tif" and str(name).lower().endswith(tuple(RAW_SUFFIXES)):
        found = ".raw"  # Many cameras' begin like TIFF.
    if found in COMPRESSED:
        decoders.refuse_lost_sectors(content, content.find(COMPRESSED[found]))
    return FORMATS[found][0](content)
