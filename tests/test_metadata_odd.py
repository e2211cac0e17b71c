"""What is carried over from files that are whole, but not as libraries expect them."""

import io
import struct
import zlib

import numpy as np
import pyexiv2
import pytest
import tifffile
from PIL import IptcImagePlugin, PngImagePlugin
from test_metadata import SRGB, XMP, convert, encode

from common import images
from common.png import insert_chunk

IPTC = "Raw profile type iptc"


def directory(*entries):
    """One of EXIF's directories, bytes: entries (tag, type, count, value of four bytes)."""
    assert all(len(value) == 4 for *_, value in entries)
    return struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHI4s", *entry) for entry in entries) + bytes(4)


def exif_with(*directories):
    """EXIF data, bytes, of directories that lie one behind the other."""
    return b"Exif\0\0II*\0\x08\0\0\0" + b"".join(directories)


def first_directory(content):
    """{tag: type} in the first directory of EXIF or TIFF, bytes, as it is written there."""
    content = content.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}[content[:2]]
    (start,) = struct.unpack_from(f"{order}I", content, 4)
    (count,) = struct.unpack_from(f"{order}H", content, start)
    return dict(struct.unpack_from(f"{order}HH", content, start + 2 + 12 * number) for number in range(count))


def results(content):
    """(first directory, sentences) of what becomes of a file's content as TIFF, JPEG and PNG."""
    result, losses = images.encode("photo", images.decode("photo", content), ".tif")
    yield first_directory(result), losses
    for suffix in (".jpg", ".png"):
        image, losses = convert(content, suffix)
        yield first_directory(image.info["exif"]), losses


MAKER = (271, 2, 4, b"abc\0")
UNTYPED = (0, 0, 0, bytes(4))


@pytest.mark.parametrize(
    ("tags", "lost"), [([UNTYPED], False), ([UNTYPED, (1, 0, 206, bytes(4))], False), ([(33432, 0, 4, b"abc\0")], True)]
)
def test_results_have_no_tag_without_a_type(photos, tags, lost):
    exif = exif_with(directory(*sorted([MAKER, (11, 2, 4, b"old\0"), *tags])))
    for found, losses in results(encode(photos[0], "JPEG", exif=exif)):
        assert found[271] == found[11] == 2 and not found.keys() & {0, 1, 33432} and 0 not in found.values()
        assert losses == ["photo: EXIF left out, in whole or in part: damaged or too large"] * lost


def test_layers_of_the_gray_photo_do_not_cover_the_result(photos):
    for order in "<>":
        file = io.BytesIO()
        tags = [(271, 2, None, "Maker", True), (37724, 7, 4000, bytes(4000), True)]
        tifffile.imwrite(file, photos[0], byteorder=order, metadata=None, software="", extratags=tags)
        for found, losses in results(file.getvalue()):
            assert found[271] == 2 and not found.keys() & {0, 37724} and 0 not in found.values()
            assert len(losses) == 1 and "such as layers, left out" in losses[0]


def test_a_directory_without_entries_is_no_loss(photos):
    empty = directory()
    # 34665 and 34853 say where the directories of EXIF and GPS begin, 40965 that of interoperability.
    size = len(directory(MAKER, MAKER, MAKER))
    places = [struct.pack("<I", 8 + size), struct.pack("<I", 8 + size + len(directory(MAKER)))]
    first = directory(MAKER, (34665, 4, 1, places[0]), (34853, 4, 1, places[1]))
    exif = exif_with(first, directory((40965, 4, 1, places[1])), empty)
    for content in (exif, exif_with(first, empty, empty)):
        for found, losses in results(encode(photos[0], "JPEG", exif=content)):
            assert found[271] == 2 and losses == []


def test_how_to_develop_camera_raw_is_not_said_of_the_result(photos):
    file = io.BytesIO()
    tags = [(50708, 2, None, "Maker 100", True), (50721, 10, 9, (1, 1) * 9, True), (50938, 11, 99, (0.5,) * 99, True)]
    tifffile.imwrite(file, photos[0], metadata=None, software="", extratags=tags)
    for found, losses in results(file.getvalue()):
        assert found[50708] == 2 and not found.keys() & {50721, 50938} and losses == []


def test_a_result_is_not_said_to_be_a_volume(photos):
    file, slices = io.BytesIO(), np.stack([photos[0][..., 0]] * 32)
    tifffile.imwrite(file, slices, volumetric=True, tile=(16, 16, 16), photometric="minisblack", metadata=None)
    result, (loss,) = images.encode("photo", images.decode("photo", file.getvalue()), ".tif")
    assert "further pictures left out" in loss
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(result)), slices[0])


