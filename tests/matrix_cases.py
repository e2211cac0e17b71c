"""The files of test_matrix.py, as other libraries write them, and what each of them means."""

import io
import struct
import zlib

import cv2
import imagecodecs
import numpy as np
import tifffile
from PIL import Image, ImageCms, ImageOps

HEIGHT, WIDTH = 72, 96
DOWN, RIGHT = np.mgrid[:HEIGHT, :WIDTH]
# A gradient with waves, white in its upper left corner and black in its upper right: float [height, width] in 0..1.
PICTURE = ((40 + 1.2 * RIGHT + 1.1 * DOWN + 25 * np.sin(RIGHT / 9)) / 255).clip(0, 1)
PICTURE[:12, :12], PICTURE[:12, -12:] = 1, 0
ALPHA = np.linspace(0.2, 1, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}


def whole(values, bits):
    """Values in 0..1 as whole numbers of some bits."""
    return np.round(values * ((1 << bits) - 1)).astype(np.uint8 if bits <= 8 else np.uint16)


def gray(bits=8):
    return whole(PICTURE, bits)


def rgb(bits=8):
    return np.dstack([gray(bits)] * 3)


def turned(values, orientation):
    turn = TURNS.get(orientation)
    return values if turn is None else np.asarray(Image.fromarray(values).transpose(Image.Transpose(turn)))


def by_pillow(values, format_, **options):
    file = io.BytesIO()
    Image.fromarray(values).save(file, format_, **options)
    return file.getvalue()


def by_tifffile(values, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, values, metadata=None, **options)
    return file.getvalue()


def by_opencv(suffix, values, *options):
    return cv2.imencode(suffix, values[..., ::-1] if values.ndim == 3 else values, options)[1].tobytes()


def as_pillow_reads(content):
    """A file's own pixels, upright, float [height, width] in 0..1: for lossy formats."""
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB"))[..., 0] / 255


