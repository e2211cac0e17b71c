"""Decoders: what an image's header says, and its pixels with straight alpha in the whole range of their type.

libpng reads PNG; libavif AVIF; netpbmfile Netpbm; Pillow WebP, GIF and BMP; FFmpeg BMP in run lengths; where it is
installed, pillow-heif HEIC. For JPEG see jpeg.py; for JPEG 2000 jpeg_2000.py; for JPEG XL jpeg_xl.py; for TIFF and
camera RAW tiff.py. A damaged file makes libraries raise whatever it leads them to; images.py says what.
"""

import io
import re
import struct
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import av
import imagecodecs
import numpy as np
from netpbmfile import NetpbmFile
from PIL import AvifImagePlugin, BmpImagePlugin, GifImagePlugin, WebPImagePlugin

from common.metadata import find_orientation_and_profile, read_orientation
from common.png import read_chunks
from common.profiles import EXPONENTS, PLACES, make_profile, profile_by_bmp, profile_by_exif, profile_by_gamma
from common.samples import from_video_range, rescale, unpremultiply

# Channels of the spaces of pixels, see `Image`.
COLORS = {"gray": 1, "rgb": 3, "cmyk": 4}
FURTHER = ("further pictures left out: only the first or the main one is used",)
CHANNELS = ("further channels left out: only colours and transparency are used",)
NOT_SQUARE = ("shape of pixels left out: results have square ones",)
UNNAMED = ("a channel of no named kind taken for transparency",)
HIGH_DYNAMIC_RANGE = "an image of high dynamic range (PQ or HLG), which is not read; convert it to sRGB"
# Bytes of a profile in PNG, which is compressed, that are read.
LARGEST_PROFILE = 1 << 24
IN_RUNS, IN_FIELDS = (1, 2), 3  # BMP's compressions: run lengths, and bits that the header names.
# Bytes of a disk's sector. Where it could not be read, copies of a file have zeros in its place.
SECTOR = 512
LOST = re.compile(rb"\0{%d,}" % SECTOR)

_using_log = threading.Lock()  # FFmpeg's, of which the level is one for the whole process.


class CannotDecode(Exception):
    """An image that cannot be decoded; the message is the cause, without the image's name."""


@dataclass(frozen=True)
class Image:
    """An image whose header has been read, and whose pixels have not."""

    width: int  # In pixels, as stored.
    height: int
    # Gives (values, icc): uint8 or uint16, [height, width] or [height, width, channels], not yet upright, the colours
    # before alpha; and the colour profile, bytes, or None.
    decode: Callable[[], tuple]
    space: str | None = None  # "gray", "rgb" or "cmyk"; None for gray where there are one or two channels, else RGB.
    orientation: int = 1  # How to turn the pixels upright, 1..8 as in EXIF.
    # Pixels per inch, (horizontal, vertical), as stored; None where it is in EXIF data or nowhere.
    resolution: tuple[float, float] | None = None
    bits: int = 16  # Of a channel, where they are more than 8.
    notes: tuple[str, ...] = ()  # What of the file is left out, as words.


def space_of(values):
    """The space of pixels whose file does not name it, see `Image`."""
    return "gray" if values.ndim == 2 or values.shape[2] < 3 else "rgb"


def open_png(content):
    chunks = {}
    for kind, data in read_chunks(content):
        if b"IDAT" not in chunks or kind in (b"eXIf", b"fdAT"):  # All others count ahead of the pixels only.
            chunks.setdefault(kind, data)  # Of several of a kind, the first counts.
    if b"CgBI" in chunks:
        raise CannotDecode("PNG in the form that apps for iPhones hold, which is not read; convert it to usual PNG")
    width, height = struct.unpack_from(">II", chunks[b"IHDR"])
    exif, density = chunks.get(b"eXIf"), chunks.get(b"pHYs", b"").ljust(9, b"\0")
    across, down, unit = struct.unpack_from(">IIB", density)
    resolution = (across * 0.0254, down * 0.0254) if unit == 1 else None  # In pixels per metre.
    orientation = read_orientation(exif) if exif else find_orientation_and_profile(content)[0]

    def decode():
        values = np.atleast_3d(imagecodecs.png_decode(content))
        limited = chunks.get(b"cICP", b"")[3:] == b"\0"
        return from_video_range(values, 8 * values.itemsize) if limited else values, _profile_of_png(values, chunks)

    notes = FURTHER * (b"fdAT" in chunks) + NOT_SQUARE * (unit == 0 and 0 < across != down > 0)
    return Image(width, height, decode, None, orientation, resolution, notes=notes)


