"""Formats: which one a file's content has, and what decodes it."""

import functools

from common import decoders
from common.files import RAW_SUFFIXES
from common.tiff import open_tiff

# How files begin, and the suffix of their format. Of ISO media files (AVIF, HEIC, films) the brands decide.
SIGNATURES = {
    b"\xff\xd8": ".jpg",
    b"\x89PNG\r\n\x1a\n": ".png",
    b"GIF87a": ".gif",
    b"GIF89a": ".gif",
    b"BM": ".bmp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"II+\0": ".tif",
    b"MM\0+": ".tif",
    b"\0\0\0\x0cjP  \r\n\x87\n": ".jp2",
    b"\xff\x4f\xff\x51": ".j2k",
    b"\0\0\0\x0cJXL \r\n\x87\n": ".jxl",
    b"\xff\x0a": ".jxl",
    **{b"P%d" % number: suffix for number, suffix in enumerate([".pbm", ".pgm", ".ppm"] * 2, start=1)},
    **dict.fromkeys([b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILMCCD-RAW"], ".raw"),
}
# In the order in which they are looked for: files of both kinds may have "mif1" as well.
BRANDS = {b"avif": ".avif", b"avis": ".avif", b"crx ": ".raw"} | dict.fromkeys(
    [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"], ".heic"
)


def suffix_of(content):
    """The suffix, like ".png", of the format that a file's content has: ".raw" for camera RAW; None if unknown."""
    if content[4:8] == b"ftyp":
        size = int.from_bytes(content[:4], "big")
        brands = [content[8:12], *(content[at : at + 4] for at in range(16, min(size, 256), 4))]
        return next((suffix for brand, suffix in BRANDS.items() if brand in brands), None)
    if content[8:10] == b"CR" and content[:2] == b"II":
        return ".raw"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return ".webp"
    return next((suffix for start, suffix in SIGNATURES.items() if content.startswith(start)), None)


def open_image(content, suffix=""):
    """Reads the header of a file's content, bytes; `suffix` is that of its name. Raises whatever damage leads to."""
    found = suffix_of(content)
    if not content:
        raise decoders.CannotDecode("the file is empty")
    if found is None:
        raise decoders.CannotDecode("not an image in a format that can be read")
    if found == ".tif" and suffix in RAW_SUFFIXES:
        found = ".raw"  # Many cameras' begin like TIFF.
    return OPENERS[found](content)


# By the suffix of the format.
OPENERS = {
    ".avif": decoders.open_avif,
    ".bmp": decoders.open_bmp,
    ".gif": functools.partial(decoders.open_by_libvips, "gif"),
    ".heic": decoders.open_heic,
    ".jpg": decoders.open_jpeg,
    ".jxl": decoders.open_jpeg_xl,
    ".png": decoders.open_png,
    ".raw": decoders.open_raw,
    ".tif": open_tiff,
    ".webp": functools.partial(decoders.open_by_libvips, "webp"),
    **dict.fromkeys([".jp2", ".j2k"], decoders.open_jpeg_2000),
    **dict.fromkeys([".pbm", ".pgm", ".ppm"], decoders.open_netpbm),
}
