"""Codecs: what an image's header says, and its pixels with straight alpha in the whole range of their type.

libvips reads JPEG, PNG, WebP, GIF and TIFF; libavif AVIF; Pillow BMP; OpenImageIO Netpbm, JPEG 2000, JPEG XL, and TIFF
of the depths and layouts that libvips does not know; where they are installed, pillow-heif HEIC and rawpy camera RAW.
"""

import contextlib
import functools
import io
import logging
import re
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import imagecodecs
import numpy as np
import OpenImageIO as oiio
import PIL.Image
import pyvips

from common.metadata import sensible
from common.profiles import profile_of_gamma

SPACES = {"b-w": "gray", "grey16": "gray", "srgb": "rgb", "rgb": "rgb", "rgb16": "rgb", "cmyk": "cmyk"}
# Transfer characteristics of H.273: PQ and HLG.
HIGH_DYNAMIC_RANGE = (16, 18)
CHANNELS = {"gray": 1, "rgb": 3, "cmyk": 4}
# The header of PGM and PPM, which ends with the largest value.
NETPBM = re.compile(rb"P[2356]" + rb"(?:\s|#.*\n)+(\d+)" * 3)
# Megabytes: OpenImageIO refuses to open a larger image and says its size, without having decoded anything.
HEADER_ONLY, ANY_SIZE = 1, 1 << 24

_opening = threading.Lock()


class CannotDecode(Exception):
    """An image that cannot be decoded; the message is the cause, without the image's name."""


class Pixels(NamedTuple):
    """Decoded pixels, not yet upright.

    Attributes:
        values: uint8 or uint16, [height, width, channels]; CMYK counts ink.
        space: "gray", "rgb" or "cmyk": what the first 1, 3 or 4 channels are. The next one is alpha.
        icc: Colour profile, bytes; None without.
    """

    values: np.ndarray
    space: str
    icc: bytes | None = None


@dataclass(frozen=True)
class Image:
    """An image whose header has been read, and whose pixels have not.

    Attributes:
        width, height: In pixels, as stored.
        decode: Gives the `Pixels`. Raises CannotDecode.
        orientation: How to turn the pixels upright, 1..8 as in EXIF; None leaves that to the EXIF data.
        resolution: Pixels per inch, (horizontal, vertical); None where the file does not say.
        notes: What of the file is left out, as words.
        bits: Of a channel, where they are more than 8.
    """

    width: int
    height: int
    decode: Callable[[], Pixels]
    orientation: int | None = 1
    resolution: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()
    bits: int = 16


# JPEG goes through OpenCV, which gives the same pixels as libvips in a third of the time where photos are small.
LOADERS = {
    ".avif": pyvips.Image.heifload_buffer,
    ".gif": pyvips.Image.gifload_buffer,
    ".jpg": pyvips.Image.jpegload_buffer,
    ".png": pyvips.Image.pngload_buffer,
    ".tif": pyvips.Image.tiffload_buffer,
    ".webp": pyvips.Image.webpload_buffer,
}


def open_vips(content, suffix, **options):
    _prepare_libvips()
    try:
        image = LOADERS[suffix](content, fail_on="error", access="sequential", **options)
    except pyvips.Error as error:
        raise CannotDecode(describe(error)) from error
    space = SPACES.get(image.interpretation)
    header = content[: {".avif": content.find(b"mdat"), ".png": content.find(b"IDAT")}.get(suffix, 1 << 18)]
    if _transfer(header) in HIGH_DYNAMIC_RANGE:
        raise CannotDecode("an image of high dynamic range (PQ or HLG), which is not read; convert it to sRGB")
    if image.format not in ("uchar", "ushort"):
        raise CannotDecode(f"pixels of type {image.format}; convert it to 8 or 16 bits")
    if space is None:
        raise CannotDecode(f"{image.bands} channels that are neither gray, RGB nor CMYK")

    def get(name, default=None):
        return image.get(name) if image.get_typeof(name) else default

    def decode():
        # libvips leaves out a damaged profile of PNG without a word.
        icc = get("icc-profile-data", b"" if suffix == ".png" and b"iCCP" in header else None)
        gamma = header.find(b"gAMA") if suffix == ".png" and icc is None and b"sRGB" not in header else -1
        if gamma >= 0:
            icc = profile_of_gamma(space, int.from_bytes(header[gamma + 4 : gamma + 8], "big") / 1e5)
        if suffix == ".jpg" and space != "cmyk":
            flags = cv2.IMREAD_IGNORE_ORIENTATION | (cv2.IMREAD_GRAYSCALE if space == "gray" else cv2.IMREAD_COLOR_RGB)
            values = _from_opencv(content, flags)
            values = _from_vips(image) if values is None else values  # It says what is wrong.
        elif suffix == ".avif" and not notes:  # imagecodecs gives all pictures of a sequence or none.
            values = _from_avif(content, get("bits-per-sample", 8))
            return Pixels(values, "gray" if values.shape[2] < 3 else "rgb", icc)
        else:
            values = _from_vips(image)
            values = _stretch(values >> (16 - bits), bits) if 8 < bits < 16 else values
        return Pixels(values.reshape(image.height, image.width, -1), space, icc)

    known = b"pHYs" in header if suffix == ".png" else header[6:11] == b"JFIF\0" and header[13] in (1, 2)
    resolution = sensible(image.xres * 25.4, image.yres * 25.4) if known else None
    pages = get("n-pages", 1)
    notes = (f"{pages - 1} of {pages} pictures left out: only the first is used",) if pages > 1 else ()
    further = {".avif": b"avis", ".jpg": b"MPF\0", ".png": b"acTL"}.get(suffix)
    if further and further in (header[:64] if suffix == ".avif" else header):
        notes = ("further pictures in the file left out: only the first is used",)
    orientation = 1 if suffix == ".avif" or (suffix == ".jpg" and get("exif-data") is None) else None
    bits = get("bits-per-sample", 16) if suffix == ".avif" else 16
    return Image(image.width, image.height, decode, orientation, resolution, notes, bits)


