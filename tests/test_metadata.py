"""What files say about their photos: carried over, or left out with a word, and never a reason to lose the photo."""

import io
import resource
import struct
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from matrix_reported import box, with_boxes
from PIL import Image, ImageCms, IptcImagePlugin, PngImagePlugin

from common import images
from common.images import Photo
from common.metadata import embed, read_metadata
from common.png import insert_chunk

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="Archive 7"/></rdf:RDF></x:xmpmeta>'
)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
FORMATS = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".avif": "AVIF"}


def encode(photo, format_, **options):
    file = io.BytesIO()
    Image.fromarray(photo).save(file, format_, **options)
    return file.getvalue()


def exif_of(tags):
    exif = Image.Exif()
    exif.update(tags)
    return exif


def convert(content, suffix):
    """(Pillow's image, sentences) of what becomes of a file's content in a format."""
    result, losses = images.encode("photo", images.decode("photo", content), suffix)
    return Image.open(io.BytesIO(result)), losses


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_exif_and_xmp_are_carried_over(photos, source, target):
    exif = exif_of({271: "Maker", 306: "2001:02:03 04:05:06", 274: 6, 282: 300.0, 283: 300.0, 296: 2})
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0at the lake"
    if source == ".tif":
        exif[700] = XMP
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", XMP.decode())
    options = {".tif": {}, ".png": {"pnginfo": text}}.get(source, {"xmp": XMP})
    image, losses = convert(encode(photos[0], FORMATS[source], exif=exif, **options), target)
    found = image.getexif()
    assert losses == [] and found.get(274, 1) == 1
    assert found[271] == "Maker" and found[306] == "2001:02:03 04:05:06" and found[282] == 300
    if source != ".tif":  # Pillow does not write it there.
        assert b"at the lake" in found.get_ifd(0x8769)[0x9286]
    packet = image.info.get("xmp") or found[700]
    assert b"Archive 7" in (packet if isinstance(packet, bytes) else packet.encode())


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_iptc_and_comments_are_carried_over_or_said_to_be_left_out(photos, encoding):
    caption = b"\x1c\x02\x78\0\x05a b c"
    block = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(caption)) + caption + bytes(len(caption) % 2)
    segment = b"Photoshop 3.0\0" + block
    comment = "scanned in München".encode(encoding)
    content = encode(photos[0], "JPEG", comment=comment)
    content = content[:2] + b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment + content[2:]
    image, losses = convert(content, ".jpg")
    assert losses == [] and IptcImagePlugin.getiptcinfo(image)[2, 120] == b"a b c"
    assert image.info["comment"].decode() == "scanned in München"
    _, losses = convert(content, ".tif")
    assert len(losses) == 1 and "comment" in losses[0]
    for target in (".webp", ".avif", ".bmp"):
        _, losses = convert(content, target)
        assert len(losses) == 2 and "IPTC" in losses[0] and "comment" in losses[1] and target in losses[1]


def test_text_of_png_is_kept_there_or_said_to_be_left_out(photos):
    text = PngImagePlugin.PngInfo()
    text.add_text("Copyright", "Stadtarchiv")
    text.add_itxt("Title", "See am Morgen \u2600")
    text.add_text("Description", "the lake", zip=True)
    content = encode(photos[0], "PNG", pnginfo=text)
    image, losses = convert(content, ".png")
    assert losses == []
    assert image.text == {"Copyright": "Stadtarchiv", "Title": "See am Morgen \u2600", "Description": "the lake"}
    for target in (".jpg", ".tif", ".avif"):
        _, losses = convert(content, target)
        assert any("text of PNG left out" in loss for loss in losses)


def test_comments_of_gif_are_carried_over(photos):
    image, losses = convert(encode(photos[0], "GIF", comment="scanned in M\u00fcnchen".encode("latin-1")), ".png")
    assert losses == [] and image.text["Description"] == "scanned in M\u00fcnchen"


