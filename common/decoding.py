"""Decoding: which format a file has, and which page of it is the photo."""

import functools
import io
import logging
import math

import cv2
import numpy as np
import tifffile
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, SAMPLEFORMAT

from common import codecs
from common.codecs import CannotDecode, Image, open_raw
from common.files import RAW_SUFFIXES
from common.metadata import sensible
from common.samples import rescale, unpremultiply

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
# TIFF's photometric interpretations that are read, and the spaces of their pixels.
SPACES = {
    **dict.fromkeys([PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK], "gray"),
    **dict.fromkeys([PHOTOMETRIC.RGB, PHOTOMETRIC.PALETTE, PHOTOMETRIC.YCBCR], "rgb"),
    PHOTOMETRIC.SEPARATED: "cmyk",
}


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
    return OPENERS[found](content)


def _open_tiff(content):
    """The page that is the photo: the first that is neither a reduced copy nor a mask."""
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # What matters of a damaged file is raised as well.
    file = tifffile.TiffFile(io.BytesIO(content))
    pages = [page for page in file.pages if isinstance(page, tifffile.TiffPage)] or [file.pages.first]
    whole = [page for page in [*pages, *(pages[0].pages or ())] if not page.is_reduced] or pages
    page = next((page for page in whole if not page.is_mask), whole[0])
    photometric = page.tags.valueof(
        "PhotometricInterpretation", PHOTOMETRIC.RGB if page.samplesperpixel > 2 else PHOTOMETRIC.MINISBLACK
    )
    if pages[0].is_dng or photometric in (PHOTOMETRIC.CFA, PHOTOMETRIC.LINEAR_RAW):
        return open_raw(content)
    depths = set(np.atleast_1d(page.bitspersample).tolist())
    whole_numbers = page.sampleformat in (SAMPLEFORMAT.UINT, SAMPLEFORMAT.VOID)
    if not whole_numbers or max(depths) > 16 or len(depths) > 1:
        kind = page.dtype if page.dtype and len(depths) == 1 else f"{'/'.join(map(str, sorted(depths)))} bits"
        raise CannotDecode(f"pixels of type {kind}; convert it to 8 or 16 bits")
    if page.compression not in tifffile.TIFF.DECOMPRESSORS:
        raise CannotDecode(
            f"a TIFF file with {_name(page.compression)} compression, which is not read; save it with LZW or ZIP"
        )
    space = SPACES.get(photometric)
    if space is None or (space == "cmyk" and page.tags.valueof("InkSet", 1) != 1):
        raise CannotDecode(f"a TIFF file with {_name(page.photometric)} pixels, which are not read; convert it to RGB")
    return Image(
        int(page.imagewidth),
        int(page.imagelength),
        lambda: (_decode_page(page, photometric, max(depths)), page.iccprofile),
        space,
        orientation=_whole(page.tags.valueof("Orientation", 1)),
        resolution=sensible(*page.get_resolution("inch")),
        bits=max(depths),
        further=len(whole) > 1,
    )


def _decode_page(page, photometric, bits):
    """The values of a page, see `Image`. tifffile unpacks them and leaves them as they are, apart from JPEG's."""
    if len(page.dataoffsets) < math.prod(page.chunked) or 0 in page.databytecounts:
        raise CannotDecode("a damaged file (pixels are missing)")
    planes = page.asarray(squeeze=False, maxworkers=1)[:, 0]
    values = planes[0] if len(planes) == 1 else np.concatenate(planes, axis=-1)
    values, top = values.astype(np.uint8) if bits == 1 else values, (1 << bits) - 1
    if photometric == PHOTOMETRIC.MINISWHITE:
        values[..., 0] = top - values[..., 0]
    elif photometric == PHOTOMETRIC.PALETTE:
        colors = page.colormap.T
        colors = rescale(colors, 65535, 255) if colors.max() > 255 else colors.astype(np.uint8)  # Some have 8 bits.
        values, top = np.concatenate([colors[values[..., 0]], values[..., 1:]], axis=-1), 255
    elif photometric == PHOTOMETRIC.YCBCR and page.compression not in (COMPRESSION.JPEG, COMPRESSION.OJPEG):
        values[..., :3] = cv2.cvtColor(values[..., [0, 2, 1]], cv2.COLOR_YCrCb2RGB)
    values = rescale(values, top)
    return unpremultiply(values) if page.extrasamples[:1] == (EXTRASAMPLE.ASSOCALPHA,) else values


def _name(value):
    return getattr(value, "name", None) or f"unknown ({int(value)})"


def _whole(value):
    """A tag's value as a whole number, whatever its type; 1 where it is none."""
    try:
        return int(value if isinstance(value, (int, str)) else value[0])
    except (TypeError, ValueError, IndexError):
        return 1


# By the suffix of the format.
OPENERS = {
    ".avif": codecs.open_avif,
    ".bmp": codecs.open_bmp,
    ".gif": functools.partial(codecs.open_by_libvips, "gif"),
    ".heic": codecs.open_heic,
    ".jpg": codecs.open_jpeg,
    ".jxl": codecs.open_jpeg_xl,
    ".png": codecs.open_png,
    ".raw": open_raw,
    ".tif": _open_tiff,
    ".webp": functools.partial(codecs.open_by_libvips, "webp"),
    **dict.fromkeys([".jp2", ".j2k"], codecs.open_jpeg_2000),
    **dict.fromkeys([".pbm", ".pgm", ".ppm"], codecs.open_netpbm),
}
