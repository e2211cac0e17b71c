"""TIFF: which page of a file is the photo, and its pixels, by tifffile; those of fax by libtiff.

Most camera RAW is TIFF as well. LibRaw decodes it and does not tell when pixels are missing, so this is found out here.
"""

import contextlib
import io
import math
import re
import struct
import zlib

import cv2
import imagecodecs
import numpy as np
import tifffile
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC, PLANARCONFIG, PREDICTOR, SAMPLEFORMAT

from common.decoders import (
    CHANNELS,
    COLORS,
    FURTHER,
    NOT_SQUARE,
    UNNAMED,
    CannotDecode,
    Image,
    refuse_lost_sectors,
)
from common.jpeg import open_jpeg, read_whole_jpeg
from common.metadata import EXIF, LAYERS, read_orientation, whole_number
from common.profiles import make_profile, profile_by_exif
from common.samples import rescale, unpremultiply

# The tag that makes TIFF a DNG, in both orders of bytes. LibRaw reads its DefaultCrop, and does not apply it.
DNG = re.compile(rb"\x12\xc6\x01\0\x04\0\0\0\x01|\xc6\x12\0\x01\0\0\0\x04\x01")
# The orientations that LibRaw's flips stand for: its bits mirror rows, mirror columns, and exchange the two.
FLIPS = (1, 2, 4, 3, 5, 8, 6, 7)
# TIFF's photometric interpretations that are read, and the spaces of their pixels.
SPACES = {
    **dict.fromkeys([PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK], "gray"),
    **dict.fromkeys([PHOTOMETRIC.RGB, PHOTOMETRIC.PALETTE, PHOTOMETRIC.YCBCR], "rgb"),
    PHOTOMETRIC.SEPARATED: "cmyk",
}
FAX = (COMPRESSION.CCITTRLE, COMPRESSION.CCITT_T4, COMPRESSION.CCITT_T6)
# The compressions with which pixels may be differences. With others, libtiff passes over the tag that says so.
WITH_PREDICTOR = {COMPRESSION[name] for name in ("LZW", "DEFLATE", "ADOBE_DEFLATE", "LZMA", "ZSTD")}
MATTEING = 32995  # The tag that says of an additional channel, with 1, that it is alpha that multiplies the colours.
MOST_CHANNELS = 65535  # The type of their number holds no larger one.
CHUNKS = ("StripOffsets", "TileOffsets")  # The tags that say where the parts of a page begin.
HEADER = 8  # Bytes that a file begins with, which are no pixels.
PANASONIC = b"IIU\0"  # How its camera RAW begins.
LUMA = (299, 1000, 587, 1000, 114, 1000)  # The shares of red, green and blue in JPEG's, as fractions.


