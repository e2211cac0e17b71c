"""What a file says about its photo: EXIF, IPTC, XMP, comments, resolution. exiv2 carries it from format to format."""

import re
import struct
import threading
import zlib
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
import pyexiv2

# Formats that exiv2 reads.
READABLE = frozenset({".avif", ".heic", ".jp2", ".jpg", ".jxl", ".png", ".raw", ".tif", ".webp"})
# TIFF tags that say how the pixels of that very file are stored: sizes, strips, tiles, tables, sub-files, profile.
LAYOUT = frozenset(
    "NewSubfileType SubfileType ImageWidth ImageLength BitsPerSample Compression PhotometricInterpretation "
    "Thresholding CellWidth CellLength FillOrder StripOffsets SamplesPerPixel RowsPerStrip StripByteCounts "
    "MinSampleValue MaxSampleValue PlanarConfiguration FreeOffsets FreeByteCounts GrayResponseUnit GrayResponseCurve "
    "T4Options T6Options PageNumber TransferFunction Predictor WhitePoint PrimaryChromaticities ColorMap "
    "HalftoneHints TileWidth TileLength TileOffsets TileByteCounts SubIFDs InkSet InkNames NumberOfInks DotRange "
    "ExtraSamples SampleFormat SMinSampleValue SMaxSampleValue JPEGTables JPEGProc JPEGInterchangeFormat "
    "JPEGInterchangeFormatLength YCbCrCoefficients YCbCrSubSampling YCbCrPositioning ReferenceBlackWhite "
    "InterColorProfile CFARepeatPatternDim CFAPattern XMLPacket IPTCNAA ImageResources".split()
)
# Groups and tags of other pictures in the file, and of camera RAW, which say how to develop it.
OTHER_PICTURES = re.compile(r"Exif\.(Thumbnail|SubImage|SubThumb|Image[2-9])")
DEVELOPING = range(50706, 52600)
GROUPS = frozenset({"GPSInfo", "Image", "Iop", "Photo"})
# In XMP, what is said of the pixels as they were.
OUTDATED = re.compile(r"Xmp\.(tiff\.Orientation|xmp\.Thumbnails|photoshop\.(ColorMode|ICCProfile))")
# Which says "R03" for Adobe RGB, and "R98" for sRGB.
COLORS = "Exif.Iop.InteroperabilityIndex"
KINDS = {"exif": "EXIF", "iptc": "IPTC", "xmp": "XMP", "comment": "the comment"}

# exiv2's XMP parser is one for the whole process.
_using_exiv2 = threading.Lock()


@dataclass(frozen=True)
class Metadata:
    """What a file says about its photo, cleared of what it says about how the pixels are stored.

    Attributes:
        carrier: A PNG file, bytes, that holds EXIF, IPTC, XMP and comment; None without any.
        resolution: Pixels per inch, (horizontal, vertical); None where the file does not say.
        empty_xmp: An XMP packet, bytes, without a property, which exiv2 would drop.
    """

    carrier: bytes | None = None
    resolution: tuple[float, float] | None = None
    empty_xmp: bytes = b""


def sensible(x, y):
    """A resolution in pixels per inch, or None where the numbers say nothing."""
    return (float(x), float(y)) if 1 < x < 65536 and 1 < y < 65536 else None


def read_exif(content):
    """The EXIF data of a file's content as {exiv2's name: text}; empty where they cannot be read."""
    with _using_exiv2:
        try:
            return _open(content).read_exif("latin-1")
        except (RuntimeError, ValueError):
            return {}


def orientation_of(exif):
    """The orientation, 1..8, that EXIF data say, in whatever type; 1 without."""
    number = re.match(r"\s*([1-8])(?!\d)", exif.get("Exif.Image.Orientation", "1"))
    return int(number[1]) if number else 1


