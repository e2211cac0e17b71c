"""JPEG: its header, and its pixels where all are there; see decoders.py.

simplejpeg is the fastest where photos are small, and says what is damaged. imagecodecs passes over what costs no
pixels, and knows all kinds of sampling. Where simplejpeg stops at such a thing, FFmpeg says whether pixels are lost.
"""

import contextlib
import io
import itertools
import re

import av
import imagecodecs
import numpy as np
import simplejpeg
from PIL.JpegImagePlugin import JpegImageFile

from common.decoders import FURTHER, NOT_SQUARE, CannotDecode, Image
from common.iptc import has_second_values
from common.metadata import find_orientation_and_profile, read_orientation
from common.profiles import profile_by_exif
from common.xmp import XMP_SEGMENT

# What libjpeg says of JPEG whose pixels are not all there; its other complaints cost no pixels.
PIXELS_LOST = re.compile(
    "premature end|bad (Huffman|arithmetic)|instead of RST|extraneous bytes|unsupported marker", re.IGNORECASE
)
# Bytes before a marker that libjpeg has not used: pixels or tables that it missed, or slack, as cameras write it. Slack
# is zeros anywhere, or fewer bytes than a table has ahead of a segment that stands before all pixels.
LEFT_OVER = re.compile(r"(\d+) extraneous bytes before marker 0x(..)")
SLACK = re.compile(r"\b(\d|1[0-5]) extraneous bytes before marker 0x(c[0-2]|d[bd]|e.|fe)")
END_OF_JPEG = b"\xff\xd9"
# What Samsung's phones put behind a photo, and in place of a panorama's end: parts with a name, and their list. Early
# ones put a log ahead of the end.
TRAILER = re.compile(rb"\0\0..[\1-\x40]\0\0\0[A-Z][A-Za-z]+_.*SEFT$|DEBUGINF.*\xff\xd9$", re.DOTALL)
# The header of JPEG that is progressive or arithmetic: whether its pixels are all there cannot be told without its end.
END_NEEDED = re.compile(rb"\xff[\xc2\xc9\xca]\0[\x0b\x11\x14]\x08")
ARITHMETIC = re.compile(rb"\xff[\xc9\xca]\0[\x0b\x11\x14]\x08")
# JPEG whose height stands behind its first scan: a segment in place of 0 in its header.
HEIGHT_BEHIND = re.compile(rb"(\xff[\xc0-\xc2\xc9\xca]\0[\x0b\x11\x14]\x08)\0\0(.*\xff\xdc\0\x04)(..)", re.DOTALL)
# The header of a scan: its channels, its first and last coefficient, and, in one byte, the bits it begins and ends at.
SCAN = re.compile(rb"\xff\xda\0(?:\x08\x01..|\x0a\x02.{4}|\x0c\x03.{6}|\x0e\x04.{8})...", re.DOTALL)
IPTC_BLOCK = b"8BIM\4\4"  # How it begins among Photoshop's data.
# What segments hold that are kept, told of elsewhere, or say nothing of the photo: JFIF, EXIF, XMP, profiles, further
# pictures, Photoshop's data, Adobe's transformation, JUMBF, gain maps, and, in Ducky's, the quality alone.
KNOWN_SEGMENTS = re.compile(
    rb"(JFIF|JFXX|AVI1|Exif|ICC_PROFILE|MPF)\0|http://ns\.adobe\.com/|Photoshop |Adobe|JP|urn:iso:std:iso:ts:21496"
    rb"|Ducky\0\0\x01\0\x04.{4}(\0\0|$)",
    re.DOTALL,
)
# The headers of kinds of JPEG that are not read.
UNREAD = {
    "JPEG-LS": rb"\xff\xf7\0[\x0b\x11\x14][\2-\x10]",
    "JPEG of neither 1, 3 nor 4 channels": rb"\xff[\xc0-\xc2\xc9\xca]\0[\x0e\x17-\xff]\x08",
}


