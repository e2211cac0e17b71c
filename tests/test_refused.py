"""Photos that are damaged or that are not promised are refused, each for what it is."""

import io
import re
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from matrix_bmp import bits_of_bmp, run_lengths
from matrix_cases import HEIGHT, PICTURE, WIDTH, by_pillow, by_tifffile, gray, profile, rgb
from matrix_rare import (
    cmyk_jpeg_2000,
    jpeg,
    jpeg_2000,
    jpeg_by_channels,
    oddities,
    page,
    page_of_jpeg,
    png,
    tiff,
    with_color_box,
)
from matrix_reported import box, fax, with_boxes
from PIL import Image

from common import images
from common.images import PhotoError


def strips_of_jpeg():
    """TIFF whose JPEG, in the way of TIFF 6.0, has a scan of its own for each of two strips."""
    photo = jpeg()
    scan = photo.index(b"\xff\xda")
    return page_of_jpeg(photo[:-2] + photo[scan:])


AVIF = by_pillow(rgb(), "AVIF")
HIGH_RANGE = AVIF.replace(b"colrnclx\0\1\0\x0d", b"colrnclx\0\x09\0\x10")
HIGH_RANGE_PROFILE = profile(b"RGB ", np.linspace(0, 1, 256), more=[(b"cicp", b"cicp\0\0\0\0\x09\x10\0\1")])
CINEMA = imagecodecs.jpeg2k_encode(rgb(12), codecformat="j2k", bitspersample=12, mct=False)
PALETTE = box(b"pclr", b"\0\2\3\7\7\7" + bytes(6)) + box(
    b"cmap", bytes([0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 1, 2, 0, 1, 0, 0])
)
REFUSED = {
    "pq.avif": (HIGH_RANGE, "high dynamic range"),
    "pq-by-profile.jpg": (by_pillow(rgb(), "JPEG", icc_profile=HIGH_RANGE_PROFILE), "high dynamic range"),
    "floats.tif": (by_tifffile(PICTURE.astype(np.float32)), "float32"),
    "signed.tif": (by_tifffile((1000 * PICTURE).astype(np.int16)), "int16"),
    "32-bits.tif": (by_tifffile(gray(16).astype(np.uint32)), "uint32"),
    "lab.tif": (by_tifffile(rgb(), photometric="cielab"), "CIELAB"),
    "rgba-or-cmyk.tif": (
        tiff(({tag: value for tag, value in page(8, 8, 8, 8).items() if tag != 262}, bytes(4 * HEIGHT * WIDTH))),
        "does not say what its 4 channels are",
    ),
    "strips-of-jpeg.tif": (strips_of_jpeg(), "a TIFF file with OJPEG compression, which is not read"),
    "signed.jp2": (imagecodecs.jpeg2k_encode(gray().astype(np.int8), level=0, codecformat="jp2"), "signed"),
    "lab.jp2": (cmyk_jpeg_2000().replace(b"\0\0\0\x0c\0\0", b"\0\0\0\x0e\0\0"), "JPEG 2000 of a colour space that is"),
    **{
        f"colour-of-kind-{kind}.jp2": (with_color_box(bytes([kind, 0, 0, 9, 0, 16, 0, 9, 0])), "of a colour space that")
        for kind in (4, 5)
    },
    "digital-cinema.j2k": (
        CINEMA[:6] + b"\0\3" + CINEMA[8:],
        "JPEG 2000 of digital cinema, in CIE XYZ, which is not read; convert it to RGB",
    ),
    "palette-and-alpha.jp2": (
        with_boxes(jpeg_2000(rgb()[..., :2].copy(), 8), PALETTE),
        "JPEG 2000 of a palette and further channels, which is not read; convert it to PNG",
    ),
    "other-matrix.avif": (
        AVIF.replace(b"\0\1\0\x0d\0\6", b"\0\1\0\x0d\0\x0a"),
        "a colour matrix that is not read; convert",
    ),
    "animated-10-bits.jxl": (
        imagecodecs.jpegxl_encode(np.stack([rgb(10)] * 2), lossless=True, bitspersample=10),
        "animated, with more than 8 bits, which is not read; convert it to 8 bits",
    ),
    "more-channels.jxl": (
        imagecodecs.jpegxl_encode(np.stack([gray()] * 5), lossless=True, photometric="gray", planar=True),
        "further channels, which is not read; convert it to RGB",
    ),
    **{
        f"{count}-unnamed-channels.jxl": (
            imagecodecs.jpegxl_encode(np.stack([gray()] * count), lossless=True, photometric="gray", planar=True),
            "JPEG XL of gray with channels of no named kind, which is not read; convert it to gray",
        )
        for count in (2, 3, 4)
    },
    # A side of 8 pixels, a square, further fields, upright, no other size to show it at.
    "preview.jxl": (
        b"\xff\x0a" + np.packbits([*map(int, "1_00000_100_0_1_000_0_1".replace("_", ""))], bitorder="little").tobytes(),
        "JPEG XL with a preview, which is not read; convert it to PNG",
    ),
    # Its coefficients are made up: whether an arithmetic code is damaged cannot be told.
    "arithmetic.jpg": (
        re.sub(rb"\xff\xc0(.{8})\x01.", b"\xff\xc9\\g<1>\x01\x31", jpeg(), flags=re.DOTALL),
        "an arithmetic JPEG of a rare sampling, which is not read, or with lost pixels; convert it to PNG",
    ),
    "film-alone.heic": (
        b"\0\0\0\x18ftypmsf1\0\0\0\0msf1hevc\0\0\0\x08moov\0\0\0\x0cmdat1234",
        "HEIF with a film and no still picture; rename it to .mp4",
    ),
    **{
        f"{bits}-bits-in-fields.bmp": (
            bits_of_bmp(bits, fields),
            r"cannot be read \(Unsupported.*\); convert it to PNG",
        )
        for bits, fields in ((16, (0xF00, 0xF0, 0xF)), (32, (0xFF, 0xFF00, 0xFF0000)))
    },
    "12-bits.jpg": (imagecodecs.jpeg8_encode(gray(12), bitspersample=12), "JPEG of more than 8 bits"),
    "jpeg-ls.jpg": (imagecodecs.jpegls_encode(rgb()), "JPEG-LS, which is not read"),
    "2-channels.jpg": (jpeg_by_channels(gray(), gray()), "JPEG of neither 1, 3 nor 4 channels"),
    "floats.pfm": (b"Pf\n96 72\n-1.0\n" + PICTURE.astype("<f4").tobytes(), "not an image in a format that can be read"),
    "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image in a format that can be read"),
}