def profile(space, curve, colorants=((0.436, 0.222, 0.014), (0.385, 0.717, 0.097), (0.143, 0.061, 0.714)), more=()):
    """An ICC profile with a curve, its values in 0..1; the colorants are XYZ under D50. `more` are tags."""

    def xyz(values):
        return b"XYZ \0\0\0\0" + struct.pack(">iii", *(round(value * 65536) for value in values))

    curve = b"curv\0\0\0\0" + struct.pack(">I", len(curve)) + np.round(65535 * curve).astype(">u2").tobytes()
    tags = [(b"desc", b"desc\0\0\0\0\0\0\0\5test\0" + bytes(78)), (b"wtpt", xyz((0.9642, 1, 0.8249))), *more]
    if space == b"GRAY":
        tags += [(b"kTRC", curve)]
    else:
        tags += [(name, xyz(values)) for name, values in zip((b"rXYZ", b"gXYZ", b"bXYZ"), colorants, strict=True)]
        tags += [(name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")]
    table, data, start = b"", b"", 132 + 12 * len(tags)
    for name, value in tags:
        value += bytes(-len(value) % 4)
        table += name + struct.pack(">II", start + len(data), len(value))
        data += value
    head = struct.pack(">I4sI4s4s4s", start + len(data), b"test", 0x02400000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    return (
        (head + struct.pack(">iii", 63190, 65536, 54061)).ljust(128, b"\0")
        + struct.pack(">I", len(tags))
        + table
        + data
    )


def encoded(linear):
    """sRGB of linear light, both in 0..1."""
    return np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)


CASES = {}


def case(name, content, picture=PICTURE, alpha=None, tolerance=1.0):
    """Registers a file: what it shows, [height, width] in 0..1, and how far in 1/255 a result may be from that."""
    CASES[name] = content, picture, alpha, tolerance


def tiff_cases():
    for bits in (1, 2, 4, 6, 8, 10, 12, 14, 16):
        values, top = gray(bits), (1 << bits) - 1
        stored = values.astype(bool) if bits == 1 else values
        rough = 1.5 if bits == 6 else 1
        content = by_tifffile(stored, photometric="minisblack", bitspersample=bits)
        case(f"gray{bits}.tif", content, values / top, tolerance=rough)
        stored = ~stored if bits == 1 else (top - values).astype(values.dtype)
        content = by_tifffile(stored, photometric="miniswhite", bitspersample=bits)
        case(f"miniswhite{bits}.tif", content, values / top, tolerance=rough)
    for bits in (2, 4, 8, 10, 12, 14, 16):
        values, shown = gray(bits), gray(bits) / ((1 << bits) - 1)
        options = {"photometric": "rgb", "bitspersample": bits}
        case(f"rgb{bits}.tif", by_tifffile(np.dstack([values] * 3), **options), shown)
        case(f"planar{bits}.tif", by_tifffile(np.stack([values] * 3), planarconfig="separate", **options), shown)
    for bits in (8, 16):
        options = {"photometric": "rgb", "tile": (32, 32)}
        case(f"tiles{bits}.tif", by_tifffile(rgb(bits), **options))
        case(f"planar-tiles{bits}.tif", by_tifffile(np.stack([gray(bits)] * 3), planarconfig="separate", **options))
        case(f"big-endian{bits}.tif", by_tifffile(gray(bits).astype(gray(bits).dtype.newbyteorder(">")), byteorder=">"))
        alpha, top = whole(ALPHA, bits), (1 << bits) - 1
        for kind in ("unassalpha", "assocalpha", "unspecified"):
            # With few bits a colour multiplied by a small alpha cannot be told exactly.
            rough = 4 if kind == "assocalpha" and bits == 8 else 1
            values = np.round(gray(bits) * (alpha / top)).astype(alpha.dtype) if kind == "assocalpha" else gray(bits)
            options = {"extrasamples": [kind], "planarconfig": "contig"}
            content = by_tifffile(np.dstack([values, alpha]), photometric="minisblack", **options)
            case(f"gray-{kind}{bits}.tif", content, alpha=ALPHA, tolerance=rough)
            content = by_tifffile(np.dstack([values] * 3 + [alpha]), photometric="rgb", **options)
            case(f"rgb-{kind}{bits}.tif", content, alpha=ALPHA, tolerance=rough)
    for compression in ("lzw", "deflate", "packbits", "jpeg", "webp"):
        content = by_tifffile(rgb(), photometric="rgb", compression=compression)
        case(f"{compression}.tif", content, tifffile.imread(io.BytesIO(content))[..., 0] / 255)
    with_alpha = np.dstack([rgb(12), whole(ALPHA, 12)])
    content = by_tifffile(with_alpha, photometric="rgb", bitspersample=12, extrasamples=["unassalpha"])
    case("alpha12.tif", content, alpha=ALPHA)
    planes = np.stack([gray(16), whole(ALPHA, 16)])
    options = {"planarconfig": "separate", "extrasamples": ["unassalpha"]}
    case("planar-gray-alpha.tif", by_tifffile(planes, photometric="minisblack", **options), alpha=ALPHA)
    planes[0] = 65535 - planes[0]
    case("planar-miniswhite-alpha.tif", by_tifffile(planes, photometric="miniswhite", **options), alpha=ALPHA)
    planes = np.stack([255 - gray(), whole(ALPHA, 8)])
    case("planar-miniswhite-alpha8.tif", by_tifffile(planes, photometric="miniswhite", **options), alpha=ALPHA)
    planes = np.stack([*[255 - gray()] * 3, np.zeros_like(gray())])
    case("planar-cmyk.tif", by_tifffile(planes, photometric="separated", planarconfig="separate"))
    case("predictor.tif", by_tifffile(rgb(16), photometric="rgb", compression="lzw", predictor=2))
    case("group4.tif", by_pillow(PICTURE > 0.5, "TIFF", compression="group4"), 1.0 * (PICTURE > 0.5))
    case("bigtiff.tif", by_tifffile(rgb(), photometric="rgb", bigtiff=True))
    ramp = np.stack([np.arange(255, -1, -1) * 257] * 3).astype(np.uint16)
    case("palette.tif", by_tifffile(255 - gray(), photometric="palette", colormap=ramp))
    luma = np.dstack([gray(), *[np.full_like(gray(), 128)] * 2])
    for compression in (None, "lzw"):
        case(f"ycbcr-{compression}.tif", by_tifffile(luma, photometric="ycbcr", compression=compression))
    inks = np.dstack([255 - rgb(), np.zeros_like(gray())])
    case("cmyk.tif", by_tifffile(inks, photometric="separated"))
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(gray()[::4, ::4], subfiletype=1, metadata=None)
        writer.write(gray(16), metadata=None)
        writer.write(255 - gray(), metadata=None)
    case("reduced-copy-first.tif", file.getvalue())
    for orientation in range(1, 9):
        for number, kind in ((3, "short"), (4, "long"), (1, "byte")):
            tags = [(274, number, 1, orientation, True)]
            content = by_tifffile(rgb(16), photometric="rgb", extratags=tags)
            case(f"orientation{orientation}-{kind}.tif", content, turned(gray(16), orientation) / 65535)


def other_cases():
    for orientation in range(1, 9):
        whole_number = struct.pack("<I", orientation)
        values = {2: b"%d\0\0\0" % orientation, **dict.fromkeys((3, 4, 7), whole_number)}
        for number, value in (values | {11: struct.pack("<f", orientation)}).items():
            exif = b"Exif\0\0II*\0" + struct.pack("<IHHHI", 8, 1, 274, number, 1) + value + bytes(4)
            for format_, options in (("JPEG", {"quality": 95}), ("PNG", {}), ("WEBP", {"lossless": True})):
                content = by_pillow(rgb(), format_, exif=exif, **options)
                shown = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))[..., 0]
                name = f"orientation{orientation}-type{number}.{format_.lower()}"
                case(name.replace("jpeg", "jpg"), content, turned(shown, orientation) / 255)
        exif = Image.Exif()
        exif[274] = orientation
        content = by_pillow(rgb(), "AVIF", exif=exif, quality=95)  # Pillow makes it AVIF's own rotation and mirror.
        case(f"orientation{orientation}.avif", content, as_pillow_reads(content), tolerance=2)
    for bits in (10, 12):
        options = (cv2.IMWRITE_AVIF_DEPTH, bits, cv2.IMWRITE_AVIF_QUALITY, 100)
        case(f"deep{bits}.avif", by_opencv(".avif", rgb(bits), *options), tolerance=2)
    for range_ in ("full", "limited"):
        for subsampling in ("4:0:0", "4:2:0", "4:4:4"):
            content = by_pillow(rgb(), "AVIF", range=range_, subsampling=subsampling, quality=100)
            case(f"{range_}-{subsampling.replace(':', '')}.avif", content, tolerance=2)
    for premultiplied in (False, True):
        options = {"quality": 100, "alpha_premultiplied": premultiplied}
        content = by_pillow(np.dstack([rgb(), whole(ALPHA, 8)]), "AVIF", **options)
        name = "premultiplied.avif" if premultiplied else "alpha.avif"
        case(name, content, alpha=ALPHA, tolerance=4 if premultiplied else 2)
    for bits in (8, 10, 12, 16):
        for codec in ("jp2", "j2k"):
            options = {"level": 0, "codecformat": codec, "bitspersample": bits}
            case(f"gray{bits}.{codec}", imagecodecs.jpeg2k_encode(gray(bits), **options))
            case(f"rgb{bits}.{codec}", imagecodecs.jpeg2k_encode(rgb(bits), **options))
        # Of more than 8 bits, this library says that they are linear light.
        shown = encoded(PICTURE) if bits > 8 else PICTURE
        case(f"gray{bits}.jxl", imagecodecs.jpegxl_encode(gray(bits), lossless=True, bitspersample=bits), shown)
        case(f"rgb{bits}.jxl", imagecodecs.jpegxl_encode(rgb(bits), lossless=True, bitspersample=bits), shown)
    with_alpha = np.dstack([rgb(), whole(ALPHA, 8)])
    for container in (False, True):
        content = imagecodecs.jpegxl_encode(np.full((40, 50), 90, np.uint8), lossless=True, usecontainer=container)
        case(f"{len(content)}-bytes.jxl", content, np.full((40, 50), 90 / 255))
    case("alpha.jp2", imagecodecs.jpeg2k_encode(with_alpha, level=0, codecformat="jp2"), alpha=ALPHA)
    gray_alpha = np.dstack([gray(), whole(ALPHA, 8)])
    case("gray-alpha.jxl", imagecodecs.jpegxl_encode(gray_alpha, lossless=True), alpha=ALPHA)
    case("alpha.jxl", imagecodecs.jpegxl_encode(with_alpha, lossless=True), alpha=ALPHA)
    for top in (1, 3, 7, 15, 100, 200, 254, 255, 300, 1023, 4095, 65535):
        values = np.round(PICTURE * top).astype(int)
        dtype = "u1" if top < 256 else ">u2"
        content = b"P5\n# a comment\n%d %d\n%d\n" % (WIDTH, HEIGHT, top) + values.astype(dtype).tobytes()
        case(f"maxval{top}.pgm", content, values / top)
        content = b"P6 %d %d %d " % (WIDTH, HEIGHT, top) + np.dstack([values] * 3).astype(dtype).tobytes()
        case(f"maxval{top}.ppm", content, values / top)
        content = b"P2 %d %d %d\n" % (WIDTH, HEIGHT, top) + b" ".join(b"%d" % value for value in values.ravel())
        case(f"ascii{top}.pgm", content, values / top)
    case("bits.pbm", by_pillow(PICTURE > 0.5, "PPM"), 1.0 * (PICTURE > 0.5))
    case("gray.bmp", by_pillow(gray(), "BMP"))
    case("rgb.bmp", by_pillow(rgb(), "BMP"))
    case("rgb32.bmp", by_pillow(with_alpha, "BMP"))  # The fourth byte is none of the photo.
    case("bits.bmp", by_pillow(PICTURE > 0.5, "BMP"), 1.0 * (PICTURE > 0.5))
    for bits in (8, 16):
        case(f"gray{bits}.png", by_pillow(gray(bits), "PNG"))
        case(f"rgb{bits}.png", by_opencv(".png", rgb(bits)))
        case(f"alpha{bits}.png", imagecodecs.png_encode(np.dstack([rgb(bits), whole(ALPHA, bits)])), alpha=ALPHA)
        case(f"gray-alpha{bits}.png", imagecodecs.png_encode(np.dstack([gray(bits), whole(ALPHA, bits)])), alpha=ALPHA)
    transparent = 1.0 - (gray() == 255)
    case("gray-trns.png", by_pillow(gray(), "PNG", transparency=255), alpha=transparent)
    case("rgb-trns.png", by_pillow(rgb(), "PNG", transparency=(255, 255, 255)), alpha=transparent)
    file = io.BytesIO()
    Image.fromarray(gray()).convert("P").save(file, "PNG", transparency=bytes([*[255] * 255, 0]))
    case("palette-trns.png", file.getvalue(), alpha=transparent)
    case("alpha.webp", by_pillow(with_alpha, "WEBP", lossless=True, exact=True), alpha=ALPHA)
    case("palette.gif", by_pillow(gray(), "GIF"))
    file = io.BytesIO()
    Image.fromarray(rgb()).convert("CMYK").save(file, "JPEG", quality=95)
    case("cmyk.jpg", file.getvalue(), as_pillow_reads(file.getvalue()), tolerance=2)
    packed = (gray() >> 3).astype("<u2") << 11 | (gray() >> 2).astype("<u2") << 5 | gray() >> 3
    head = struct.pack("<IiiHHIIiiII", 40, WIDTH, -HEIGHT, 1, 16, 3, 0, 0, 0, 0, 0) + struct.pack(
        "<III", 63488, 2016, 31
    )
    content = b"BM" + struct.pack("<IHHI", 66 + packed.nbytes, 0, 0, 66) + head + packed.tobytes()
    shown = np.dstack([(gray() >> 3) / 31, (gray() >> 2) / 63, (gray() >> 3) / 31])
    case("565.bmp", content, shown)
    content = by_pillow(gray(), "JPEG", quality=95)
    for name in ("gray.jpg", "gray.jfif", "gray.JPG"):
        case(name, content, as_pillow_reads(content))
    content = by_pillow(rgb(), "JPEG", quality=95, progressive=True)
    case("progressive.jpg", content, as_pillow_reads(content))


