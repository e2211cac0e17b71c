"""Decoding: which format a file has, and which page of it is the photo."""

import io
import logging
import math

import cv2
import numpy as np
import tifffile

from common import codecs
from common.codecs import CannotDecode, Image, fill_range, open_raw, unpremultiply
from common.files import RAW_SUFFIXES
from common.metadata import sensible
from common.profiles import rescale

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
# TIFF: bits of NewSubfileType, tags, photometric interpretations and what they are, ...
REDUCED, MASK = 1, 4
PHOTOMETRIC, ORIENTATION, INK_SET, DNG_VERSION = 262, 274, 332, 50706
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
SPACES = {WHITE_IS_ZERO: "gray", BLACK_IS_ZERO: "gray", RGB: "rgb", PALETTE: "rgb", CMYK: "cmyk", YCBCR: "rgb"}
CAMERA_RAW = frozenset({32803, 34892})
# ... formats of whole numbers and unnamed ones, and compressions whose YCbCr tifffile converts to RGB.
NUMBERS, JPEG = frozenset({1, 4}), frozenset({6, 7})


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
    opener = OPENERS.get(found)
    return opener(content) if opener else codecs.open_vips(content, found)


def _open_tiff(content):
    """The page that is the photo: the first that is neither a reduced copy nor a mask."""
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # What matters of a damaged file is raised as well.
    file = tifffile.TiffFile(io.BytesIO(content))
    pages = [page for page in file.pages if isinstance(page, tifffile.TiffPage)] or [file.pages.first]
    whole = [page for page in [*pages, *(pages[0].pages or ())] if not int(page.subfiletype) & REDUCED] or pages
    page = next((page for page in whole if not int(page.subfiletype) & MASK), whole[0])
    samples = page.samplesperpixel
    photometric = page.tags.valueof(PHOTOMETRIC, RGB if samples > 2 else BLACK_IS_ZERO)
    if DNG_VERSION in pages[0].tags or photometric in CAMERA_RAW:
        return open_raw(content)
    depths = set(np.atleast_1d(page.bitspersample).tolist())
    if page.sampleformat not in NUMBERS or max(depths) > 16 or len(depths) > 1:
        kind = page.dtype if page.dtype and len(depths) == 1 else f"{'/'.join(map(str, sorted(depths)))} bits"
        raise CannotDecode(f"pixels of type {kind}; convert it to 8 or 16 bits")
    if page.compression not in tifffile.TIFF.DECOMPRESSORS:
        raise CannotDecode(
            f"a TIFF file with {_name(page.compression)} compression, which is not read; save it with LZW or ZIP"
        )
    space = SPACES.get(photometric)
    if space is None or (space == "cmyk" and page.tags.valueof(INK_SET, 1) != 1):
        raise CannotDecode(f"a TIFF file with {_name(page.photometric)} pixels, which are not read; convert it to RGB")
    return Image(
        int(page.imagewidth),
        int(page.imagelength),
        lambda: (_decode_page(page, photometric, max(depths)), space, page.iccprofile),
        orientation=_whole(page.tags.valueof(ORIENTATION, 1)),
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
    if photometric == WHITE_IS_ZERO:
        values[..., 0] = top - values[..., 0]
    elif photometric == PALETTE:
        colors = page.colormap.T
        colors = rescale(colors, 65535, 255) if colors.max() > 255 else colors.astype(np.uint8)  # Some have 8 bits.
        values, top = np.concatenate([colors[values[..., 0]], values[..., 1:]], axis=-1), 255
    elif photometric == YCBCR and page.compression not in JPEG:
        values[..., :3] = cv2.cvtColor(values[..., [0, 2, 1]], cv2.COLOR_YCrCb2RGB)
    values = fill_range(values, top)
    return unpremultiply(values) if page.extrasamples[:1] == (tifffile.EXTRASAMPLE.ASSOCALPHA,) else values


def _name(value):
    return getattr(value, "name", None) or f"unknown ({int(value)})"


def _whole(value):
    """A tag's value as a whole number, whatever its type; 1 where it is none."""
    try:
        return int(value if isinstance(value, (int, str)) else value[0])
    except (TypeError, ValueError, IndexError):
        return 1


# By the suffix of the format; libvips opens all others.
OPENERS = {
    ".bmp": codecs.open_bmp,
    ".jxl": codecs.open_jpeg_xl,
    ".raw": open_raw,
    ".tif": _open_tiff,
    **dict.fromkeys([".jp2", ".j2k"], codecs.open_jpeg_2000),
    **dict.fromkeys([".pbm", ".pgm", ".ppm"], codecs.open_netpbm),
}
