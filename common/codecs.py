"""Codecs: what an image's header says, and its pixels with straight alpha in the whole range of their type.

libvips reads JPEG, PNG, WebP and GIF; libavif AVIF; tifffile TIFF (see decoding.py); OpenJPEG JPEG 2000; OpenImageIO
JPEG XL; netpbmfile Netpbm; Pillow BMP; where they are installed, pillow-heif HEIC and rawpy camera RAW. A damaged file
makes them raise whatever it leads them to; see `describe`.
"""

import contextlib
import functools
import io
import logging
import re
import struct
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass

import av
import cv2
import imagecodecs
import numpy as np
import OpenImageIO as oiio
import PIL.Image
import pyvips
from netpbmfile import NetpbmFile

from common.metadata import read_orientation, sensible
from common.profiles import EXPONENTS, PLACES, adobe_rgb, make_profile, rescale

# Formats of boxes: "ftyp" comes first, "meta" describes the pictures, and "mdat" holds their pixels.
ISO = (".avif", ".heic")
LOADERS = {".gif": "gif", ".jpg": "jpeg", ".png": "png", ".webp": "webp"} | dict.fromkeys(ISO, "heif")
# Marks of further pictures that libvips does not count: image sequences, JPEG's Multi-Picture Format, APNG.
FURTHER = {".avif": [b"avis"], ".heic": [b"hevc", b"hevx", b"msf1"], ".jpg": [b"MPF\0"], ".png": [b"acTL"]}
# H.273's numbers of primaries and of transfer characteristics in AVIF and HEIC, and in PNG; and values of 16 to 235.
CODE_POINTS = {".png": re.compile(rb"cICP(.)(.)", re.S)} | dict.fromkeys(ISO, re.compile(rb"colrnclx.(.).(.)", re.S))
HIGH_DYNAMIC_RANGE = (16, 18)
LIMITED_RANGE = re.compile(rb"colrnclx.{6}[\0-\x7f]", re.S)
# Of JPEG 2000: the sizes before its pixels; the depth less 1 there, to which signed ones add 128; and a mark of YCbCr.
SIZES = struct.Struct(">8x4I16xH")
DEEPEST = 15
YCC = re.compile(rb"colr\x01..\0\0\0\x12", re.S)
# Megabytes: OpenImageIO refuses to open a larger image and says its size, without having decoded anything.
HEADER_ONLY, ANY_SIZE = 1, 1 << 24
# Where BMP's file header ends, its fifth version names the colour space, and says where the profile is and how long.
BMP_HEADER, BMP_SPACE, BMP_PROFILE = 14, 70, 126
# Errors of Python libraries that did not expect the damage, and say nothing of it.
STUMBLES = (AttributeError, LookupError, TypeError, ZeroDivisionError, struct.error)
# In what libraries say: what led to the error, and names of objects and temporary files.
PASSING = re.compile("unable to")
TEMPORARY = re.compile(r'( for)?( file)? ("/[^"]*"|<[^>]*>)')
# The curve of sRGB, as LibRaw takes it: an exponent, and the slope of its straight part.
SRGB_GAMMA = (2.4, 12.92)

_opening = threading.Lock()


class CannotDecode(Exception):
    """An image that cannot be decoded; the message is the cause, without the image's name."""


@dataclass(frozen=True)
class Image:
    """An image whose header has been read, and whose pixels have not.

    Attributes:
        width, height: In pixels, as stored.
        decode: Gives (values, space, icc): uint8 or uint16, [height, width, channels], not yet upright; "gray", "rgb"
            or "cmyk", which the first 1, 3 or 4 channels are, before alpha; the colour profile, bytes, or None.
        orientation: How to turn the pixels upright, 1..8 as in EXIF.
        resolution: Pixels per inch, (horizontal, vertical); None where it is in EXIF data or nowhere.
        bits: Of a channel, where they are more than 8.
        further: Whether the file holds further pictures or pages.
    """

    width: int
    height: int
    decode: Callable[[], tuple]
    orientation: int = 1
    resolution: tuple[float, float] | None = None
    bits: int = 16
    further: bool = False


