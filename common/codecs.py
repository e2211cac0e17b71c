"""Codecs: what an image's header says, and its pixels with straight alpha in the whole range of their type.

libvips reads JPEG, PNG, WebP, GIF and most TIFF; libavif AVIF; OpenImageIO the TIFF that libvips does not, Netpbm,
JPEG 2000 and JPEG XL; Pillow BMP; where they are installed, pillow-heif HEIC and rawpy camera RAW. A damaged file makes
them raise whatever it leads them to; see `describe`.
"""

import contextlib
import functools
import io
import logging
import re
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import imagecodecs
import numpy as np
import OpenImageIO as oiio
import PIL.Image
import pyvips

from common.metadata import sensible
from common.profiles import adobe_rgb, profile_of_gamma

# Formats of boxes: "ftyp" comes first, "meta" describes the pictures, and "mdat" holds their pixels.
ISO = (".avif", ".heic")
SPACES = {"b-w": "gray", "grey16": "gray", "srgb": "rgb", "rgb": "rgb", "rgb16": "rgb", "cmyk": "cmyk"}
LOADERS = {".gif": "gif", ".jpg": "jpeg", ".png": "png", ".tif": "tiff", ".webp": "webp"} | dict.fromkeys(ISO, "heif")
# Marks of further pictures that libvips does not count: image sequences, JPEG's Multi-Picture Format, APNG.
FURTHER = {".avif": [b"avis"], ".heic": [b"hevc", b"hevx", b"msf1"], ".jpg": [b"MPF\0"], ".png": [b"acTL"]}
# H.273's numbers in AVIF, HEIC or PNG: the transfer characteristics PQ and HLG; and values of 16 to 235.
HIGH_DYNAMIC_RANGE = re.compile(rb"colrnclx..\0[\x10\x12]|cICP.[\x10\x12]", re.S)
LIMITED_RANGE = re.compile(rb"colrnclx.{6}[\0-\x7f]", re.S)
# The header of PGM and PPM, which ends with the largest value; and that of PBM, PGM and PPM with binary pixels.
NUMBER = rb"(?:\s|#.*\n)+(\d+)"
NETPBM = re.compile(rb"P[2356]" + NUMBER * 3)
BINARY_NETPBM = re.compile(rb"(?:P4" + NUMBER * 2 + rb"|P[56]" + NUMBER * 3 + rb")\s")
# Megabytes: OpenImageIO refuses to open a larger image and says its size, without having decoded anything.
HEADER_ONLY, ANY_SIZE = 1, 1 << 24
# In what libraries say: what led to the error, and names of objects and temporary files.
PASSING = re.compile("unable to|bad seek")
TEMPORARY = re.compile(r'( for)?( file)? ("/[^"]*"|<[^>]*>)')
# Camera RAW as the camera metered it: its white balance, no automatic brightness, sRGB.
DEVELOPING = {
    "output_bps": 16,
    "use_camera_wb": True,
    "no_auto_bright": True,
    "adjust_maximum_thr": 0.0,
    "gamma": (2.4, 12.92),
}

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
        notes: What of the file is left out, as words.
        bits: Of a channel, where they are more than 8.
    """

    width: int
    height: int
    decode: Callable[[], tuple]
    orientation: int = 1
    resolution: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()
    bits: int = 16


def open_vips(content, suffix, **options):
    """JPEG, PNG, WebP, GIF, AVIF and TIFF; of HEIC the header, since libvips has no decoder for HEVC."""
    _prepare_libvips()
    load = getattr(pyvips.Image, f"{LOADERS[suffix]}load_buffer")
    image = load(content, fail_on="error", access="sequential", **options)
    if suffix in ISO:
        meta = content.find(b"meta")
        marks, header = content[:64], content[meta : content.find(b"mdat", meta)]
    else:
        marks = header = content[: content.find(b"IDAT") if suffix == ".png" else 1 << 18]
    space = SPACES.get(image.interpretation)
    if suffix in (*ISO, ".png") and HIGH_DYNAMIC_RANGE.search(header):
        raise CannotDecode("an image of high dynamic range (PQ or HLG), which is not read; convert it to sRGB")
    if image.format not in ("uchar", "ushort"):
        raise CannotDecode(f"pixels of type {image.format}; convert it to 8 or 16 bits")
    if space is None:
        raise CannotDecode(f"{image.bands} channels that are neither gray, RGB nor CMYK")

    def get(name, default=None):
        return image.get(name) if image.get_typeof(name) else default

    def decode():
        icc, values = get("icc-profile-data"), None
        if suffix == ".heic":
            heic = _optional("pillow_heif", "HEIC").open_heif(content, convert_hdr_to_8bit=False)
            values = np.asarray(heic)
        elif suffix == ".avif" and not notes:  # libavif gives all pictures of a sequence or none.
            values = _decode_avif(content, header, bits)
        elif suffix == ".jpg" and space != "cmyk":
            values = _decode_jpeg(content, space)
        values = (image.numpy() if values is None else values).reshape(image.height, image.width, -1)
        if 8 < bits < 16:
            values = values | values >> bits  # From the upper bits of 16 to all of them.
        if suffix == ".heic":
            values = _finish_heic(values, header, bits)
        if suffix == ".png" and icc is None:
            icc = _profile_of_png(header, space)
        if suffix not in ISO and icc is None and get("exif-ifd4-InteroperabilityIndex", "").startswith("R03"):
            icc = adobe_rgb()
        return values, "gray" if values.shape[2] < 3 else space, icc

    bits = get("bits-per-sample", 16) if suffix in ISO else 16
    known = get("resolution-unit") if suffix == ".jpg" else suffix == ".png" and b"pHYs" in header
    resolution = sensible(image.xres * 25.4, image.yres * 25.4) if known else None
    pages = get("n-pages", 1)
    further = any(mark in marks for mark in FURTHER.get(suffix, ()))
    number = "further" if further else f"{pages - 1} of {pages}" if pages > 1 else None
    used = "main" if suffix in ISO else "first"
    notes = (f"{number} pictures left out: only the {used} one is used",) if number else ()
    orientation = 1 if suffix in ISO else get("orientation", 1)
    return Image(image.width, image.height, decode, orientation, resolution, notes, bits)


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
    """The profile that a PNG file without a usable one has: that of its gamma, or b"" for a damaged one."""
    if b"iCCP" in header:
        return b""  # libvips leaves it out without a word.
    gamma = re.search(rb"gAMA(.{4})", header, re.S)
    return profile_of_gamma(space, int.from_bytes(gamma[1], "big") / 1e5) if gamma and b"sRGB" not in header else None


def _decode_avif(content, header, bits):
    """Upright pixels by libavif, since libheif takes gray of 16..235 for black to white; in the upper bits of 16."""
    values = np.atleast_3d(imagecodecs.avif_decode(content)) << (16 - bits if bits > 8 else 0)
    rotation, mirror = (re.search(name + rb"(.)", header, re.S) for name in (b"irot", b"imir"))
    values = np.rot90(values, rotation[1][0] & 3) if rotation else values
    return np.flip(values, mirror[1][0] & 1) if mirror else values


def _finish_heic(values, header, bits):
    """What libheif leaves to do: gray of 16..235 becomes black to white, premultiplied colours straight ones."""
    if values.shape[2] < 3 and LIMITED_RANGE.search(header):
        top, unit = np.iinfo(values.dtype).max, (1 << bits - 8) / ((1 << bits) - 1)
        gray = np.round(((values[..., :1] / top - 16 * unit) / (219 * unit)).clip(0, 1) * top).astype(values.dtype)
        values = np.concatenate([gray, values[..., 1:]], axis=-1)
    return unpremultiply(values) if b"prem" in header else values


def unpremultiply(values):
    """Divides colours by alpha, the last channel: uint8 or uint16, [height, width, channels]."""
    top = np.iinfo(values.dtype).max
    alpha = np.maximum(values[..., -1:], 1).astype(np.float32)
    colors = np.minimum(np.round(values[..., :-1] * (top / alpha)), top).astype(values.dtype)
    return np.concatenate([colors, values[..., -1:]], axis=-1)


def open_oiio(content, suffix):
    """Netpbm, JPEG 2000 and JPEG XL."""
    with _as_file(content, suffix) as path, _opening:
        file, error = _open_file(path, HEADER_ONLY)
        claimed = re.search(r"claimed to be (\d+)x(\d+)", error)
        if file is None and claimed is None:
            raise CannotDecode(describe(error))
        spec = file and file.spec()
        width, height = (spec.width, spec.height) if file else map(int, claimed.groups())
    further = _is_animated_jxl(content, suffix) or _is_netpbm_of_several(content)
    notes = ("further pictures left out: only the first one is used",) if further else ()
    return Image(width, height, functools.partial(_decode_oiio, content, suffix), notes=notes)


def _is_animated_jxl(content, suffix):
    if suffix != ".jxl":
        return False
    with contextlib.suppress(av.FFmpegError), av.open(io.BytesIO(content)) as file:
        return file.format.name == "jpegxl_anim"
    return False


def _is_netpbm_of_several(content):
    """Whether a header follows the pixels of a Netpbm file: where these are binary, it may hold several images."""
    header = BINARY_NETPBM.match(content)
    if not header:
        return False
    width, height, *top = [int(number) for number in header.groups() if number]
    bits = {b"P4": 1, b"P5": 8, b"P6": 24}[content[:2]] * (2 if top and top[0] > 255 else 1)
    return re.compile(rb"\s*P[1-6][\s#]").match(content, header.end() + height * -(-width * bits // 8)) is not None


def _decode_oiio(content, suffix):
    values, icc = read_oiio(content, suffix)
    sizes = content.find(b"\xff\x51")
    if suffix in (".jp2", ".j2k") and content[sizes + 40] & 0x80:
        raise CannotDecode("signed pixels; convert it to 8 or 16 bits")
    if values.shape[2] > 4:
        raise CannotDecode(f"{values.shape[2]} channels that are neither gray nor RGB")
    header = NETPBM.match(content)
    top = int(header[3]) if header else 255
    if top < 255:  # OpenImageIO cuts off what it could round.
        stored = (values.astype(np.uint32) * top + 254) // 255
        values = ((stored * 255 + top // 2) // top).astype(np.uint8)
    return values, "gray" if values.shape[2] < 3 else "rgb", icc


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
        # OpenImageIO takes JPEG XL files of less than 128 bytes for damaged, and libjxl looks past what follows.
        path.write_bytes(content.ljust(128, b"\0") if suffix == ".jxl" else content)
        yield path


def open_bmp(content):
    """BMP by Pillow, which knows all kinds of it."""
    PIL.Image.MAX_IMAGE_PIXELS = None  # The limit is the caller's.
    bitmap = PIL.Image.open(io.BytesIO(content))
    mode = {"1": "L", "L": "L", "RGBA": "RGBA"}.get(bitmap.mode, "RGB")
    space = "gray" if mode == "L" else "rgb"
    return Image(*bitmap.size, lambda: (np.atleast_3d(np.asarray(bitmap.convert(mode))), space, None))


def open_raw(content):
    """Camera RAW by rawpy."""
    rawpy = _optional("rawpy", "camera RAW")

    def decode():
        with rawpy.imread(io.BytesIO(content)) as raw:
            return raw.postprocess(**DEVELOPING), "rgb", None

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
    text = TEMPORARY.sub("", str(getattr(error, "err", error)))
    lines = [line.strip() for line in text.splitlines() if line.strip() and not PASSING.search(line)]
    unsupported = next((line for line in lines if "upport" in line), None)
    if unsupported:
        return f"cannot be read ({unsupported})"
    return f"a damaged file ({lines[0] if lines else 'no reason given'})"