@pytest.mark.parametrize(
    ("options", "lost"),
    [
        ({"imagej": True, "metadata": {"Info": "the lake"}}, True),
        ({"ome": True, "metadata": {"axes": "ZYX"}}, True),
        ({"metadata": None, "description": "OME, by ImageJ"}, False),
    ],
)
def test_a_result_is_not_said_to_be_a_stack(photos, options, lost):
    file, stack = io.BytesIO(), np.stack([photos[0][..., 0]] * 3)
    tifffile.imwrite(file, stack, photometric="minisblack", **options)
    result, losses = images.encode("photo", images.decode("photo", file.getvalue()), ".tif")
    with tifffile.TiffFile(io.BytesIO(result)) as found:
        assert not found.is_imagej and found.pages[0].description == ("" if lost else "OME, by ImageJ")
        np.testing.assert_array_equal(found.asarray(), stack[0])
    assert losses[1:] == ["photo: data of ImageJ or OME left out, which describe the file as it was"] * lost


@pytest.mark.parametrize("below", [0, 1])
def test_text_of_a_page_behind_a_reduced_copy_is_said_to_be_left_out(photos, below):
    for texts, lost in ((("a", "a"), False), (("a", None), False), (("a", "b"), True), ((None, "b"), True)):
        file = io.BytesIO()
        with tifffile.TiffWriter(file) as writer:
            for kind, pixels in ((1, photos[0][::4, ::4]), (0, photos[0])):
                tags = [(315, 2, None, text, True) for text in [texts[1 - kind]] if text]
                options = {"subfiletype": kind, "subifds": below * kind, "extratags": tags}
                writer.write(pixels, metadata=None, software="", **options)
        image, losses = convert(file.getvalue(), ".jpg")
        assert image.size == (128, 96) and image.getexif().get(315) == texts[0]
        words = "photo: text of the photo's own page left out: only that of the first page is used"
        assert losses == [words] * lost


def test_xmp_does_not_describe_the_pixels_as_they_were(photos):
    old = 'tiff:ImageWidth="128" tiff:BitsPerSample="8" tiff:SamplesPerPixel="1" tiff:PhotometricInterpretation="1" '
    old += 'exif:ColorSpace="65535" exif:PixelXDimension="128" exif:PixelYDimension="96"'
    claim = 'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/" tiff:Make="Maker" '
    packet = XMP.replace(b"dc:source", f'{claim} exif:FNumber="8/1" {old} dc:source'.encode())
    image, losses = convert(encode(photos[0], "JPEG", xmp=packet), ".jpg")
    found = image.info["xmp"].decode()
    assert losses == [] and all(name in found for name in ('tiff:Make="Maker"', 'exif:FNumber="8/1"', "Archive 7"))
    assert not any(entry.split("=")[0] in found for entry in old.split())


def test_an_overflow_in_exiv2_is_no_reason_to_refuse_a_photo(photos, monkeypatch):
    def overflow(*_, **__):
        raise OverflowError("Overflow in addition")

    monkeypatch.setattr(pyexiv2.ImageData, "copy_to_another_image", overflow)
    image, (loss,) = convert(encode(photos[0], "JPEG", exif=exif_with(directory(MAKER))), ".jpg")
    assert image.size == (128, 96) and "EXIF left out" in loss


def iptc(caption, size, before=b"", behind=b""):
    """IPTC, bytes, of so many bytes, with a caption that is filled up with dots: as in JPEG and PNG."""
    length = size - len(before) - len(behind) - 5
    data = before + b"\x1c\x02\x78" + struct.pack(">H", length) + caption.ljust(length, b".") + behind
    return b"8BIM\x04\x04\0\0" + struct.pack(">I", size) + data + bytes(size % 2)


def jpeg_with(content, resource):
    segment = b"\xff\xed" + struct.pack(">H", 16 + len(resource)) + b"Photoshop 3.0\0" + resource
    return content[:2] + segment + content[2:]


@pytest.mark.parametrize("size", [27, 28, 284, 7200])
def test_iptc_is_carried_over_whatever_its_length(photos, size):
    resource = iptc(b"the lake", size)
    caption = b"the lake".ljust(size - 5, b".")
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type iptc", f"\niptc\n{len(resource):8}\n{resource.hex()}\n", zip=True)
    png = encode(photos[0], "PNG", pnginfo=text)
    result, _ = images.encode("photo", images.decode("photo", png), ".png")
    for content in (jpeg_with(encode(photos[0], "JPEG"), resource), png, result):
        image, losses = convert(content, ".jpg")
        assert losses == [] and IptcImagePlugin.getiptcinfo(image)[2, 120] == caption
        image, losses = convert(content, ".png")
        digits = "".join(image.text["Raw profile type iptc"].split()[2:])
        assert losses == [] and caption in bytes.fromhex(digits)