def test_a_packet_without_a_property_is_kept_in_jpeg(photos):
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
    image, losses = convert(encode(photos[0], "JPEG", xmp=packet, comment=b"scanned 1998"), ".jpg")
    assert losses == [] and image.info["xmp"] == packet and image.info["comment"] == b"scanned 1998"


def test_damaged_xmp_is_kept_in_jpeg_and_else_said_to_be_left_out(photos):
    nothing = XMP.replace(b'dc:source="Archive 7"', b'rdf:about=""') + b"\n\0"
    damaged = (XMP[:-40], XMP.replace(b"Archive 7", b"Archive <7"), XMP.replace(b"Archive 7", b"\xff"))
    for packet in (*damaged, nothing):
        losses = ["photo: damaged XMP left out, in whole or in part, since {} does not hold it"] * (packet != nothing)
        for format_ in ("JPEG", "WEBP"):
            content = encode(photos[0], format_, xmp=packet)
            image, found = convert(content, ".jpg")
            assert found == [] and image.info["xmp"] == packet
            for target in (".png", ".webp", ".tif", ".avif"):
                assert convert(content, target)[1] == [loss.format(target) for loss in losses]


def test_the_gray_thumbnail_goes(photos):
    small = encode(photos[0][::4, ::4], "JPEG")
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, 274, 3, 1, 1, 26)
    exif += struct.pack("<HHHIIHHIII", 2, 513, 4, 1, 56, 514, 4, 1, len(small), 0) + small
    image, losses = convert(encode(photos[0], "JPEG", exif=exif), ".jpg")
    assert losses == [] and small not in image.info.get("exif", b"")
    assert not image.getexif().get_ifd(1)


def test_metadata_beside_a_damaged_profile_are_carried_over(photos):
    exif = exif_of({271: "Maker"})
    files = [encode(photos[0], format_, exif=exif, icc_profile=SRGB[:200]) for format_ in FORMATS.values()]
    plain = images.encode("photo", images.decode("photo", encode(photos[0], "JPEG", exif=exif)), ".jp2")[0]
    files.append(with_boxes(plain.replace(b"colr", b"free", 1), box(b"colr", b"\2\0\0" + SRGB[:200])))
    for content in files:
        image, losses = convert(content, ".jpg")
        assert image.getexif()[271] == "Maker"
        assert len(losses) == 1 and "colour profile left out" in losses[0]


def test_metadata_of_heic_beside_a_damaged_profile_are_carried_over(photos):
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs requirements-formats.txt")
    file, picture = io.BytesIO(), pillow_heif.from_pillow(Image.fromarray(photos[0]))
    picture.info.update(icc_profile=SRGB[:200], exif=exif_of({271: "Maker"}).tobytes())
    picture.save(file)
    image, (loss,) = convert(file.getvalue(), ".jpg")
    assert image.getexif()[271] == "Maker" and "colour profile left out" in loss


@pytest.mark.parametrize(
    "damaged",
    [
        (b"tEXt", b"Author"),
        (b"tEXt", b""),
        (b"zTXt", b"Author\0\0damaged"),
        (b"iTXt", b"Author\0"),
        (b"zTXt", b"Raw profile type iptc\0\0damaged"),
    ],
)
def test_damaged_text_of_png_costs_nothing_else(photos, damaged):
    content = encode(photos[0], "PNG", exif=exif_of({271: "Maker"}))
    for chunks in ((damaged, (b"tEXt", b"Copyright\0Stadtarchiv")), ((b"tEXt", b"Copyright\0Stadtarchiv"), damaged)):
        odd = content
        for chunk in chunks:
            odd = insert_chunk(odd, *chunk)
        image, (loss,) = convert(odd, ".png")
        assert image.text == {"Copyright": "Stadtarchiv"} and image.getexif()[271] == "Maker"
        assert "text of PNG left out, in whole or in part: damaged" in loss