def profile_cases():
    ramp = np.linspace(0, 1, 1024)
    curves = {"gamma22": ramp**2.2, "gamma18": ramp**1.8, "linear": ramp}
    curves["dot-gain"] = (ramp - 0.8 * ramp * (1 - ramp)).clip(0, 1)  # 50 % of ink print as 70 %.
    for name, curve in curves.items():
        for bits in (8, 16):
            shown = encoded(np.interp(whole(PICTURE, bits) / ((1 << bits) - 1), ramp, curve))
            options = {"iccprofile": profile(b"GRAY", curve)}
            case(f"{name}{bits}.tif", by_tifffile(gray(bits), **options), shown)
            options = {"iccprofile": profile(b"RGB ", curve), "photometric": "rgb"}
            case(f"rgb-{name}{bits}.tif", by_tifffile(rgb(bits), **options), shown)
        options = {"icc_profile": profile(b"GRAY", curve)}
        for format_, suffix in (("PNG", "png"), ("JPEG", "jpg"), ("TIFF", "tiff")):
            content = by_pillow(gray(), format_, **options)
            stored = np.asarray(Image.open(io.BytesIO(content))) / 255
            case(f"{name}.{suffix}", content, encoded(np.interp(stored, ramp, curve)))
    # CIE XYZ of the primaries under D50, of Adobe RGB (1998), ProPhoto RGB and sRGB.
    adobe = (0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)
    prophoto = (0.7977, 0.288, 0.0), (0.1352, 0.7119, 0.0), (0.0313, 0.0001, 0.8249)
    own = (0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.7141)
    for name, exponent, colorants in (
        ("adobe-rgb", 563 / 256, adobe),
        ("prophoto", 1.8, prophoto),
        ("linear-rgb", 1, own),
    ):
        icc = profile(b"RGB ", ramp**exponent, colorants)
        for bits in (8, 16):
            # Colours inside sRGB.
            colors = np.dstack(
                [whole(values, bits) for values in (0.5 * PICTURE + 0.3, 0.6 * PICTURE + 0.25, 0.5 * PICTURE + 0.25)]
            )
            linear = (colors / ((1 << bits) - 1)) ** exponent @ np.array(colorants) @ np.linalg.inv(own)
            content = by_tifffile(colors, photometric="rgb", iccprofile=icc)
            case(f"{name}{bits}.tif", content, encoded(linear.clip(0, 1)))
    for exponent in (1.0, 0.55):
        chunk = b"gAMA" + struct.pack(">I", round(exponent * 100_000))
        chunk = struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for mode, values in (("gray", gray()), ("rgb", rgb())):
            content = by_pillow(values, "PNG")
            shown = encoded((gray() / 255) ** (1 / exponent))
            case(f"gamma-chunk-{exponent}-{mode}.png", content[:33] + chunk + content[33:], shown)
    # Cameras may name Adobe RGB in EXIF data alone.
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    content = by_pillow(rgb(), "JPEG", exif=exif)
    case("adobe-rgb-by-exif.jpg", content, encoded(as_pillow_reads(content) ** (563 / 256)))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    case("srgb.png", by_pillow(rgb(), "PNG", icc_profile=srgb))


tiff_cases()
other_cases()
profile_cases()