def _profile_of_png(values, chunks):
    """The profile by the first of PNG's chunks that counts: None for sRGB, b"" for a damaged one."""
    points, icc, exif, gamma, places = (chunks.get(kind, b"") for kind in (b"cICP", b"iCCP", b"eXIf", b"gAMA", b"cHRM"))
    if len(points) == 4:
        return _profile_of_code_points(space_of(values), *points[:2])
    if icc:
        try:
            return zlib.decompressobj().decompress(icc.partition(b"\0")[2][1:], LARGEST_PROFILE)
        except zlib.error:
            return b""
    if b"sRGB" in chunks:
        return None
    if own := profile_by_exif(exif):
        return own
    exponent = 1e5 / max(1, int.from_bytes(gamma, "big")) if gamma else None
    space, places = space_of(values), np.frombuffer(places, ">u4") / 1e5 if len(places) == 32 else None
    return profile_by_gamma(space, places, exponent)


def open_webp(content):
    """WebP: its header by Pillow. What the first picture of an animation leaves free is transparent."""
    image = WebPImagePlugin.WebPImageFile(io.BytesIO(content))
    exif, icc, xmp = (image.info.get(kind, b"") for kind in ("exif", "icc_profile", "xmp"))
    animated = content[12:16] == b"VP8X" and content[20] & 2

    def decode():
        values = _without_full_alpha(imagecodecs.webp_decode(content, hasalpha=True)) if animated else np.asarray(image)
        return values, icc or profile_by_exif(exif)

    return Image(*image.size, decode, orientation=read_orientation(exif, xmp), notes=FURTHER * image.is_animated)


def _without_full_alpha(values):
    """RGBA uint8, [height, width, 4], without alpha where all is opaque."""
    return values if values[..., 3].min() < 255 else values[..., :3]


def open_gif(content):
    """GIF by Pillow. What its first picture leaves free is transparent."""
    image = GifImagePlugin.GifImageFile(io.BytesIO(content))
    left, top, right, bottom = image.tile[0].extents
    notes = FURTHER * image.is_animated + NOT_SQUARE * (content[12] not in (0, 49))  # 64 times their shape, less 15.
    notes += ("colour profile left out, since that of GIF is not read",) * (b"\x0bICCRGBG1012" in content)

    def decode():
        values = np.array(image.convert("RGBA"))
        around = np.ones(values.shape[:2], bool)
        around[top:bottom, left:right] = False
        values[around, 3] = 0
        return _without_full_alpha(values), None

    return Image(*image.size, decode, notes=notes)