def test_faces_are_not_marked_where_they_were_before_the_photo_was_turned(photos):
    claim = b'xmlns:mwg-rs="http://www.metadataworkinggroup.com/schemas/regions/" mwg-rs:Regions="0.2,0.3" '
    claim += b'xmlns:MP="http://ns.microsoft.com/photo/1.2/" MP:RegionInfo="0.2,0.3" dc:source'
    packet = XMP.replace(b"dc:source", claim)
    for orientation, left_out in ((1, False), (3, True), (6, True)):
        content = encode(photos[0], "JPEG", xmp=packet, exif=exif_of({274: orientation}))
        image, losses = convert(content, ".jpg")
        assert b"Archive 7" in image.info["xmp"]
        for name in (b"mwg-rs:", b"MP:"):
            assert (name in image.info["xmp"]) != left_out
        words = "photo: faces marked in the photo left out, since it was turned upright"
        assert losses == [words] * left_out


@pytest.mark.parametrize("icc", [b"", SRGB, SRGB[:200]])
@pytest.mark.parametrize("format_", ["JPEG", "WEBP", "AVIF"])
def test_xmp_that_names_a_profile_is_carried_over(photos, format_, icc):
    claim = b'xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" photoshop:ICCProfile="Gray" dc:source'
    packet = XMP.replace(b"dc:source", claim)
    image, losses = convert(encode(photos[0], format_, xmp=packet, icc_profile=icc), ".png")
    assert b"Archive 7" in image.info["xmp"] and len(losses) == (len(icc) == 200)


def test_xmp_of_gimp_and_of_faces_are_carried_over_together(photos):
    claim = b'xmlns:GIMP="http://www.gimp.org/xmp/" GIMP:Version="2.10" '
    claim += b'xmlns:MP="http://ns.microsoft.com/photo/1.2/" MP:RegionInfo="0.2,0.3" dc:source'
    packet, text = XMP.replace(b"dc:source", claim), PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", packet.decode())
    for format_, options in (("JPEG", {"xmp": packet}), ("PNG", {"pnginfo": text}), ("WEBP", {"xmp": packet})):
        for target in FORMATS:
            image, losses = convert(encode(photos[0], format_, **options), target)
            found = image.info.get("xmp") or image.getexif()[700]
            found = found if isinstance(found, bytes) else found.encode()
            assert losses == [] and b"http://www.gimp.org/xmp/" in found
            assert all(part in found for part in (b'"2.10"', b'MP:RegionInfo="0.2,0.3"', b"Archive 7"))


def test_exif_of_odd_png_is_carried_over(photos):
    plain = encode(photos[0], "PNG")
    exif = exif_of({271: "Maker"}).tobytes()
    for data in (exif, exif.removeprefix(b"Exif\0\0"), b"Exif\0\0" + exif.removeprefix(b"Exif\0\0")):
        content = insert_chunk(plain, b"eXIf", data)
        for odd in (content, content[:-12], content[:-6]):  # The last chunk, which has 12 bytes, may be missing.
            image, losses = convert(odd, ".jpg")
            assert losses == [] and image.getexif()[271] == "Maker"
    assert convert(plain[:-12], ".png")[1] == []


def test_layout_tags_of_a_tiff_file_do_not_describe_the_result(photos):
    content = io.BytesIO()
    tags = [(515, 3, 1, 4, True), (519, 4, 1, 8, True)]  # Of JPEG in the way of TIFF 6.0.
    options = {"compression": "lzw", "tile": (32, 32), "extratags": tags}
    tifffile.imwrite(content, photos[0][..., 0], description="A lake", metadata=None, **options)
    image, losses = convert(content.getvalue(), ".jpg")
    assert losses == [] and set(image.getexif()) <= {270, 282, 283, 296, 305}
    assert image.getexif()[270] == "A lake"