def read_metadata(content, suffix, resolution=None):
    """Reads what a file's content, bytes, says about its photo, except for its orientation.

    Returns:
        (Metadata, notes): what cannot be read, as words.
    """
    if suffix not in READABLE or content.startswith(b"\xff\x0a"):  # JPEG XL without a container has pixels only.
        return Metadata(None, resolution), ()
    with _using_exiv2:
        try:
            source = _open(content)
            carrier = _open(_encode_smallest(".png"))
            lost = _copy(source, carrier)
            wanted, found = _names(source), _names(carrier)
            lost |= {kind for kind in KINDS if wanted[kind] - found[kind]}
            present = any(found.values())
            _clear(carrier)
            resolution = resolution or _resolution_of(carrier.read_exif("latin-1"))
            empty_xmp = b"" if source.read_xmp("latin-1") else source.read_raw_xmp("latin-1").encode("latin-1")
        except (RuntimeError, ValueError) as error:
            return Metadata(None, resolution), (f"metadata left out, since it cannot be read ({error})",)
    notes = tuple(f"{KINDS[kind]} left out, in whole or in part: damaged or too large" for kind in sorted(lost))
    return Metadata(carrier.get_bytes() if present else None, resolution, empty_xmp), notes


def embed(content, suffix, metadata, width, height):
    """Puts metadata into a file's content, bytes.

    Args:
        content: The file's content.
        suffix: Of its format.
        metadata: The `Metadata`.
        width, height: The photo's.

    Returns:
        (content, losses): what the format does not hold, as words.
    """
    content = _with_resolution(content, suffix, metadata.resolution)
    with _using_exiv2:
        carrier = _complete(metadata, width, height)
        if carrier is None:
            return _with_empty_xmp(content, suffix, metadata.empty_xmp), []
        wanted = _names(carrier)
        try:
            target = _open(content)
            failed = _copy(carrier, target)
            content, found = _without_nul(target), _names(target)
        except (RuntimeError, ValueError):  # A format that exiv2 does not know, or more than 2 GB.
            failed, found = set(), {kind: set() for kind in KINDS}
    lost = [words for kind, words in KINDS.items() if kind in failed or wanted[kind] - found[kind]]
    content = _with_empty_xmp(content, suffix, metadata.empty_xmp)
    return content, [f"{words} left out, in whole or in part, since {suffix} does not hold it" for words in lost]


def encodable(metadata, width, height):
    """EXIF and XMP for a format that takes them when it is encoded: ({OpenCV's kind: bytes}, losses as words)."""
    jpeg, losses = embed(_encode_smallest(".jpg"), ".jpg", metadata, width, height)
    _, kinds, chunks = cv2.imdecodeWithMetadata(np.frombuffer(jpeg, np.uint8), flags=cv2.IMREAD_UNCHANGED)
    return dict(zip(kinds, chunks, strict=True)), losses


def _resolution_of(exif):
    """Pixels per inch that EXIF data say, or None."""
    try:
        x, y = (Fraction(exif[f"Exif.Image.{axis}Resolution"]) for axis in "XY")
        scale = {"2": 1, "3": 2.54}[exif.get("Exif.Image.ResolutionUnit", "2")]
    except (KeyError, ValueError, ZeroDivisionError):
        return None
    return sensible(x * scale, y * scale)


def _open(content):
    pyexiv2.set_log_level(4)  # It says nothing on stderr.
    return pyexiv2.ImageData(content)


def _encode_smallest(suffix):
    return cv2.imencode(suffix, np.zeros((1, 1), np.uint8))[1].tobytes()


def _names(image):
    """The names of what a file holds, a set for each of `KINDS`."""
    return {
        # Those of makers' notes may change with their place in the file.
        "exif": {
            name for name in image.read_exif("latin-1") if name.split(".")[1] in GROUPS and not _is_outdated(name)
        },
        "iptc": set(image.read_iptc("latin-1")),
        "xmp": {"packet"} if image.read_xmp("latin-1") else set(),
        "comment": {"comment"} if image.read_comment("latin-1") else set(),
    }


def _copy(source, target):
    """Copies all kinds of metadata that a file can hold. Returns those of them that failed."""
    modes = target.get_access_mode()
    failed = set()
    for kind in ("exif", "iptc"):
        if _names(source)[kind] and "write" in (modes[kind] or ""):
            nothing = dict.fromkeys((*KINDS, "icc", "thumbnail"), False)
            failed |= _try(kind, lambda only=nothing | {kind: True}: source.copy_to_another_image(target, **only))
    # As text, since exiv2 copies only those properties of a packet that it knows.
    packet, comment = source.read_raw_xmp("latin-1"), source.read_comment("latin-1")
    if _names(source)["xmp"] and "write" in (modes["xmp"] or ""):
        failed |= _try("xmp", lambda: target.modify_raw_xmp(_text(packet)))
    if comment and "write" in (modes["comment"] or ""):
        failed |= _try("comment", lambda: target.modify_comment(_text(comment)))
    return failed


