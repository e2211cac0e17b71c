"""More files for test_matrix.py: what phones, scanners and programs write, and readers get wrong."""

import struct

import numpy as np
from matrix_cases import (
    ALPHA,
    as_pillow_reads,
    case,
    gray,
    rgb,
    whole,
)
from matrix_rare import SOFT, jpeg, jpeg_2000


def samsung_cases():
    film = np.random.default_rng(0).integers(0, 256, 5000).astype(np.uint8).tobytes()
    parts = b"\0\0\x30\x0a\x10\0\0\0MotionPhoto_Data" + film + b"SEFH" + struct.pack("<III", 106, 1, 0) + b"SEFT"
    content = jpeg()
    case("film-behind-its-end.jpg", content + parts, as_pillow_reads(content))
    case("film-in-place-of-its-end.jpg", content[:-2] + parts, as_pillow_reads(content))


def box(name, data):
    """A box of JPEG 2000."""
    return struct.pack(">I4s", 8 + len(data), name) + data


def with_boxes(content, *boxes):
    """A JPEG 2000 file with more boxes at the end of its header."""
    start = content.index(b"jp2h") - 4
    size = struct.unpack_from(">I", content, start)[0]
    header = content[start + 8 : start + size] + b"".join(boxes)
    return content[:start] + box(b"jp2h", header) + content[start + size :]


def jpeg_2000_cases():
    few = np.repeat(np.arange(16)[::-1] * 17, 3).astype(np.uint8).tobytes()
    places = b"".join(bytes([0, 0, 1, number]) for number in range(3))
    boxes = box(b"pclr", b"\0\x10\3\7\7\7" + few), box(b"cmap", places)
    case("palette-of-16.jp2", with_boxes(jpeg_2000(gray(4), 4), *boxes), 1 - gray(4) / 15)
    colors = whole(SOFT, 8)
    swapped = box(b"cdef", struct.pack(">10H", 3, 0, 0, 3, 1, 0, 2, 2, 0, 1))
    case("blue-first.jp2", with_boxes(jpeg_2000(colors[..., ::-1].copy(), 8), swapped), colors / 255)
    multiplied = np.dstack([np.round(rgb() * ALPHA[..., None]).astype(np.uint8), whole(ALPHA, 8)])
    kinds = box(b"cdef", struct.pack(">13H", 4, 0, 0, 1, 1, 0, 2, 2, 0, 3, 3, 2, 0))
    case("multiplied.jp2", with_boxes(jpeg_2000(multiplied, 8), kinds), alpha=ALPHA, tolerance=4)


samsung_cases()
jpeg_2000_cases()
