"""More files for test_matrix.py: what phones, scanners and programs write, and readers get wrong."""

import base64
import io
import struct
import zlib

import imagecodecs
import numpy as np
import tifffile
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
from matrix_rare import EXIF, SOFT, jpeg, jpeg_2000, page, page_of_jpeg, png, tiff, with_color_box
from PIL import Image

# What says of a photo that it lies on its right side.
XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>"""
UPRIGHT = b"II*\0" + struct.pack("<IHHHIHH", 8, 1, 274, 3, 1, 1, 0) + bytes(4)


def orientation_cases():
    shown = np.rot90(gray(), -1) / 255
    case("turned-by-xmp.png", png(rgb(), (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)), shown)
    case("turned-by-xmp.webp", by_pillow(rgb(), "WEBP", lossless=True, xmp=XMP), shown)
    case("turned-by-xmp.tif", tiff((page(8, t700=("B", XMP)), gray().tobytes())), shown)
    content = by_pillow(gray(), "JPEG", quality=95, xmp=XMP)
    case("turned-by-xmp.jpg", content, np.rot90(np.asarray(Image.open(io.BytesIO(content))), -1) / 255)
    case("upright-by-exif.tif", tiff((page(8, t274=("H", [1]), t700=("B", XMP)), gray().tobytes())))
    case("upright-by-exif.webp", by_pillow(rgb(), "WEBP", lossless=True, xmp=XMP, exif=UPRIGHT))
    small = page(8, height=HEIGHT // 4, width=WIDTH // 4, t254=("I", [1]), t274=("H", [6]))
    pair = (small, gray()[::4, ::4].tobytes()), (page(8), gray().tobytes())
    case("turned-above-the-photo.tif", tiff(pair[0], sub=pair[1]), shown)
    del small[274]
    small[700] = "B", XMP
    case("turned-by-xmp-above-the-photo.tif", tiff(pair[0], sub=pair[1]), shown)
    content = jpeg_2000(gray(), 8)
    start = content.index(b"jp2c") - 4
    content = content[:start] + box(b"uuid", b"JpgTiffExif->JP2" + EXIF) + content[start:]
    case("turned-by-exif.jp2", content, shown)
    case("xmp-of-an-odd-type.tif", tiff((page(8, t700=("I", [1, 2])), gray().tobytes())))


def samsung_cases():
    film = np.random.default_rng(0).integers(0, 256, 5000).astype(np.uint8).tobytes()
    parts = b"\0\0\x30\x0a\x10\0\0\0MotionPhoto_Data" + film + b"SEFH" + struct.pack("<III", 106, 1, 0) + b"SEFT"
    content = jpeg()
    case("film-behind-its-end.jpg", content + parts, as_pillow_reads(content))
    case("film-in-place-of-its-end.jpg", content[:-2] + parts, as_pillow_reads(content))
    case(
        "log-ahead-of-its-end.jpg", content[:-2] + b"DEBUGINF\1AFLIBLOG" + film + content[-2:], as_pillow_reads(content)
    )


def stereo_cases():
    content = by_pillow(gray(), "MPO", quality=95, save_all=True, append_images=[Image.fromarray(255 - gray())])
    for suffix in ("mpo", "jps"):
        case(f"two-pictures.{suffix}", content, as_pillow_reads(content))


def claiming(content, tag, number):
    """A TIFF file of `tiff` with another number in a tag that has one."""
    start = content.index(struct.pack("<HHI", tag, 4, 1)) + 8
    return content[:start] + struct.pack("<I", number) + content[start + 4 :]


def tiff_cases():
    for count in (0, 100, 10**6):
        case(f"strip-that-claims-{count}-bytes.tif", claiming(tiff((page(8), gray().tobytes())), 279, count))
    sizes, stored = struct.pack("<3H", 3072, 3072, 768), by_tifffile(gray(), rowsperstrip=32)
    for count in (0, 3072):
        case(f"strips-that-claim-{count}-bytes-each.tif", stored.replace(sizes, struct.pack("<3H", *[count] * 3)))
    untold = page(8, 8, 8, 8, photometric=2)
    case("alpha-of-no-named-kind.tif", tiff((untold, np.dstack([rgb(), whole(ALPHA, 8)]).tobytes())), alpha=ALPHA)
    multiplied = np.dstack([np.round(rgb() * ALPHA[..., None]).astype(np.uint8), whole(ALPHA, 8)])
    tags = page(8, 8, 8, 8, photometric=2, t32995=("H", [1]))  # What named alpha before there was a tag for channels.
    case("multiplied-by-an-old-tag.tif", tiff((tags, multiplied.tobytes())), alpha=ALPHA, tolerance=4)
    case("alpha-by-an-old-tag-alone.tif", tiff((page(8, 8, 8, photometric=2, t32995=("H", [1])), rgb().tobytes())))
    tags, more = page(8, 8, 8, 8, 8, photometric=2, t338=("H", [2])), np.dstack([rgb(), whole(ALPHA, 8), 255 - gray()])
    case("one-of-two-more-channels-named.tif", tiff((tags, more.tobytes())), alpha=ALPHA)
    # Differences of pixels are for other compressions, so the tag means nothing.
    packed = b"".join(imagecodecs.packbits_encode(row.tobytes()) for row in gray())
    for kind, pixels in ((1, gray().tobytes()), (32773, packed)):
        case(f"no-differences-{kind}.tif", tiff((page(8, t317=("H", [2])) | {259: ("H", [kind])}, pixels)))
    # JPEG in the way of TIFF 6.0, of which the strip names the part behind the tables.
    for channels, photo in ((3, jpeg()), (1, by_pillow(gray(), "JPEG", quality=95))):
        scan = photo.index(b"\xff\xda") + 2
        skipped = scan + int.from_bytes(photo[scan : scan + 2], "big")
        content = claiming(page_of_jpeg(photo, channels), 273, 8 + skipped)
        content = claiming(content, 279, len(photo) - skipped)
        case(f"tables-ahead-{channels}.tif", content, as_pillow_reads(photo))

    # Of such JPEG, one of the strip and the tag names less than is there.
    photo = jpeg()
    case("strip-ends-early.tif", claiming(page_of_jpeg(photo), 279, len(photo) // 2), as_pillow_reads(photo))
    case("tag-ends-early.tif", claiming(page_of_jpeg(photo), 514, len(photo) // 2), as_pillow_reads(photo))
    rows = np.concatenate([gray(), gray()[:7]])
    case("more-rows-than-it-says.tif", tiff((page(8) | {259: ("H", [8])}, zlib.compress(rows.tobytes()))))


def planes_of_jpeg(photometric, *planes, **more):
    """A TIFF file of uint8 [height, width], each plane a gray JPEG in one strip."""
    strips = [by_pillow(plane, "JPEG", quality=95) for plane in planes]
    tags = page(*[8] * len(planes), photometric=photometric, t284=("H", [2]), t530=("H", [1, 1]), **more)
    content = tiff((tags | {259: ("H", [7])}, b"".join(strips)))
    starts, sizes = 8 + np.cumsum([0, *map(len, strips[:-1])]), list(map(len, strips))
    for tag, values in ((273, starts), (279, sizes)):
        old = content.index(struct.pack("<HHI", tag, 4, 1))
        place = struct.pack("<HHII", tag, 4, len(planes), len(content))
        content = content[:old] + place + content[old + 12 :] + struct.pack(f"<{len(planes)}I", *values)
    return content


def planar_jpeg_cases():
    reds, greens, blues = np.moveaxis(whole(SOFT, 8), -1, 0)
    shown = np.dstack([as_pillow_reads(by_pillow(plane, "JPEG", quality=95)) for plane in (reds, greens, blues)])
    case("planar-jpeg.tif", planes_of_jpeg(2, reds, greens, blues), shown)
    case("planar-jpeg-alpha.tif", planes_of_jpeg(2, reds, greens, blues, 0 * reds + 51, t338=("H", [2])), shown, 0.2)
    planes = [np.asarray(plane) for plane in Image.fromarray(whole(SOFT, 8)).convert("YCbCr").split()]
    case("planar-jpeg-ycbcr.tif", planes_of_jpeg(6, *planes), SOFT, tolerance=6)
    inks = [255 - plane for plane in (reds, greens, blues)]
    shown = 1 - np.dstack([as_pillow_reads(by_pillow(plane, "JPEG", quality=95)) for plane in inks])
    case("planar-jpeg-cmyk.tif", planes_of_jpeg(5, *inks, 0 * reds), shown)


def fax(group):
    """A page of fax: its tags, and the pixels of `PICTURE` in two tones as libtiff packs them, in one strip."""
    file = io.BytesIO(by_pillow(PICTURE > 0.5, "TIFF", compression=f"group{group}"))
    stored = tifffile.TiffFile(file).pages.first
    ((strip, _),) = stored.parent.filehandle.read_segments(stored.dataoffsets, stored.databytecounts)
    return page(1) | {259: ("H", [group])}, strip


def fax_cases():
    shown, small = 1.0 * (PICTURE > 0.5), (page(8, t254=("I", [1])), gray().tobytes())
    case("below-its-reduced-copy-group4.tif", tiff(small, sub=fax(4)), shown)
    case("second-page-group4.tif", tiff(small, fax(4)), shown)
    case("big-group4.tif", by_pillow(PICTURE > 0.5, "TIFF", compression="group4", big_tiff=True), shown)
    tags, strip = fax(3)
    end = "000000000001"  # Of a line. Ahead of it, bits of 0 may fill the last byte.
    lines = (end + line for line in "".join(f"{byte:08b}" for byte in strip).split(end)[1:])
    bits = "".join(line.ljust(-len(line) // 8 * -8, "0") for line in lines)
    filled = int(bits, 2).to_bytes(len(bits) // 8, "big")
    case("lines-of-whole-bytes-group3.tif", tiff((tags, filled)), shown)
    tags, strip = fax(4)
    del tags[262]
    case("untold-photometric-group4.tif", tiff((tags, strip)), 1 - shown)


def bmp_cases():
    masks, pixels = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000), np.dstack([rgb(), 0 * gray()]).tobytes()
    head = struct.pack("<IiiHHIIiiII", 124, WIDTH, -HEIGHT, 1, 32, 3, 0, 0, 0, 0, 0) + masks + b"BGRs" + bytes(64)
    case("alpha-of-0-all-over.bmp", b"BM" + struct.pack("<IHHI", 138 + len(pixels), 0, 0, 138) + head + pixels)


def box(name, data):
    """A box of JPEG 2000."""
    return struct.pack(">I4s", 8 + len(data), name) + data


def with_boxes(content, *boxes):
    """A JPEG 2000 file with more boxes at the end of its header."""
    start = content.index(b"jp2h") - 4
    size = struct.unpack_from(">I", content, start)[0]
    header = content[start + 8 : start + size] + b"".join(boxes)
    return content[:start] + box(b"jp2h", header) + content[start + size :]


def profile_cases():
    """Profiles where few programs write them."""
    segment = b"ICC_PROFILE\0\1\1" + profile(b"RGB ", np.linspace(0, 1, 1024) ** 1.8)
    tags = page(8, 8, 8, photometric=2, t34665=("I", [0]))
    end = len(tiff((tags, rgb().tobytes())))
    # EXIF, which leads to an index of interoperability, which stands for Adobe RGB.
    exif = struct.pack("<HHHIII", 1, 0xA005, 4, 1, end + 18, 0) + struct.pack("<HHHI4sI", 1, 1, 2, 4, b"R03", 0)
    content = tiff((tags | {34665: ("I", [end])}, rgb().tobytes())) + exif
    case("adobe-rgb-by-exif.tif", content, encoded((gray() / 255) ** (563 / 256)))
    content = jpeg()
    start = content.index(b"\xff\xda")  # Behind the header of the frame.
    later = content[:start] + b"\xff\xe2" + struct.pack(">H", len(segment) + 2) + segment + content[start:]
    case("profile-ahead-of-its-scan.jpg", later, encoded(as_pillow_reads(content) ** 1.8))


def jpeg_2000_cases():
    few = np.repeat(np.arange(16)[::-1] * 17, 3).astype(np.uint8).tobytes()
    places = b"".join(bytes([0, 0, 1, number]) for number in range(3))
    boxes = box(b"pclr", b"\0\x10\3\7\7\7" + few), box(b"cmap", places)
    case("palette-of-16.jp2", with_boxes(jpeg_2000(gray(4), 4), *boxes), 1 - gray(4) / 15)
    colors = whole(SOFT, 8)
    # Letters in a profile that name boxes elsewhere, with what would make alpha of the last channel.
    more = [(b"text", b"text\0\0\0\0cdef\0\1\0\0\0\2\0\0pclr\0\2\3\3\3\3")]
    icc = profile(b"RGB ", np.linspace(0, 1, 1024) ** 1.8, more=more)
    case("boxes-in-its-profile.jp2", with_color_box(b"\2\0\0" + icc), encoded((gray() / 255) ** 1.8))
    swapped = box(b"cdef", struct.pack(">10H", 3, 0, 0, 3, 1, 0, 2, 2, 0, 1))
    case("blue-first.jp2", with_boxes(jpeg_2000(colors[..., ::-1].copy(), 8), swapped), colors / 255)
    multiplied = np.dstack([np.round(rgb() * ALPHA[..., None]).astype(np.uint8), whole(ALPHA, 8)])
    kinds = box(b"cdef", struct.pack(">13H", 4, 0, 0, 1, 1, 0, 2, 2, 0, 3, 3, 2, 0))
    case("multiplied.jp2", with_boxes(jpeg_2000(multiplied, 8), kinds), alpha=ALPHA, tolerance=4)


# As cjxl 0.7 wrote it in 8 lossy bits: gray of 0 to 63 from left to right, of a profile with the exponent 1.8.
LOSSY_JPEG_XL = base64.b85decode(
    b"{|Zk)8utqWa$+8UP#e2Oh-6n-`+okW5H0jIwl!2}Ot6<zOfV7`J{;ZlA_8F2S>~Ly{R;p<*T?;z3Gi-`Aow|osjZq~_$~I&{QMo-"
    b"Zi`^iQ#L&4CAe?vVT-ZiivWT}aKi-"
    b"(nC8U%?8L;pq@<jboP>;o1n<4|R$FPUbk;ekq;k$UrIcAAlrcgHVT2hsV%z`#5(oe&1HZ~B0RT{;GRnBY%ekH}KXh13+qllqR@)Y"
    b"qB#Mk<lXL=yNeT*_F2-P7jPa1z_9Vr-yT&Lf9%GEuF&V-"
    b"F00W~k`aigy3>yFn^Kk@E@b85%6=`9Nfqp?@Fk&%8AA}ySPuxNRb$;$cf&W6l#1U+fEr5ppBV=0z0MhUPAV=j!cH{ySA^!jAa`YZ"
    b"5WJhbLur<?_xY!a&K|w*0$Hegh_ZTb@V?+p2=g@_FA>=yc<F6;U`Z{B(ucxf~3NpN}gsA&My1Xv"
)


def jpeg_xl_header(multiplied):
    """The header of a lossless codestream of RGBA in 8 bits, whose colours may be multiplied by alpha."""
    rows, columns = (f"{side // 8 - 1:05b}"[::-1] for side in (HEIGHT, WIDTH))
    size = f"1{rows}000{columns}"
    alpha = f"0_00_000_00_00_{multiplied:d}"  # Not the usual one: its kind, bits, size, name.
    # Nothing beside the usual, 8 bits, channels of few bits, one more of these, no lossy colours, usual ones.
    bits = f"{size}_00_000_1_10_{alpha}_0_1_00_1".replace("_", "")
    return b"\xff\x0a" + np.packbits([int(bit) for bit in bits], bitorder="little").tobytes()


def jpeg_xl_cases():
    alpha = whole(ALPHA, 8)
    multiplied = np.dstack([np.round(rgb() * ALPHA[..., None]).astype(np.uint8), alpha])
    content = imagecodecs.jpegxl_encode(multiplied, lossless=True)

    def shows(stream):
        try:
            return np.array_equal(imagecodecs.jpegxl_decode(stream), multiplied)
        except RuntimeError:
            return False

    # Behind the header, which ends with a whole byte.
    (pixels,) = [content[end:] for end in range(4, 20) if shows(jpeg_xl_header(False) + content[end:])]
    case("multiplied.jxl", jpeg_xl_header(True) + pixels, alpha=ALPHA, tolerance=4)
    case("lossy-with-profile.jxl", LOSSY_JPEG_XL, encoded(np.tile(np.arange(64) / 255, (64, 1)) ** 1.8), tolerance=1.1)
    case("not-multiplied.jxl", imagecodecs.jpegxl_encode(np.dstack([rgb(), alpha]), lossless=True), alpha=ALPHA)


orientation_cases()
jpeg_xl_cases()
samsung_cases()
stereo_cases()
tiff_cases()
planar_jpeg_cases()
fax_cases()
bmp_cases()
profile_cases()
jpeg_2000_cases()
