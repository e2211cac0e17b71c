"""What a file says about its photo: EXIF, IPTC, XMP, comments, resolution. exiv2 carries it from format to format."""

import contextlib
import importlib
import io
import re
import struct
import threading
import zlib
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
import PIL.Image
import pyexiv2
import tifffile

from common.iptc import with_usual_times
from common.png import CARRIED, TEXT, insert_chunk, read_chunks, readable_chunk
from common.samples import SIDEWAYS
from common.xmp import BESIDE, OUTDATED, REGIONS, XMP_CHUNK, XMP_OF_GIF, XMP_SEGMENT, as_utf8, is_whole

# Formats that exiv2 reads, or Pillow.
READABLE = frozenset({".avif", ".gif", ".heic", ".jp2", ".jpg", ".jxl", ".png", ".raw", ".tif", ".webp"})
# TIFF's own tags and SGI's say how the pixels of that very file are stored, and those of DNG how to develop it. Numbers
# below 254 are damage, with one exception.
OF_PIXELS = frozenset((*range(701), *range(32995, 32999), *range(50706, 52600)))
# Those of them that describe the photo.
DESCRIPTIONS = frozenset(
    "ProcessingSoftware DocumentName ImageDescription Make Model XResolution YResolution PageName XPosition YPosition "
    "ResolutionUnit Software DateTime Artist HostComputer TargetPrinter UniqueCameraModel LocalizedCameraModel "
    "CameraSerialNumber LensInfo OriginalRawFileName CameraLabel ReelName".split()
)
# Further tags of a file's pixels, and of what exiv2 gives in another way.
STORAGE = frozenset("CFARepeatPatternDim CFAPattern InterColorProfile XMLPacket IPTCNAA ImageResources".split())
# What a description of all pictures in the file begins with. With it, programs would look for them in the result.
LAYOUT = re.compile(r"ImageJ=|<\?xml[^>]*>\s*(<!--.*?-->\s*)?<OME\b", re.DOTALL)
# Groups of other pictures in the file, and of the photo.
OTHER_PICTURES = re.compile(r"Exif\.(Thumbnail|SubImage|SubThumb|Image[2-9])")
GROUPS = frozenset({"GPSInfo", "Image", "Iop", "Photo"})
# What exiv2 does not read: XMP beyond JPEG's first segment; in Photoshop's blocks, which are digits in PNG, a flag that
# is set and a URL that is not empty; EXIF without its head, where AVIF, HEIC or WebP says that there is EXIF (WebP with
# a bit); compressed XMP of HEIC and AVIF; profiles as ImageMagick puts them into text.
UNREAD = {
    "extended XMP": rb"http://ns\.adobe\.com/xmp/extension/\0",
    "Photoshop's copyright flag or URL": rb"8BIM\x04(\x0a\0{5}\x01[^\0]|\x0b\0{4}(?!\0\0))",
    "Photoshop's copyright flag or URL in PNG": rb"3842494d04(0a0{11}1(?!00)|0b0{8}(?!0000))",
    "damaged EXIF": rb"(?s)\A(?=....(ftyp.*?infe.{8}Exif|....WEBPVP8X....[\x08-\x0f\x28-\x2f\x18-\x1f\x38-\x3f]))"
    rb"(?!.*(II\*\0|MM\0\*))",
    "compressed XMP": rb"application/rdf\+xml\0(deflate|compress_zlib|br)\0",
    "a colour profile in text of PNG": rb"Raw profile type ic[cm]\0",
    "a path of Photoshop": rb"(?s)8BIM(\x07[\xd0-\xff]|[\x08-\x0a].|\x0b[\0-\xb5])",
    "a record of content credentials (C2PA)": rb"(?s)jumb.{4}jumdc2pa",
}
# What lies beside the photo though XMP need not say so (see `xmp.BESIDE`): behind JPEG of Samsung, in HEIC and AVIF all
# further pictures but alpha, and a gain map of ISO 21496-1 behind JPEG.
UNTOLD = re.compile(
    rb"MotionPhoto_Data|(Dual|Single)Shot_\w|SoundShot_\d|Interactive_Panorama_\d|FlipPhoto_\d|infe.{8}tmap"
    rb"|auxC\0{4}(?![\w:]*(alpha|auxid:1)\0)|urn:iso:std:iso:ts:21496",
    re.DOTALL,
)
# How HEIC and AVIF list EXIF and XMP.
EXIF_ITEM, XMP_ITEM = rb"infe.{8}Exif", rb"infe.{8}mime[^\0]*\0application/rdf\+xml\0"
# How exiv2 copies each kind. XMP and comments as text: it copies only those properties of a packet that it knows.
NOTHING = dict.fromkeys(("exif", "iptc", "xmp", "comment", "icc", "thumbnail"), False)
COPY = {
    "EXIF": lambda source, target: source.copy_to_another_image(target, **NOTHING | {"exif": True}),
    "IPTC": lambda source, target: _copy_iptc(source, target),
    "XMP": lambda source, target: target.modify_raw_xmp(_text(source.read_raw_xmp("latin-1"))),
    "the comment": lambda source, target: target.modify_comment(_text(source.read_comment("latin-1"))),
}
ERRORS = (OverflowError, RuntimeError, ValueError)
# Tags of EXIF and TIFF; the last two hold Photoshop's data, such as IPTC, and its layers.
ORIENTATION, XMP_PACKET, IPTC_ALONE, EXIF, RESOURCES, LAYERS = 274, 700, 33723, 34665, 34377, 37724
# What a colour profile begins with. Beside a damaged one, exiv2 reads nothing.
PROFILES = {".avif": b"colrprof", ".heic": b"colrprof", ".jp2": b"colr\2", ".jpg": b"ICC_PROFILE\0", ".webp": b"ICCP"}

