"""More files for test_matrix.py: what formats allow and few programs write, byte by byte where no library writes it."""

import io
import struct
import zlib
from fractions import Fraction

import av
import imagecodecs
import numpy as np
from matrix_cases import (
    ALPHA,
    HEIGHT,
    PICTURE,
    WIDTH,
    as_pillow_reads,
    by_pillow,
    by_tifffile,
    case,
    encoded,
    gray,
    profile,
    rgb,
    whole,
)
from PIL import Image

TYPES = {"B": 1, "H": 3, "I": 4, "R": 5}
# Colours inside sRGB, also where they are taken for those of a wider space.
SOFT = np.dstack([0.4 * PICTURE + 0.3, 0.3 * PICTURE + 0.35, 0.4 * PICTURE[::-1] + 0.3])
# The rows of these are CIE XYZ of red, green and blue at full strength, under D50: sRGB, Display P3 and Adobe RGB.
SRGB = np.array([(0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.7141)])
P3 = np.array([(0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407)])
ADOBE = np.array([(0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)])


def shown_by(light, colorants):
    """Light of the primaries of some space as sRGB."""
    return encoded((light @ colorants @ np.linalg.inv(SRGB)).clip(0, 1))


def decoded(values):
    """Linear light of sRGB, both in 0..1."""
    return np.where(values > 0.04045, ((values + 0.055) / 1.055) ** 2.4, values / 12.92)


def packed(values, bits):
    """Rows of values of some bits, each padded to whole bytes."""
    digits = values.reshape(len(values), -1, 1).astype(int) >> np.arange(bits)[::-1] & 1
    return np.packbits(digits.reshape(len(values), -1), axis=1).tobytes()


def tiff(*pages, sub=None):
    """A TIFF file of pages: ({tag: (code of struct, values)}, pixels). `sub` lies below the first one."""
    content = bytearray(b"II*\0\0\0\0\0")

    def append(data):
        content.extend(bytes(len(content) % 2) + data)
        return len(content) - len(data)

    def directory(tags, pixels):
        tags = {**tags, 273: ("I", [append(pixels)]), 279: ("I", [len(pixels)])}
        rows = []
        for tag, (code, values) in sorted(tags.items()):
            count = len(values) // 8 if code == "R" else len(values)  # Of fractions, the bytes are given.
            data = values if code == "R" else struct.pack(f"<{count}{code}", *values)
            data = struct.pack("<I", append(data)) if len(data) > 4 else data.ljust(4, b"\0")
            rows.append(struct.pack("<HHI", tag, TYPES[code], count) + data)
        return append(struct.pack("<H", len(rows)) + b"".join(rows) + bytes(4))

    below = {330: ("I", [directory(*sub)])} if sub else {}
    place = 4
    for number, (tags, pixels) in enumerate(pages):
        start = directory(tags if number else {**tags, **below}, pixels)
        content[place : place + 4] = struct.pack("<I", start)
        place = len(content) - 4
    return bytes(content)


def page(*bits, height=HEIGHT, width=WIDTH, photometric=1, **more):
    """Tags of a page, channels of some bits."""
    tags = {256: [width], 257: [height], 258: bits, 259: [1], 262: [photometric], 277: [len(bits)], 278: [height]}
    return {tag: ("H", values) for tag, values in tags.items()} | {int(name[1:]): tag for name, tag in more.items()}