def damaged_files():
    """Files that are refused: {name: (content, what the refusal says)}."""
    colors = rgb()
    tiles = by_tifffile(colors, photometric="rgb", compression="zlib", tile=(32, 32))
    photo, restarts, inks = jpeg(), jpeg(restart_marker_blocks=4), io.BytesIO()
    Image.fromarray(rgb()).convert("CMYK").save(inks, "JPEG", quality=95)
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3)).astype(np.uint8)
    whole_files = {
        ".webp": by_pillow(noise, "WEBP", quality=90),
        ".avif": by_pillow(noise, "AVIF", quality=90),
        ".jp2": imagecodecs.jpeg2k_encode(noise, level=0, codecformat="jp2"),
        ".j2k": imagecodecs.jpeg2k_encode(noise, level=0, codecformat="j2k"),
    }
    old = page_of_jpeg(photo)
    scans = old.replace(photo, photo[300:] + photo[:300])
    black = struct.pack("<12I", *(16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1))
    limited = page(8, 8, 8, photometric=6, t530=("H", [1, 1]), t532=("R", black))
    darker = limited | {532: ("R", struct.pack("<12I", *(0, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1)))}
    bt709 = struct.pack("<6I", *(2126, 10000, 7152, 10000, 722, 10000))
    other = page(8, 8, 8, photometric=6, t530=("H", [1, 1]), t529=("R", bt709))
    four = page(8, 8, 8, 8, photometric=5)
    many, zipped = page(8, 8, 8, photometric=2) | {277: ("I", [1 << 30])}, zlib.compress(rgb().tobytes())
    few = bytearray(tiff((page(8), gray().tobytes())))
    few[few.index(struct.pack("<HHI", 278, 3, 1)) + 8] = HEIGHT // 2  # Two strips, of which one is there.
    strips = bytearray(by_tifffile(gray(), rowsperstrip=HEIGHT // 3))
    strips[tifffile.TiffFile(io.BytesIO(strips)).pages.first.tags[278].valueoffset] = HEIGHT
    fax_tags, lines = fax(4)
    more = bytearray(zlib.compress(rgb().tobytes()))  # Three times the rows that its page has.
    more[-1] ^= 1  # Of its checksum.
    return {
        "more-rows-than-it-says.tif": (tiff((page(8) | {259: ("H", [8])}, bytes(more))), "incorrect data check"),
        **{
            f"{name}-group4.tif": (tiff((fax_tags, strip)), r"a damaged file \(imcd_packints_decode")
            for name, strip in (("cut", lines[:30]), ("zeros-inside", lines[:30] + bytes(4) + lines[34:]))
        },
        "over-268-megapixels.avif": (
            AVIF.replace(b"ispe" + struct.pack(">3I", 0, WIDTH, HEIGHT), b"ispe" + struct.pack(">3I", 0, 17000, 17000)),
            "a damaged file, or AVIF of an unread kind or over 268 megapixels; convert it to PNG",
        ),
        # Here libraries tell of arrays, of a row or of an index.
        "cut.pgm": (b"P5 96 72 255\n" + bytes(100), "^cut.pgm: a damaged file$"),
        "strips-of-no-rows.tif": (
            tiff((page(8) | {278: ("H", [0])}, gray().tobytes())),
            "^strips-of-no-rows.tif: a damaged file$",
        ),
        "cut-in-its-header.gif": (by_pillow(gray(), "GIF")[:8], "^cut-in-its-header.gif: a damaged file$"),
        "cut-in-a-tile.tif": (tiles[:-200], "a damaged file"),
        "cut-in-jpeg.tif": (by_tifffile(colors, photometric="rgb", compression="jpeg")[:-40], "a damaged file"),
        "zeros-inside.jpg": (zeroed(photo), r"a damaged file \(Corrupt JPEG data"),
        "zeros-between-restarts.jpg": (zeroed(restarts), r"a damaged file \(Corrupt JPEG data"),
        "zeros-inside-cmyk.jpg": (zeroed(inks.getvalue()), r"a damaged file \(Corrupt JPEG data"),
        "zeros-inside-noise.jpg": (zeroed(by_pillow(noise, "JPEG")), "extraneous bytes before marker 0xd9"),
        "progressive-without-its-end.jpg": (jpeg(progressive=True)[:-2], r"a damaged file \(Premature end"),
        **{f"{name}.jpg": (content, "scans are missing") for name, content in without_scans()},
        **{
            f"zeros-inside-behind-slack-{slack[0]}.jpg": (zeroed(photo[:2] + slack + photo[2:]), "a damaged file")
            for slack in (b"A", bytes(5))
        },
        "zeros-to-its-end.jpg": (photo[:-700] + bytes(700), r"a damaged file \(Corrupt JPEG data"),
        "zeros-inside.gif": (zeroed(by_pillow(noise, "GIF")), "a damaged file"),
        "zeros-in-jpeg.tif": (zeroed(by_tifffile(noise, photometric="rgb", compression="jpeg")), "a damaged file"),
        **{
            f"lost-sectors{suffix}": (lost(content), "zeros where sectors of a disk")
            for suffix, content in whole_files.items()
        },
        "cut-with-an-end.jpg": (photo[: len(photo) // 2] + photo[-2:], r"a damaged file \(Corrupt JPEG data"),
        **{
            f"cut-with-an-end-{name}.jpg": (content[: len(content) // 2] + photo[-2:], "pixels are missing")
            for name, content in oddities(photo).items()
        },
        "cut-in-the-header-of-its-scan.jpg": (photo[: photo.index(b"\xff\xda") + 14], "a damaged file"),
        "tables-apart.tif": (scans, "a TIFF file with OJPEG compression"),
        "ycbcr-of-16-to-235.tif": (tiff((limited, rgb().tobytes())), "a TIFF file with YCBCR pixels"),
        "ycbcr-of-0-to-235.tif": (tiff((darker, rgb().tobytes())), "a TIFF file with YCBCR pixels"),
        "ycbcr-by-bt709.tif": (tiff((other, rgb().tobytes())), "a TIFF file with YCBCR pixels"),
        "gray-of-three-channels.tif": (tiff((page(8, 8, 8), rgb().tobytes())), "a TIFF file with MINISBLACK pixels"),
        **{
            f"inks-from-{dots[0]}.tif": (tiff((four | {336: ("H", dots)}, bytes(4 * HEIGHT * WIDTH))), "with SEPARATED")
            for dots in ((255, 0), (16, 235))
        },
        "strips-too-many.tif": (bytes(strips), "it has more strips or tiles than its size makes"),
        "palette-of-larger-values.jp2": (
            with_boxes(
                jpeg_2000(gray(4), 4), box(b"pclr", b"\0\20\1\3" + bytes([255] * 16)), box(b"cmap", b"\0\0\1\0")
            ),
            "its palette has larger values than it says",
        ),
        "a-strip-too-few.tif": (bytes(few), r"a damaged file \(pixels are missing\)"),
        "strip-at-0.tif": (pixels_at(tiles, 324, 0), r"a damaged file \(pixels are missing\)"),
        "strip-in-the-header.tif": (pixels_at(tiff((page(8), gray().tobytes())), 273, 4), "pixels are missing"),
        **{
            f"claims-terabytes-{name}.tif": (tiff((tags, pixels)), "its header claims 7.42e\\+03 GB of pixels")
            for name, tags, pixels in (("plain", many, rgb().tobytes()), ("deflate", many | {259: ("H", [8])}, zipped))
        },
        "dots-of-an-odd-type.tif": (tiff((four | {336: ("H", [7])}, bytes(4 * HEIGHT * WIDTH))), "of a kind that is"),
        "shares-of-an-odd-type.tif": (tiff((other | {529: ("H", [7])}, rgb().tobytes())), "of a kind that is not read"),
        "565.tif": (tiff((page(5, 6, 5, photometric=2), bytes(2 * HEIGHT * WIDTH))), "pixels of type 5/6 bits"),
        "cut-in-run-lengths.bmp": (run_lengths(gray(), 8)[:-500], r"a damaged file \(.*not enough data"),
        "zeros-in-run-lengths.bmp": (zeroed(run_lengths(gray(), 8)), "a damaged file"),
        "largest-value-0.pgm": (b"P5 96 72 0\n" + bytes(HEIGHT * WIDTH), r"96 x 72 pixels of 0 to 0"),
        "no-pixels.pgm": (b"P5 0 72 255\n", r"0 x 72 pixels of 0 to 255"),
        "of-an-iphone-app.png": (png(colors, (b"CgBI", b"\x50\0\x20\2")), "PNG in the form that apps for iPhones hold"),
        "rgb-of-one-channel.tif": (tiff((page(8, photometric=2), gray().tobytes())), "1 of 3 channels are there"),
        **{
            f"layout-{number}.tif": (
                tiff((page(8, 8, 8, photometric=2) | {284: ("H", [number])}, rgb().tobytes())),
                rf"a damaged file \(the layout of its channels is unknown \({number}\)\)",
            )
            for number in (0, 3)
        },
        "type-7.tif": (
            tiff((page(8, t339=("H", [7])), gray().tobytes())),
            r"a damaged file \(the type of its pixels is unknown \(7\)\)",
        ),
        "no-page.tif": (b"II*\0\0\0\0\0", "a damaged file"),
        "no-camera-raw.nef": (
            by_tifffile(rgb(), photometric="cielab"),
            r"cannot be read \(Unsupported file format or not RAW file\)",
        ),
    }


def pixels_at(content, tag, start):
    """A TIFF file whose first tile or strip begins elsewhere."""
    found = tifffile.TiffFile(io.BytesIO(content)).pages.first.tags[tag]
    return content[: found.valueoffset] + struct.pack("<I", start) + content[found.valueoffset + 4 :]


def without_scans():
    """JPEG that lacks one of its scans, or all from one on, and ends properly: (name, content)."""
    for kind, content in (("progressive", jpeg(progressive=True)), ("by-channels", jpeg_by_channels(*[gray()] * 3))):
        scans = re.findall(rb"\xff\xda.*?(?=\xff[\xc4\xda\xd9])", content, re.DOTALL)
        for number, scan in enumerate(scans):
            yield f"{kind}-without-scan-{number}", content.replace(scan, b"")
            yield f"{kind}-up-to-scan-{number}", content[: content.index(scan)] + scan * (number == 0) + b"\xff\xd9"


def zeroed(content):
    """A file's content with 200 zero bytes in the middle."""
    middle = len(content) // 2
    return content[:middle] + bytes(200) + content[middle + 200 :]


def lost(content):
    """A file's content as it is read from a disk on which two of its sectors are lost."""
    start = len(content) // 1024 * 512
    return content[:start] + bytes(1024) + content[start + 1024 :]


@pytest.mark.parametrize("name", DAMAGED := damaged_files())
def test_what_is_damaged_is_refused_with_its_reason(name):
    content, words = DAMAGED[name]
    with pytest.raises(PhotoError, match=words) as refusal:
        images.decode(name, content)
    assert "\n" not in str(refusal.value)


def test_what_a_header_claims_takes_no_memory():
    resource = pytest.importorskip("resource", reason="Windows does not tell the peak of memory")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in ("claims-terabytes-plain.tif", "over-268-megapixels.avif"):
        with pytest.raises(PhotoError):
            images.decode(name, DAMAGED[name][0])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 100_000  # In kilobytes.


def test_zeros_that_are_pixels_are_no_lost_sectors():
    content = by_pillow(np.full((600, 800, 3), 255, np.uint8), "WEBP", quality=100, method=0)
    assert bytes(1024) in content
    assert (images.decode("white.webp", content).pixels == 255).all()


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_promised_is_refused_for_what_it_is(name):
    content, words = REFUSED[name]
    with pytest.raises(PhotoError, match=words) as refusal:
        images.decode(name, content)
    assert "damaged" not in str(refusal.value) and "\n" not in str(refusal.value)


def test_what_was_wrong_with_one_file_is_not_said_of_the_next():
    content = by_pillow(rgb(), "JPEG")
    assert images.decode("odd.jpg", content[:20] + bytes(7) + content[20:]).notes == ()  # libjpeg complains of these.
    with pytest.raises(PhotoError, match=r"^cut\.png: a damaged file") as refusal:
        images.decode("cut.png", by_pillow(rgb(), "PNG")[:-500])
    assert "JPEG" not in str(refusal.value)
    marked = run_lengths(gray(4), 4)[:-2] + bytes([0, 0, 0, 1])  # FFmpeg complains of the mark at its end.
    for _ in range(3):
        assert images.decode("marked.bmp", marked).notes == ()
    with pytest.raises(PhotoError, match=r"^cut\.bmp: a damaged file \(.*not enough data"):
        images.decode("cut.bmp", run_lengths(gray(), 8)[:-500])