def raw_profile(kind, data, compressed):
    """A chunk of PNG as ImageMagick writes what it does not know: lines of 36 bytes as digits."""
    digits = data.hex()
    lines = [f"\n{kind}\n{len(data):8}", *(digits[at : at + 72] for at in range(0, len(digits), 72)), ""]
    text = "\n".join(lines).encode()
    name = b"Raw profile type " + kind.encode() + b"\0"
    return (b"zTXt", name + b"\0" + zlib.compress(text)) if compressed else (b"tEXt", name + text)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("exif", [b"", exif_with(directory((305, 2, 4, b"app\0")))])
def test_raw_profiles_of_png_are_carried_over(photos, compressed, exif):
    plain = encode(photos[0], "PNG", exif=exif)
    xmp = b"http://ns.adobe.com/xap/1.0/\0" + XMP
    for suffix in (".jpg", ".png"):
        for size in (27, 28, 300):
            content = insert_chunk(plain, *raw_profile("8bim", iptc(b"the lake", size), compressed))
            image, losses = convert(content, suffix)
            found = image.info if suffix == ".jpg" else bytes.fromhex("".join(image.text[IPTC].split()[2:]))
            found = found["photoshop"][1028] if suffix == ".jpg" else found
            assert losses == [] and b"the lake".ljust(size - 5, b".") in found
            assert image.getexif().get(305) == ("app" if exif else None)
        image, losses = convert(insert_chunk(plain, *raw_profile("APP1", xmp, compressed)), suffix)
        assert losses == [] and b"Archive 7" in image.info["xmp"]
        content = insert_chunk(plain, *raw_profile("APP1", exif_with(directory(MAKER)), compressed))
        image, losses = convert(content, suffix)
        assert losses == [] and image.getexif()[271] == "abc"


@pytest.mark.parametrize("compressed", [False, True])
def test_raw_profiles_of_png_that_are_not_read_are_kept_as_text_or_named(photos, compressed):
    plain = encode(photos[0], "PNG")
    content = insert_chunk(plain, *raw_profile("scanner", b"12345", compressed))
    image, losses = convert(content, ".png")
    assert losses == [] and image.text["Raw profile type scanner"].split() == ["scanner", "5", b"12345".hex()]
    assert convert(content, ".jpg")[1] == [
        "photo: text of PNG left out, in whole or in part, since .jpg does not hold it"
    ]
    image, losses = convert(insert_chunk(plain, *raw_profile("icc", SRGB, compressed)), ".png")
    assert image.text == {} and losses == ["photo: a colour profile in text of PNG left out, since it is not read"]
    for damaged in (b"8BIM", b"\n8bim\n   4\nno digits", b"\n8bim\n   4\n123"):
        data = b"Raw profile type 8bim\0" + (b"\0" + zlib.compress(damaged) if compressed else damaged)
        _, losses = convert(insert_chunk(plain, (b"tEXt", b"zTXt")[compressed], data), ".png")
        assert losses == ["photo: text of PNG left out, in whole or in part: damaged or too large"]


def block(number, data):
    """A block of Photoshop's data."""
    return b"8BIM" + struct.pack(">HHI", number, 0, len(data)) + data + bytes(len(data) % 2)


@pytest.mark.parametrize(
    ("blocks", "lost"),
    [
        (block(1034, b"\1"), True),
        (block(1035, b"http://example.org/"), True),
        (block(1034, b"\0") + block(1035, b""), False),
        (block(1005, bytes(16)), False),
    ],
)
def test_what_photoshop_says_of_rights_is_said_to_be_left_out(photos, blocks, lost):
    blocks, tiff = iptc(b"the lake", 40) + blocks, io.BytesIO()
    tifffile.imwrite(tiff, photos[0], metadata=None, extratags=[(34377, 1, len(blocks), blocks, True)])
    png = encode(photos[0], "PNG")
    pngs = [insert_chunk(png, *raw_profile(kind, blocks, True)) for kind in ("8bim", "iptc")]
    for content in (jpeg_with(encode(photos[0], "JPEG"), blocks), tiff.getvalue(), *pngs):
        image, losses = convert(content, ".jpg")
        where = " in PNG" * (content in pngs)
        assert losses == [f"photo: Photoshop's copyright flag or URL{where} left out, since it is not read"] * lost
        assert image.info["photoshop"][1028].endswith(b"the lake".ljust(35, b"."))


