"""PNG's chunks, see https://www.w3.org/TR/png-3."""

import re
import struct
import zlib

from common.xmp import XMP_CHUNK, XMP_SEGMENT, as_utf8

SIGNATURE, IHDR = 8, 33  # Bytes up to the end of the signature, and of the first chunk.
# PNG's chunks of text, and the keywords of those that exiv2 carries.
TEXT = (b"tEXt", b"zTXt", b"iTXt")
CARRIED = re.compile(rb"(Description|XML:com\.adobe\.xmp|Raw profile type (exif|xmp|ic[cm]|iptc|8bim|APP1))\0")
# ImageMagick's: three lines, the name of the kind and a length among them, and hexadecimal digits.
RAW_PROFILE = re.compile(rb"Raw profile type (?:iptc|8bim|APP1)\0")
# The length of IPTC (28 bytes, 284 ...) with 1c in it, which exiv2 takes for the beginning of the first tag.
MISREAD_LENGTH = re.compile(rb"(?<=8BIM\x04\x04\0\0)(?=.{0,3}\x1c).{4}", re.DOTALL)


def read_chunks(content):
    """Gives the chunks of a PNG file's content, bytes, in turn: (kind, data)."""
    at = SIGNATURE
    while at + 12 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        yield kind, content[at + 8 : at + 8 + size]
        at += 12 + size


def insert_chunk(content, kind, data):
    """A PNG file's content with one chunk more, ahead of its pixels."""
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return content[:IHDR] + chunk + content[IHDR:]


def readable_chunk(kind, data):
    """A chunk of PNG, (kind, data), in the form that exiv2 reads."""
    if data.startswith(XMP_CHUNK):
        return kind, XMP_CHUNK + as_utf8(data.removeprefix(XMP_CHUNK))
    if not (named := RAW_PROFILE.match(data)):
        return kind, data.removeprefix(b"Exif\0\0")  # It reads no EXIF that begins as in JPEG.
    lines = data[named.end() :] if kind == b"tEXt" else zlib.decompress(data[named.end() + 1 :])
    profile = bytes.fromhex(lines.split(b"\n", 3)[3].decode())
    if profile.startswith(XMP_SEGMENT):
        return b"iTXt", XMP_CHUNK + as_utf8(profile.removeprefix(XMP_SEGMENT))
    if profile.startswith(b"Exif\0\0"):
        return b"eXIf", profile.removeprefix(b"Exif\0\0")
    digits = MISREAD_LENGTH.sub(bytes(4), profile).hex().encode()
    return b"tEXt", b"Raw profile type iptc\0\niptc\n%8d\n%b\n" % (len(profile), digits)
