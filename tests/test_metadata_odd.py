"""What is carried over from files that are whole, but not as libraries expect them."""

import io
import struct

import pyexiv2
import pytest
import tifffile
from PIL import IptcImagePlugin, PngImagePlugin
from test_metadata import convert, encode

from common import images


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


def test_results_have_no_tag_of_layers(photos):
    for order in "<>":
        file = io.BytesIO()
        tags = [(271, 2, None, "Maker", True), (37724, 7, 4000, bytes(4000), True)]
        tifffile.imwrite(file, photos[0], byteorder=order, metadata=None, software="", extratags=tags)
        for found, _ in results(file.getvalue()):
            assert found[271] == 2 and not found.keys() & {0, 37724} and 0 not in found.values()


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


def test_an_overflow_in_exiv2_is_no_reason_to_refuse_a_photo(photos, monkeypatch):
    def overflow(*_, **__):
        raise OverflowError("Overflow in addition")

    monkeypatch.setattr(pyexiv2.ImageData, "copy_to_another_image", overflow)
    image, (loss,) = convert(encode(photos[0], "JPEG", exif=exif_with(directory(MAKER))), ".jpg")
    assert image.size == (128, 96) and "EXIF left out" in loss


def iptc(caption, size, version=b""):
    """IPTC, bytes, of so many bytes, with a caption that is filled up with dots: as in JPEG and PNG."""
    start = version + b"\x1c\x02\x78"
    data = start + struct.pack(">H", size - len(start) - 2) + caption.ljust(size - len(start) - 2, b".")
    return b"8BIM\x04\x04\0\0" + struct.pack(">I", size) + data + bytes(size % 2)


def jpeg_with(content, resource):
    segment = b"\xff\xed" + struct.pack(">H", 16 + len(resource)) + b"Photoshop 3.0\0" + resource
    return content[:2] + segment + content[2:]


@pytest.mark.parametrize("size", [27, 28, 284])
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


def test_iptc_is_carried_over_if_its_version_must_go(photos):
    resource = iptc(b"the lake", 28, version=b"\x1c\1\0\0\2\0\4")
    image, (loss,) = convert(jpeg_with(encode(photos[0], "JPEG"), resource), ".jpg")
    assert IptcImagePlugin.getiptcinfo(image) == {(2, 120): b"the lake........"} and "IPTC left out" in loss


def test_damaged_exif_of_png_is_named(photos):
    text = PngImagePlugin.PngInfo()
    text.add_text("Copyright", "Stadtarchiv")
    content = encode(photos[0], "PNG", pnginfo=text, exif=b"no EXIF")
    image, losses = convert(content, ".png")
    assert image.text == {"Copyright": "Stadtarchiv"}
    assert losses == ["photo: EXIF left out, in whole or in part: damaged or too large"]