def test_further_iptc_of_jpeg_is_said_to_be_left_out(photos):
    for blocks, lost in (((1028, 1028), True), ((1005, 1028), True), ((1028, 1005), False)):
        content = encode(photos[0], "JPEG")
        for number in reversed(blocks):
            content = jpeg_with(content, block(number, b"\x1c\x02\x78\0\4lake"))
        note = "further IPTC left out: only that of the first segment is used"
        assert images.decode("photo", content).notes == (note,) * lost


def test_paths_of_photoshop_are_said_to_be_left_out(photos):
    for number in (1999, 2000, 2997, 2998):
        content = jpeg_with(encode(photos[0], "JPEG"), block(number, bytes(26)))
        note = "a path of Photoshop left out, since it is not read"
        assert images.decode("photo", content).notes == (note,) * (number in (2000, 2997))


def test_content_credentials_are_said_to_be_left_out(photos):
    manifest = b"\0\0\0\x29jumb\0\0\0\x21jumdc2pa\0\x11\0\x10\x80\0\0\xaa\0\x38\x9b\x71\3c2pa\0"
    photo, png, webp = (encode(photos[0], format_) for format_ in ("JPEG", "PNG", "WEBP"))
    segment = b"JP\0\1\0\0\0\1" + manifest
    chunk = b"C2PA" + struct.pack("<I", len(manifest)) + manifest + bytes(len(manifest) % 2)
    for content in (
        photo[:2] + b"\xff\xeb" + struct.pack(">H", 2 + len(segment)) + segment + photo[2:],
        insert_chunk(png, b"caBX", manifest),
        webp[:4] + struct.pack("<I", len(webp) - 8 + len(chunk)) + webp[8:] + chunk,
    ):
        note = "a record of content credentials (C2PA) left out, since it is not read"
        assert images.decode("photo", content).notes == (note,)


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("begin", ["", '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>', "\ufeff"])
def test_xmp_is_carried_over_in_any_encoding(photos, coding, begin):
    packet, tiff = (begin + XMP.decode().replace("Archive 7", "M\u00fcnchen \u2600")).encode(coding), io.BytesIO()
    tifffile.imwrite(tiff, photos[0], metadata=None, extratags=[(700, 1, len(packet), packet, True)])
    png = insert_chunk(encode(photos[0], "PNG"), b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + packet)
    others = [encode(photos[0], format_, xmp=packet) for format_ in ("JPEG", "WEBP", "AVIF")]
    for content in (tiff.getvalue(), png, *others):
        for suffix in (".jpg", ".png", ".webp"):
            image, losses = convert(content, suffix)
            assert losses == [] and "M\u00fcnchen \u2600" in image.info["xmp"].decode()


def test_iptc_is_carried_over_if_its_version_must_go(photos):
    resource = iptc(b"the lake", 28, before=b"\x1c\1\0\0\2\0\4")
    image, (loss,) = convert(jpeg_with(encode(photos[0], "JPEG"), resource), ".jpg")
    assert IptcImagePlugin.getiptcinfo(image) == {(2, 120): b"the lake........"} and "IPTC left out" in loss


def test_an_empty_tag_of_iptc_is_no_loss(photos):
    resource = iptc(b"the lake", 40, behind=b"\x1c\2\x7a\0\0\0")
    image, losses = convert(jpeg_with(encode(photos[0], "JPEG"), resource), ".jpg")
    assert losses == [] and IptcImagePlugin.getiptcinfo(image)[2, 120] == b"the lake".ljust(29, b".")


