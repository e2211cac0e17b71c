"""JPEG 2000: its header and boxes, and its pixels by OpenJPEG; see decoders.py."""

import contextlib
import struct

import cv2
import imagecodecs

from common.decoders import FURTHER, UNNAMED, CannotDecode, Image
from common.metadata import find_orientation_and_profile
from common.samples import rescale, unpremultiply

# The sizes that a codestream begins with. Three bytes a channel follow: its depth, and its steps.
SIZES = struct.Struct(">8x4I16xH")
CMYK, SRGB, GRAY, SYCC = 12, 16, 17, 18  # The numbers of its colour spaces.
ALPHA, MULTIPLIED = 1, 2  # Kinds of its last channel: alpha, and alpha by which the colours are multiplied.
CINEMA = range(3, 8)  # The profiles of its codestreams whose colours are CIE XYZ.
# The boxes that exiv2 reads, by what they begin with: EXIF, IPTC and XMP.
CARRIED = (
    b"JpgTiffExif->JP2",
    bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"),
    bytes.fromhex("be7acfcb97a942e89c71999491e3afac"),
)


def open_jpeg_2000(content):
    """JPEG 2000, a codestream or a file that holds one."""
    start = content.find(b"\xff\x4f\xff\x51")
    head = content[:start]
    boxes = [*_boxes(memoryview(content))] if head else []
    first = dict(reversed(boxes))  # Of several boxes of a kind, the first counts.
    palette, cdef, captured, shown = (bytes(first.get(kind, b"")) for kind in (b"pclr", b"cdef", b"resc", b"resd"))
    right, down, left, up, count = SIZES.unpack_from(content, start)
    channels = content[start + SIZES.size : start + SIZES.size + 3 * count]
    kinds = cdef[5 : 2 + 6 * int.from_bytes(cdef[:2]) : 6]
    depths = set(palette[3 : 3 + palette[2]] if palette else channels[::3])
    if len(depths) != 1 or max(depths) > 15:  # They are stored less 1, those of signed pixels plus 128.
        raise CannotDecode("signed pixels, or ones of more than 16 bits or of different depths; convert it to 16 bits")
    if count > 4:
        raise CannotDecode(f"{count} channels that are neither gray nor RGB")
    if palette and count > 1:  # OpenJPEG does not put the channels beside it to those of its colours.
        raise CannotDecode("JPEG 2000 of a palette and further channels, which is not read; convert it to PNG")
    if not boxes and int.from_bytes(content[start + 6 : start + 8]) in CINEMA:
        raise CannotDecode("JPEG 2000 of digital cinema, in CIE XYZ, which is not read; convert it to RGB")
    bits = max(depths) + 1
    colors = [bytes(data) for kind, data in boxes if kind == b"colr"]
    color = next((int.from_bytes(data[3:7]) for data in colors if data[:1] == b"\1"), SRGB * (not colors))
    icc = next((data[3:] for data in colors if data[:1] in (b"\2", b"\3")), None)
    if icc is None and color not in (CMYK, SRGB, GRAY, SYCC):
        raise CannotDecode("JPEG 2000 of a colour space that is not read; convert it to RGB")
    cmyk = icc[16:20] == b"CMYK" if icc else color == CMYK
    resolution = None
    with contextlib.suppress(struct.error, ZeroDivisionError):  # Without a box, or with a damaged one.
        high, low, wide, narrow, *powers = struct.unpack_from(">4H2b", captured or shown)  # Pixels per metre.
        resolution = 0.0254 * wide / narrow * 10.0 ** powers[1], 0.0254 * high / low * 10.0 ** powers[0]
    untold = not cmyk and (palette[2] if palette else count) in (2, 4) and not {ALPHA, MULTIPLIED} & {*kinds}

    def decode():
        # Of more than 8 bits, imagecodecs spoils what it converts from a profile or a space, so it is told of none.
        values = imagecodecs.jpeg2k_decode(head.replace(b"colr", b"hide") + content[start:])
        if values.max() >> bits:
            raise CannotDecode("a damaged file (its palette has larger values than it says)")
        values = rescale(values, (1 << bits) - 1)
        if MULTIPLIED in kinds:
            values = unpremultiply(values)
        if color == SYCC and max(channels[1::3]) == 1:  # Where colours are reduced, OpenJPEG converts them.
            values[..., :3] = cv2.cvtColor(values[..., [0, 2, 1]], cv2.COLOR_YCrCb2RGB)
        return values, icc

    space = "cmyk" if cmyk else None
    orientation = find_orientation_and_profile(content)[0]
    notes = UNNAMED * untold + _notes_on_boxes(boxes)
    return Image(right - left, down - up, decode, space, orientation, resolution, bits, notes)


def _boxes(content):
    """Gives the boxes in a memoryview, and those in the header's, in turn: (kind, what it holds)."""
    at = 0
    while at + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        first = at + 8
        if size == 1:  # The size stands behind the kind.
            size, first = int.from_bytes(content[first : first + 8]), first + 8
        end = at + size if size else len(content)
        yield kind, content[first:end]
        if kind in (b"jp2h", b"res "):
            yield from _boxes(content[first:end])
        at = max(first, end)


def _notes_on_boxes(boxes):
    """What of a file's boxes is left out, as words."""
    notes = FURTHER * ([kind for kind, _ in boxes].count(b"jp2c") > 1)
    unread = (b"xml ", b"asoc")
    others = any(kind in unread or (kind == b"uuid" and data[:16] not in CARRIED) for kind, data in boxes)
    return notes + ("data of other programs left out, such as XML or places on a map",) * others
