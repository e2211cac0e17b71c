"""JPEG XL by OpenImageIO, and what it does not tell of a file; see decoders.py."""

import tempfile
from dataclasses import dataclass

import imagecodecs
import numpy as np
import OpenImageIO as oiio

from common.decoders import COLORS, FURTHER, CannotDecode, Image, space_of
from common.samples import unpremultiply

# Megabytes of pixels that OpenImageIO is to decode at most: images.py has a limit of its own.
ANY_SIZE = 1 << 24
START = b"\xff\x0a"  # Of a codestream.
# Shapes that its header names by a number from 1 on: width and height.
SHAPES = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
ALPHA, SPOT_COLOR, FILTERED = 0, 2, 5  # Kinds of further channels.


@dataclass
class Bits:
    """Reads a codestream's header bit by bit (ISO/IEC 18181-1, annex D)."""

    content: bytes
    place: int  # In bits.

    def take(self, count):
        """The next bits as a number, the first bit the lowest."""
        first, shift = divmod(self.place, 8)
        self.place += count
        data = self.content[first : -(-self.place // 8)]
        return int.from_bytes(data, "little") >> shift & (1 << count) - 1

    def choose(self, *choices):
        """A number in one of four forms, which two bits choose: (bits that follow, what is added to them)."""
        count, offset = choices[self.take(2)]
        return self.take(count) + offset


@dataclass
class Header:
    """What a codestream's header says."""

    width: int  # In pixels, as stored.
    height: int
    animated: bool = False
    multiplied: bool = False  # The colours are multiplied by alpha.
    # Where the number of bits of a channel is chosen, where it is 8 in a file of lossy colours with a profile.
    coarse: int | None = None


def read_header(content):
    """The `Header` of the content of a file, bytes."""
    start = next((at for box in (b"jxlc", b"jxlp") if (at := content.find(box)) > 0), 0)  # In a file of boxes.
    bits = Bits(content, 8 * (content.index(START, start) + len(START)))
    header = Header(*_take_size(bits))
    if bits.take(1):  # All else is as usual.
        return header
    if bits.take(1):
        bits.take(3)  # Orientation.
        if bits.take(1):  # The size that it is meant to be shown at.
            _take_size(bits)
        if bits.take(1):
            raise CannotDecode("JPEG XL with a preview, which is not read; convert it to PNG")
        if bits.take(1):
            header.animated = True  # By a clock, with loops and perhaps time codes.
            bits.choose((0, 100), (0, 1000), (10, 1), (30, 1))
            bits.choose((0, 1), (0, 1001), (8, 1), (10, 1))
            bits.choose((0, 0), (3, 0), (16, 0), (32, 0))
            bits.take(1)
    place = bits.place + 2
    is_coarse = _take_depth(bits) == 8
    bits.take(1)
    for _ in range(bits.choose((0, 0), (0, 1), (4, 2), (12, 1))):
        header.multiplied |= _take_channel(bits)
    if is_coarse and bits.take(1) and not bits.take(1) and bits.take(1):  # Lossy colours, not usual, with a profile.
        header.coarse = place
    return header


def _take_size(bits):
    """(width, height) in pixels."""
    small = bits.take(1)

    def take_side():
        return 8 * bits.take(5) + 8 if small else bits.choose((9, 1), (13, 1), (18, 1), (30, 1))

    height, shape = take_side(), bits.take(3)
    if not shape:
        return take_side(), height
    across, down = SHAPES[shape - 1]
    return height * across // down, height


def _take_depth(bits):
    """The bits of a channel."""
    if bits.take(1):  # Floating point, with so many bits of the exponent.
        depth = bits.choose((0, 32), (0, 16), (0, 24), (6, 1))
        bits.take(4)
        return depth
    return bits.choose((0, 8), (0, 10), (0, 12), (6, 1))


def _take_channel(bits):
    """Whether a further channel is alpha that multiplies the colours."""
    if bits.take(1):  # Usual alpha.
        return False
    kind = bits.choose((0, 0), (0, 1), (4, 2), (6, 18))
    _take_depth(bits)
    bits.choose((0, 0), (0, 3), (0, 4), (3, 1))  # How much smaller it is.
    bits.take(8 * bits.choose((0, 0), (4, 0), (5, 16), (10, 48)))  # Its name.
    if kind == SPOT_COLOR:
        bits.take(4 * 16)
    elif kind == FILTERED:
        bits.choose((0, 1), (2, 0), (4, 3), (8, 19))
    return bool(kind == ALPHA and bits.take(1))


def open_jpeg_xl(content):
    """JPEG XL."""
    header = read_header(content)
    if header.coarse is not None and not header.animated:
        # libjxl gives lossy colours as linear light, for whose dark tones 8 bits are too few: as 12 bits.
        content = bytearray(content)
        content[header.coarse // 8] |= 1 << header.coarse % 8
        content = bytes(content)

    def decode():
        spec, values = _decode_by_openimageio(content)
        if header.animated and spec.format != "uint8":  # imagecodecs does not tell how many of their 16 bits count.
            raise CannotDecode("animated, with more than 8 bits, which is not read; convert it to 8 bits")
        if header.animated:  # OpenImageIO gives the last picture.
            values = imagecodecs.jpegxl_decode(content, 0)
        values = values.reshape(spec.height, spec.width, -1)
        icc = spec.getattribute("ICCProfile")
        icc = icc if icc is None else np.asarray(icc, np.uint8).tobytes()
        is_gray = icc and icc[16:20] == b"GRAY"
        # OpenImageIO does not tell whether the second channel of gray is alpha; imagecodecs gives others as planes.
        if is_gray and spec.nchannels > 1 and imagecodecs.jpegxl_decode(content, 0).shape != (*values.shape[:2], 2):
            raise CannotDecode("JPEG XL of gray with channels of no named kind, which is not read; convert it to gray")
        if header.multiplied:
            values = unpremultiply(values[..., : COLORS[space_of(values)] + 1])
        return values, icc

    return Image(header.width, header.height, decode, notes=FURTHER * header.animated)


def _decode_by_openimageio(content):
    """(oiio.ImageSpec, values as stored) of JPEG XL."""
    config = oiio.ImageSpec()
    config.attribute("oiio:UnassociatedAlpha", 1)
    oiio.attribute("limits:imagesize_MB", ANY_SIZE)
    oiio.attribute("try_all_readers", 0)
    # It reads from files only. It takes files of less than 128 bytes for damaged, and libjxl looks past what follows.
    with tempfile.NamedTemporaryFile(suffix=".jxl") as copy:
        copy.write(content.ljust(128, b"\0"))
        copy.flush()
        file = oiio.ImageInput.open(copy.name, config)
        if not file:
            raise ValueError(oiio.geterror())
        spec = file.spec()
        if str(spec.format) not in ("uint8", "uint16"):
            raise CannotDecode(f"pixels of type {spec.format}; convert it to 8 or 16 bits")
        values = file.read_image(0, 0, 0, spec.nchannels, spec.format)
        if values is None or file.has_error:
            raise ValueError(file.geterror())
        return spec, values
