"""Photo files: every format and depth by a round trip, and what cannot be read or written."""

import errno
import os
import time
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
from PIL import Image

from common import images
from common.images import Photo, PhotoError, read, read_photo, write, write_photo


@pytest.fixture
def photo(photos):
    return photos[0]


@pytest.fixture
def deep(photo):
    """The photo in 16 bits, with values that 8 bits do not have."""
    noise = np.random.default_rng(0).integers(0, 257, photo.shape)
    return np.minimum(photo.astype(np.uint32) * 257 + noise, 65535).astype(np.uint16)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".ppm", ".dib", ".jp2"])
def test_lossless_round_trip(tmp_path, photo, suffix):
    path = tmp_path / f"kept in Ünï 写真{suffix}"
    assert write(path, Photo(photo)) == []
    np.testing.assert_array_equal(read_photo(path), photo)
    np.testing.assert_array_equal(read(path).pixels, photo)
    if suffix != ".dib":
        np.testing.assert_array_equal(np.asarray(Image.open(path)), photo)


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".jfif", ".webp", ".avif"])
def test_lossy_round_trip(tmp_path, photo, suffix):
    write_photo(tmp_path / f"a{suffix}", photo)
    assert np.abs(read(tmp_path / f"a{suffix}").pixels.astype(int) - photo).mean() < 4


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".ppm", ".jp2"])
def test_sixteen_bits_are_kept_where_the_format_can(tmp_path, deep, suffix):
    assert write(tmp_path / f"a{suffix}", Photo(deep)) == []
    kept = read(tmp_path / f"a{suffix}").pixels
    assert kept.dtype == np.uint16
    np.testing.assert_array_equal(kept, deep)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".bmp"])
def test_what_the_format_cannot_hold_is_said(tmp_path, deep, suffix):
    losses = write(tmp_path / f"a{suffix}", Photo(deep, alpha=deep[..., 0]))
    assert any("16 bits reduced to 8" in loss for loss in losses)
    assert any("transparency dropped" in loss for loss in losses) == (suffix != ".webp")
    kept = read(tmp_path / f"a{suffix}").pixels
    assert kept.dtype == np.uint8 and np.abs(kept - deep / 257).mean() < 4


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".avif", ".jp2"])
@pytest.mark.parametrize("gray", [False, True])
def test_transparency_is_kept(tmp_path, photo, suffix, gray):
    alpha = np.linspace(0, 255, photo[..., 0].size).reshape(photo.shape[:2]).astype(np.uint8)
    pixels = photo[..., 1] if gray else photo
    assert write(tmp_path / f"a{suffix}", Photo(pixels, alpha=alpha)) == []
    kept = read(tmp_path / f"a{suffix}")
    assert np.abs(kept.alpha.astype(int) - alpha).max() <= (3 if suffix == ".avif" else 0)
    visible = alpha > 0  # WebP forgets the colour of what cannot be seen.
    expected = np.broadcast_to(np.atleast_3d(pixels), photo.shape).astype(int)
    found = np.broadcast_to(np.atleast_3d(kept.pixels), photo.shape)
    assert np.abs(found - expected)[visible].mean() < 4


@pytest.mark.parametrize("suffix", [".bmp", ".jp2", ".png", ".ppm", ".tif"])
def test_photos_of_few_pixels(tmp_path, photo, suffix):
    for height, width in ((1, 1), (1, 40), (31, 2)):
        for few in (photo[:height, :width], photo[:height, :width, 0]):
            write_photo(tmp_path / f"a{suffix}", few)
            expected = np.broadcast_to(np.atleast_3d(few), (height, width, 3))
            np.testing.assert_array_equal(read_photo(tmp_path / f"a{suffix}"), expected)


@pytest.mark.parametrize("suffix", [".gif", ".jpg", ".webp"])
def test_a_photo_of_one_pixel(tmp_path, suffix):
    for mode, color in (("L", 130), ("RGB", (130, 130, 130))):
        Image.new(mode, (1, 1), color).save(tmp_path / f"a{suffix}")
        np.testing.assert_allclose(read_photo(tmp_path / f"a{suffix}"), np.full((1, 1, 3), 130), atol=2)


def test_sixteen_bits_with_transparency(tmp_path, deep):
    for suffix in (".png", ".tif", ".jp2"):
        write(tmp_path / f"a{suffix}", Photo(deep, alpha=deep[..., 2]))
        kept = read(tmp_path / f"a{suffix}")
        np.testing.assert_array_equal(kept.pixels, deep)
        np.testing.assert_array_equal(kept.alpha, deep[..., 2])


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_gray_files_stay_gray(tmp_path, photo, suffix):
    write_photo(tmp_path / f"gray{suffix}", photo[..., 0])
    assert Image.open(tmp_path / f"gray{suffix}").mode == "L"
    assert read(tmp_path / f"gray{suffix}").pixels.shape == photo.shape[:2]
    assert read_photo(tmp_path / f"gray{suffix}").shape == photo.shape