# exiv2's XMP parser is one for the whole process.
_using_exiv2 = threading.Lock()


@dataclass(frozen=True)
class Metadata:
    """What a file says about its photo, cleared of what it says about how the pixels are stored."""

    carrier: bytes | None = None  # A PNG file that holds EXIF, IPTC, XMP and comment; None without any.
    resolution: tuple[float, float] | None = None  # Pixels per inch, (horizontal, vertical); None where not said.
    unread_xmp: bytes = b""  # An XMP packet in which exiv2 finds no property: an empty or damaged one.
    text: tuple[tuple[bytes, bytes], ...] = ()  # Chunks of PNG that exiv2 does not carry, see `png.read_chunks`.


def read_metadata(content, suffix, resolution=None, orientation=1):
    """Reads what a file's content, bytes of the format of a suffix, says about its photo once that is upright.

    Args:
        resolution: Pixels per inch, (horizontal, vertical), as the header says, or None; that of EXIF comes first.
        orientation: How the pixels were turned upright, 1..8.

    Returns:
        (Metadata, notes): what cannot be read, as words.
    """
    turn = -1 if orientation in SIDEWAYS else 1
    resolution = resolution and _sensible(*resolution[::turn])
    if suffix not in READABLE or content.startswith(b"\xff\x0a"):  # JPEG XL without a container has pixels only.
        return Metadata(None, resolution), ()
    with _using_exiv2:
        readable, damaged = _readable_part(content) if suffix == ".png" else (content, [])
        try:
            carrier, packet, lost = _carry(readable, suffix)
            exif, xmp = carrier.read_exif("latin-1"), carrier.read_xmp("latin-1")
            untyped, layout, beside, regions = _clear(carrier, exif, xmp, is_turned=orientation in range(2, 9))
            kept = carrier.get_bytes() if any(_names(carrier).values()) else None
        except ERRORS as error:
            # exiv2 does not read BigTIFF, most of which has no text, XMP, IPTC or EXIF.
            tags = _tags(content) if content[2:4] in (b"+\0", b"\0+") else None
            lost = tags is None or any(tag.dtype == 2 or tag.code in (XMP_PACKET, IPTC_ALONE, EXIF) for tag in tags)
            return Metadata(None, resolution), (f"metadata left out, since it cannot be read ({error})",) * lost
    lost += ["EXIF"] * bool(untyped) + damaged
    notes = [f"{kind} left out, in whole or in part: damaged or too large" for kind in dict.fromkeys(lost)]
    parts = [content] if readable is content else [content, readable]
    unread = [kind for kind, mark in UNREAD.items() if any(re.search(mark, part) for part in parts)]
    notes += [f"{kind} left out, since it is not read" for kind in unread]
    if beside or UNTOLD.search(content):
        notes.append("left out what the file holds beside the photo: a film, sound, gain map or depth map")
    if layout:
        notes.append("data of ImageJ or OME left out, which describe the file as it was")
    if regions:
        notes.append("faces marked in the photo left out, since it was turned upright")
    resolution = (_resolution_of(exif) or ())[::turn] or resolution
    unread_xmp = b"" if xmp or "XMP" in lost else packet
    chunks = read_chunks(readable) if suffix == ".png" else ()
    text = tuple((kind, data) for kind, data in chunks if kind in TEXT and not CARRIED.match(data))
    return Metadata(kept, resolution, unread_xmp, text), tuple(notes)