def open_vips(content, suffix):
    """JPEG, PNG, WebP, GIF and AVIF; of HEIC the header, since libvips has no decoder for HEVC."""
    _prepare_libvips()
    image = getattr(pyvips.Image, f"{LOADERS[suffix]}load_buffer")(content, fail_on="error", access="sequential")
    if suffix in ISO:
        meta = content.find(b"meta")
        marks, header = content[:64], content[meta : content.find(b"mdat", meta)]
    else:
        marks = header = content[: content.find(b"IDAT") if suffix == ".png" else 1 << 18]
    space = "cmyk" if image.interpretation == "cmyk" else "gray" if image.bands < 3 else "rgb"
    points = CODE_POINTS[suffix].search(header) if suffix in CODE_POINTS else None
    if points and points[2][0] in HIGH_DYNAMIC_RANGE:
        raise CannotDecode("an image of high dynamic range (PQ or HLG), which is not read; convert it to sRGB")

    def get(name, default=None):
        return image.get(name) if image.get_typeof(name) else default

    def decode():
        values, icc = None, get("icc-profile-data")
        if suffix == ".heic":
            values = np.asarray(_optional("pillow_heif", "HEIC").open_heif(content, convert_hdr_to_8bit=False))
        elif suffix == ".avif" and not further:  # libavif gives all pictures of a sequence or none.
            values = _decode_avif(content, header, bits)
        elif suffix == ".jpg" and space != "cmyk":
            values = _decode_jpeg(content, space)
        values = (image.numpy() if values is None else values).reshape(image.height, image.width, -1)
        if suffix == ".heic":
            values = _finish_heic(values, header, bits)
        if suffix not in ISO and icc is None and get("exif-ifd4-InteroperabilityIndex", "").startswith("R03"):
            icc = adobe_rgb()
        if points and (icc is None or suffix == ".png"):
            icc = make_profile(space, PLACES.get(points[1][0]), EXPONENTS.get(points[2][0]))
        elif icc is None and suffix == ".png":
            icc = _profile_of_png(header, space)
        return values, "gray" if values.shape[2] < 3 else space, icc

    bits = get("bits-per-sample", 16) if suffix in ISO else 16
    known = get("resolution-unit") if suffix == ".jpg" else suffix == ".png" and b"pHYs" in header
    resolution = sensible(image.xres * 25.4, image.yres * 25.4) if known else None
    further = get("n-pages", 1) > 1 or any(mark in marks for mark in FURTHER.get(suffix, ()))
    orientation = 1 if suffix in ISO else get("orientation", 1)
    if suffix == ".png" and (b"Raw profile type" in header or content.find(b"eXIf", len(header)) > 0):
        orientation = read_orientation(content)  # libvips does not look there.
    return Image(image.width, image.height, decode, orientation, resolution, bits, further)


@functools.cache
def _prepare_libvips():
    pyvips.cache_set_max(0)  # No image is read twice.
    pyvips.concurrency_set(1)  # Photos are worked on by several threads already.
    logging.getLogger("pyvips").setLevel(logging.CRITICAL)  # What it reports is raised as well.


def _decode_jpeg(content, space):
    """By OpenCV: the same pixels in a third of the time where photos are small; None where libvips can say why."""
    flags = cv2.IMREAD_IGNORE_ORIENTATION | (cv2.IMREAD_GRAYSCALE if space == "gray" else cv2.IMREAD_COLOR_RGB)
    return cv2.imdecode(np.frombuffer(content, np.uint8), flags)


def _profile_of_png(header, space):
    """The profile that PNG's chunks describe: None for sRGB, b"" for a damaged one."""
    if b"iCCP" in header:
        return b""  # libvips leaves it out without a word.
    if b"sRGB" in header:
        return None
    gamma, places = re.search(rb"gAMA(.{4})", header, re.S), re.search(rb"cHRM(.{32})", header, re.S)
    exponent = 1e5 / max(1, int.from_bytes(gamma[1], "big")) if gamma else None
    return make_profile(space, places and tuple(np.frombuffer(places[1], ">u4") / 1e5), exponent)


