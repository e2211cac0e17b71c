"""BMP for test_matrix.py, byte by byte."""

import struct

import numpy as np
from matrix_cases import CASES, HEIGHT, WIDTH, case, encoded, gray, profile, rgb
from matrix_rare import packed


def bmp_cases():
    icc = profile(b"RGB ", np.linspace(0, 1, 1024) ** 1.8)
    head = struct.pack("<IiiHHIIiiII", 124, WIDTH, -HEIGHT, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(16) + b"DEBM" + bytes(52)
    head += struct.pack("<III", 124 + rgb().nbytes, len(icc), 0)
    content = b"BM" + struct.pack("<IHHI", 138 + rgb().nbytes + len(icc), 0, 0, 138) + head + rgb().tobytes() + icc
    case("profile.bmp", content, encoded((gray() / 255) ** 1.8))
    # What its fourth version holds in place of a profile: primaries as CIE XYZ under D65, and exponents.
    light = np.array(((0.4124, 0.2126, 0.0193), (0.3576, 0.7152, 0.1192), (0.1805, 0.0722, 0.9505)))
    for name, places, exponent in (("linear", light, 1.0), ("linear-of-no-primaries", 0 * light, 1.0)):
        curves = np.full(3, exponent * 2**16).astype("<u4").tobytes()
        head = struct.pack("<IiiHHIIiiII", 108, WIDTH, -HEIGHT, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(20)
        head += np.round(places * 2**30).astype("<i4").tobytes() + curves
        content = b"BM" + struct.pack("<IHHI", 122 + rgb().nbytes, 0, 0, 122) + head + rgb().tobytes()
        case(f"{name}.bmp", content, encoded((gray() / 255) ** exponent))
    # Rows from below, in runs: 3 pixels, a step by 2 and a row, 2 pixels, the row's end, 8 pixels, the picture's end.
    runs = bytes([3, 200, 0, 2, 2, 1, 2, 100, 0, 0, 8, 50, 0, 1])
    head = struct.pack("<IiiHHIIiiII", 40, 8, 4, 1, 8, 1, len(runs), 0, 0, 256, 0)
    colors = np.repeat(np.arange(256, dtype=np.uint8), 4).tobytes()
    content = b"BM" + struct.pack("<IHHI", 54 + len(colors) + len(runs), 0, 0, 54 + len(colors)) + head + colors + runs
    shown = np.zeros((4, 8))
    shown[3, :3], shown[2, 5:7], shown[1] = 200 / 255, 100 / 255, 50 / 255
    case("steps-between-runs.bmp", content, shown)
    for bits in (1, 4, 8):
        for kind, size, height in (("os2", 12, HEIGHT), ("os2-2", 64, HEIGHT), ("from-above", 40, -HEIGHT)):
            case(f"palette-of-{bits}-bits-{kind}.bmp", palette(bits, size, height), gray(bits) / ((1 << bits) - 1))
    for bits in (4, 8):
        values = gray(bits)[:, 1:]  # Of an odd width.
        for slack in (0, 1):
            shown = values / ((1 << bits) - 1)
            case(f"run-lengths-of-{bits}-bits-{slack}-more.bmp", run_lengths(values, bits, slack), shown)
        content = run_lengths(values, bits)[:-2] + bytes([0, 0, 0, 1])
        case(f"run-lengths-of-{bits}-bits-with-every-end.bmp", content, shown)
    for name, (content, *meaning) in list(CASES.items()):
        if content.startswith(b"BM") and content[14] in (40, 124):  # The headers of Windows.
            case(f"without-its-first-14-bytes-{name}", content[14:], *meaning)


def palette(bits, size, height):
    """BMP of a palette, here the negative, with a header of some bytes; a negative height means rows from above."""
    levels = np.linspace(255, 0, 1 << bits).astype(np.uint8)
    colors = np.dstack([levels] * 3 + [0 * levels] * (size > 12)).tobytes()
    short = struct.pack("<IHHHH", size, WIDTH, abs(height), 1, bits)
    head = short if size == 12 else struct.pack("<IiiHH", size, WIDTH, height, 1, bits).ljust(size, b"\0")
    values = (1 << bits) - 1 - gray(bits)
    start, rows = 14 + size + len(colors), packed(values[:: 1 if height < 0 else -1], bits)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + head + colors + rows


def bits_of_bmp(bits, fields, values=None):
    """BMP of pixels of 16 or 32 bits, in rows from above; `fields` are the bits of red, green, blue and alpha."""
    values = np.zeros((HEIGHT, WIDTH)) if values is None else values
    head = struct.pack("<IiiHHI20x", 56, WIDTH, -HEIGHT, 1, bits, 3) + struct.pack(f"<{len(fields)}I", *fields)
    pixels = values.astype(f"<u{bits // 8}").tobytes()
    return b"BM" + struct.pack("<IHHI", 70 + len(pixels), 0, 0, 70) + head.ljust(56, b"\0") + pixels


def run_lengths(values, bits, slack=0):
    """BMP in run lengths, of gray values of 4 or 8 bits; rows have `slack` more pixels than they should."""
    data = b""
    for row in values[::-1]:
        for value in [*row, *[0] * slack]:
            data += bytes([1, value << 8 - bits & 255])
        data += b"\0\0"
    levels = np.linspace(0, 255, 1 << bits).astype(np.uint8)
    colors = np.dstack([levels, levels, levels, 0 * levels]).tobytes()
    data, (height, width) = data[:-2] + b"\0\1", values.shape
    head = struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, bits, 2 if bits == 4 else 1, len(data), 0, 0, len(levels), 0
    )
    start = 54 + len(colors)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + head + colors + data


bmp_cases()