def tiff_cases():
    for bits in (3, 5, 7, 9, 11, 13, 15):
        case(f"gray{bits}-packed.tif", tiff((page(bits), packed(gray(bits), bits))), gray(bits) / ((1 << bits) - 1))
    for compression in ("lzma", "zstd", "jpeg2000", "png"):
        case(f"gray-{compression}.tif", by_tifffile(gray(), compression=compression))
    small = page(8, height=HEIGHT // 4, width=WIDTH // 4, t254=("I", [1])), gray()[::4, ::4].tobytes()
    case("photo-below-its-reduced-copy.tif", tiff(small, sub=(page(8), gray().tobytes())))
    old = page(8, height=HEIGHT // 4, width=WIDTH // 4, t255=("H", [2])), gray()[::4, ::4].tobytes()
    case("reduced-in-the-old-way-first.tif", tiff(old, (page(8), gray().tobytes())))
    mask = page(1, photometric=4, t254=("I", [4])), packed(PICTURE > 0.5, 1)
    case("mask-first.tif", tiff(mask, (page(8), gray().tobytes())))
    case("unnamed-type.tif", tiff((page(8, t339=("H", [4])), gray().tobytes())))
    untold = {tag: value for tag, value in page(8, 8, 8).items() if tag != 262}
    case("untold-photometric.tif", tiff((untold, rgb().tobytes())))
    untold = {tag: value for tag, value in page(8).items() if tag != 262}
    case("untold-photometric-gray.tif", tiff((untold, gray().tobytes())))
    content = tiff((page(8), gray().tobytes()))
    case("leads-back-to-itself.tif", content[:-4] + content[4:8])
    ramp = np.linspace(0, 1, 1024)
    icc = ("B", profile(b"RGB ", ramp**1.8))
    levels = np.tile(np.arange(256) * 257, 3).tolist()
    content = tiff((page(8, photometric=3, t320=("H", levels), t34675=icc), gray().tobytes()))
    case("palette-of-grays-with-profile.tif", content, encoded((gray() / 255) ** 1.8))
    content = tiff((page(8, photometric=3, t320=("H", np.tile(np.arange(256), 3).tolist())), gray().tobytes()))
    case("palette-of-8-bits.tif", content)
    content = tiff((page(8, 8, photometric=3, t320=("H", levels), t338=("H", [2])), _with_alpha(8).tobytes()))
    case("palette-with-alpha.tif", content, alpha=ALPHA)
    for kind, colors in ((2, gray()), (1, np.round(gray() * ALPHA).astype(np.uint8))):
        tags = page(8, 8, 8, t338=("H", [0, kind]))
        content = tiff((tags, np.dstack([colors, 255 - gray(), whole(ALPHA, 8)]).tobytes()))
        case(f"alpha{kind}-behind-another-channel.tif", content, alpha=ALPHA, tolerance=4 if kind == 1 else 1)
    tags, light = page(8, 8, photometric=0, t338=("H", [1])), np.round((255 - gray()) * ALPHA).astype(np.uint8)
    case(
        "miniswhite-assocalpha.tif",
        tiff((tags, np.dstack([light, whole(ALPHA, 8)]).tobytes())),
        alpha=ALPHA,
        tolerance=4,
    )
    levels = np.tile(np.arange(65536), 3).tolist()
    content = tiff((page(16, photometric=3, t320=("H", levels)), gray(16).astype("<u2").tobytes()))
    case("palette-of-65536.tif", content)
    colors, white = whole(SOFT, 8), struct.pack("<4I", 3127, 10000, 3290, 10000)
    places = struct.pack("<12I", *(680, 1000, 320, 1000, 265, 1000, 690, 1000, 150, 1000, 60, 1000))
    tags = page(8, 8, 8, photometric=2, t318=("R", white), t319=("R", places))
    case("display-p3-by-places.tif", tiff((tags, colors.tobytes())), shown_by(decoded(colors / 255), P3))


def _with_alpha(bits):
    return np.dstack([gray(bits), whole(ALPHA, bits)])


def png(values, *chunks, after=()):
    """A PNG file of uint8 [height, width] or [height, width, 3], with chunks before and after its pixels."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = values.shape[:2]
    rows = np.pad(values.reshape(height, -1), ((0, 0), (1, 0))).tobytes()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0 if values.ndim == 2 else 2, 0, 0, 0))
    parts = [chunk(*pair) for pair in (*chunks, (b"IDAT", zlib.compress(rows)), *after, (b"IEND", b""))]
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(parts)


# Of a photo that lies on its right side.
EXIF = b"II*\0" + struct.pack("<IHHHIHH", 8, 1, 274, 3, 1, 6, 0) + bytes(4)


def page_of_jpeg(content, channels=3):
    """A TIFF file whose one page is JPEG in the way of TIFF 6.0."""
    whole_file = {512: ("H", [1]), 513: ("I", [8]), 514: ("I", [len(content)]), 530: ("H", [1, 1])}
    tags = page(*[8] * channels, photometric=6 if channels == 3 else 1)
    return tiff((tags | {259: ("H", [6])} | whole_file, content))


def jpeg_cases():
    content = jpeg()
    shown = as_pillow_reads(content)
    case("in-the-way-of-tiff-6.tif", page_of_jpeg(content), shown)
    sizes = content.index(b"\xff\xc0") + 5
    behind = b"\xff\xdc\0\4" + struct.pack(">H", HEIGHT)
    case(
        "height-behind-its-scan.jpg",
        content[:sizes] + bytes(2) + content[sizes + 2 : -2] + behind + content[-2:],
        shown,
    )
    # Complaints of libjpeg that cost no pixels.
    case("bytes-before-its-end.jpg", content[:-2] + bytes(40) + content[-2:], shown)
    case("without-its-end.jpg", content[:-2], shown)
    neutral = np.full_like(gray(), 128)
    case(
        "a-scan-for-each-channel.jpg",
        jpeg_by_channels(gray(), neutral, neutral),
        as_pillow_reads(by_pillow(gray(), "JPEG", quality=95)),
    )
    case("bytes-after-its-start.jpg", content[:2] + bytes(7) + content[2:], shown)
    at = content.index(b"\xff\xda") + 12  # Of the last spectral coefficient in the scan.
    case("odd-scan-header.jpg", content[:at] + b"\0" + content[at + 1 :], shown)
    tables = content.index(b"\xff\xdb")
    case("bytes-between-segments.jpg", content[:tables] + b"camera" + content[tables:], shown)
    for name, odd in oddities(content).items():
        case(f"{name}.jpg", odd, shown)
    turned_photo = jpeg(exif=b"Exif\0\0" + EXIF)
    tables = turned_photo.index(b"\xff\xdb")
    case("turned-and-with-slack.jpg", turned_photo[:tables] + b"A" + turned_photo[tables:], np.rot90(shown, -1))
    icc = profile(b"RGB ", np.linspace(0, 1, 1024) ** 1.8)
    parts = [b"ICC_PROFILE\0" + bytes([number + 1, 2]) + icc[900 * number :][:900] for number in (1, 0)]
    parts[0] += icc[1800:]
    segments = b"".join(b"\xff\xe2" + struct.pack(">H", len(part) + 2) + part for part in parts)
    case("profile-in-two-segments.jpg", content[:2] + segments + content[2:], encoded(shown**1.8))
    content = by_pillow(gray(), "JPEG", quality=95, icc_profile=icc)
    case("gray-with-profile-of-rgb.jpg", content, encoded(as_pillow_reads(content) ** 1.8))


def oddities(content):
    """JPEG with what libjpeg complains of although no pixel is lost: {name: content}."""
    return {
        "unknown-revision": content.replace(b"JFIF\0\1", b"JFIF\0\x23"),
        "profile-without-its-parts": content[:2] + b"\xff\xe2\0\x14ICC_PROFILE\0\5\2icc!" + content[2:],
    }


def jpeg(**options):
    return by_pillow(rgb(), "JPEG", quality=95, subsampling=0, **options)


def png_cases():
    colors = whole(SOFT, 8)
    places = struct.pack(">8I", *(round(1e5 * place) for place in (0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)))
    content = png(colors, (b"gAMA", struct.pack(">I", 45455)), (b"cHRM", places))
    case("adobe-rgb-by-places.png", content, shown_by((colors / 255) ** 2.2, ADOBE))
    case("display-p3-by-code-points.png", png(colors, (b"cICP", b"\x0c\x0d\0\1")), shown_by(decoded(colors / 255), P3))
    case("linear-by-code-points.png", png(colors, (b"cICP", b"\1\x08\0\1")), encoded(colors / 255))
    case("gamma-2.2-by-code-points.png", png(colors, (b"cICP", b"\1\x04\0\1")), encoded((colors / 255) ** 2.2))
    case("gamma-after-the-pixels.png", png(colors, after=[(b"gAMA", struct.pack(">I", 100_000))]), colors / 255)
    case("gamma-of-0.png", png(colors, (b"gAMA", bytes(4))), colors / 255)
    damaged = struct.pack(">8I", *[0] * 8)
    case("places-that-make-no-sense.png", png(colors, (b"cHRM", damaged)), colors / 255)
    shown = np.rot90(gray(), -1) / 255
    case("exif-after-the-pixels.png", png(gray(), after=[(b"eXIf", EXIF)]), shown)
    text = b"\nexif\n%8d\n" % (len(EXIF) + 6) + (b"Exif\0\0" + EXIF).hex().encode() + b"\n"
    case("exif-as-text.png", png(gray(), (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))), shown)

    for name, values in (("gray", gray()), ("rgb", rgb())):
        limited = np.round(16 + 219 * (values / 255)).astype(np.uint8)
        case(
            f"{name}-of-16-to-235.png",
            png(limited, (b"cICP", b"\1\x0d\0\0")),
            (limited.reshape(HEIGHT, WIDTH, -1)[..., 0] - 16.0) / 219,
        )


def gif_cases():
    content = by_pillow(gray(), "GIF")
    screen, place = struct.pack("<HH", WIDTH + 8, HEIGHT + 6), struct.pack("<4H", 5, 2, WIDTH, HEIGHT)
    content = content[:6] + screen + content[10:].replace(struct.pack("<4H", 0, 0, WIDTH, HEIGHT), place, 1)
    shown, alpha = (np.pad(values, ((2, 4), (5, 3))) for values in (gray() / 255, np.ones((HEIGHT, WIDTH))))
    case("smaller-than-its-screen.gif", content, shown, alpha)


def webp_cases():
    """Animations whose first picture does not fill the canvas, or is the only one."""
    still = by_pillow(gray(), "WEBP", lossless=True)[12:]
    sizes = [size.to_bytes(3, "little") for size in (WIDTH + 7, HEIGHT + 5, 2, 1, WIDTH - 1, HEIGHT - 1)]
    canvas, frame = b"\2\0\0\0" + b"".join(sizes[:2]), b"".join(sizes[2:]) + b"\x64\0\0\2" + still
    shown, alpha = (np.pad(values, ((2, 4), (4, 4))) for values in (gray() / 255, np.ones((HEIGHT, WIDTH))))
    for count in (1, 2):
        chunks = (b"VP8X", canvas), (b"ANIM", bytes(6)), *[(b"ANMF", frame)] * count
        body = b"WEBP" + b"".join(kind + struct.pack("<I", len(data)) + data for kind, data in chunks)
        case(f"smaller-than-its-canvas-{count}.webp", b"RIFF" + struct.pack("<I", len(body)) + body, shown, alpha)


def jpeg_2000(values, bits):
    return imagecodecs.jpeg2k_encode(values, level=0, codecformat="jp2", bitspersample=bits, mct=False)


def jpeg_2000_cases():
    for bits in (1, 4, 12):
        case(f"gray{bits}-alone.jp2", jpeg_2000(gray(bits), bits), gray(bits) / ((1 << bits) - 1))
    for bits in (8, 12, 16):
        case(f"gray-alpha{bits}.jp2", jpeg_2000(_with_alpha(bits), bits), alpha=ALPHA)
        content, icc = jpeg_2000(gray(bits), bits), profile(b"GRAY", np.linspace(0, 1, 1024) ** 1.8)
        whole_box, old, new = content.find(b"jp2h") - 4, b"\0\0\0\x0fcolr\1\0\0\0\0\0\x11", b"colr\2\0\0" + icc
        size = struct.unpack_from(">I", content, whole_box)[0] - len(old) + 4 + len(new)
        content = content[:whole_box] + struct.pack(">I", size) + content[whole_box + 4 :]
        content = content.replace(old, struct.pack(">I", 4 + len(new)) + new)
        case(f"profile{bits}.jp2", content, encoded((gray(bits) / ((1 << bits) - 1)) ** 1.8))
    case("cmyk.jp2", cmyk_jpeg_2000())
    icc = profile(b"RGB ", np.linspace(0, 1, 1024) ** 1.8)
    case("profile-of-any-kind.jp2", with_color_box(b"\3\0\0" + icc), encoded((gray() / 255) ** 1.8))
    case("profile-of-one-byte.jp2", with_color_box(b"\2\0\0\0"))
    case("profile-of-no-bytes.jp2", with_color_box(b"\2\0\0"))
    red, green, blue = np.moveaxis(255 * SOFT, -1, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    luma = np.dstack([luma, (blue - luma) / 1.772 + 128, (red - luma) / 1.402 + 128])
    content = jpeg_2000(np.round(luma).astype(np.uint8), 8)
    stream = av.CodecContext.create("jpeg2000", "w")
    stream.width, stream.height, stream.pix_fmt, stream.time_base = WIDTH, HEIGHT, "yuv420p", Fraction(1, 25)
    stream.options = {"format": "jp2", "pred": "dwt53"}
    frame = av.VideoFrame.from_ndarray(rgb(), format="rgb24").reformat(format="yuv420p", dst_color_range=2)
    (packet,) = stream.encode(frame) or stream.encode(None)
    case("ycbcr-of-quarter-size.jp2", bytes(packet), tolerance=12)
    case("ycbcr.jp2", content.replace(b"colr\1\0\0\0\0\0\x10", b"colr\1\0\0\0\0\0\x12"), SOFT, tolerance=2)


def with_color_box(data):
    """JPEG 2000 of three channels whose box for their colours holds these bytes."""
    content, old = jpeg_2000(rgb(), 8), b"\0\0\0\x0fcolr\1\0\0\0\0\0\x10"
    new = struct.pack(">I4s", 8 + len(data), b"colr") + data
    around = content.index(b"jp2h") - 4
    size = struct.unpack_from(">I", content, around)[0] + len(new) - len(old)
    content = content[:around] + struct.pack(">I", size) + content[around + 4 :]
    assert old in content
    return content.replace(old, new)


def cmyk_jpeg_2000():
    """JPEG 2000 of cyan, magenta, yellow and black."""
    file, inks = io.BytesIO(), np.dstack([255 - rgb(), np.zeros_like(gray())])
    Image.fromarray(inks, "CMYK").save(file, "JPEG2000")
    return file.getvalue()


def cropped(content, height, width):
    """An AVIF file of Pillow's whose middle alone is shown: a clean aperture in place of the bits of its channels."""
    old = content.index(b"pixi") - 4
    new = struct.pack(">I4s8I", 40, b"clap", width, 1, height, 1, 0, 1, 0, 1)
    more = len(new) - struct.unpack_from(">I", content, old)[0]
    pixels = content.index(b"mdat") + 4
    content = content.replace(struct.pack(">I", pixels), struct.pack(">I", pixels + more))
    for box in (b"meta", b"iprp", b"ipco"):
        at = content.index(box) - 4
        size = struct.unpack_from(">I", content, at)[0] + more
        content = content[:at] + struct.pack(">I", size) + content[at + 4 :]
    content = content[:old] + new + content[old + len(new) - more :]
    second = content.index(b"ipma") + 16  # Of the picture's properties, which it has to follow.
    return content[:second] + bytes([content[second] | 0x80]) + content[second + 1 :]


def other_cases():
    bits = b"\n".join(b"".join(b"%d" % value for value in row) for row in 1 * (PICTURE <= 0.5))
    case("digits-without-spaces.pbm", b"P1\n%d %d\n" % (WIDTH, HEIGHT) + bits, 1.0 * (PICTURE > 0.5))
    for number, words in enumerate((b" %d#wide", b"#" + b"long" * 2000 + b"\n%d", b"#\r%d #a\n # b\r#c")):
        content = b"P5" + words % WIDTH + b"\n%d 255\n" % HEIGHT + gray().tobytes()
        case(f"comment-in-odd-place-{number}.pgm", content)
    file = io.BytesIO()
    Image.fromarray(whole(SOFT, 8)).save(file, "AVIF", quality=100, subsampling="4:4:4")
    colors = np.asarray(Image.open(io.BytesIO(file.getvalue()))) / 255
    middle = np.s_[HEIGHT // 4 : -HEIGHT // 4, WIDTH // 4 : -WIDTH // 4]
    content = cropped(file.getvalue(), HEIGHT // 2, WIDTH // 2)
    case("cropped.avif", content, colors[middle], tolerance=2)
    essential = content.index(b"ipma") + 16  # The bit that says that a reader has to follow the property.
    content = content[:essential] + bytes([content[essential] & 0x7F]) + content[essential + 1 :]
    case("cropped-if-you-like.avif", content, colors[middle], tolerance=2)
    for name, numbers, shown in (
        ("display-p3", b"\0\x0c\0\x0d", shown_by(decoded(colors), P3)),
        ("linear", b"\0\1\0\x08", encoded(colors)),
    ):
        content = file.getvalue().replace(b"colrnclx\0\1\0\x0d", b"colrnclx" + numbers)
        case(f"{name}-by-code-points.avif", content, shown, tolerance=2)


def jpeg_by_channels(*channels):
    """JPEG of a scan for each channel, uint8 [height, width]; not progressive."""
    files = [by_pillow(channel, "JPEG", quality=95) for channel in channels]
    head = files[0][: files[0].index(b"\xff\xda")]
    sizes = head.index(b"\xff\xc0")
    places = b"".join(bytes([number + 1, 0x11, 0]) for number in range(len(files)))
    length = bytes([0, 8 + len(places)])
    head = head[: sizes + 2] + length + head[sizes + 4 : sizes + 9] + bytes([len(files)]) + places + head[sizes + 13 :]
    scans = (file[file.index(b"\xff\xda") : -2] for file in files)
    scans = (scan[:5] + bytes([number + 1]) + scan[6:] for number, scan in enumerate(scans))
    return head + b"".join(scans) + b"\xff\xd9"


tiff_cases()
jpeg_cases()
png_cases()
gif_cases()
webp_cases()
jpeg_2000_cases()
other_cases()
