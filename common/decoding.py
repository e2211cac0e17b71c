"""Decoding: which format a file has, and which page of it is the photo."""

import contextlib
import functools
import io
import logging

import numpy as np
import pyvips
import tifffile

from common.codecs import (
    LOADERS,
    CannotDecode,
    Image,
    open_bmp,
    open_oiio,
    open_raw,
    open_vips,
    read_oiio,
    unpremultiply,
)
from common.files import RAW_SUFFIXES
from common.metadata import sensible

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
# TIFF: bits of NewSubfileType, tags, and compressions that libtiff has a decoder for in both libraries.
REDUCED, MASK = 1, 4
ORIENTATION, SUB_IFDS, INK_SET, DNG_VERSION = 274, 330, 332, 50706
COMPRESSIONS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 50001})
PHOTOMETRICS = frozenset({0, 1, 2, 3, 5, 6})
DEPTHS = frozenset({1, 2, 4, 6, 8, 10, 12, 14, 16})


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
        raise CannotDecode("the file is empty")
    if found is None:
        raise CannotDecode("not an image in a format that can be read")
    if found == ".raw" or (suffix in RAW_SUFFIXES and found == ".tif"):
        return open_raw(content)
    if found == ".tif":
        return _open_tiff(content)
    if found == ".bmp":
        return open_bmp(content)
    return open_vips(content, found) if found in LOADERS else open_oiio(content, found)


def _open_tiff(content):
    """The page that is the photo: the first that is neither a reduced copy nor a mask."""
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # What matters of a damaged file is raised as well.
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        pages = [page for page in file.pages if isinstance(page, tifffile.TiffPage)] or [file.pages.first]
        photos = [number for number, page in enumerate(pages) if not int(page.subfiletype) & (REDUCED | MASK)]
        if DNG_VERSION in pages[0].tags or (not photos and SUB_IFDS in pages[0].tags):
            return open_raw(content)
        largest = max(range(len(pages)), key=lambda number: pages[number].imagewidth * pages[number].imagelength)
        number = photos[0] if photos else largest
        count = len(photos) or len(pages)
        notes = (f"{count - 1} of {count} pages left out: only the first one is used",) if count > 1 else ()
        return _open_page(content, number, pages[number], notes)


def _open_page(content, number, page, notes):
    depths = set(np.atleast_1d(page.bitspersample).tolist())
    if page.sampleformat != tifffile.SAMPLEFORMAT.UINT or not depths <= DEPTHS or len(depths) > 1:
        kind = f"{page.dtype}" if page.dtype else f"{'/'.join(map(str, sorted(depths)))} bits"
        raise CannotDecode(f"pixels of type {kind}; convert it to 8 or 16 bits")
    if page.compression not in COMPRESSIONS:
        raise CannotDecode(
            f"a TIFF file with {_name(page.compression)} compression, which is not read; save it with LZW or ZIP"
        )
    if page.photometric not in PHOTOMETRICS or (page.photometric == 5 and page.tags.valueof(INK_SET, 1) != 1):
        raise CannotDecode(f"a TIFF file with {_name(page.photometric)} pixels, which are not read; convert it to RGB")
    return Image(
        int(page.imagewidth),
        int(page.imagelength),
        functools.partial(_decode_page, content, number, page),
        orientation=_whole(page.tags.valueof(ORIENTATION, 1)),
        resolution=sensible(*page.get_resolution("inch")),
        bits=max(depths),
        notes=notes,
    )


def _decode_page(content, number, page):
    """The pixels of a page by libvips or, where it does not know the depth or the layout, by OpenImageIO."""
    luma = page.photometric == tifffile.PHOTOMETRIC.YCBCR and page.compression != tifffile.COMPRESSION.JPEG
    # libvips mixes up two planes, and takes YCbCr for RGB outside of JPEG.
    if not luma and page.planarconfig != tifffile.PLANARCONFIG.SEPARATE:
        with contextlib.suppress(CannotDecode, pyvips.Error):
            return open_vips(content, ".tif", page=number).decode()
    space = {5: "cmyk", 0: "gray", 1: "gray"}.get(int(page.photometric), "rgb")
    values, icc = read_oiio(content, ".tif", number, raw=space == "cmyk")
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        # OpenImageIO negates gray and alpha of up to 8 bits, and neither of more.
        wrong = values[..., 1:] if values.dtype == np.uint8 else values[..., :1]
        np.subtract(np.iinfo(values.dtype).max, wrong, out=wrong)
    if page.extrasamples and page.extrasamples[0] == tifffile.EXTRASAMPLE.ASSOCALPHA:
        values = unpremultiply(values)
    return values, space, page.iccprofile or icc


def _name(value):
    return getattr(value, "name", None) or f"unknown ({int(value)})"


def _whole(value):
    """A tag's value as a whole number, whatever its type; 1 where it is none."""
    try:
        return int(value if isinstance(value, (int, str)) else value[0])
    except (TypeError, ValueError, IndexError):
        return 1