def open_jpeg(content):
    try:
        header = JpegImageFile(io.BytesIO(content))
    except Exception as error:
        if (told := HEIGHT_BEHIND.sub(rb"\1\3\2\3", content)) != content:
            return open_jpeg(told)
        for kind, marker in UNREAD.items():
            if re.search(marker, content):
                raise CannotDecode(f"{kind}, which is not read; convert it to PNG") from None
        # libjpeg finds the way through some damage.
        try:
            height, width, space, _ = simplejpeg.decode_jpeg_header(content, strict=False)
        except KeyError:  # It says nothing of its own.
            raise error from None
        space = {"Gray": "gray", "CMYK": "cmyk", "YCCK": "cmyk"}.get(space, "rgb")
        orientation, icc = find_orientation_and_profile(content)
        return Image(width, height, lambda: (_decode_jpeg(content, space), icc), space, orientation)
    info, exif, space = header.info, header.info.get("exif", b""), {"L": "gray"}.get(header.mode, header.mode.lower())
    orientation = read_orientation(exif, info.get("xmp", b""))
    dpi = info["dpi"] if info.get("jfif_unit") in (1, 2) else None  # Otherwise it is that of EXIF, or made up.

    def decode():
        scans = content[content.rfind(b"\xff\xda", 0, header.fp.tell()) :]
        several = "progressive" in info or scans[4] < header.layers
        if several and _lacks_scans(scans, header.layers):
            raise CannotDecode("a damaged file (scans are missing)")
        icc = info["icc_profile"] or b"" if "icc_profile" in info else profile_by_exif(exif)
        if "icc_profile" not in info and any(data.startswith(b"ICC_PROFILE\0") for _, data in header.applist):
            icc = find_orientation_and_profile(content)[1] or b""  # Pillow passes over one behind the frame's header.
        return _decode_jpeg(content, space), icc

    starts = {"EXIF": ("APP1", b"Exif\0"), "XMP": ("APP1", XMP_SEGMENT), "comments": ("COM", b"")}
    across, down = info.get("jfif_density", (1, 1))
    notes = FURTHER * ("mp" in info) + NOT_SQUARE * (info.get("jfif_unit") == 0 and 0 < across != down > 0)
    for name, (kind, start) in starts.items():
        several = len({data for marker, data in header.applist if marker == kind and data.startswith(start)}) > 1
        notes += (f"further {name} left out: only the first is used",) * several
    blocks = [IPTC_BLOCK in data for marker, data in header.applist if marker == "APP13"]
    notes += ("further IPTC left out: only that of the first segment is used",) * any(blocks[1:])
    notes += ("second values of IPTC left out: only the first is used",) * has_second_values(header)
    others = {marker for marker, data in header.applist if marker != "COM" and not KNOWN_SEGMENTS.match(data)}
    notes += (f"data of a camera or program left out ({', '.join(sorted(others))} of JPEG)",) * bool(others)
    return Image(*header.size, decode, space, orientation, dpi, notes=notes)


def _lacks_scans(scans, channels):
    """Whether the scans, bytes that begin with the first one, leave out bits of a coefficient; libjpeg would blur the
    photo in silence."""
    lowest = {}  # The bit that a coefficient is known down to. Its first scan begins at 0, each further one there.
    for scan in SCAN.findall(scans.partition(END_OF_JPEG)[0]):
        high, low = divmod(scan[-1], 16)
        for key in itertools.product(scan[5:-3:2], range(scan[-3], scan[-2] + 1)):
            if lowest.get(key, 0) == high:
                lowest[key] = low
    return list(lowest.values()).count(0) < 64 * channels


def _decode_jpeg(content, space):
    values = read_whole_jpeg(content, space.upper())
    if values.dtype != np.uint8:
        raise CannotDecode("JPEG of more than 8 bits, which is not read; convert it to 8 bits")
    return ~values if space == "cmyk" else values  # CMYK is stored inverted.


def read_whole_jpeg(content, colorspace):
    """The pixels of JPEG, whose content may lack the marker at its end, as "GRAY", "RGB" or "CMYK", as stored.

    Raises CannotDecode where pixels are lost.
    """
    try:
        return simplejpeg.decode_jpeg(content, colorspace)
    except ValueError as error:
        said = str(error)  # Its first complaint, which others may follow.
    if trailer := TRAILER.search(content):
        return read_whole_jpeg(content[: trailer.start()], colorspace)
    if not PIXELS_LOST.search(said):
        values = imagecodecs.jpeg8_decode(content)
        if values.dtype == np.uint8:
            _check_whole(content)
        return values
    if left := LEFT_OVER.search(said):
        byte = "." if SLACK.search(said) else r"\0"
        slack = rf"{byte}{{{left[1]}}}(?=\xff\x{left[2]})"
        for found in re.finditer(slack.encode(), content, re.DOTALL):
            with contextlib.suppress(ValueError):
                return simplejpeg.decode_jpeg(content[: found.start()] + content[found.end() :], colorspace)
    if content.endswith(END_OF_JPEG) or END_NEEDED.search(content):
        raise CannotDecode(f"a damaged file ({said})")
    return read_whole_jpeg(content.rstrip(b"\0") + END_OF_JPEG, colorspace)


def _check_whole(content):
    """Raises CannotDecode where FFmpeg finds damage in JPEG; kinds that it does not read pass."""
    decoder = av.CodecContext.create("mjpeg", "r")
    decoder.options = {"err_detect": "explode"}
    try:
        whole = decoder.decode(av.Packet(content)) + decoder.decode(None)
    except av.FFmpegError as error:
        whole = isinstance(error, av.error.PatchWelcomeError)
    if not whole:
        unread = "an arithmetic JPEG of a rare sampling, which is not read, or with lost pixels; convert it to PNG"
        raise CannotDecode(unread if ARITHMETIC.search(content) else "a damaged file (pixels are missing)")
