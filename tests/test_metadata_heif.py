"""What is carried over from HEIC, AVIF and WebP, whose files hold EXIF and XMP as parts of their own."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from test_metadata import XMP, convert, encode, exif_of
from test_metadata_odd import BESIDE, MAKER, directory, exif_with

from common import images


def with_places_from_a_base(content):
    """AVIF or HEIC, bytes, whose items lie at a base plus an offset, as libheif writes it for odd sizes."""
    start, meta = content.index(b"iloc") - 4, content.index(b"meta") - 4
    size, _, version, sizes, count = struct.unpack_from(">I4sIHH", content, start)
    base_size, at, entries = sizes >> 4 & 15, start + 16, b""
    assert version == 0 and sizes >> 8 == 0x44 and base_size in (0, 4)
    grown = 16 + 20 * count - size
    for _ in range(count):
        (number,), base = struct.unpack_from(">H", content, at), content[at + 4 : at + 4 + base_size]
        extents, offset, length = struct.unpack_from(">HII", content, at + 4 + base_size)
        assert extents == 1
        entries += struct.pack(">HHHIHII", number, 0, 0, int.from_bytes(base) + offset + grown - 8, 1, 8, length)
        at += 14 + base_size
    box = struct.pack(">I4sIHH", size + grown, b"iloc", 1 << 24, 0x4440, count) + entries
    whole = struct.pack(">I", int.from_bytes(content[meta : meta + 4]) + grown)
    return content[:meta] + whole + content[meta + 4 : start] + box + content[start + size :]


def avif(photo, **metadata):
    return encode(photo, "AVIF", **metadata)


def heic(photo, **metadata):
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs requirements-formats.txt")
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(photo)).save(file, **metadata)
    return file.getvalue()


def webp(photo, **metadata):
    return encode(photo, "WEBP", **metadata)


DAMAGED = "photo: damaged EXIF left out, since it is not read"
ALPHA_AND_DEPTH = {
    avif: (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:mpegB:cicp:systems:auxiliary:depth"),
    heic: (b"urn:mpeg:hevc:2015:auxid:1", b"urn:mpeg:hevc:2015:auxid:2"),
}


def test_metadata_of_heic_is_that_of_its_main_picture(photos):
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs requirements-formats.txt")
    packets = [XMP.replace(b"Archive 7", b"Archive %d" % number) for number in range(3)]
    exif = [exif_with(directory((271, 2, 4, b"%dab\0" % number))) for number in range(3)]
    for main in range(3):
        pictures, file = pillow_heif.HeifFile(), io.BytesIO()
        for packet, data in zip(packets, exif, strict=True):
            pictures.add_from_pillow(Image.fromarray(photos[0]))
            pictures[len(pictures) - 1].info |= {"xmp": packet, "exif": data}
        pictures.save(file, primary_index=main)
        image, _ = convert(file.getvalue(), ".jpg")
        assert b"Archive %d" % main in image.info["xmp"] and image.getexif()[271] == f"{main}ab"


@pytest.mark.parametrize("write", [avif, heic])
def test_metadata_is_found_wherever_files_say_it_is(photos, write):
    exif = exif_with(directory(MAKER))
    for metadata in ({"exif": exif, "xmp": XMP}, {"exif": exif}, {"xmp": XMP}):
        plain = write(photos[0], **metadata)
        for content in (plain, with_places_from_a_base(plain)):
            image, losses = convert(content, ".jpg")
            assert losses == [] and image.getexif().get(271) == ("abc" if "exif" in metadata else None)
            assert (b"Archive 7" in image.info.get("xmp", b"")) == ("xmp" in metadata)


def test_damaged_metadata_of_heic_is_said_to_be_left_out(photos):
    content = with_places_from_a_base(heic(photos[0], exif=exif_with(directory(MAKER))))
    image, losses = convert(content.replace(b"II*\0", b"damg"), ".jpg")
    assert image.size == (128, 96) and len(losses) == 1 and "metadata left out, since it cannot be read" in losses[0]


@pytest.mark.parametrize("write", [avif, heic, webp])
def test_exif_without_its_head_is_said_to_be_left_out(photos, write):
    content = write(photos[0], exif=exif_with(directory(MAKER)), xmp=XMP)
    for head, lost in ((b"damg", [DAMAGED]), (b"II*\0", [])):
        image, losses = convert(content.replace(b"II*\0", head), ".jpg")
        assert losses == lost and b"Archive 7" in image.info["xmp"]
    empty = b"Exif\0\0II*\0\x08" + bytes(9)
    assert convert(write(photos[0], exif=empty, xmp=XMP), ".jpg")[1] == []


@pytest.mark.parametrize("write", [avif, heic])
def test_maps_in_a_file_are_said_to_be_left_out(photos, write):
    content = write(np.dstack([photos[0], photos[0][..., 0]]))
    alpha, depth = ALPHA_AND_DEPTH[write]
    assert alpha in content and images.decode("photo", content).notes == ()
    assert images.decode("photo", content.replace(alpha, depth)).notes == (BESIDE,)


@pytest.mark.parametrize("start", [b"\0\0\0\6abcdef", b"\0\0\0\0Exif\0\0", b"\0\1\0\0Exif\0\0"])
def test_no_avif_is_lost_to_where_its_exif_begins(photos, start):
    content = encode(photos[0], "AVIF", exif=exif_of({271: "Maker", 274: 6}), xmp=XMP)
    usual = b"\0\0\0\6Exif\0\0"
    assert content.count(usual) == 1
    image, losses = convert(content.replace(usual, start), ".jpg")
    assert image.size == (96, 128) and losses == [] and b"Archive 7" in image.info["xmp"]
    assert image.getexif()[271] == "Maker"


@pytest.mark.parametrize("write", [avif, heic])
@pytest.mark.parametrize("exif", [{}, {"exif": exif_with(directory(MAKER))}])
def test_compressed_xmp_is_said_to_be_left_out(photos, write, exif):
    image, losses = convert(with_compressed_xmp(write(photos[0], xmp=XMP, **exif)), ".jpg")
    assert losses == ["photo: compressed XMP left out, since it is not read"]
    assert "xmp" not in image.info and image.getexif().get(271) == ("abc" if exif else None)


def with_compressed_xmp(content):
    """AVIF or HEIC, bytes, that says of its XMP that it is compressed, in a second list of what the file holds."""
    start = content.index(b"meta") - 4
    listed = content[start : start + int.from_bytes(content[start : start + 4])]
    end = listed.index(b"rdf+xml\0") + 8
    for name in (b"meta", b"iinf", b"infe"):
        at = listed.rindex(name, 0, end) - 4
        listed = listed[:at] + struct.pack(">I", int.from_bytes(listed[at : at + 4]) + 8) + listed[at + 4 :]
    listed = listed[:end] + b"deflate\0" + listed[end:]
    packet = zlib.compress(XMP)
    return content.replace(b"meta", b"free", 1).replace(XMP, packet.ljust(len(XMP), b"\0")) + listed