def open_tiff(content):
    """TIFF, and camera RAW that has no other suffix than TIFF's."""
    first, pages, page = _find_photo(content)
    photometric = page.tags.valueof("PhotometricInterpretation", _usual_photometric(page))
    if first.is_dng or photometric in (PHOTOMETRIC.CFA, PHOTOMETRIC.LINEAR_RAW):
        return _open_whole_raw(pages, content)
    depths = set(np.atleast_1d(page.bitspersample).tolist())
    if page.sampleformat not in list(SAMPLEFORMAT):
        raise CannotDecode(f"a damaged file (the type of its pixels is {_name(page.sampleformat)})")
    whole_numbers = page.sampleformat in (SAMPLEFORMAT.UINT, SAMPLEFORMAT.VOID)
    if not whole_numbers or max(depths) > 16 or len(depths) > 1:
        kind = page.dtype if page.dtype and len(depths) == 1 else f"{'/'.join(map(str, sorted(depths)))} bits"
        raise CannotDecode(f"pixels of type {kind}; convert it to 8 or 16 bits")
    jpeg = _find_first_jpeg(page, photometric, content)
    if not jpeg and (page.compression == COMPRESSION.OJPEG or page.compression not in tifffile.TIFF.DECOMPRESSORS):
        raise _cannot_unpack(page)
    if photometric is None:
        raise CannotDecode("a TIFF file that does not say what its 4 channels are; convert it to RGB")
    space = SPACES.get(photometric)
    page.extrasamples = _further_channels(page, 1 if photometric == PHOTOMETRIC.PALETTE else COLORS.get(space, 0))
    if space is None or not _has_usual_numbers(page, photometric, max(depths)):
        kind = _name(page.photometric)
        raise CannotDecode(f"a TIFF file with {kind} pixels of a kind that is not read; convert it to RGB")
    if page.samplesperpixel > 1 and page.planarconfig not in list(PLANARCONFIG):
        raise CannotDecode(f"a damaged file (the layout of its channels is {_name(page.planarconfig)})")
    width, height, bits = int(page.imagewidth), int(page.imagelength), max(depths)
    tags, (across, down) = page.tags, page.get_resolution("inch")
    unitless = tags.valueof("ResolutionUnit") == 1  # tifffile takes the numbers for pixels per metre.
    # A page that lies below the first one has its profile and orientation.
    above = first if len(page.treeindex) > 1 else page
    icc = page.iccprofile or above.iccprofile
    by_xmp = read_orientation(b"", above.tags.valueof("XMP"))
    orientation = whole_number(tags.valueof("Orientation", above.tags.valueof("Orientation", by_xmp)))
    notes = FURTHER * (len(pages) > 1 or page.imagedepth > 1)
    notes += ("Photoshop's own data, such as layers, left out",) * (LAYERS in tags)
    notes += CHANNELS * (len(page.extrasamples) > 1)
    notes += UNNAMED * (len(page.extrasamples) > 0 and not any(page.extrasamples))
    notes += NOT_SQUARE * (unitless and 0 < across != down > 0)
    # exiv2 reads the first page, which may be a reduced copy.
    own = page is not first and any(tag.dtype == 2 and tag.value != first.tags.valueof(tag.code) for tag in tags)
    notes += ("text of the photo's own page left out: only that of the first page is used",) * own
    notes += ("values beyond the file's end left out: text, a profile or other tags",) * _lacks_values(page, content)
    curve = "TransferFunction" in tags or "GrayResponseCurve" in tags
    notes += ("transfer function left out",) * (curve and not icc)

    def decode():
        values = _decode_first_jpeg(page, jpeg) if jpeg else _decode_page(content, page, photometric, bits)
        return values, icc or (_profile_by_tags(tags, content) if space == "rgb" else None)

    return Image(width, height, decode, space, orientation, None if unitless else (across, down), bits, notes)


def open_camera_raw(content):
    """Camera RAW, and scans of film, which Nikon's programs put into usual TIFF with the same suffix."""
    try:
        first, pages, _ = _find_photo(content)
        kinds = {page.tags.valueof("PhotometricInterpretation") for page in pages}
        can_unpack = all(page.compression in tifffile.TIFF.DECOMPRESSORS for page in pages)
        scanned = not first.is_dng and kinds <= {PHOTOMETRIC.RGB, PHOTOMETRIC.MINISBLACK} and can_unpack
    except Exception:  # Not TIFF, or not as tifffile knows it.
        return _open_raw(content)
    return open_tiff(content) if scanned else _open_whole_raw(pages, content)


