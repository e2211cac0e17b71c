"""Finding, splitting and decoding the photos of a data set."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from folders import touch
from PIL import Image
from processes import ordinary_user

from common.images import write_photo
from data.photos import DatasetError, PhotoStore, cut, find_all_photos, find_photos, scale_to_cover, split_photos


@pytest.fixture
def folder(tmp_path, photos):
    """A data set with two class folders, two photos each."""
    for name, photo in zip(["sea/a.jpg", "sea/b.png", "wood/c.webp", "wood/deep/d.bmp"], photos, strict=True):
        write_photo(tmp_path / name, photo)
    (tmp_path / "notes.txt").write_text("no photo")
    return tmp_path


def test_photos_are_found_with_their_classes(folder, photos):
    found = find_photos(folder)
    assert [path.name for path in found.paths] == ["a.jpg", "b.png", "c.webp", "d.bmp"]
    assert found.classes == ("sea", "wood")
    np.testing.assert_array_equal(found.labels, [0, 0, 1, 1])
    write_photo(folder / "loose.jpg", photos[0])
    assert find_photos(folder).labels is None and len(find_photos(folder).paths) == 5


def test_results_of_earlier_runs_are_no_photos_to_learn_from(folder, photos):
    def note(place, *names):
        """Names files in a folder as results, as a run does."""
        lines = [json.dumps({"result": name, "checksum": None}) for name in names]
        (place / ".colorized.jsonl").write_text("\n".join(lines))

    note(folder, "sea/a.jpg", "gone.jpg")
    write_photo(folder / "wood/results/f.png", photos[0])
    note(folder / "wood/results", "f.png")
    found = find_photos(folder)
    assert found.names == [b"sea/b.png", b"wood/c.webp", b"wood/deep/d.bmp"]
    assert found.passed_over == "2 passed over: 2 earlier results"
    # A folder of nothing else is one of gray photos to measure with, say.
    whole = find_photos(folder / "wood/results")
    assert whole.names == [b"f.png"] and whole.passed_over == ""
    (folder / ".colorized.jsonl").unlink()
    (folder / ".colorized.jsonl").mkdir()
    with pytest.raises(DatasetError, match=r"\.colorized\.jsonl: is a directory; give a folder"):
        find_photos(folder)


def test_missing_and_empty_folders_say_what_to_do(tmp_path):
    for path, state in [(tmp_path / "none", "does not exist"), (tmp_path, "holds no photo")]:
        with pytest.raises(DatasetError, match=f"{path} {state}.*--dataset"):
            find_photos(path)


def test_missing_data_sets_with_a_name_say_what_fetches_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("datasets/faces", tmp_path / "datasets" / "faces"):
        with pytest.raises(DatasetError, match=r"does not exist; python -m data\.fetch faces downloads it, or give a"):
            find_photos(folder)
    for folder in ("datasets/mine", "elsewhere/faces"):
        with pytest.raises(DatasetError) as caught:
            find_photos(folder)
        assert "data.fetch" not in str(caught.value)


def test_split_is_seeded_and_complete():
    train, validation = split_photos(103, 0.1, seed=5)
    assert len(validation) == 10
    np.testing.assert_array_equal(np.sort(np.concatenate([train, validation])), np.arange(103))
    np.testing.assert_array_equal(split_photos(103, 0.1, seed=5)[1], validation)
    assert (split_photos(103, 0.1, seed=6)[1] != validation).any()


@pytest.mark.parametrize(("count", "fraction", "held_out"), [(1, 0.1, 0), (2, 0.1, 1), (9, 0.1, 1), (9, 0.0, 0)])
def test_split_of_few_photos(count, fraction, held_out):
    train, validation = split_photos(count, fraction, seed=0)
    assert (len(train), len(validation)) == (count - held_out, held_out)


@pytest.mark.parametrize(
    ("shape", "crop", "expected"),
    [
        ((150, 150), (128, 128), (150, 150)),  # covers it with little to spare: kept
        ((100, 120), (128, 128), (128, 154)),  # too small: scaled up to cover it
        ((256, 256), (128, 256), (256, 256)),
        ((1600, 3200), (128, 128), (160, 320)),  # large: reduced, so that a crop shows a scene
    ],
)
def test_photos_are_scaled_to_cover_the_crop(shape, crop, expected):
    scaled = scale_to_cover(np.zeros((*shape, 3), np.uint8), crop)
    assert scaled.shape[:2] == expected


def test_margin_decides_how_far_large_photos_are_reduced(folder, photos):
    write_photo(folder / "sea" / "large.png", np.tile(photos[0], (4, 5, 1)))
    for margin, side in ((1.0, 64), (256 / 176, 93)):
        store = PhotoStore([folder / "sea" / "large.png"], (64, 64), cache_bytes=0, margin=margin)
        assert min(store.load(0).shape[:2]) == side


def test_cut_reaches_every_corner():
    photo = np.arange(20).reshape(4, 5)
    np.testing.assert_array_equal(cut(photo, (2, 2), 0, 0), [[0, 1], [5, 6]])
    np.testing.assert_array_equal(cut(photo, (2, 2), 1, 1), [[13, 14], [18, 19]])


def test_store_skips_counts_and_goes_on(folder, photos):
    write_photo(folder / "sea" / "gray.png", photos[0][..., 0])
    write_photo(folder / "sea" / "strip.png", np.tile(photos[0][:8], (1, 2, 1)))
    (folder / "sea" / "text.jpg").write_text("no photo")
    data = (folder / "sea" / "a.jpg").read_bytes()
    (folder / "sea" / "cut.jpg").write_bytes(data[: len(data) // 2])
    (folder / "sea" / "empty.png").touch()
    data = (folder / "sea" / "b.png").read_bytes()
    (folder / "sea" / "huge.png").write_bytes(data[:16] + struct.pack(">II", 30_000, 20_000) + data[24:])
    Image.fromarray(photos[1]).convert("P").save(folder / "wood" / "palette.png")
    Image.fromarray(photos[1]).convert("RGBA").save(folder / "wood" / "rgba.png")
    Image.fromarray(photos[1]).convert("CMYK").save(folder / "wood" / "cmyk.jpg")
    store = PhotoStore(find_photos(folder).paths, (64, 64), cache_bytes=10**6)
    usable = {path.name for index, path in enumerate(store.paths) if store.load(index) is not None}
    assert usable == {"a.jpg", "b.png", "c.webp", "d.bmp", "palette.png", "rgba.png", "cmyk.jpg"}
    causes = [(path.name, cause) for path, cause in sorted(store.skipped.items())]
    expected = {"cut": "damaged", "empty": "empty", "gray": "without colour"}
    expected |= {"huge": "more than 500 megapixels (600); reduce the photo", "strip": "8:1", "text": "not an image"}
    for (name, cause), (stem, part) in zip(causes, expected.items(), strict=True):
        assert name.startswith(stem) and part in cause and "--" not in cause  # Training has no option for its limit.
    store.skipped["b.jpg"] = "a damaged file (for another reason)"
    assert store.count_skipped().startswith("2 a damaged file, 1 ")


def test_skipped_photos_are_replaced_by_the_next_ones(folder):
    (folder / "sea" / "a.jpg").write_text("no photo")
    (folder / "wood" / "deep" / "d.bmp").write_text("no photo")
    store = PhotoStore(find_photos(folder).paths, (64, 64), cache_bytes=10**6)
    order = np.array([2, 1, 0, 3])
    draws = np.float32([[0, 0, 0, 0], [0, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]])
    crops, used = store.load_crops(order, draws, range(1, 4))
    np.testing.assert_array_equal(used, [1, 2, 2])
    np.testing.assert_array_equal(crops[0], store.load(1)[:64, -64:][:, ::-1])
    np.testing.assert_array_equal(crops[1], store.load(2)[:64, :64])
    (folder / "sea" / "b.png").write_text("no photo")
    store = PhotoStore(store.paths, (64, 64), cache_bytes=0)
    with pytest.raises(DatasetError, match="3 not an image"):
        store.load_crops(order[1:], draws[1:], range(2))


def test_store_keeps_what_fits_in_memory(folder):
    paths = find_photos(folder).paths
    size = 96 * 128 * 3
    store = PhotoStore(paths, (96, 128), cache_bytes=2 * size)
    first = [store.load(index) for index in range(4)]
    again = [store.load(index) for index in range(4)]
    assert [a is b for a, b in zip(first, again, strict=True)] == [True, True, False, False]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_photos_that_break_later_are_named(folder):
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.open(folder / "sea" / "a.jpg").save(folder / "sea" / "a.jpg", exif=turned)
    store = PhotoStore(find_photos(folder).paths, (64, 64), cache_bytes=0)
    first = [store.load(index) for index in range(4)]
    assert first[0].shape[0] > first[0].shape[1]
    store.paths[1].unlink()
    store.paths[2].write_text("no photo")
    assert store.load(1) is None and store.load(2) is None and store.load(3) is not None
    assert store.skipped[store.paths[1]] == "no such file or directory"
    assert "not an image" in store.skipped[store.paths[2]]


def test_crops_lie_as_tensorflow_needs_them_to_take_them_without_a_copy(folder):
    store = PhotoStore(find_photos(folder).paths, (63, 61), cache_bytes=0)
    crops, _ = store.load_crops(np.arange(4), np.zeros((4, 4), np.float32), range(4))
    assert crops.ctypes.data % 64 == 0 and crops.flags.c_contiguous and crops.flags.writeable


def test_several_data_sets_are_one(folder, photos, tmp_path_factory):
    flat = tmp_path_factory.mktemp("flat")
    write_photo(flat / "x.png", photos[0])
    one, two = find_photos(folder), find_all_photos([folder, flat])
    assert two.paths == [*one.paths, flat / "x.png"]
    assert two.classes == (*(f"{folder}/{name}" for name in one.classes), str(flat))
    np.testing.assert_array_equal(two.labels, [*one.labels, len(one.classes)])
    np.testing.assert_array_equal(two.datasets, [*[0] * len(one.paths), 1])


def test_toned_photos_are_left_out(tmp_path):
    random = np.random.default_rng(0)
    gray = np.repeat(random.integers(0, 200, (64, 64, 1), np.uint8), 3, axis=-1)
    write_photo(tmp_path / "sepia.png", gray + np.uint8([20, 10, 0]))
    write_photo(tmp_path / "colour.png", random.integers(0, 255, (64, 64, 3), np.uint8))
    store = PhotoStore(find_photos(tmp_path).paths, (64, 64), cache_bytes=0, min_chroma=8)
    assert store.load(0) is not None and store.load(1) is None
    assert store.count_skipped() == "1 toned, or with hardly any colour to learn"


@pytest.mark.parametrize("others", [["photos"], ["photos/../photos"], ["photos/a"], ["link"], [".", "more"]])
def test_photos_that_are_given_twice_are_refused(tmp_path, monkeypatch, others):
    monkeypatch.chdir(tmp_path)
    for folder in ("photos/a", "more"):
        Path(folder).mkdir(parents=True)
        Path(folder, "x.png").touch()
    Path("link").symlink_to("photos/a")
    with pytest.raises(DatasetError, match=r"belong to .*, too, .* give only one of the two"):
        find_all_photos(["photos", *others])
    assert len(find_all_photos(["photos", "more"]).paths) == 2


def test_a_folder_that_may_not_be_entered_is_told_by_its_photos(tmp_path):
    touch(tmp_path, "closed/a.jpg")
    (tmp_path / "closed").chmod(0o444)
    with ordinary_user(tmp_path), pytest.raises(DatasetError, match=r"^closed/a\.jpg: permission denied; give"):
        find_photos("closed")
    (tmp_path / "closed").chmod(0o755)