def read_orientation(exif, xmp=b""):
    """The orientation in EXIF data, bytes, or else in XMP, bytes or any other type, 1..8; 1 where there is none."""
    entries, found = PIL.Image.Exif(), re.search(r"tiff:Orientation(?:=\W*|>)([1-8])", str(xmp))
    by_xmp = int(found[1]) if found else 1
    with contextlib.suppress(Exception):  # It raises whatever damaged data lead it to.
        entries.load(exif)
        return whole_number(entries.get(ORIENTATION, by_xmp))
    return by_xmp


def find_orientation_and_profile(content):
    """(orientation, colour profile or None) that exiv2 finds in a file's content, bytes; (1, None) where it fails."""
    with _using_exiv2, contextlib.suppress(*ERRORS):
        image = _open(content)
        by_xmp = image.read_xmp("latin-1").get("Xmp.tiff.Orientation", 1)
        return whole_number(image.read_exif("latin-1").get("Exif.Image.Orientation", by_xmp)), image.read_icc() or None
    return 1, None


def whole_number(value):
    """The value of a tag of EXIF or TIFF as a whole number, whatever its type; 1 where it is none."""
    with contextlib.suppress(TypeError, ValueError, IndexError):
        return int(value[0] if isinstance(value, (bytes, tuple, list)) else value)
    return 1


def embed(content, suffix, metadata, width, height):
    """Puts the `Metadata` of a photo of a size into a file's content, bytes, in the format of a suffix.

    Returns (content, losses): what the format does not hold, as words.
    """
    lost = []
    in_header = suffix in (".bmp", ".jpg", ".png")  # Where the encoder puts the resolution.
    if metadata.carrier or (metadata.resolution and not in_header):
        with _using_exiv2:
            content, lost = _copy(_complete(metadata, width, height), content, suffix)
        if lost and not metadata.carrier:
            lost = ["the resolution"]
    if suffix == ".jpg" and metadata.unread_xmp:
        content = _insert_segment(content, b"\xe1", XMP_SEGMENT + metadata.unread_xmp)
    elif not is_whole(metadata.unread_xmp):
        lost.append("damaged XMP")
    if suffix == ".png":
        for chunk in reversed(metadata.text):
            content = insert_chunk(content, *chunk)
    elif metadata.text:
        lost.append("text of PNG")
    return content, [f"{kind} left out, in whole or in part, since {suffix} does not hold it" for kind in lost]


def encodable(metadata, suffix, width, height):
    """EXIF and XMP for a format that takes them when it is encoded: ({OpenCV's kind: bytes}, losses as words)."""
    webp, losses = embed(_encode_smallest(".webp"), suffix, metadata, width, height)
    _, kinds, chunks = cv2.imdecodeWithMetadata(np.frombuffer(webp, np.uint8), flags=cv2.IMREAD_UNCHANGED)
    return dict(zip(kinds, chunks, strict=True)), losses


def _resolution_of(exif):
    """Pixels per inch that EXIF data say, or None."""
    try:
        x, y = (Fraction(exif[f"Exif.Image.{axis}Resolution"]) for axis in "XY")
        scale = {"2": 1, "3": 2.54}[exif.get("Exif.Image.ResolutionUnit", "2")]
    except (KeyError, TypeError, ValueError, ZeroDivisionError):  # A tag that is there twice has a list of values.
        return None
    return _sensible(x * scale, y * scale)


def _sensible(x, y):
    """A resolution in pixels per inch, or None where the numbers say nothing."""
    return (float(x), float(y)) if 1 < x < 65536 and 1 < y < 65536 else None


class _Image(pyexiv2.ImageData):
    """A file's content in exiv2. pyexiv2 alone would keep its copy of the content until the process ends."""

    def __del__(self):
        with contextlib.suppress(AttributeError):  # Where opening it failed, only the copy is there.
            self.close()


def _open(content):
    pyexiv2.set_log_level(4)  # It says nothing on stderr.
    return _Image(content)


def _readable_part(content):
    """(small, damaged): a PNG file of one pixel with the EXIF and text of another one; the kinds that exiv2 does not
    read, beside which it would not read the others."""
    small = empty = _encode_smallest(".png")
    damaged = []
    for kind, data in reversed([chunk for chunk in read_chunks(content) if chunk[0] in (b"eXIf", *TEXT)]):
        try:
            chunk = readable_chunk(kind, data)
            _open(insert_chunk(empty, *chunk))
            small = insert_chunk(small, *chunk)
        except (*ERRORS, IndexError, zlib.error):
            damaged.append("EXIF" if kind == b"eXIf" else "text of PNG")
    return small, damaged