def _transfer(header):
    """The transfer characteristics, as H.273 numbers them, of AVIF, HEIC or PNG; None where they are not said."""
    colors, chunk = header.find(b"colrnclx"), header.find(b"cICP")
    if colors >= 0:
        return int.from_bytes(header[colors + 10 : colors + 12], "big")
    return header[chunk + 5] if 0 <= chunk < len(header) - 5 else None


@functools.cache
def _prepare_libvips():
    pyvips.cache_set_max(0)  # No image is read twice.
    pyvips.concurrency_set(1)  # Photos are worked on by several threads already.
    logging.getLogger("pyvips").setLevel(logging.CRITICAL)  # What it reports is raised as well.


def _from_vips(image):
    try:
        memory = image.write_to_memory()
    except pyvips.Error as error:
        raise CannotDecode(describe(error)) from error
    dtype = np.uint8 if image.format == "uchar" else np.uint16
    return np.ndarray((image.height, image.width, image.bands), dtype, memory)


def _from_opencv(content, flags):
    try:
        values = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise CannotDecode(describe(error.err)) from error
    return values


def _from_avif(content, bits):
    """Upright pixels by libavif, since libheif takes gray of 16..235 for black to white."""
    try:
        values = np.atleast_3d(imagecodecs.avif_decode(content))
    except (imagecodecs.AvifError, ValueError) as error:
        raise CannotDecode(describe(error)) from error
    header = content[: content.find(b"mdat")]
    rotation, mirror = header.find(b"irot"), header.find(b"imir")
    if rotation >= 0:
        values = np.rot90(values, header[rotation + 4] & 3)
    if mirror >= 0:
        values = np.flip(values, header[mirror + 4] & 1)
    return _stretch(values, bits)


def _stretch(values, bits):
    """Values of some bits, spread over the whole range of uint16 where they are more than 8."""
    if bits in (8, 16):
        return values
    table = np.arange(1 << bits, dtype=np.uint32) * 65535 // ((1 << bits) - 1)
    return table.astype(np.uint16)[values]


def open_oiio(content, suffix):
    with _as_file(content, suffix) as path, _opening:
        file, error = _open_file(path, HEADER_ONLY)
        claimed = re.search(r"claimed to be (\d+)x(\d+)", error)
        if file is None and claimed is None:
            raise CannotDecode(describe(error))
        spec = file and file.spec()
        width, height = (spec.width, spec.height) if file else map(int, claimed.groups())
    return Image(width, height, functools.partial(_decode_oiio, content, suffix))