def open_avif(content):
    """AVIF: its header by Pillow, its pixels by libavif, with all their bits."""
    try:
        image = AvifImagePlugin.AvifImageFile(io.BytesIO(content))
    except Exception:  # Pillow raises whatever damaged EXIF leads it to.
        # libavif wants the clean aperture, which is applied here, marked as essential.
        content = re.sub(rb"(?s)(infe.{8})Exif", rb"\1free", content.replace(b"clap", b"hide", 1))
        image = AvifImagePlugin.AvifImageFile(io.BytesIO(content))
    start = content.find(b"meta")
    header = content[start : content.find(b"mdat", start)]  # "meta" describes the pictures, "mdat" holds their pixels.
    depth = re.search(rb"av1C..(.)", content, re.DOTALL)
    bits = (8, 8, 10, 12)[depth[1][0] >> 5 & 3]

    def decode():
        # libavif gives all of several pictures, Pillow one, of 8 bits.
        top = (1 << bits) - 1
        values = np.asarray(image) if image.is_animated else rescale(imagecodecs.avif_decode(content), top)
        if aperture := re.search(b"clap|hide", header):  # Its size, and the place of its centre from the picture's.
            numbers = struct.unpack_from(">8i", header, aperture.end())
            wide, high, right, down = (top / bottom for top, bottom in zip(numbers[::2], numbers[1::2], strict=True))
            left, upper = round((image.width - wide) / 2 + right), round((image.height - high) / 2 + down)
            values = values[upper : upper + round(high), left : left + round(wide)]
        icc, points = image.info.get("icc_profile"), re.search(rb"colrnclx.(.).(.)", header, re.DOTALL)
        if not icc and points:  # Beside a profile, they may be those of a further picture in high dynamic range.
            icc = _profile_of_code_points(space_of(values), points[1][0], points[2][0])
        return values, icc

    orientation = read_orientation(image.info.get("exif", b""))  # Its own rotation and mirror, as Pillow tells them.
    notes = FURTHER * (image.is_animated or b"avis" in content[:64]) + _note_of_shape(header)
    notes += (f"{bits} bits reduced to 8, since it is animated",) * (image.is_animated and bits > 8)
    return Image(*image.size, decode, orientation=orientation, bits=bits, notes=notes)


def _note_of_shape(header):
    """`NOT_SQUARE` where the header of AVIF or HEIC, bytes, says that pixels are wide or high."""
    shape = re.search(rb"pasp(.{4})(.{4})", header, re.DOTALL)
    return NOT_SQUARE * bool(shape and shape[1] != shape[2])


def _profile_of_code_points(space, primaries, transfer):
    """The profile that H.273's numbers describe, see `make_profile`."""
    if transfer in (16, 18):  # PQ and HLG.
        raise CannotDecode(HIGH_DYNAMIC_RANGE)
    return make_profile(space, PLACES.get(primaries), EXPONENTS.get(transfer))


def open_heic(content):
    """HEIC by pillow-heif, and what it leaves to do."""
    if b"moov" in content and b"pitm" not in content:
        raise CannotDecode("HEIF with a film and no still picture; rename it to .mp4")
    import pillow_heif

    image = pillow_heif.open_heif(content, convert_hdr_to_8bit=False)
    if not len(image):
        raise CannotDecode("HEIC in a compression that is not read; convert it to JPEG")
    (width, height), bits, coding = image.size, image.info["bit_depth"], image.info.get("nclx_profile") or {}

    def decode():
        values = np.asarray(image).reshape(height, width, -1)  # An error where the header lied.
        if 8 < bits < 16:
            values = values | values >> bits  # They are the upper bits.
        if space_of(values) == "gray" and coding.get("full_range_flag") == 0:
            values = from_video_range(values, bits)
        if image.mode.startswith("RGBa"):
            values = unpremultiply(values)
        points = coding.get("color_primaries"), coding.get("transfer_characteristics")
        profile = _profile_of_code_points(space_of(values), *points)
        return values, image.info.get("icc_profile") or profile

    sequence = re.search(rb"hevc|hevx|msf1", content[:64])
    notes = FURTHER * (len(image) > 1 or bool(sequence)) + _note_of_shape(content.partition(b"mdat")[0])
    return Image(width, height, decode, bits=bits, notes=notes)


