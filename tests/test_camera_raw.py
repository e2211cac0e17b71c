"""Camera RAW: what is read, and what is refused since LibRaw would take other pixels for those that are missing."""

import struct
import sys

import numpy as np
import pytest
from matrix_cases import by_tifffile, encoded, gray, profile, rgb, whole
from matrix_rare import page, tiff
from test_matrix import neutral

from common import images
from common.images import PhotoError

pytest.importorskip("rawpy", reason="needs requirements-formats.txt")

# A gray card before a sensor, in uneven light.
LIGHT = np.tile(np.linspace(0.02, 0.9, 320), (240, 1))


def dng(more=(), **options):
    """The card by a sensor with the same sensitivity for red, green and blue; `more` are further tags."""
    matrix = [3.2406, -1.5372, -0.4986, -0.9689, 1.8758, 0.0415, 0.0557, -0.204, 1.057]
    matrix = [number for value in matrix for number in (round(value * 10_000), 10_000)]
    tags = [
        (33421, 3, 2, (2, 2), True),
        (33422, 1, 4, bytes([0, 1, 1, 2]), True),
        (50706, 1, 4, bytes([1, 4, 0, 0]), True),
        (50708, 2, None, "Test", True),
        (50717, 4, 1, 65535, True),
        (50721, 10, 9, matrix, True),
        (50728, 5, 3, (1, 1, 1, 1, 1, 1), True),
        (50778, 3, 1, 21, True),
    ]
    return by_tifffile(whole(LIGHT, 16), photometric=32803, extratags=sorted([*tags, *more]), **options)


PACKED = {"compression": "jpeg", "compressionargs": {"lossless": True, "bitspersample": 16}, "tile": (80, 80)}


def rw2(pixels, kind=("H", [4])):
    """RAW as Panasonic's cameras write it, of 140 x 100 pixels, whose tag claims two bytes for each."""
    tags = {1: ("B", b"0300"), 2: ("H", [140]), 3: ("H", [100]), 45: kind}
    tags |= {271: ("B", b"Panasonic\0"), 272: ("B", b"DMC-LX3\0")}
    tags |= {273: ("I", [2**32 - 1]), 279: ("I", [28000]), 280: ("I", [1024])}
    rows, texts, start = b"", b"", 24 + 2 + 12 * len(tags) + 4
    for tag, (code, values) in sorted(tags.items()):
        data = struct.pack(f"<{len(values)}{code}", *values)
        if len(data) > 4:
            texts, data = texts + data, struct.pack("<I", start + len(texts))
        rows += struct.pack("<HHI", tag, {"B": 2, "H": 3, "I": 4}[code], len(values)) + data.ljust(4, b"\0")
    head = b"IIU\0" + struct.pack("<I", 24).ljust(20, b"\0") + struct.pack("<H", len(tags)) + rows + bytes(4) + texts
    return head.ljust(1024, b"\0") + pixels


@pytest.mark.parametrize("options", [{}, PACKED], ids=["plain", "packed"])
def test_camera_raw_is_read(options):
    found = images.decode("photo.dng", dng(**options))
    assert found.pixels.dtype == np.uint16 and found.pixels.shape == (240, 320, 3)
    assert np.abs(neutral(found.pixels / 65535)[20:-20, 20:-20] - encoded(LIGHT)[20:-20, 20:-20]).max() < 1.5 / 255


@pytest.mark.parametrize("active", [(0, 0, 240, 320), (4, 8, 236, 316)])
@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, lambda photo: photo),
        (2, np.fliplr),
        (3, lambda photo: np.rot90(photo, 2)),
        (4, np.flipud),
        (5, lambda photo: photo.swapaxes(0, 1)),
        (6, lambda photo: np.rot90(photo, 3)),
        (7, lambda photo: np.rot90(photo.swapaxes(0, 1), 2)),
        (8, np.rot90),
    ],
)
def test_dng_has_the_part_that_it_says_is_the_photo(active, orientation, turned):
    active_area, turn = (50829, 4, 4, active, True), (274, 3, 1, orientation, True)
    crop = [(50719, 4, 2, (10, 20), True), (50720, 4, 2, (280, 200), True)]
    whole_frame, photo = (images.decode("a.dng", dng([active_area, *more])).pixels for more in ([], [turn, *crop]))
    assert whole_frame.shape == (active[2] - active[0], active[3] - active[1], 3)
    # The place of the crop is that in the active area.
    np.testing.assert_array_equal(photo, turned(whole_frame[20:220, 10:290]))


def test_camera_raw_needs_its_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(PhotoError, match=r"rawpy is missing; .*pip install -r requirements-formats\.txt"):
        images.decode("photo.dng", dng())


@pytest.mark.parametrize("name", ["photo.dng", "photo.tif"])
def test_camera_raw_that_lacks_pixels_is_refused(name):
    content = dng(**PACKED)
    middle = len(content) // 1024 * 512
    lost, rest = content[:middle] + bytes(1024) + content[middle + 1024 :], bytes(len(content) - middle)
    few = content
    for tag in (324, 325):  # Places and sizes of the tiles, of which one is left.
        start = few.index(struct.pack("<HH", tag, 4)) + 4
        few = few[:start] + struct.pack("<I", 1) + few[start + 4 :]
    for damaged, words in (
        (few, "pixels are missing"),
        (content[:middle], "pixels are missing"),
        (lost, "zeros where sectors of a disk"),
        (content[:middle] + rest, "zeros where sectors of a disk"),
        (dng()[:-100], "a damaged file"),
    ):
        with pytest.raises(PhotoError, match=words):
            images.decode(name, damaged)


def test_panasonic_raw_is_refused_only_where_it_lacks_pixels():
    pixels = bytes([1, 2, 3, 4, 0, 0, 0, 0] * 2000)  # 14 pixels in 16 bytes.
    for content in (rw2(pixels), rw2(pixels, kind=("B", b"4\0"))):
        assert images.decode("photo.rw2", content).pixels.shape == (100, 140, 3)
    with pytest.raises(PhotoError, match="pixels are missing"):
        images.decode("photo.rw2", rw2(pixels[:-1]))


def test_zeros_that_are_pixels_of_camera_raw_are_no_lost_sectors():
    content = bytearray(dng())
    assert content[512:1536] != bytes(1024)
    content[512:1536] = bytes(1024)
    assert images.decode("photo.dng", bytes(content)).pixels.shape == (240, 320, 3)


@pytest.mark.parametrize("space", [b"RGB ", b"GRAY"])
def test_scans_of_film_are_read_as_tiff(space):
    values, photometric = (rgb(), 2) if space == b"RGB " else (gray(), 1)
    bits, icc = [8] * (values.size // gray().size), ("B", profile(space, np.linspace(0, 1, 1024) ** 1.8))
    small = page(*bits, photometric=photometric, height=18, width=24, t254=("I", [1]), t34675=icc)
    below = page(*bits, photometric=photometric), values.tobytes()
    found = images.decode("photo.nef", tiff((small, values[::4, ::4].tobytes()), sub=below))
    assert found.pixels.shape == values.shape and found.notes == ("converted from its colour profile to sRGB",)
    assert np.abs(neutral(found.pixels / 255) - encoded((gray() / 255) ** 1.8)).max() < 1.05 / 255