def _open_source(content, suffix):
    """A file in exiv2, without those parts of it that would keep exiv2 from the others."""
    # With GIMP's prefix in XMP, it does not write the one that Microsoft's programs and digiKam mark faces with.
    if b"xmlns:GIMP=" in content:
        content = content.replace(b"xmlns:GIMP=", b"xmlns:Gimp=").replace(b"GIMP:", b"Gimp:")
    if suffix == ".gif":
        return _open_by_pillow(content, suffix)
    readable = content = with_usual_times(content)
    if start := PROFILES.get(suffix):
        # In WebP, XMP may have the same letters behind the place of a profile.
        end = 34 if suffix == ".webp" else len(content)
        readable = content[:end].replace(start, bytes(len(start))) + content[end:]
    if suffix == ".tif":
        layers, iptc, resources = map(_tags(content).get, (LAYERS, IPTC_ALONE, RESOURCES))
        # exiv2 would read layers for minutes, and prefers a part of IPTC, as ImageMagick writes it, to all of it.
        known = _value_of(iptc, content) in _value_of(resources, content)
        for tag in filter(None, (layers, iptc if known else None)):
            readable = readable[: tag.offset] + bytes(8) + readable[tag.offset + 8 :]
    source = _open(readable.ljust(128, b"\0"))  # JPEG XL may be too short for exiv2 to know it.
    if suffix not in (".avif", ".heic"):
        return source
    # exiv2 does not find all that libheif writes, for GIMP and others, and takes any of several pictures' for the main
    # one's.
    several = any(len(re.findall(kind, content, re.DOTALL)) > 1 for kind in (EXIF_ITEM, XMP_ITEM))
    found = source.read_exif("latin-1") or source.read_raw_xmp("latin-1")
    return source if found and not several else _open_by_pillow(content, suffix)


def _carry(content, suffix):
    """(carrier, packet, lost): in exiv2, a PNG file with what a file says; XMP as that file has it, bytes; the kinds of
    which something is missing."""
    source = _open_source(content, suffix)
    carrier, lost = _copy(source, _encode_smallest(".png"), ".png")
    carrier = _open(carrier)
    packet = source.read_raw_xmp("latin-1").encode("latin-1")
    if suffix == ".tif" and not packet:  # exiv2 gives only what it understands.
        packet = _value_of(_tags(content).get(XMP_PACKET), content)
    if (known := as_utf8(packet)) != packet:
        with contextlib.suppress(*ERRORS):  # It may be damaged.
            carrier.modify_raw_xmp(known.decode())
    return carrier, packet, lost


def _clear(carrier, exif, xmp, is_turned):
    """Removes what does not hold of a result from a carrier's EXIF and XMP. Returns those names that notes tell of:
    tags without a type, layouts, what lies beside the photo, and, where it was turned, places in it."""
    details = carrier.read_exif_detail("latin-1")
    untyped = [name for name in _names(carrier)["EXIF"] if details[name]["typeName"] == "unknown"]
    layout = [name for name, value in exif.items() if name.endswith("Description") and LAYOUT.match(str(value))]
    if outdated := [*untyped, *layout, *filter(_is_outdated, exif)]:
        carrier.modify_exif(dict.fromkeys(outdated))
    beside = [name for name, value in xmp.items() if BESIDE.match(f"{name}={value}")]
    regions = [name for name in xmp if is_turned and REGIONS.match(name)]
    if outdated := [*beside, *regions, *filter(OUTDATED.match, xmp)]:
        carrier.modify_xmp(dict.fromkeys(outdated))
    return untyped, layout, beside, regions


def _tags(content):
    return tifffile.TiffFile(io.BytesIO(content)).pages.first.tags


def _value_of(tag, content):
    """The bytes of a tag of TIFF, none without the tag."""
    return content[tag.valueoffset : tag.valueoffset + tag.valuebytecount] if tag else b""


def _open_by_pillow(content, suffix):
    """A PNG file in exiv2 with the EXIF, XMP and comment that Pillow or pillow-heif finds in a file."""
    carrier, info = _encode_smallest(".png"), {}
    with contextlib.suppress(Exception):  # They raise whatever damage leads them to.
        opened = importlib.import_module("pillow_heif").open_heif if suffix == ".heic" else PIL.Image.open
        info = opened(io.BytesIO(content)).info
    if exif := (info.get("exif") or b"").removeprefix(b"Exif\0\0"):
        carrier = insert_chunk(carrier, b"eXIf", exif)
    is_compressed = re.search(UNREAD["compressed XMP"], content)
    if xmp := not is_compressed and (info.get("xmp") or b"".join(XMP_OF_GIF.findall(content)[:1])):
        carrier = insert_chunk(carrier, b"iTXt", XMP_CHUNK + as_utf8(xmp))
    if comment := info.get("comment"):
        carrier = insert_chunk(carrier, b"tEXt", b"Description\0" + comment)
    return _open(carrier)