def _try(kind, function):
    try:
        function()
    except (RuntimeError, ValueError):
        return {kind}
    return set()


def _text(latin):
    """Text of bytes that were read as Latin-1: UTF-8 if they are."""
    try:
        return latin.encode("latin-1").decode()
    except UnicodeDecodeError:
        return latin


def _clear(carrier):
    """Removes what says how the pixels were stored, how camera RAW is developed, and other pictures."""
    exif = carrier.read_exif("latin-1")
    removed = {name: None for name in exif if _is_outdated(name)}
    if removed:
        carrier.modify_exif(removed, "latin-1")
    properties = {name: None for name in carrier.read_xmp("latin-1") if OUTDATED.match(name)}
    if properties:
        carrier.modify_xmp(properties)


def _is_outdated(name):
    _, group, tag = name.split(".", 2)
    number = int(tag, 16) if tag.startswith("0x") else 0
    outdated = tag in LAYOUT or tag == "Orientation" or tag.startswith("DNG") or number in DEVELOPING
    return bool(OTHER_PICTURES.match(name)) or (group == "Image" and outdated)


def _complete(metadata, width, height):
    """A carrier of all there is to say about a photo of a size; None if there is nothing."""
    if metadata.carrier is None and metadata.resolution is None:
        return None
    carrier = _open(metadata.carrier or _encode_smallest(".png"))
    exif = carrier.read_exif("latin-1")
    changes = {}
    for name, size in (("Exif.Photo.PixelXDimension", width), ("Exif.Photo.PixelYDimension", height)):
        if name in exif and exif[name] != str(size):
            changes[name] = size
    # Results are sRGB.
    changes |= {name: value for name, value in (("Exif.Photo.ColorSpace", 1), (COLORS, "R98")) if name in exif}
    if metadata.resolution and "Exif.Image.XResolution" not in exif:
        x, y = (Fraction(value).limit_denominator(1000) for value in metadata.resolution)
        changes |= {"Exif.Image.XResolution": f"{x.numerator}/{x.denominator}"}
        changes |= {"Exif.Image.YResolution": f"{y.numerator}/{y.denominator}", "Exif.Image.ResolutionUnit": 2}
    if changes:
        carrier.modify_exif(changes)
    return carrier


def _with_resolution(content, suffix, resolution):
    """A file's content with the resolution in JFIF's header or in PNG's pHYs, which not all readers look past."""
    if resolution is None:
        return content
    if suffix == ".jpg" and content[6:11] == b"JFIF\0":
        return content[:13] + struct.pack(">BHH", 1, *map(round, resolution)) + content[18:]
    if suffix == ".png":
        chunk = b"pHYs" + struct.pack(">IIB", *(round(value / 0.0254) for value in resolution), 1)
        end = 33  # Of the signature and IHDR.
        return content[:end] + struct.pack(">I", 9) + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[end:]
    return content


def _without_nul(image):
    """A file's content, without the NUL that exiv2 writes behind the comment of a JPEG file."""
    comment = image.read_comment("latin-1").encode("latin-1")
    written = b"\xff\xfe" + struct.pack(">H", (len(comment) + 3) & 65535) + comment + b"\0"
    meant = b"\xff\xfe" + struct.pack(">H", (len(comment) + 2) & 65535) + comment
    return image.get_bytes().replace(written, meant, 1) if comment else image.get_bytes()


def _with_empty_xmp(content, suffix, packet):
    """A JPEG file's content with a short XMP packet behind JFIF's header."""
    if suffix != ".jpg" or content[6:11] != b"JFIF\0" or not 0 < len(packet) < 60_000:
        return content
    segment = b"http://ns.adobe.com/xap/1.0/\0" + packet
    return content[:20] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + content[20:]
