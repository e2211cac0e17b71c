"""What is said of JPEG's segments that are left out, and IPTC that exiv2 does not read as it stands."""

import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import IptcImagePlugin
from test_metadata import convert, encode
from test_metadata_odd import BESIDE, MAKER, block, directory, exif_with, jpeg_with

from common import images


def iptc_values(*values):
    """IPTC among Photoshop's data, bytes, of values of record 2: (number, bytes)."""
    return block(1028, b"".join(struct.pack(">3BH", 28, 2, number, len(value)) + value for number, value in values))


@pytest.mark.parametrize("time", [b"+00:00", b"-05:00", b"101010+01:00"])
def test_times_of_iptc_with_a_colon_in_the_zone_alone_cost_nothing(photos, time):
    blocks, tiff = iptc_values((5, b"lake"), (60, time)), io.BytesIO()
    tifffile.imwrite(tiff, photos[0], metadata=None, extratags=[(34377, 1, len(blocks), blocks, True)])
    exif = exif_with(directory(MAKER))
    for content in (jpeg_with(encode(photos[0], "JPEG", exif=exif), blocks), tiff.getvalue()):
        image, losses = convert(content, ".jpg")
        assert losses == [] and image.info["exif"]
        assert IptcImagePlugin.getiptcinfo(image) == {(2, 5): b"lake", (2, 60): time.replace(b":", b"") + b" "}


@pytest.mark.parametrize(
    ("values", "lost"),
    [
        ([(5, b"lake"), (5, b"shore")], True),
        ([(5, b"lake"), (25, b"water"), (120, b"shore"), (120, b"shores")], True),
        ([(5, b"lake"), (5, b"lake"), (25, b"water"), (25, b"shore"), (80, b"a"), (80, b"b")], False),
        ([(5, b"lake"), (120, b"")], False),
    ],
)
def test_second_values_of_iptc_are_said_to_be_left_out(photos, values, lost):
    for ahead in (b"", block(1005, bytes(16))):
        content = jpeg_with(encode(photos[0], "JPEG"), ahead + iptc_values(*values))
        note = "second values of IPTC left out: only the first is used"
        assert images.decode("photo", content).notes == (note,) * lost
        assert IptcImagePlugin.getiptcinfo(convert(content, ".jpg")[0])[2, 5] == b"lake"


@pytest.mark.parametrize("damage", [b"\x1c\3<\0\0", b"\x1c\2\5\xff\0", b"\x1c\2\5\0", b"none of it"])
def test_damaged_iptc_costs_no_photo(photos, damage):
    content = jpeg_with(encode(photos[0], "JPEG"), block(1028, damage))
    assert images.decode("photo", content).pixels.shape == photos[0].shape


def ducky(*parts):
    """Adobe's segment of quality, bytes: parts (number, bytes)."""
    return b"Ducky\0" + b"".join(struct.pack(">2H", number, len(part)) + part for number, part in parts) + bytes(2)


@pytest.mark.parametrize(
    ("marker", "data", "lost"),
    [
        (0xEC, ducky((1, b"\0\0\0\x3c"), (2, b"\0\0\0\3\0a\0b\0c")), "APP12"),
        (0xEC, ducky((1, b"\0\0\0\x3c")), None),
        (0xEC, b"OLYMPUS OPTICAL CO.,LTD.\0[picture info]\r\nResolution=1\r\n", "APP12"),
        (0xE2, b"FPXR\0" + bytes(20), "APP2"),
        (0xE3, b"Meta\0\0II*\0" + bytes(20), "APP3"),
        (0xE0, b"JFXX\0\x10" + bytes(20), None),
    ],
)
def test_segments_of_cameras_and_programs_are_said_to_be_left_out(photos, marker, data, lost):
    content = encode(photos[0], "JPEG")
    content = content[:20] + struct.pack(">2BH", 255, marker, len(data) + 2) + data + content[20:]
    words = f"data of a camera or program left out ({lost} of JPEG)"
    assert images.decode("photo", content).notes == (words,) * bool(lost)


def test_a_gain_map_that_no_xmp_tells_of_is_said_to_be_left_out(photos):
    data, content = b"urn:iso:std:iso:ts:21496:-1\0" + bytes(4), encode(photos[0], "JPEG")
    segment = struct.pack(">2BH", 255, 0xE2, len(data) + 2) + data
    assert images.decode("photo", content[:20] + segment + content[20:] + content).notes == (BESIDE,)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_values_that_a_cut_tiff_lacks_are_said_to_be_left_out(photos, big, order):
    pixels, words, file = photos[0], "a lake and a shore", io.BytesIO()
    options = {"bigtiff": big, "byteorder": order, "description": words}
    tifffile.imwrite(file, pixels, photometric="rgb", metadata=None, software="", **options)
    content = bytearray(file.getvalue())
    with tifffile.TiffFile(io.BytesIO(content)) as read:  # A value behind the pixels, as libtiff puts it.
        tag = read.pages[0].tags["ImageDescription"]
        struct.pack_into(f"{order}{'Q' if big else 'I'}", content, tag.offset + (12 if big else 8), len(content))
    content += f"{words}\0".encode()
    for cut in (0, 1):  # Of BigTIFF, metadata are not read, which another sentence says.
        photo = images.decode("photo.tif", bytes(content[: len(content) - cut]))
        assert np.array_equal(photo.pixels, pixels)
        assert ("values beyond the file's end left out: text, a profile or other tags" in photo.notes) == bool(cut)
