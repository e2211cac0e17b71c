"""XMP: where formats keep it, its encodings, and what of it does not describe the photo."""

import json
import re
from xml.etree import ElementTree

# What XMP begins with in JPEG, and in PNG where it is not compressed.
XMP_SEGMENT, XMP_CHUNK = b"http://ns.adobe.com/xap/1.0/\0", b"XML:com.adobe.xmp" + bytes(5)
# XMP in GIF, up to the first of the bytes that end it. Pillow does not read it.
XMP_OF_GIF = re.compile(rb"\x0bXMP DataXMP([^\x01]*)\x01")
# Properties that describe the pixels as they were, XMP's extension, or a film behind the photo.
OUTDATED = re.compile(
    r"Xmp\.(tiff\.(Orientation|Image(Width|Length)|BitsPer|SamplesPer|Photometric|Compression)|xmp\.Thumbnails|"
    r"exif\.(ColorSpace|Pixel)|photoshop\.(ColorMode|ICCProfile)|xmpNote\.Has|GCamera\.(Motion|Micro))"
)
# Properties, as "name=value", that tell of a film, gain map or depth map that phones put behind the photo, or into XMP.
BESIDE = re.compile(
    r"Xmp\.(GCamera\.(MotionPhoto|MicroVideo)=(?!0$)|(Container|GContainer|GDepth|GImage|HDRGainMap|hdrgm)\.)"
)
# Properties that mark places in the photo, such as faces, as it was before it was turned upright.
REGIONS = re.compile(r"Xmp\.(mwg-rs|MP)\.")


def as_utf8(packet):
    """An XMP packet, bytes, in UTF-8. exiv2 does not understand UTF-16 and UTF-32."""
    wide = b"\0" in packet.strip(b"\0")
    return packet.decode(json.detect_encoding(packet), "replace").encode() if wide else packet


def is_whole(packet):
    """Whether an XMP packet, bytes, is XML or missing."""
    try:
        ElementTree.fromstring(packet.strip(b"\0 \n"))
    except ElementTree.ParseError:
        return not packet
    return True
