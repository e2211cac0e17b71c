"""Every format, depth, layout, orientation, alpha and profile that docs/colorizing.md promises, as others write it.

Each file goes through the code behind `python test.py FOLDER --format png`, with a network that paints one ab on
everything, and the result is compared with what the file means: size, orientation, lightness and alpha.
"""

import io
import struct
import sys

import av
import imagecodecs
import numpy as np
import pytest
from matrix_bmp import bits_of_bmp
from matrix_cases import (
    ALPHA,
    CASES,
    HEIGHT,
    PICTURE,
    WIDTH,
    by_pillow,
    by_tifffile,
    gray,
    profile,
    rgb,
    whole,
)
from matrix_rare import jpeg_2000, page, png, tiff
from matrix_reported import box
from PIL import Image
from processes import call
from skimage.color import lab2rgb, rgb2lab
from small_networks import Gray

from colorizing.conversion import Converter
from colorizing.jobs import process_photos
from colorizing.photo import Pipeline
from common import images
from common.images import PhotoError
from common.record import Record


class Tint(Gray):
    """One faint ab everywhere."""

    native_size = 64
    ab = (3, -2)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The folder of the results of all cases, one run as the scripts do it."""
    folder = tmp_path_factory.mktemp("matrix")
    (folder / "in").mkdir()
    jobs = []
    for name, (content, *_) in CASES.items():
        (folder / "in" / name).write_bytes(content)
        jobs.append((folder / "in" / name, folder / "out" / f"{name}.png"))
    pipeline = Pipeline(Tint())

    def colorize(photo, path):
        return type(photo)(**{**vars(photo), "pixels": pipeline(photo.pixels)})

    outcome = process_photos(jobs, colorize, Record(folder / "out"), Converter())
    assert outcome.failures == []
    return folder / "out"


def neutral(picture):
    """The gray of equal L, in 0..1, of gray or RGB values in 0..1."""
    lab = rgb2lab(picture if picture.ndim == 3 else np.dstack([picture] * 3))
    return lab2rgb(np.dstack([lab[..., 0], 0 * lab[..., 1:]]))[..., 0]


def lightness(picture):
    """L in 0..100 of gray or RGB values in 0..1."""
    return rgb2lab(picture if picture.ndim == 3 else np.dstack([picture] * 3))[..., 0]


@pytest.mark.parametrize("name", CASES)
def test_what_is_read_is_what_the_file_means(results, name):
    _, picture, alpha, tolerance = CASES[name]
    result = imagecodecs.imread(results / f"{name}.png")
    assert result.shape[:2] == picture.shape[:2]
    top = np.iinfo(result.dtype).max
    found = result[..., :3] / top
    if top == 65535 and tolerance == 1:
        assert np.abs(lightness(found) - lightness(picture)).max() <= 0.1
    else:
        assert np.abs(neutral(found) - neutral(picture)).max() <= 1.05 * tolerance / 255
    if alpha is None:
        assert result.shape[2] == 3
    else:
        assert np.abs(result[..., 3] / top - alpha).max() <= 0.6 / 255


CONVERTED = ("converted from its colour profile to sRGB",)
FURTHER = ("further pictures left out: only the first or the main one is used",)


def test_usual_jpeg_is_read_the_fast_way(monkeypatch):
    monkeypatch.setattr("imagecodecs.jpeg8_decode", None)
    monkeypatch.setattr("common.jpeg.find_orientation_and_profile", None)
    for name in ("gray.jpg", "progressive.jpg", "cmyk.jpg", "orientation6-type3.jpg", "gamma18.jpg"):
        images.decode(name, CASES[name][0])


def test_bits_are_said_to_be_reduced_where_they_are():
    for name, target, words in (
        ("deep10.avif", ".avif", None),
        ("deep10.avif", ".jpg", "10 bits reduced to 8"),
        ("gray12.tif", ".webp", "12 bits reduced to 8"),
        ("gray16.png", ".avif", "16 bits reduced to 12"),
        ("gray8.png", ".jpg", None),
    ):
        losses = images.encode("photo", images.decode(name, CASES[name][0]), target)[1]
        assert [words in loss for loss in losses] == ([True] if words else []), name


def test_further_pictures_are_said_to_be_left_out():
    pictures = [Image.fromarray(rgb()), Image.fromarray(255 - rgb())]
    for format_ in ("GIF", "PNG", "WEBP", "TIFF", "MPO", "AVIF"):
        file = io.BytesIO()
        pictures[0].save(file, format_, save_all=True, append_images=pictures[1:])
        assert images.decode("photo", file.getvalue()).notes == FURTHER
    still = jpeg_2000(rgb(), 8)
    assert images.decode("photo", still).notes == ()
    assert images.decode("photo", still + still[still.index(b"jp2c") - 4 :]).notes == FURTHER


@pytest.mark.parametrize("bits", [8, 10])
def test_bits_of_animated_avif_are_said_to_be_reduced(bits):
    file = io.BytesIO()
    with av.open(file, "w", format="avif") as film:
        stream = film.add_stream("libsvtav1", rate=5)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p10le" if bits == 10 else "yuv420p"
        frames = [av.VideoFrame.from_ndarray(rgb(), "rgb24").reformat(format=stream.pix_fmt) for _ in range(2)]
        film.mux([packet for frame in (*frames, None) for packet in stream.encode(frame)])
    notes = images.decode("photo.avif", file.getvalue()).notes
    assert notes == FURTHER + ("10 bits reduced to 8, since it is animated",) * (bits == 10)


def test_animated_png_of_one_picture_has_no_further_ones():
    for count in (1, 2):
        more = [(b"fdAT", struct.pack(">I", 1))] * (count - 1)
        content = png(rgb(), (b"acTL", struct.pack(">II", count, 0)), after=more)
        assert images.decode("photo.png", content).notes == FURTHER * (count - 1)


def test_further_slices_of_a_volume_are_said_to_be_left_out():
    volume = np.stack([gray(), 255 - gray()])
    for options in ({}, {"tile": (2, 32, 32)}):
        found = images.decode("photo.tif", by_tifffile(volume, volumetric=True, photometric="minisblack", **options))
        np.testing.assert_array_equal(found.pixels, gray())
        assert found.notes == FURTHER


def test_further_pictures_of_jpeg_xl_are_said_to_be_left_out():
    for pictures, container in ((1, False), (3, False), (1, True), (3, True)):
        stack = np.stack([rgb(), *[255 - rgb()] * (pictures - 1)]).squeeze()
        found = images.decode("photo", imagecodecs.jpegxl_encode(stack, usecontainer=container, lossless=True))
        assert found.notes == (FURTHER if pictures > 1 else ())
        np.testing.assert_array_equal(found.pixels, rgb())


def test_what_is_no_part_of_the_picture_is_said_to_be_left_out():
    alpha, still = np.dstack([rgb(), 0 * gray()]), jpeg_2000(rgb(), 8)
    start = still.index(b"jp2c") - 4
    with_data = [still + box(b"xml ", b"<title/>"), still[:start] + box(b"uuid", bytes(20)) + still[start:]]
    profile_elsewhere = CASES["profile.bmp"][0].replace(b"DEBM", b"KNIL")
    for content, note in (
        (
            tiff((page(8, 8, 8, photometric=2, t37724=("B", bytes(99))), rgb().tobytes())),
            "Photoshop's own data, such as layers, left out",
        ),
        (CASES["rgb-unspecified8.tif"][0], "a channel of no named kind taken for transparency"),
        (CASES["alpha.jp2"][0], "a channel of no named kind taken for transparency"),
        (CASES["gray-alpha8.jp2"][0], "a channel of no named kind taken for transparency"),
        (CASES["alpha-of-no-named-kind.tif"][0], "a channel of no named kind taken for transparency"),
        (
            CASES["alpha2-behind-another-channel.tif"][0],
            "further channels left out: only colours and transparency are used",
        ),
        (b"P5 # at the lake\n4 4 255\n" + bytes(16), "comments left out"),
        (b"P4\r#\r9 8\n" + b"#" * 16, "comments left out"),
        (bits_of_bmp(16, (0x7C00, 0x3E0, 0x1F, 0x8000), gray()), "transparency of one bit left out"),
        (profile_elsewhere, "colour profile left out, since it is in another file"),
        *((content, "data of other programs left out, such as XML or places on a map") for content in with_data),
        (by_pillow(alpha, "PNG"), "transparency left out, since nothing of the photo would be seen"),
    ):
        assert images.decode("photo", content).notes == (note,)


def test_a_result_of_jpeg_2000_says_which_channel_is_alpha():
    for bits in (8, 16):
        photo = images.decode("photo.png", CASES[f"gray-alpha{bits}.png"][0])
        content = images.encode("photo", photo, ".jp2")[0]
        # The last channel, 3, is alpha (1) of the whole picture (0).
        assert struct.pack(">4s13H", b"cdef", 4, 0, 0, 1, 1, 0, 2, 2, 0, 3, 3, 1, 0) in content
        found = images.decode("photo.jp2", content)
        assert found.notes == () and (found.alpha == photo.alpha).all() and (found.pixels[..., 0] == photo.pixels).all()
        if bits == 8:
            np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content)))[..., 3], whole(ALPHA, 8))


def test_libraries_say_nothing_beside_the_messages(caplog):
    assert images.decode("photo.png", png(rgb(), (b"iCCP", b"icc\0\0damaged"))).notes
    assert not caplog.records


@pytest.mark.parametrize(
    ("header", "size"),
    [
        (b"P4\n9 2\n", 4),
        (b"P5 3 2 255\n", 6),
        (b"P5 3 2 256\n", 12),
        (b"P6\n3 2\n15 ", 18),
        (b"P6\n3 2\n65535\n", 36),
    ],
)
def test_further_images_of_netpbm_are_said_to_be_left_out(header, size):
    image = header + (b"P5 1 1 1 " * size)[-size:]  # Pixels may look like a header.
    alone = images.decode("photo", image)
    assert alone.notes == ()
    for more in (image, image + image, b"\n" + image):
        found = images.decode("photo", image + more)
        assert found.notes == FURTHER
        np.testing.assert_array_equal(found.pixels, alone.pixels)


def by_pillow_heif(values, mode, *more, **options):
    file = io.BytesIO()
    pictures = pillow_heif_or_skip().HeifFile()
    for picture in (values, *more):
        pictures.add_frombytes(mode, picture.shape[1::-1], picture.tobytes())
    pictures.save(file, **{"quality": -1, **options})
    return file.getvalue()


def pillow_heif_or_skip():
    return pytest.importorskip("pillow_heif", reason="needs requirements-formats.txt")


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("range_", ["full", "limited"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_heic_is_read_as_ffmpeg_reads_it(monkeypatch, bits, range_, mode):
    monkeypatch.setattr(pillow_heif_or_skip().options, "SAVE_HDR_TO_12_BIT", bits == 12)
    top, step = (1 << bits) - 1, 1 << (bits - 8)
    limited = range_ == "limited"
    # Its encoder makes colours of a range, and takes gray as it is.
    picture = (16 + 219 * PICTURE) * step / top if limited and mode == "L" else PICTURE
    values = whole(picture, 8 if bits == 8 else 16)
    color = {"color_primaries": 1, "transfer_characteristics": 13, "matrix_coefficients": 6}
    content = by_pillow_heif(
        values if mode == "L" else np.dstack([values] * 3),
        mode if bits == 8 else f"{mode};16",
        full_range_flag=int(not limited),
        quality=100,
        **color,
    )
    with av.open(io.BytesIO(content)) as file:
        plane = next(file.decode(video=0)).planes[0]
    stored = np.frombuffer(plane, np.uint8 if bits == 8 else np.uint16).reshape(HEIGHT, -1)[:, :WIDTH].astype(float)
    shown = ((stored / step - 16) / 219).clip(0, 1) if limited else stored / top
    assert np.abs(shown - PICTURE).max() < 3 / 255
    found = images.decode("photo.heic", content)
    assert found.bits == bits and found.pixels.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert found.pixels.ndim == (2 if mode == "L" else 3)
    rounding = 1.5 if limited and mode == "RGB" else 0.6
    assert np.abs(np.atleast_3d(found.pixels)[..., 0] / np.iinfo(found.pixels.dtype).max - shown).max() < rounding / top


def test_tiff_says_that_its_transfer_function_is_left_out():
    curve = np.round(65535 * np.linspace(0, 1, 256) ** 1.8).astype(int).tolist()
    icc = profile(b"GRAY", np.linspace(0, 1, 1024) ** 1.8)
    left_out = ("transfer function left out",)
    for more, notes in (
        ({"t301": ("H", curve)}, left_out),
        ({"t290": ("H", [4]), "t291": ("H", curve)}, left_out),
        ({"t301": ("H", curve), "t34675": ("B", icc)}, CONVERTED),
    ):
        content = tiff((page(8, **more), gray().tobytes()))
        assert images.decode("photo.tif", content).notes == notes


def test_photos_are_read_whatever_their_primaries_say():
    places = struct.pack("<12I", *(680, 1000, 320, 1000, 265, 1000, 690, 1000, 150, 1000, 60, 1000))
    damaged = "colour profile left out, since it cannot be used"
    whites = ((("R", bytes(16)), damaged), (("R", struct.pack("<4I", 1, 0, 1, 0)), damaged), (("H", [5]), damaged))
    for white, note in whites:
        content = tiff((page(8, 8, 8, photometric=2, t318=white, t319=("R", places)), rgb().tobytes()))
        found = images.decode("photo.tif", content)
        np.testing.assert_array_equal(found.pixels, rgb())
        assert [text.split(" (")[0] for text in found.notes] == [note]
    for white in ((31270, 0), (0, 0), (90000, 5000)):
        places = struct.pack(">8I", *white, 64000, 33000, 30000, 60000, 15000, 6000)
        found = images.decode("photo.png", png(rgb(), (b"cHRM", places)))
        np.testing.assert_array_equal(found.pixels, rgb())
        assert found.notes[0].startswith(damaged)


@pytest.mark.parametrize("bits", [8, 16])
def test_profiles_that_hold_nothing_are_left_out(bits):
    ramp = np.linspace(0, 1, 1024)
    green = ((0, 0, 0), (-32768, 0, 0), (0, 0, 0))
    for icc, values in (
        (profile(b"RGB ", ramp, colorants=((0, 0, 0),) * 3), rgb(bits)),
        (profile(b"RGB ", ramp, colorants=green), rgb(bits)),
        (profile(b"RGB ", 0 * ramp), rgb(bits)),
        (profile(b"GRAY", 0 * ramp), gray(bits)),
    ):
        found = images.decode("photo.tif", by_tifffile(values, iccprofile=icc))
        np.testing.assert_array_equal(found.pixels, values)
        assert [note.split(" (")[0] for note in found.notes] == ["colour profile left out, since it cannot be used"]


def test_heic_gives_its_main_picture_and_straight_alpha():
    pictures = [np.full((30 + 10 * number, 50, 3), 80 * number, np.uint8) for number in range(3)]
    found = images.decode("photo.heic", by_pillow_heif(pictures[0], "RGB", *pictures[1:], primary_index=2))
    assert found.pixels.shape == (50, 50, 3) and found.pixels[0, 0, 0] == 160
    assert found.notes == FURTHER
    alpha = whole(ALPHA, 8)
    multiplied = np.round(rgb() * ALPHA[..., None]).astype(np.uint8)
    for mode, colors in (("RGBA", rgb()), ("RGBa", multiplied)):
        found = images.decode("photo.heic", by_pillow_heif(np.dstack([colors, alpha]), mode))
        np.testing.assert_array_equal(found.alpha, alpha)
        assert np.abs(found.pixels.astype(int) - rgb()).max() <= (0 if mode == "RGBA" else 3)


def test_heic_of_another_compression_is_not_called_damaged():
    content = by_pillow_heif(rgb(), "RGB").replace(b"hvc1", b"unci")
    with pytest.raises(PhotoError, match="HEIC in a compression that is not read; convert it"):
        images.decode("photo.heic", content)


def test_heic_needs_its_library(monkeypatch):
    content = by_pillow_heif(rgb(), "RGB")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(PhotoError, match=r"pillow_heif is missing; .*pip install -r requirements-formats\.txt"):
        images.decode("photo.heic", content)


def test_the_command_line_does_the_same(tmp_path, model_file):
    names = [
        "miniswhite16.tif",
        "planar12.tif",
        "gray-unassalpha16.tif",
        "reduced-copy-first.tif",
        "rgb12.jp2",
        "gray16.jxl",
    ]
    names += [
        "limited-400.avif",
        "orientation6.avif",
        "maxval4095.pgm",
        "cmyk.jpg",
        "gray.jfif",
        "dot-gain.jpg",
        "565.bmp",
    ]
    for name in names:
        path = tmp_path / "in" / name.replace(".", "-") / name
        path.parent.mkdir(parents=True)
        path.write_bytes(CASES[name][0])
    status, output, errors = call(
        "test.py", tmp_path / "in", "--output", tmp_path / "out", "--format", "png", "--model", model_file
    )
    assert status == 0 and f"{len(names)} of {len(names)} photos" in output, errors
    for name in names:
        (path,) = (tmp_path / "out" / name.replace(".", "-")).iterdir()
        result, (_, picture, alpha, tolerance) = imagecodecs.imread(path), CASES[name]
        found = result[..., :3] / np.iinfo(result.dtype).max
        # Strong colours are rounded to 8 bits channel by channel.
        limit = 1.5 if result.dtype == np.uint8 else 0.3
        assert np.abs(neutral(found) - neutral(picture)).max() <= limit * tolerance / 255, name
        assert (alpha is None) == (result.shape[2] == 3), name