def test_captions_in_latin_1_are_kept_byte_by_byte(photos):
    caption = "\u00a9 1932 Stadtarchiv M\u00fcnchen".encode("latin-1")
    content = io.BytesIO()
    tifffile.imwrite(content, photos[0][..., 0], metadata=None, extratags=[(33432, 2, None, caption, True)])
    for suffix in (".tif", ".jpg", ".png", ".webp"):
        result, losses = images.encode("photo", images.decode("photo", content.getvalue()), suffix)
        assert losses == []
        if suffix != ".png":  # Compressed there.
            assert caption in result
    tag = (
        tifffile.TiffFile(io.BytesIO(images.encode("photo", images.decode("photo", content.getvalue()), ".tif")[0]))
        .pages[0]
        .tags[33432]
    )
    assert tag.value == caption or tag.value == caption.decode("latin-1")


def test_what_is_too_large_for_jpeg_is_said(photos):
    exif = exif_of({271: "Maker", 37510: b"ASCII\0\0\0" + b"x" * 100_000})
    image, losses = convert(encode(photos[0], "PNG", exif=exif), ".jpg")
    assert image.size == (128, 96) and len(losses) == 1 and "EXIF" in losses[0]
    packet = XMP.replace(b"Archive 7", b"y" * 100_000)
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", packet.decode())
    image, losses = convert(encode(photos[0], "PNG", pnginfo=text), ".jpg")
    assert image.size == (128, 96) and len(losses) == 1 and "XMP" in losses[0]


def test_a_part_of_xmp_that_is_not_read_is_said_to_be_left_out(photos):
    extension = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + struct.pack(">II", 40, 0) + XMP[:40]
    segment = b"\xff\xe1" + struct.pack(">H", len(extension) + 2) + extension
    note = b' xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="%s" dc:source' % (b"0" * 32)
    content = encode(photos[0], "JPEG", xmp=XMP.replace(b" dc:source", note))
    assert convert(content, ".jpg")[1] == []
    image, (loss,) = convert(content[:2] + segment + content[2:], ".jpg")
    assert loss == "photo: extended XMP left out, since it is not read"
    assert b"Archive 7" in image.info["xmp"] and b"HasExtendedXMP" not in image.info["xmp"]


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize(
    "claim",
    [
        b'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" GCamera:MotionPhoto="1"',
        b'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"',
        b'xmlns:GDepth="http://ns.google.com/photos/1.0/depthmap/" GDepth:Near="1.5"',
    ],
)
def test_a_result_claims_no_film_or_map_that_its_photo_had(photos, claim, target):
    name = claim.split(b":")[1].split(b"=")[0]
    content = encode(photos[0], "JPEG", xmp=XMP.replace(b"dc:source", claim + b" dc:source")) + bytes(4000)
    image, losses = convert(content, target)
    packet = image.info.get("xmp") or image.getexif()[700]
    packet = packet if isinstance(packet, bytes) else packet.encode()
    assert b"Archive 7" in packet and name not in packet
    assert losses == ["photo: left out what the file holds beside the photo: a film, sound, gain map or depth map"]


def test_a_photo_that_says_it_has_no_film_is_believed(photos):
    claim = b'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" GCamera:MotionPhoto="0" '
    packet = XMP.replace(b"dc:source", claim + b'GCamera:MotionPhotoVersion="1" dc:source')
    assert convert(encode(photos[0], "JPEG", xmp=packet), ".jpg")[1] == []


def test_metadata_that_a_file_lacks_is_not_said_to_be_left_out(photos):
    for description, losses in ((None, 0), ("A lake", 1)):
        content = io.BytesIO()
        options = {"resolution": (300, 300), "description": description, "software": "", "metadata": None}
        tifffile.imwrite(content, photos[0], bigtiff=True, **options)
        notes = images.decode("photo", content.getvalue()).notes
        assert len(notes) == losses and all("metadata left out" in note for note in notes)
    content = imagecodecs.jpegxl_encode(np.full((40, 50), 90, np.uint8), lossless=True, usecontainer=True)
    assert len(content) < 80 and images.decode("photo", content).notes == ()


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_profiles_of_srgb_are_kept_and_broken_ones_left_out_with_a_word(photos, format_):
    suffix = {value: key for key, value in FORMATS.items()}[format_]
    image, losses = convert(encode(photos[0], format_, icc_profile=SRGB), suffix)
    assert losses == [] and image.info["icc_profile"] == SRGB
    gray = SRGB[:16] + b"GRAY" + SRGB[20:]
    for broken in (b"no profile at all" * 20, SRGB[:200], gray, SRGB[:128] + bytes(len(SRGB) - 128), b"\0" * 70_000):
        image, losses = convert(encode(photos[0], format_, icc_profile=broken), suffix)
        assert image.size == (128, 96) and "icc_profile" not in image.info
        # Some decoders do not even pass it on; where they do, exiv2 may refuse the metadata of such a file.
        assert all("profile" in loss.lower() for loss in losses)