def _decode_oiio(content, suffix):
    values, icc = read_oiio(content, suffix)
    channels = values.shape[2]
    sizes = content.find(b"\xff\x51")
    if suffix in (".jp2", ".j2k") and content[sizes + 40] & 0x80:
        raise CannotDecode("signed pixels; convert it to 8 or 16 bits")
    header = NETPBM.match(content)
    if header and int(header[3]) < 255:
        # OpenImageIO cuts off what it could round.
        steps = np.arange(int(header[3]) + 1)
        table = np.zeros(256, np.uint8)
        table[steps * 255 // steps[-1]] = np.round(steps * 255 / steps[-1])
        values = table[values]
    if channels > 4:
        raise CannotDecode(f"{channels} channels that are neither gray nor RGB")
    return Pixels(values, "gray" if channels < 3 else "rgb", icc)


def read_oiio(content, suffix, page=0, raw=False):
    """(values, ICC profile) by OpenImageIO, which reads from files only."""
    with _as_file(content, suffix) as path:
        with _opening:  # The limit is one for the whole process, and JPEG 2000 and JPEG XL are decoded on opening.
            file, error = _open_file(path, ANY_SIZE, raw)
        if file is None or not file.seek_subimage(page, 0):
            raise CannotDecode(describe(error))
        spec = file.spec()
        if str(spec.format) not in ("uint8", "uint16"):
            raise CannotDecode(f"pixels of type {spec.format}; convert it to 8 or 16 bits")
        values = file.read_image(page, 0, 0, spec.nchannels, spec.format)
        if values is None or file.has_error:
            raise CannotDecode(describe(file.geterror()))
        icc = spec.getattribute("ICCProfile")
    return values.reshape(spec.height, spec.width, -1), None if icc is None else np.asarray(icc, np.uint8).tobytes()


def _open_file(path, megabytes, raw=False):
    oiio.attribute("limits:imagesize_MB", megabytes)
    oiio.attribute("try_all_readers", 0)
    config = oiio.ImageSpec()
    config.attribute("oiio:UnassociatedAlpha", 1)
    config.attribute("oiio:RawColor", int(raw))  # CMYK stays CMYK.
    return oiio.ImageInput.open(str(path), config), oiio.geterror()


@contextlib.contextmanager
def _as_file(content, suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"image{suffix}"
        path.write_bytes(content)
        yield path


def open_bmp(content):
    """By Pillow, which knows all kinds of it."""
    PIL.Image.MAX_IMAGE_PIXELS = None  # The limit is the caller's.

    def decode():
        try:
            bitmap = PIL.Image.open(io.BytesIO(content))
            mode = {"1": "L", "L": "L", "RGBA": "RGBA"}.get(bitmap.mode, "RGB")
            return Pixels(np.atleast_3d(np.asarray(bitmap.convert(mode))), "gray" if mode == "L" else "rgb")
        except (OSError, ValueError, SyntaxError) as error:
            raise CannotDecode(describe(error)) from error

    try:
        width, height = PIL.Image.open(io.BytesIO(content)).size
    except (OSError, ValueError, SyntaxError) as error:
        raise CannotDecode(describe(error)) from error
    return Image(width, height, decode)


def open_heic(content):
    """libvips reads the header, though not the pixels, without a decoder for HEVC."""
    image = open_vips(content, ".avif")

    def decode():
        pillow_heif = _optional("pillow_heif", "HEIC")
        try:
            file = pillow_heif.open_heif(content, convert_hdr_to_8bit=False)
            values = np.asarray(file)
        except (OSError, ValueError, RuntimeError, EOFError, SyntaxError) as error:
            raise CannotDecode(describe(error)) from error
        bits = file.info.get("bit_depth", 8)
        values = _stretch(np.atleast_3d(values) >> (16 - bits if bits > 8 else 0), bits)
        return Pixels(values, "gray" if values.shape[2] < 3 else "rgb", file.info.get("icc_profile"))

    return replace(image, decode=decode)


def open_raw(content):
    """Camera RAW as the camera metered it: its white balance, no automatic brightness, sRGB."""
    rawpy = _optional("rawpy", "camera RAW")

    def use(function):
        try:
            with rawpy.imread(io.BytesIO(content)) as raw:
                return function(raw)
        except rawpy.LibRawError as error:
            raise CannotDecode(describe(error)) from error

    def decode():
        options = {
            "output_bps": 16,
            "use_camera_wb": True,
            "no_auto_bright": True,
            "adjust_maximum_thr": 0.0,
            "gamma": (2.4, 12.92),
        }
        return Pixels(use(lambda raw: raw.postprocess(**options)), "rgb")

    width, height = use(lambda raw: (raw.sizes.width, raw.sizes.height))
    return Image(width, height, decode)


def _optional(module, kind):
    try:
        return __import__(module)
    except ImportError:
        package = module.replace("_", "-")
        raise CannotDecode(
            f"{kind} needs {package}, which is not installed: pip install -r requirements-formats.txt"
        ) from None


def describe(error):
    """What a library says of a file that it does not decode: a sentence, in which the file is damaged unless it says
    that it does not support the file."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and "unable to" not in line]
    unsupported = next((line for line in lines if "upport" in line), None)
    if unsupported:
        return f"cannot be read ({unsupported})"
    return f"a damaged file ({lines[0] if lines else 'no reason given'})"