def _decode_avif(content, header, bits):
    """Upright pixels by libavif, since libheif takes gray of 16..235 for black to white."""
    values = fill_range(np.atleast_3d(imagecodecs.avif_decode(content)), (1 << bits) - 1)
    rotation, mirror = (re.search(name + rb"(.)", header, re.S) for name in (b"irot", b"imir"))
    values = np.rot90(values, rotation[1][0] & 3) if rotation else values
    return np.flip(values, mirror[1][0] & 1) if mirror else values


def _finish_heic(values, header, bits):
    """What libheif leaves to do: upper bits become all of 16, gray of 16..235 becomes black to white, and premultiplied
    colours become straight ones."""
    if 8 < bits < 16:
        values = values | values >> bits
    if values.shape[2] < 3 and LIMITED_RANGE.search(header):
        top, unit = np.iinfo(values.dtype).max, (1 << bits - 8) / ((1 << bits) - 1)
        gray = np.round(((values[..., :1] / top - 16 * unit) / (219 * unit)).clip(0, 1) * top).astype(values.dtype)
        values = np.concatenate([gray, values[..., 1:]], axis=-1)
    return unpremultiply(values) if b"prem" in header else values


def fill_range(values, top):
    """Values of 0..top as ones of all of uint8, for a `top` of up to 255, or all of uint16."""
    return rescale(values, top, 255 if top < 256 else 65535)


def unpremultiply(values):
    """Divides colours by alpha, the last channel: uint8 or uint16, [height, width, channels]."""
    top = np.iinfo(values.dtype).max
    alpha = np.maximum(values[..., -1:], 1).astype(np.float32)
    colors = np.minimum(np.round(values[..., :-1] * (top / alpha)), top).astype(values.dtype)
    return np.concatenate([colors, values[..., -1:]], axis=-1)


def open_jpeg_2000(content):
    """JPEG 2000, a codestream or a file that holds one, by OpenJPEG."""
    start = content.find(b"\xff\x4f\xff\x51")
    head = content[:start]
    right, down, left, up, count = SIZES.unpack_from(content, start)
    depths = set(content[start + SIZES.size : start + SIZES.size + 3 * count : 3])
    if len(depths) != 1 or max(depths) > DEEPEST:
        raise CannotDecode("signed pixels, or ones of more than 16 bits or of different depths; convert it to 16 bits")
    if count > 4:
        raise CannotDecode(f"{count} channels that are neither gray nor RGB")
    bits = max(depths) + 1

    def decode():
        # Of more than 8 bits, imagecodecs spoils what it converts from a profile; colours in a palette have 8.
        values = np.atleast_3d(imagecodecs.jpeg2k_decode(content if b"pclr" in head else content[start:]))
        values = fill_range(values, (1 << bits) - 1)
        if YCC.search(head):
            values[..., :3] = cv2.cvtColor(values[..., [0, 2, 1]], cv2.COLOR_YCrCb2RGB)
        _, found, icc = head.partition(b"colr\2")
        return values, "gray" if values.shape[2] < 3 else "rgb", icc[2:] if found else None

    return Image(right - left, down - up, decode, bits=bits)


def open_netpbm(content):
    """PBM, PGM and PPM."""
    file = NetpbmFile(io.BytesIO(content))
    bitmap = file.magicnumber in ("P1", "P4")
    if not (file.width and file.height and 0 < file.maxval < 65536):
        raise CannotDecode(f"a damaged file ({file.width} x {file.height} pixels of 0 to {file.maxval})")

    def decode():
        values = file.asarray().reshape(-1, file.height, file.width, file.depth)[0]
        values = ~values * np.uint8(255) if bitmap else fill_range(np.minimum(values, file.maxval), file.maxval)
        return values, "gray" if file.depth == 1 else "rgb", None

    return Image(file.width, file.height, decode, further=file.frames > 1)