def mutate(exif, random):
    exif = bytearray(exif)
    for _ in range(random.integers(1, 12)):
        place = random.integers(6, max(7, len(exif) - 4))
        kind = random.integers(0, 4)
        if kind == 0:
            exif[place] = random.integers(0, 256)
        elif kind == 1:
            exif[place : place + 4] = random.choice([b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff"])
        elif kind == 2:
            exif[place : place + 2] = struct.pack("<H", random.integers(0, 14))
        else:
            del exif[place : place + random.integers(1, 30)]
    return bytes(exif[:60_000])


def test_no_photo_is_lost_to_its_exif(photos, pytestconfig):
    """pytest tests/test_metadata.py --exif 2000 for more of them."""
    random = np.random.default_rng(0)
    exif = exif_of({270: "A lake", 271: "Maker", 274: 1, 282: 72.0, 283: 72.0, 315: "Somebody", 33432: "nobody"})
    exif.get_ifd(0x8769).update(
        {33434: 0.01, 36867: "2001:02:03 04:05:06", 37500: b"notes" * 30, 37510: b"ASCII\0\0\0x"}
    )
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 0.0)})
    whole = b"Exif\0\0" + exif.tobytes()
    small = photos[0][::4, ::4]
    for number in range(pytestconfig.getoption("--exif")):
        damaged = mutate(whole, random)
        format_ = ("JPEG", "PNG", "WEBP")[number % 3]
        target = (
            (".jpg", ".png", ".tif", ".webp", ".avif")[number % 5] if number % 50 == 0 or number % 5 < 4 else ".jpg"
        )
        photo = images.decode(
            "photo", encode(small, format_, exif=damaged, **({"lossless": True} if format_ == "WEBP" else {}))
        )
        assert sorted(photo.pixels.shape) == sorted(small.shape), number
        content, _ = images.encode("photo", photo, target)
        decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert sorted(decoded.shape) == sorted(small.shape), number


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("repeated", [274, 282, 283, 296])
def test_a_tag_that_is_there_twice_is_no_reason_to_refuse_a_photo(photos, repeated, format_):
    tags = {274: 6, 282: 300, 283: 300, 296: 2}
    entries = [struct.pack("<HHIHH", tag, 3, 1, tags[tag], 0) for tag in sorted([*tags, repeated])]
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    for target in FORMATS:
        image, _ = convert(encode(photos[0], format_, exif=exif), target)
        assert image.size == photos[0].shape[:2]


def test_the_contents_of_files_are_freed(photos):
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    photo, more = encode(photos[0], "JPEG", exif=exif_of({271: "Maker"})), bytes(1 << 23)
    metadata, _ = read_metadata(photo, ".jpg")
    before = resident()
    for _ in range(10):
        assert read_metadata(photo + more, ".jpg") == (metadata, ())
        assert embed(photo + more, ".jpg", metadata, 128, 96)[1] == []
        assert "cannot be read" in read_metadata(more, ".jpg")[1][0]
    assert resident() - before < 10 * len(more)


def test_metadata_of_a_photo_without_any_stay_away(photos):
    content, losses = images.encode("photo", Photo(photos[0]), ".jpg")
    assert losses == [] and b"Exif" not in content and b"xmp" not in content