def _open_whole_raw(pages, content):
    """Camera RAW, unless compressed pixels are missing, which raises CannotDecode; of others, LibRaw tells."""
    with contextlib.suppress(TypeError, ValueError):  # Where a tag has another type than it should have.
        packed = [page for page in pages if page.compression != COMPRESSION.NONE and page.dataoffsets]
        spans = [(min(page.dataoffsets), np.add(page.dataoffsets, page.databytecounts).max()) for page in packed]
        if content.startswith(PANASONIC):
            width, height, kind, start = (pages[0].tags.valueof(tag, 0) for tag in (2, 3, 45, 280))
            spans = [(start, start + width * height * 8 // 7)] if kind < 8 else []  # 14 pixels have 16 bytes or more.
        if any(page.is_tiled and _lacks_chunks(page) for page in packed):
            raise CannotDecode("a damaged file (pixels are missing)")
        for start, end in spans:
            if end > len(content):
                raise CannotDecode("a damaged file (pixels are missing)")
            refuse_lost_sectors(content[:end], start)
    return _open_raw(content)


def _open_raw(content):
    """Camera RAW by rawpy, as the camera metered it: with its white balance and no automatic brightness."""
    import rawpy

    options = {"output_bps": 16, "use_camera_wb": True, "no_auto_bright": True, "adjust_maximum_thr": 0.0}
    srgb = (2.4, 12.92)  # The exponent of its curve, and the slope of the straight part.
    with rawpy.imread(io.BytesIO(content)) as raw:
        sizes = raw.sizes

    def decode():
        with rawpy.imread(io.BytesIO(content)) as raw:
            values = raw.postprocess(gamma=srgb, user_flip=0, **options)
        left, top = sizes.crop_left_margin - sizes.left_margin, sizes.crop_top_margin - sizes.top_margin
        is_whole = values.shape[:2] == (sizes.height, sizes.width)
        if sizes.crop_width and min(left, top) >= 0 and is_whole and DNG.search(content):
            values = values[top : top + sizes.crop_height, left : left + sizes.crop_width]
        return values, None

    return Image(sizes.width, sizes.height, decode, orientation=FLIPS[sizes.flip])


def _find_first_jpeg(page, photometric, content):
    """JPEG in the first way of TIFF, bytes, where it is a JPEG file within the TIFF file; else None."""
    valueof = page.tags.valueof
    start = whole_number(valueof("JPEGInterchangeFormat", *page.dataoffsets[:1]))
    usual = photometric in (PHOTOMETRIC.YCBCR, PHOTOMETRIC.MINISBLACK)
    if page.compression == COMPRESSION.OJPEG and usual and content.startswith(b"\xff\xd8", start):
        end = start + whole_number(valueof("JPEGInterchangeFormatLength"))
        return content[start : max(end, *np.add(page.dataoffsets, page.databytecounts))]  # Either may be too early.
    return None


def _decode_first_jpeg(page, jpeg):
    try:
        return open_jpeg(jpeg).decode()[0]
    except MemoryError:
        raise
    except Exception:  # Programs put parts of such files together in ways of their own.
        raise _cannot_unpack(page) from None


def _cannot_unpack(page):
    kind = _name(page.compression)
    return CannotDecode(f"a TIFF file with {kind} compression, which is not read; save it with LZW or ZIP")


def _usual_photometric(page):
    """What a page whose photometric interpretation is missing holds; None where four channels may be RGBA or CMYK."""
    if page.compression in FAX:
        return PHOTOMETRIC.MINISWHITE
    if page.samplesperpixel == 4 and "ExtraSamples" not in page.tags:
        return None
    return PHOTOMETRIC.RGB if page.samplesperpixel > 2 else PHOTOMETRIC.MINISBLACK


def _has_usual_numbers(page, photometric, bits):
    """Whether no tag gives a page's numbers another meaning than its photometric interpretation does by itself."""
    valueof = page.tags.valueof
    with contextlib.suppress(TypeError, ValueError):  # Where a tag has another type than it should have.
        if photometric == PHOTOMETRIC.YCBCR and page.compression != COMPRESSION.JPEG:
            shares, zero, top = valueof("YCbCrCoefficients", LUMA), 1 << (bits - 1), (1 << bits) - 1
            # Of no light and of all, for luma and both chromas.
            ends = valueof("ReferenceBlackWhite", (0, 1, top, 1, zero, 1, top, 1, zero, 1, top, 1))
            usual = np.abs(np.divide(ends[::2], ends[1::2]) - (0, top, zero, top, zero, top)).max() <= 1
            return usual and np.allclose(np.divide(shares[::2], shares[1::2]), (0.299, 0.587, 0.114), atol=1e-3)
        if photometric == PHOTOMETRIC.SEPARATED:
            dots = valueof("DotRange", (0, (1 << bits) - 1))  # Of no ink and of all, for each or for every one.
            return valueof("InkSet", 1) == 1 and not any(dots[::2]) and min(dots[1::2]) >= 255
        # Some programs store RGB as gray with two more channels of an unknown kind.
        return SPACES.get(photometric) != "gray" or page.samplesperpixel < 3 or any(page.extrasamples)
    return False


def _further_channels(page, colors):
    """The kinds of a page's channels beyond its colours. As in libtiff, an old tag (Matteing) may name the first one,
    and those that no tag names are there, too."""
    count = min(page.samplesperpixel, MOST_CHANNELS) - colors  # A damaged file may claim billions.
    kinds = page.extrasamples or (EXTRASAMPLE.ASSOCALPHA,) * (count > 0 and page.tags.valueof(MATTEING) == 1)
    return (*kinds, *[EXTRASAMPLE.UNSPECIFIED] * (count - len(kinds)))


def _profile_by_tags(tags, content):
    """The profile of the primaries that a page's tags name (TIFF 6.0, section 20), see `make_profile`, or its EXIF."""
    values = [tags.valueof(name) for name in ("WhitePoint", "PrimaryChromaticities") if name in tags]
    if len(values) < 2:
        return profile_by_exif(content) if EXIF in tags else None
    fractions = np.hstack(values)
    if fractions.size != 16:
        return b""
    with np.errstate(divide="ignore", invalid="ignore"):  # The profile of such numbers is a damaged one.
        return make_profile("rgb", fractions[::2] / fractions[1::2], None)


def _find_photo(content):
    """(first page, pages that may be the photo, the one that is)."""
    file = tifffile.TiffFile(io.BytesIO(content))
    first, *more = [page for page in _pages(file) if isinstance(page, tifffile.TiffPage)] or [file.pages.first]
    # The photo is the first page that is neither a reduced copy, which may have the photo below it, nor a mask.
    pages = [page for page in (first, *more, *(first.pages or ())) if not page.is_reduced] or [first, *more]
    return first, pages, next((page for page in pages if not page.is_mask), pages[0])


def _pages(file):
    """The pages of a file, each once: damage may lead back to one of them, and tifffile would go round for ever."""
    seen = set()
    for page in file.pages:
        if page.offset in seen:
            return
        seen.add(page.offset)
        yield page


def _decode_page(content, page, photometric, bits):
    """The values of a page, see `Image`."""
    if page.compression not in WITH_PREDICTOR:
        page.predictor = PREDICTOR.NONE
    if page.compression == COMPRESSION.NONE and not page.is_tiled and not page.is_subsampled:
        page.databytecounts = _sizes_of_strips(page, bits)
    ends, size = np.add(page.dataoffsets, page.databytecounts), page.parent.filehandle.size
    # How long contiguous pixels are is known, whatever their tag says.
    short = not page.is_contiguous and (0 in page.databytecounts or ends.max() > size)
    if short or min(page.dataoffsets) < HEADER or _lacks_chunks(page):
        raise CannotDecode("a damaged file (pixels are missing)")
    if any(page.tags[tag].count > math.prod(page.chunked) for tag in CHUNKS if tag in page.tags):
        raise CannotDecode("a damaged file (it has more strips or tiles than its size makes)")
    if page.compression == COMPRESSION.JPEG:  # tifffile passes over lost pixels.
        if page.shaped[0] > 1:  # Each plane is a gray JPEG, which tifffile would take for one of all channels.
            page.photometric = PHOTOMETRIC.MINISBLACK
        colorspace = "CMYK" if page.shaped[-1] == 4 else "GRAY"
        tables = (page.jpegtables or b"")[:-2]
        for data, _ in page.parent.filehandle.read_segments(page.dataoffsets, page.databytecounts):
            read_whole_jpeg(tables + data[2:] if tables else data, colorspace)
    try:
        planes = _unpack(content, page)
    except MemoryError:
        claim = f"its header claims {page.nbytes / 1e9:.3g} GB of pixels, for which there is no memory"
        raise CannotDecode(f"a damaged file, or one too large for this machine ({claim})") from None
    values = planes[0] if len(planes) == 1 else np.concatenate(planes, axis=-1)
    values, top = values.astype(np.uint8) if bits == 1 else values, (1 << bits) - 1
    if photometric == PHOTOMETRIC.PALETTE:
        colors = page.colormap.T
        colors = rescale(colors, 65535, 255) if colors.max() > 255 else colors.astype(np.uint8)  # Some have 8 bits.
        values = np.concatenate([colors[values[..., 0]], rescale(values[..., 1:], top, 255)], axis=-1)
    else:
        values = rescale(values, top)
    values = _with_straight_alpha(values, page.extrasamples) if page.extrasamples else values
    if photometric == PHOTOMETRIC.MINISWHITE:
        values[..., 0] = ~values[..., 0]
    elif photometric == PHOTOMETRIC.YCBCR and (page.compression != COMPRESSION.JPEG or page.shaped[0] > 1):
        values[..., :3] = cv2.cvtColor(values[..., [0, 2, 1]], cv2.COLOR_YCrCb2RGB)
    return values


def _lacks_values(page, content):
    """Whether the content ends ahead of values of a page's tags. tifffile passes over such tags."""
    header = page.parent.tiff
    entry = struct.Struct(header.tagformat1 + header.tagformat2[1:])
    order = {"<": "little", ">": "big"}[header.byteorder]
    (count,) = struct.unpack_from(header.tagnoformat, content, page.offset)
    for number in range(count):
        _, kind, values, place = entry.unpack_from(content, page.offset + header.tagnosize + number * header.tagsize)
        size = values * struct.calcsize(tifffile.TIFF.DATA_FORMATS.get(kind, ""))
        if size > len(place) and int.from_bytes(place, order) + size > len(content):
            return True
    return False


def _lacks_chunks(page):
    """Whether a page has fewer strips or tiles than its size makes."""
    return len(page.dataoffsets) < math.prod(page.chunked)


def _sizes_of_strips(page, bits):
    """Bytes of each strip of a page without compression. Some programs claim as many for the last one as for others."""
    rows, row = page.rowsperstrip, -(-page.imagewidth * page.shaped[-1] * bits // 8)
    tops = rows * (np.arange(len(page.dataoffsets)) % -(-page.imagelength // rows))  # Each plane begins anew.
    return (row * np.minimum(rows, page.imagelength - tops)).tolist()


def _unpack(content, page):
    """The numbers of a page as stored, [planes, height, width, channels], apart from JPEG's."""
    if page.compression not in FAX:
        try:
            return page.asarray(squeeze=False, maxworkers=1)[:, 0]
        except imagecodecs.DeflateError:  # It takes strips of more rows than the page for damaged: their sums tell.
            for data, _ in page.parent.filehandle.read_segments(page.dataoffsets, page.databytecounts):
                zlib.decompress(data)
    # libtiff tells damage in fax, which tifffile leaves white. It reads the page that the file's header leads to.
    header = page.parent.tiff
    place = struct.pack(header.offsetformat, page.offset)
    values = imagecodecs.tiff_decode(content[: header.offsetsize] + place + content[2 * header.offsetsize :])
    return values.reshape(page.shaped[0], page.imagelength, page.imagewidth, -1)


def _with_straight_alpha(values, extra):
    """Values without extra channels other than alpha, which is straight; `extra` are the kinds of these channels.

    As in libtiff, a channel of no named kind counts as alpha where no other does.
    """
    place, kind = min(enumerate(extra, -len(extra)), key=lambda pair: pair[1] == EXTRASAMPLE.UNSPECIFIED)
    values = np.concatenate([values[..., : -len(extra)], values[..., place, None]], axis=-1)
    return unpremultiply(values) if kind == EXTRASAMPLE.ASSOCALPHA else values


def _name(value):
    return getattr(value, "name", None) or f"unknown ({int(value)})"