def _encode_smallest(suffix):
    return cv2.imencode(suffix, np.zeros((1, 1), np.uint8))[1].tobytes()


def _names(image):
    """The names of what a file holds, a set for each kind."""
    exif = image.read_exif("latin-1")
    return {
        # Those of makers' notes may change with their place in the file.
        "EXIF": {name for name in exif if name.split(".")[1] in GROUPS and not _is_outdated(name)},
        # An empty one may be lost where it is the last.
        "IPTC": {name for name, value in image.read_iptc("latin-1").items() if any(value)},
        "XMP": {"packet"} if image.read_xmp("latin-1") else set(),
        "the comment": {"comment"} if image.read_comment("latin-1") else set(),
    }


def _copy(source, content, suffix):
    """Puts what a file says into another one's content. Returns (content, kinds of which something is missing)."""
    wanted, found = _names(source), {}
    for kind in filter(wanted.get, COPY):
        if (kind, suffix) == ("the comment", ".jpg"):  # exiv2 would write a NUL behind it.
            content = _insert_segment(content, b"\xfe", _text(source.read_comment("latin-1")).encode())
            continue
        with contextlib.suppress(*ERRORS):  # A target that failed once does so for the other kinds as well.
            target = _open(content)
            COPY[kind](source, target)
            content = target.get_bytes()
            del target  # It holds the content twice.
    with contextlib.suppress(*ERRORS):
        found = _names(_open(content))
    return content, [kind for kind in wanted if wanted[kind] - found.get(kind, set())]


def _copy_iptc(source, target):
    source.copy_to_another_image(target, **NOTHING | {"iptc": True})
    tags, version = _names(source)["IPTC"], "Iptc.Envelope.ModelVersion"
    if tags - _names(_open(target.get_bytes()))["IPTC"]:  # See `MISREAD_LENGTH`: a tag more or less changes it.
        target.modify_iptc({version: None if version in tags else 4})


def _text(latin):
    """Text of bytes that were read as Latin-1: UTF-8 if they are."""
    try:
        return latin.encode("latin-1").decode()
    except UnicodeDecodeError:
        return latin


def _is_outdated(name):
    """Whether EXIF says with a tag how pixels were stored or camera RAW is developed, or where a group of tags begins
    (GPSTag), or speaks of other pictures."""
    _, group, tag = name.split(".", 2)
    number = int(tag, 16) if tag.startswith("0x") else tifffile.TIFF.TAGS.get(tag, -1)
    of_pixels = group == "Image" and tag not in DESCRIPTIONS and (tag in STORAGE or number in OF_PIXELS)
    return bool(OTHER_PICTURES.match(name)) or tag.endswith("Tag") or of_pixels


def _complete(metadata, width, height):
    """A carrier of all there is to say about a photo of a size."""
    carrier = _open(metadata.carrier or _encode_smallest(".png"))
    exif = carrier.read_exif("latin-1")
    # Results are sRGB.
    current = {"Exif.Photo.PixelXDimension": width, "Exif.Photo.PixelYDimension": height}
    current |= {"Exif.Photo.ColorSpace": 1, "Exif.Iop.InteroperabilityIndex": "R98"}
    changes = {name: value for name, value in current.items() if exif.get(name, str(value)) != str(value)}
    if metadata.resolution and metadata.resolution != _resolution_of(exif):
        x, y = (Fraction(value).limit_denominator(1000) for value in metadata.resolution)
        changes |= {"Exif.Image.XResolution": f"{x.numerator}/{x.denominator}"}
        changes |= {"Exif.Image.YResolution": f"{y.numerator}/{y.denominator}", "Exif.Image.ResolutionUnit": 2}
    carrier.modify_exif(changes)
    return carrier


def _insert_segment(content, marker, data):
    """A JPEG file's content with one segment more; as it was if that is too large."""
    if len(data) > 65_533:
        return content
    start = 20  # OpenCV's JPEG files begin with a header of so many bytes.
    return content[:start] + b"\xff" + marker + struct.pack(">H", len(data) + 2) + data + content[start:]