def open_netpbm(content):
    """PBM, PGM and PPM."""
    bitmap = content[1] in b"14"
    header = re.match(rb"P\d((\s|#[^\r\n]*[\r\n])+\d+){%d}" % (2 if bitmap else 3), content) or [b""]
    # netpbmfile does not know all places and lengths of comments.
    content = re.sub(rb"#[^\r\n]*[\r\n]", b" ", header[0]) + content[len(header[0]) :]
    file = NetpbmFile(io.BytesIO(content))
    if not (file.width and file.height and 0 < file.maxval < 65536):
        raise CannotDecode(f"a damaged file ({file.width} x {file.height} pixels of 0 to {file.maxval})")

    def decode():
        values = file.asarray().reshape(-1, file.height, file.width, file.depth)[0]
        return ~values * np.uint8(255) if bitmap else rescale(np.minimum(values, file.maxval), file.maxval), None

    notes = FURTHER * (file.frames > 1) + ("comments left out",) * (b"#" in header[0])
    return Image(file.width, file.height, decode, notes=notes)


def open_bmp(content):
    """BMP by Pillow; pixels in run lengths, which may leave some out, by FFmpeg."""
    # On the clipboard, and as ImageMagick and Pillow write .dib, it has no such head.
    if not content.startswith(b"BM"):
        size, bits, compression, colors = struct.unpack_from("<I10xHI12xI", content)
        fields = 12 * (size == 40 and compression == IN_FIELDS)
        start = 14 + size + fields + 4 * (colors or (1 << bits if bits <= 8 else 0))
        content = struct.pack("<2sI4xI", b"BM", 14 + len(content), start) + content
    bitmap = BmpImagePlugin.BmpImageFile(io.BytesIO(content))
    mode = {"1": "L", "L": "L", "RGBA": "RGBA"}.get(bitmap.mode, "RGB")
    # The header's fifth version may say where a profile begins, counted from the header, and how long it is.
    start, size = struct.unpack_from("<2I", content, 126) if content.startswith(b"DEBM", 70) else (0, 0)
    icc = content[14 + start : 14 + start + size] or profile_by_bmp(content[14:])
    compression = bitmap.info["compression"]
    # Of the third version on, it may name a bit of transparency beside 15 of colour, which Pillow drops.
    dropped = mode == "RGB" and content[14] >= 56 and compression == IN_FIELDS and any(content[66:70])

    def decode():
        return _decode_run_lengths(content) if compression in IN_RUNS else np.asarray(bitmap.convert(mode)), icc

    notes = ("transparency of one bit left out",) * dropped
    notes += ("colour profile left out, since it is in another file",) * content.startswith(b"KNIL", 70)
    return Image(*bitmap.size, decode, resolution=bitmap.info.get("dpi"), notes=notes)


def _decode_run_lengths(content):
    """The pixels of BMP in run lengths, uint8 [height, width, 3]. FFmpeg only logs what is damaged."""
    decoder = av.CodecContext.create("bmp", "r")
    with _using_log, av.logging.Capture() as complaints:
        level = av.logging.get_level()
        av.logging.set_level(av.logging.WARNING)
        av.logging.set_skip_repeated(False)  # What is held back as repeated would come out with the next file.
        try:
            frames = decoder.decode(av.Packet(content))
        finally:
            av.logging.set_level(level)
    # Of 4 bits, it does not expect the mark of the picture's end behind that of the last row's.
    ended = "ended frame decode with 2 bytes left over" if content.endswith(b"\0\1") else None
    if said := [words.strip() for _, _, words in complaints if not ended or ended not in words]:
        raise CannotDecode(f"a damaged file ({said[0]})")
    return frames[0].to_ndarray(format="rgb24")


def refuse_lost_sectors(content, start):
    """Raises CannotDecode where zeros behind `start` begin and end as sectors do, or reach the end of the content.

    Zeros that stand for pixels hardly ever do.
    """
    runs = LOST.finditer(content, start) if bytes(SECTOR) in content else ()
    # A few of the bytes around may be zeros as well.
    if any(-run.start() % SECTOR < 4 and (run.end() % SECTOR < 4 or run.end() == len(content)) for run in runs):
        raise CannotDecode("a damaged file (it has zeros where sectors of a disk could not be read)")