@pytest.mark.parametrize("size", [20, 27, 40, 60, 200])
def test_iptc_that_is_cut_short_in_tiff_does_not_hide_the_whole(photos, size):
    resource, file = iptc(b"the lake", size, before=b"\x1c\2\x69\0\1H"), io.BytesIO()
    data = resource[12 : 12 + size]
    for length in (size // 4, size):  # ImageMagick counts the bytes of the first tag in fours.
        tags = [(33723, 7, length, data[:length], True), (34377, 1, len(resource), resource, True)]
        tifffile.imwrite(file, photos[0], metadata=None, extratags=tags)
        image, losses = convert(file.getvalue(), ".jpg")
        found = IptcImagePlugin.getiptcinfo(image)
        assert losses == [] and found[2, 105] == b"H" and found[2, 120] == b"the lake".ljust(size - 11, b".")


def test_damaged_exif_of_png_is_named(photos):
    text = PngImagePlugin.PngInfo()
    text.add_text("Copyright", "Stadtarchiv")
    content = encode(photos[0], "PNG", pnginfo=text, exif=b"no EXIF")
    image, losses = convert(content, ".png")
    assert image.text == {"Copyright": "Stadtarchiv"}
    assert losses == ["photo: EXIF left out, in whole or in part: damaged or too large"]


BESIDE = "left out what the file holds beside the photo: a film, sound, gain map or depth map"


def test_films_and_maps_behind_jpeg_are_said_to_be_left_out(photos):
    for name, notes in (
        (b"MotionPhoto_Data", (BESIDE,)),
        (b"DualShot_DepthMap_1", (BESIDE,)),
        (b"SoundShot_000", (BESIDE,)),
        (b"Interactive_Panorama_000", (BESIDE,)),
        (b"FlipPhoto_002", (BESIDE,)),
        (b"Image_UTC_Data1467884432", ()),
    ):
        part = b"\0\0\x30\x0a" + struct.pack("<I", len(name)) + name + bytes(100)
        content = encode(photos[0], "JPEG") + part + b"SEFH" + struct.pack("<III", 106, 1, 0) + b"SEFT"
        assert images.decode("photo", content).notes == notes


def test_further_comments_of_jpeg_are_said_to_be_left_out(photos):
    content = encode(photos[0], "JPEG")
    for comments, lost in (([b"one"], False), ([b"one", b"one"], False), ([b"one", b"two"], True)):
        segments = b"".join(b"\xff\xfe" + struct.pack(">H", 2 + len(comment)) + comment for comment in comments)
        image, losses = convert(content[:2] + segments + content[2:], ".jpg")
        assert image.info["comment"] == b"one"
        assert losses == ["photo: further comments left out: only the first is used"] * lost


def test_further_exif_and_xmp_of_jpeg_is_said_to_be_left_out(photos):
    content, xmp = encode(photos[0], "JPEG"), b"http://ns.adobe.com/xap/1.0/\0"
    exif = [exif_with(directory((271, 2, 4, maker))) for maker in (b"abc\0", b"def\0")]
    for kind, packets in (("XMP", (xmp + XMP, xmp + XMP.replace(b"Archive 7", b"Archive 8"))), ("EXIF", exif)):
        for one, two in (packets, packets[:1] * 2):
            segments = b"".join(b"\xff\xe1" + struct.pack(">H", 2 + len(data)) + data for data in (one, two))
            image, losses = convert(content[:2] + segments + content[2:], ".jpg")
            assert losses == [f"photo: further {kind} left out: only the first is used"] * (one != two)
            assert b"Archive 7" in image.info["xmp"] if kind == "XMP" else image.getexif()[271] == "abc"


def test_profiles_of_gif_are_said_to_be_left_out(photos):
    content = encode(photos[0], "GIF")
    assert images.decode("photo", content).notes == ()
    content = content[:-1] + b"\x21\xff\x0bICCRGBG1012" + b"\xc8" + bytes(200) + b"\0" + content[-1:]
    assert images.decode("photo", content).notes == ("colour profile left out, since that of GIF is not read",)


def test_xmp_of_gif_is_carried_over(photos):
    content = encode(photos[0], "GIF", comment=b"scanned 1998")
    colors = 13 + 3 * (2 << (content[10] & 7))  # The header's last bytes.
    ends = bytes([1, *range(255, -1, -1), 0])
    content = content[:colors] + b"\x21\xff\x0bXMP DataXMP" + XMP + ends + content[colors:]
    image, losses = convert(content, ".jpg")
    assert losses == [] and b"Archive 7" in image.info["xmp"] and image.info["comment"] == b"scanned 1998"


def test_damaged_xmp_of_tiff_is_kept_in_jpeg_and_else_said_to_be_left_out(photos):
    file = io.BytesIO()
    tifffile.imwrite(file, photos[0], metadata=None, extratags=[(700, 1, len(XMP) - 40, XMP[:-40], True)])
    image, losses = convert(file.getvalue(), ".jpg")
    assert losses == [] and image.info["xmp"] == XMP[:-40]
    _, losses = convert(file.getvalue(), ".tif")
    assert losses == ["photo: damaged XMP left out, in whole or in part, since .tif does not hold it"]