@pytest.mark.parametrize(
    ("mode", "suffix", "tolerance"),
    [("L", ".png", 0), ("P", ".png", 0), ("RGBA", ".png", 0), ("CMYK", ".jpg", 6), ("1", ".png", 0), ("LA", ".png", 0)],
)
def test_every_kind_of_pixel_is_read_as_rgb(tmp_path, photo, mode, suffix, tolerance):
    image = Image.fromarray(photo).convert(mode)
    image.save(tmp_path / f"a{suffix}", **({"quality": 95} if suffix == ".jpg" else {}))
    expected = np.asarray(image.convert("RGB"), int)
    assert np.abs(read_photo(tmp_path / f"a{suffix}") - expected).mean() <= tolerance
    pixels = np.broadcast_to(np.atleast_3d(read(tmp_path / f"a{suffix}").pixels), photo.shape)
    assert np.abs(pixels - expected).mean() <= tolerance


def test_sixteen_bits_are_reduced_for_training(tmp_path, photo):
    cv2.imwrite(str(tmp_path / "deep.png"), photo[..., ::-1].astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_photo(tmp_path / "deep.png"), photo)


def test_arrays_that_are_no_photo_are_not_written(tmp_path, photo):
    for other in (photo / 255, np.full(photo.shape, np.nan), photo.astype(int), photo[None], photo[:, :0]):
        for suffix in (".png", ".jpg", ".tif"):
            with pytest.raises(ValueError, match="a photo is uint8 or uint16"):
                write_photo(tmp_path / f"a{suffix}", other)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tif"])
def test_truncated_files_are_refused(tmp_path, photo, suffix):
    path = tmp_path / f"cut{suffix}"
    write_photo(path, photo)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    for reading in (read, read_photo):
        with pytest.raises(PhotoError, match=r"damaged|cannot be decoded|end of file|truncated|bad"):
            reading(path)


def test_wrong_extensions_do_not_matter_for_reading(tmp_path, photo):
    write_photo(tmp_path / "a.png", photo)
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(read(tmp_path / "a.jpg").pixels, photo)


def test_what_is_no_photo_is_named_with_its_cause(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no photo")
    for name, cause in [("empty.jpg", "empty"), ("text.jpg", "not an image"), ("missing.jpg", "no such file")]:
        for reading in (read, read_photo):
            with pytest.raises(PhotoError, match=rf"{name}: .*{cause}"):
                reading(tmp_path / name)
    with pytest.raises(PhotoError, match="directory"):
        read_photo(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "tif", "jp2", "ppm"])
def test_decompression_bombs_are_refused_by_their_header(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"bomb.{suffix}"
    write_photo(path, np.zeros((2000, 3000), np.uint8) if suffix != "ppm" else np.zeros((2000, 3000, 3), np.uint8))
    assert images.megapixels(path) == images.megapixels("photo", path.read_bytes()) == 6
    monkeypatch.setattr("imagecodecs.png_decode", None)  # Nothing is decoded.
    monkeypatch.setattr("tifffile.TiffPage.asarray", None)
    monkeypatch.setattr("imagecodecs.jpeg2k_decode", None)
    monkeypatch.setattr("netpbmfile.NetpbmFile.asarray", None)
    with pytest.raises(PhotoError, match=r"more than 5 megapixels \(6\); reduce the photo, or raise --max-megapixels$"):
        read(path, max_megapixels=5)


def test_the_size_of_jpeg_xl_is_known_without_its_pixels():
    # Sides in eights or not, and shapes that its header names by a number.
    for height, width in ((8, 16), (7, 300), (100, 120), (90, 120), (513, 31), (135, 240), (4, 5), (20, 40), (9000, 3)):
        content = imagecodecs.jpegxl_encode(np.zeros((height, width, 3), np.uint8), effort=1)
        assert images.megapixels("a.jxl", content[:40]) == height * width / 1e6


def test_quality_decides_the_size_of_the_file(tmp_path, photo):
    for suffix in (".jpg", ".webp", ".avif"):
        for quality in (20, 90):
            write(tmp_path / f"{quality}{suffix}", Photo(photo), quality)
        assert (tmp_path / f"20{suffix}").stat().st_size < (tmp_path / f"90{suffix}").stat().st_size / 2


def test_unknown_format_is_refused(tmp_path, photo):
    with pytest.raises(PhotoError, match=r"a\.xyz"):
        write_photo(tmp_path / "a.xyz", photo)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_full_disk_leaves_the_file_as_it_was(tmp_path, photo, monkeypatch, suffix):
    path = tmp_path / f"a{suffix}"
    write_photo(path, photo)
    before = path.read_bytes()

    def fill_up(self, data):
        with self.open("wb") as file:
            file.write(data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_up)
    with pytest.raises(PhotoError, match="no space left"):
        write_photo(path, photo[::-1])
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_temporary_files_of_killed_runs_are_removed_after_a_day(tmp_path, photo):
    for name, age in ((".unfinished-a.png", 90_000), (".unfinished-b.png", 3_600), (".mine.png", 90_000)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    write_photo(tmp_path / "a.png", photo)
    assert {path.name for path in tmp_path.iterdir()} == {".unfinished-b.png", ".mine.png", "a.png"}


def test_a_photo_larger_than_memory_has_no_size(tmp_path, monkeypatch):
    def refuse(*_):
        raise MemoryError

    write_photo(tmp_path / "a.png", np.zeros((10, 20), np.uint8))
    assert images.megapixels(tmp_path / "a.png") == 2e-4
    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert images.megapixels(tmp_path / "a.png") == 0