def open_jpeg_xl(content):
    """JPEG XL by OpenImageIO, which reads from files only."""
    with _jpeg_xl_file(content, HEADER_ONLY) as (file, error):
        claimed = re.search(r"claimed to be (\d+)x(\d+)", error)
        if file is None and claimed is None:
            raise CannotDecode(describe(error))
        width, height = (file.spec().width, file.spec().height) if file else map(int, claimed.groups())
    further = False
    with contextlib.suppress(av.FFmpegError), av.open(io.BytesIO(content)) as file:
        further = file.format.name == "jpegxl_anim"
    return Image(width, height, functools.partial(_decode_jpeg_xl, content), further=further)


def _decode_jpeg_xl(content):
    with _jpeg_xl_file(content, ANY_SIZE) as (file, error):
        if file is None:
            raise CannotDecode(describe(error))
        spec = file.spec()
        if str(spec.format) not in ("uint8", "uint16"):
            raise CannotDecode(f"pixels of type {spec.format}; convert it to 8 or 16 bits")
        values = file.read_image(0, 0, 0, spec.nchannels, spec.format)
        if values is None or file.has_error:
            raise CannotDecode(describe(file.geterror()))
        icc = spec.getattribute("ICCProfile")
    values = values.reshape(spec.height, spec.width, -1)
    return values, "gray" if spec.nchannels < 3 else "rgb", None if icc is None else np.asarray(icc, np.uint8).tobytes()


@contextlib.contextmanager
def _jpeg_xl_file(content, megabytes):
    """(oiio.ImageInput or None, error) of an image of at most so many megabytes."""
    config = oiio.ImageSpec()
    config.attribute("oiio:UnassociatedAlpha", 1)
    # The limit is one for the whole process, and the image is decoded on opening.
    with tempfile.NamedTemporaryFile(suffix=".jxl") as copy, _opening:
        # OpenImageIO takes files of less than 128 bytes for damaged, and libjxl looks past what follows.
        copy.write(content.ljust(128, b"\0"))
        copy.flush()
        oiio.attribute("limits:imagesize_MB", megabytes)
        oiio.attribute("try_all_readers", 0)
        yield oiio.ImageInput.open(copy.name, config), oiio.geterror()


def open_bmp(content):
    """BMP by Pillow, which knows all kinds of it."""
    PIL.Image.MAX_IMAGE_PIXELS = None  # The limit is the caller's.
    bitmap = PIL.Image.open(io.BytesIO(content))
    mode = {"1": "L", "L": "L", "RGBA": "RGBA"}.get(bitmap.mode, "RGB")
    start, size = struct.unpack_from("<2I", content, BMP_PROFILE) if content.startswith(b"DEBM", BMP_SPACE) else (0, 0)
    icc = content[BMP_HEADER + start : BMP_HEADER + start + size] or None
    resolution = sensible(*bitmap.info.get("dpi", (0, 0)))
    return Image(
        *bitmap.size,
        lambda: (np.atleast_3d(np.asarray(bitmap.convert(mode))), "gray" if mode == "L" else "rgb", icc),
        resolution=resolution,
    )


def open_raw(content):
    """Camera RAW by rawpy, as the camera metered it: with its white balance and no automatic brightness."""
    rawpy = _optional("rawpy", "camera RAW")

    def decode():
        with rawpy.imread(io.BytesIO(content)) as raw:
            values = raw.postprocess(
                output_bps=16, use_camera_wb=True, no_auto_bright=True, adjust_maximum_thr=0.0, gamma=SRGB_GAMMA
            )
            return values, "rgb", None

    with rawpy.imread(io.BytesIO(content)) as raw:
        return Image(raw.sizes.width, raw.sizes.height, decode)


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
    said = next(iter(getattr(error, "args", ())), None)
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(error)
    text = "" if isinstance(error, STUMBLES) else TEMPORARY.sub("", text)
    lines = [line.strip() for line in text.splitlines() if line.strip() and not PASSING.search(line)]
    unsupported = next((line for line in lines if "upport" in line), None)
    if unsupported:
        return f"cannot be read ({unsupported})"
    return f"a damaged file ({lines[0] if lines else 'no reason given'})"
