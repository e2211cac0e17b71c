"""The resolution of a photo: kept, turned with it, or left out with a word, and never invented."""

import io
import struct

import imagecodecs
import pytest
import tifffile
from matrix_reported import box, with_boxes
from test_metadata import convert, encode, exif_of

from common import images
from common.decoders import NOT_SQUARE
from common.images import read, write
from common.png import insert_chunk


@pytest.mark.parametrize("target", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("source", ["JPEG", "PNG", "TIFF"])
def test_resolution_is_kept(photos, source, target):
    image, _ = convert(encode(photos[0], source, dpi=(600, 300)), target)
    assert image.info["dpi"] == pytest.approx((600, 300), abs=0.1)


def test_resolution_turns_with_the_photo(photos):
    for orientation, expected in ((3, (600, 300)), (6, (300, 600)), (9, (600, 300))):
        header = encode(photos[0], "PNG", dpi=(600, 300), exif=exif_of({274: orientation}))
        tags = exif_of({274: orientation, 282: 600.0, 283: 300.0, 296: 2})
        for content in (header, *(encode(photos[0], format_, exif=tags) for format_ in ("JPEG", "PNG", "TIFF"))):
            for target in (".jpg", ".png", ".tif"):
                image, losses = convert(content, target)
                exif = image.getexif()
                assert losses == [] and image.info["dpi"] == pytest.approx(expected, abs=0.1)
                if 282 in exif:
                    assert (exif[282], exif[283]) == pytest.approx(expected, abs=0.1)


def test_resolution_of_big_tiff_turns_with_the_photo(photos):
    file = io.BytesIO()
    options = {"resolution": (600, 300), "software": "", "metadata": None, "extratags": [(274, 3, 1, 6, True)]}
    tifffile.imwrite(file, photos[0], bigtiff=True, **options)
    assert images.decode("photo", file.getvalue()).metadata.resolution == (300, 600)


@pytest.mark.parametrize(("numbers", "notes"), [((300, 300), ()), ((300, 200), NOT_SQUARE)])
def test_resolution_of_tiff_without_a_unit_is_not_in_pixels_per_inch(photos, numbers, notes):
    file = io.BytesIO()
    tifffile.imwrite(file, photos[0], resolution=numbers, resolutionunit="none", software="", metadata=None)
    found = images.decode("photo", file.getvalue())
    assert found.metadata.resolution is None and found.notes == notes
    assert convert(file.getvalue(), ".tif")[0].tag_v2[282] == 1


@pytest.mark.parametrize("kind", [b"resc", b"resd"])
def test_resolution_of_jpeg_2000_is_kept(photos, kind):
    # 118.11 and 236.22 pixels per centimetre: first down, then across.
    numbers = struct.pack(">4H2b", 11811, 1, 23622, 10, 0, 1)
    content = with_boxes(imagecodecs.jpeg2k_encode(photos[0], codecformat="jp2"), box(b"res ", box(kind, numbers)))
    image, losses = convert(content, ".tif")
    assert losses == [] and image.info["dpi"] == pytest.approx((600, 300), abs=0.1)
    damaged = content.replace(numbers, bytes(10))
    assert "dpi" not in convert(damaged, ".png")[0].info


def test_resolution_is_kept_in_bmp_or_said_to_be_left_out(photos):
    for source in ("BMP", "PNG"):
        image, losses = convert(encode(photos[0], source, dpi=(600, 300)), ".bmp")
        assert losses == [] and image.info["dpi"] == pytest.approx((600, 300), abs=0.1)
    _, (loss,) = convert(encode(photos[0], "BMP", dpi=(600, 300)), ".ppm")
    assert "the resolution left out" in loss


def test_the_shape_of_pixels_is_said_to_be_left_out(photos):
    jpeg, png = encode(photos[0], "JPEG"), encode(photos[0], "PNG")
    for across, down, lost in ((1, 1, False), (2, 1, True), (0, 1, False), (72, 72, False), (10, 11, True)):
        notes = ("shape of pixels left out: results have square ones",) * lost
        content = jpeg[:13] + struct.pack(">BHH", 0, across, down) + jpeg[18:]
        assert images.decode("photo", content).notes == notes
        content = insert_chunk(png, b"pHYs", struct.pack(">IIB", across, down, 0))
        assert images.decode("photo", content).notes == notes
    gif, avif = encode(photos[0], "GIF"), encode(photos[0], "AVIF")
    depths = avif[avif.index(b"pixi") :][:12]
    for number, shape, lost in ((0, (1, 1), False), (49, (2, 2), False), (113, (2, 1), True)):
        notes = ("shape of pixels left out: results have square ones",) * lost
        assert images.decode("photo", gif[:12] + bytes([number]) + gif[13:]).notes == notes
        content = avif.replace(depths, b"pasp" + struct.pack(">2I", *shape))
        assert images.decode("photo", content).notes == notes


@pytest.mark.parametrize("target", [".jpg", ".png", ".tif"])
def test_no_resolution_is_invented(photos, target):
    for source in ("PNG", "JPEG", "WEBP"):
        image, _ = convert(encode(photos[0], source), target)
        assert image.info.get("dpi", (1, 1)) == (1, 1)


def test_resolutions_of_zero_and_odd_types_are_no_reason_to_refuse_a_photo(tmp_path, photos):
    for number, (kind, count, value) in enumerate(
        [
            (5, 1, bytes(8)),
            (5, 1, struct.pack("<II", 72, 0)),
            (3, 1, b"\1\0"),
            (2, 3, b"72\0"),
            (11, 1, b"\xff" * 4),
            (5, 0, b""),
        ]
    ):
        content = io.BytesIO()
        tags = [(282, kind, count, value, True), (283, kind, count, value, True)]
        try:
            tifffile.imwrite(content, photos[0], metadata=None, extratags=tags)
        except (ValueError, struct.error):
            continue
        (tmp_path / f"{number}.tif").write_bytes(content.getvalue())
        for suffix in (".tif", ".jpg", ".png"):
            write(tmp_path / f"result{suffix}", read(tmp_path / f"{number}.tif"))
            assert read(tmp_path / f"result{suffix}").pixels.shape == photos[0].shape
