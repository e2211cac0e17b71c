"""Reading, writing and planning image files."""

import errno
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import files
from files import PhotoError, plan_jobs, process_files, read_photo, write_photo


@pytest.fixture
def photo(photos):
    return photos[0]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_lossless_round_trip(tmp_path, photo, suffix):
    path = tmp_path / f"kept in Ünï 写真{suffix}"
    write_photo(path, photo)
    np.testing.assert_array_equal(read_photo(path), photo)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), photo)


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".webp"])
def test_lossy_round_trip(tmp_path, photo, suffix):
    write_photo(tmp_path / f"a{suffix}", photo)
    assert np.abs(read_photo(tmp_path / f"a{suffix}").astype(int) - photo).mean() < 4


def test_gray_photos_are_written_with_one_channel(tmp_path, photo):
    write_photo(tmp_path / "gray.png", photo[..., 0])
    assert Image.open(tmp_path / "gray.png").mode == "L"


@pytest.mark.parametrize(
    ("mode", "suffix", "tolerance"),
    [("L", ".png", 0), ("P", ".png", 0), ("RGBA", ".png", 0), ("CMYK", ".jpg", 6), ("1", ".png", 0), ("LA", ".png", 0)],
)
def test_every_kind_of_pixel_is_read_as_rgb(tmp_path, photo, mode, suffix, tolerance):
    image = Image.fromarray(photo).convert(mode)
    image.save(tmp_path / f"a{suffix}", **({"quality": 95} if suffix == ".jpg" else {}))
    expected = np.asarray(image.convert("RGB"), int)
    assert np.abs(read_photo(tmp_path / f"a{suffix}") - expected).mean() <= tolerance


def test_sixteen_bits_are_reduced(tmp_path, photo):
    cv2.imwrite(str(tmp_path / "deep.png"), photo[..., ::-1].astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_photo(tmp_path / "deep.png"), photo)


def test_orientation_is_applied(tmp_path, photo):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    upright = read_photo(tmp_path / "turned.jpg").astype(int)
    assert np.abs(upright - np.rot90(photo, -1)).mean() < 4


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tif"])
def test_truncated_files_are_refused(tmp_path, photo, suffix):
    path = tmp_path / f"cut{suffix}"
    write_photo(path, photo)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(PhotoError, match="damaged"):
        read_photo(path)


def test_what_is_no_photo_is_named_with_its_cause(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no photo")
    for name, cause in [("empty.jpg", "empty"), ("text.jpg", "not an image"), ("missing.jpg", "no such file")]:
        with pytest.raises(PhotoError, match=rf"{name}: .*{cause}"):
            read_photo(tmp_path / name)
    with pytest.raises(PhotoError, match="directory"):
        read_photo(tmp_path)


def test_unknown_format_is_refused(tmp_path, photo):
    with pytest.raises(PhotoError, match=r"a\.xyz"):
        write_photo(tmp_path / "a.xyz", photo)


def test_full_disk_leaves_the_file_as_it_was(tmp_path, photo, monkeypatch):
    path = tmp_path / "a.png"
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


def test_jobs_keep_subfolders_and_never_share_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["album/a.jpg", "album/sub/a.jpg", "other/a.jpg", "album/notes.txt", "album/.hidden.jpg", "out/a.png"]
    for name in map(Path, names):
        name.parent.mkdir(parents=True, exist_ok=True)
        name.touch()
    inputs = [Path("album"), Path("other/a.jpg"), Path("album/a.jpg"), Path("none"), Path("empty"), Path("out/a.png")]
    Path("empty").mkdir()
    jobs, failures = plan_jobs(inputs, Path("out"))
    assert {str(photo): str(result) for photo, result in jobs} == {
        "album/a.jpg": "out/a.jpg",
        "album/sub/a.jpg": "out/sub/a.jpg",
        "other/a.jpg": "out/a-2.jpg",
        "out/a.png": "out/a-2.png",
    }
    assert [failure.split(":")[0] for failure in failures] == ["none", "empty"]


def test_results_of_an_earlier_run_are_not_photos(tmp_path):
    for name in ("a.jpg", "outputs/a.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    jobs, _ = plan_jobs([tmp_path], tmp_path / "outputs")
    assert jobs == [(tmp_path / "a.jpg", tmp_path / "outputs" / "a.jpg")]


def test_a_bad_photo_does_not_stop_the_others(tmp_path, photo):
    write_photo(tmp_path / "good.png", photo)
    (tmp_path / "bad.png").write_text("text")
    jobs, _ = plan_jobs([tmp_path], tmp_path / "out")
    failures = process_files(jobs, lambda photo: photo[::-1])
    assert len(failures) == 1 and "bad.png" in failures[0]
    np.testing.assert_array_equal(read_photo(tmp_path / "out" / "good.png"), photo[::-1])
    assert files.is_photo(Path("A.JPG")) and not files.is_photo(Path("a.txt"))
