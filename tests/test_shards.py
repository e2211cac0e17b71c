"""Shards of photos: packed whole, read back byte for byte, and damage named."""

import json
import resource

import numpy as np
import pytest
import tensorflow as tf
from test_scripts import run

from common.errors import DatasetError
from common.images import PhotoError, read_photo, write_photo
from data import shards
from data.packed import load_index
from data.photos import PhotoStore, cut, find_photos, split_photos
from data.shards import pack, verify


@pytest.fixture
def folder(tmp_path, photos):
    """Two class folders with ten photos of several formats and one file that is none."""
    for number in range(10):
        name = f"{'sea' if number < 4 else 'wood/deep'}/{number}.{('jpg', 'png')[number % 2]}"
        write_photo(tmp_path / "photos" / name, np.roll(photos[number % 4], number, axis=1))
    (tmp_path / "photos" / "sea" / "empty.jpg").touch()
    return tmp_path / "photos"


@pytest.fixture
def packed(folder):
    """The same, packed into three shards."""
    pack(folder, folder.parent / "packed", 4)
    return folder.parent / "packed"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def shard_paths(packed):
    return sorted(packed.glob("*.tfrecord"))


def test_photos_come_back_byte_for_byte_in_the_same_order(folder, packed):
    files, found = find_photos(folder), find_photos(packed)
    assert [photo.name for photo in found.paths] == [str(path.relative_to(folder)) for path in files.paths]
    assert [photo.read_bytes() for photo in found.paths] == [path.read_bytes() for path in files.paths]
    assert found.classes == files.classes == ("sea", "wood")
    np.testing.assert_array_equal(found.labels, files.labels)
    assert found.labels.dtype == found.shards.dtype == np.int32 and files.shards is None
    assert [str(photo) for photo in found.paths] == [
        f"{packed}/photos-0000{number}-of-00003.tfrecord/{path.relative_to(folder)}"
        for number, path in zip(found.shards, files.paths, strict=True)
    ]
    # Every shard is a sample of all photos, not a stretch of them.
    assert sorted(np.bincount(found.shards)) == [3, 4, 4]
    assert all(np.diff(np.flatnonzero(found.shards == number)).max() > 1 for number in range(3))
    assert len(found.paths[2:5]) == 3 and found.paths[-1] == found.paths[10] and found.paths[-1].stem == "9"
    assert str(found.paths[0].relative_to(packed)).endswith("of-00003.tfrecord/sea/0.jpg")


def test_records_are_what_tensorflow_reads(folder, packed):
    features = {name: tf.io.FixedLenFeature([], tf.string) for name in ("image", "name", "class")}
    features["label"] = tf.io.FixedLenFeature([], tf.int64)
    records = tf.data.TFRecordDataset([str(path) for path in shard_paths(packed)])
    seen = {}
    for record in records.map(lambda record: tf.io.parse_single_example(record, features)).as_numpy_iterator():
        name = record["name"].decode()
        assert record["image"] == (folder / name).read_bytes()
        assert record["class"].decode() == name.split("/")[0] == ("sea", "wood")[record["label"]]
        seen[name] = record
    assert len(seen) == 11


def test_photos_without_class_folders(tmp_path, photos):
    write_photo(tmp_path / "photos" / "a.png", photos[0])
    pack(tmp_path / "photos", tmp_path / "packed", 4)
    found = find_photos(tmp_path / "packed")
    assert found.labels is None and found.classes == ()
    np.testing.assert_array_equal(read_photo(found.paths[0]), photos[0])


def test_crops_are_those_of_the_folder(folder, packed):
    stores = [PhotoStore(find_photos(place).paths, (64, 80), cache_bytes=0) for place in (folder, packed)]
    for index in np.concatenate(split_photos(11, 0.2, seed=1)):
        photo, expected = (store.load(index) for store in stores)
        if index == 4:
            assert photo is None and expected is None
        else:
            np.testing.assert_array_equal(cut(photo, (64, 80), 0.3, 0.8), cut(expected, (64, 80), 0.3, 0.8))
    assert [store.count_skipped() for store in stores] == ["1 the file is empty"] * 2


def test_interrupted_packing_goes_on(folder, packed, monkeypatch):
    again = folder.parent / "again"
    whole = shards.write_records

    def interrupted(path, plan, members, progress):
        if 0 in members:
            whole(path, plan, members[:2], progress)
            raise KeyboardInterrupt
        return whole(path, plan, members, progress)

    number = find_photos(packed).shards[0]
    monkeypatch.setattr(shards, "write_records", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pack(folder, again, 4)
    names = {f"photos-0000{done}-of-00003{suffix}" for done in range(number) for suffix in (".tfrecord", ".npz")}
    assert names and {path.name for path in again.iterdir()} == names
    with pytest.raises(DatasetError, match=r"shards\.json does not exist; pack the photos again"):
        find_photos(again)
    before = {name: (again / name).stat().st_mtime_ns for name in names}

    monkeypatch.setattr(shards, "write_records", whole)
    pack(folder, again, 4)
    assert before == {name: (again / name).stat().st_mtime_ns for name in names}
    assert contents(again) == contents(packed)


def damage(path, position=None):
    """Flips a bit of a file, in the middle or at a position."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if position is None else position] ^= 1
    path.write_bytes(data)


def test_flipped_bit_is_found_and_named(packed):
    found = find_photos(packed)
    photo = found.paths[3]
    damage(photo.shard.path, photo.shard.index.offsets[photo.position] + 700)
    with pytest.raises(PhotoError, match=r"tfrecord/sea/3\.png: checksum does not match; pack the photos again"):
        read_photo(photo)
    store = PhotoStore(found.paths, (64, 64), cache_bytes=0)
    assert [index for index in range(11) if store.load(index) is None] == [3, 4]
    assert {path.name for path, _ in sorted(store.skipped.items())} == {"sea/3.png", "sea/empty.jpg"}
    assert verify(packed)[1] == [f"{photo.shard.path}: checksum does not match; copy or pack the shards again"]


def test_truncated_shard_keeps_what_is_left(packed):
    found = find_photos(packed)
    path = shard_paths(packed)[1]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    store = PhotoStore(found.paths, (64, 64), cache_bytes=0)
    lost = [index for index in range(11) if store.load(index) is None and index != 4]
    assert 0 < len(lost) < (found.shards == 1).sum() and set(found.shards[lost]) == {1}
    assert all("cut short" in store.skipped[found.paths[index]] for index in lost)


def test_damaged_shards_are_packed_again(folder, packed):
    expected = contents(packed)
    first, second, _ = shard_paths(packed)
    damage(first)
    damage(second.with_suffix(".npz"))
    (packed / "shards.json").write_text("{")
    pack(folder, packed, 4)
    assert contents(packed) == expected and verify(packed)[1] == []


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("shards.json", b"{", "pack the photos again"),
        ("shards.json", b"[]", "pack the photos again"),
        ("shards.json", b'{"fingerprint": "", "classes": [], "shards": [{}], "skipped": {}}', "pack the photos again"),
        ("photos-00001-of-00003.npz", b"", "pack the photos again"),
        ("photos-00001-of-00003.npz", b"no index", "pack the photos again"),
        ("photos-00001-of-00003.npz", None, "does not exist"),
        ("photos-00001-of-00003.tfrecord", None, "does not exist"),
    ],
)
def test_damage_to_the_folder_is_named(packed, name, content, words):
    (packed / name).unlink()
    if content is not None:
        (packed / name).write_bytes(content)
    with pytest.raises(DatasetError, match=f"{name}.*{words}"):
        find_photos(packed)


def test_no_bit_of_an_index_goes_wrong_unseen(packed):
    path = packed / "photos-00000-of-00003.npz"
    whole = load_index(path)
    data = path.read_bytes()
    for position in range(0, len(data), 7):
        damage(path, position)
        try:
            index = load_index(path)
        except DatasetError as error:
            assert "\n" not in str(error) and path.name in str(error)
        else:
            for name, values in vars(whole).items():
                np.testing.assert_array_equal(getattr(index, name), values)
        path.write_bytes(data)


def test_index_of_other_shards_is_named(folder, packed):
    pack(folder, folder.parent / "other", 5)
    for place, other in ((packed, folder.parent / "other"), (folder.parent / "other", packed)):
        data = next(other.glob("photos-00000*.npz")).read_bytes()
        next(place.glob("photos-00001*.npz")).write_bytes(data)
        with pytest.raises(DatasetError, match=r"photos-00001.*npz is not of the shards"):
            find_photos(place)


def test_shards_of_other_photos_are_not_overwritten(folder, packed, photos):
    before = contents(packed)
    with pytest.raises(DatasetError, match=f"{packed} holds shards of other photos or of another size"):
        pack(folder, packed, 5)
    write_photo(folder / "sea" / "new.png", photos[0])
    with pytest.raises(DatasetError, match="give another folder"):
        pack(folder, packed, 4)
    (packed / "shards.json").unlink()
    with pytest.raises(DatasetError, match="give another folder"):
        pack(folder, packed, 4)
    del before["shards.json"]
    assert contents(packed) == before


def test_unreadable_photos_are_skipped_named_and_tried_again(folder, tmp_path):
    (folder / "sea" / "1.png").rename(tmp_path / "1.png")
    (folder / "sea" / "1.png").symlink_to(tmp_path / "1.png")
    plan = shards.make_plan(folder, 4)
    (tmp_path / "1.png").rename(tmp_path / "away.png")
    number = plan.names.index(b"sea/1.png")
    index, skipped = shards.write_shard(tmp_path / "shard.tfrecord", plan, [0, number, 2], lambda: None)
    assert skipped == {"sea/1.png": "no such file or directory"}
    assert list(index.names) == [plan.names[0], plan.names[2]] and list(index.numbers) == [0, 2]

    class Unreadable:
        """Stands for a photo that vanished or whose rights are missing: root, who runs tests, may read everything."""

        def read_bytes(self):
            raise PermissionError(13, "Permission denied")

    make_plan = shards.make_plan

    def one_unreadable(*arguments):
        plan = make_plan(*arguments)
        paths = [Unreadable() if path.name == "3.png" else path for path in plan.photos.paths]
        object.__setattr__(plan.photos, "paths", paths)
        return plan

    (tmp_path / "away.png").rename(tmp_path / "1.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "make_plan", one_unreadable)
        manifest = pack(folder, tmp_path / "packed", 4)
    assert manifest.skipped == {"sea/3.png": "permission denied"}
    assert json.loads((tmp_path / "packed" / "shards.json").read_text())["skipped"] == manifest.skipped
    assert [photo.name for photo in find_photos(tmp_path / "packed").paths].count("sea/3.png") == 0
    assert pack(folder, tmp_path / "packed", 4).skipped == {}
    assert len(find_photos(tmp_path / "packed").paths) == 11


def main(monkeypatch, *arguments):
    """Runs the script in this process. Returns its status; errors for the person come through."""
    monkeypatch.setattr("sys.argv", ["shards.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        shards.main()
    return end.value.code


def test_command_line(folder, packed, monkeypatch, capsys):
    output = folder.parent / "out"
    status, text, errors = run("-m", "data.shards", folder, "-o", output, "--photos-per-shard", "4")
    assert (status, errors) == (0, []) and text == f"11 of 11 photos packed into 3 shards, in {output}\n"
    assert contents(output) == contents(packed)
    assert main(monkeypatch, "--verify", output) == 0
    assert capsys.readouterr() == ("3 of 3 shards are whole\n", "")
    damage(shard_paths(output)[1])
    shard_paths(output)[2].unlink()
    assert main(monkeypatch, "--verify", output) == 1
    text, errors = capsys.readouterr()
    assert text == "1 of 3 shards are whole\n"
    assert f"{shard_paths(output)[1]}: checksum does not match" in errors and "00002-of-00003.tfrecord does" in errors
    for arguments, words in [((folder,), "-o DIR"), (("--verify", folder), r"shards\.json does not exist")]:
        monkeypatch.setattr("sys.argv", ["shards.py", *map(str, arguments)])
        with pytest.raises(DatasetError, match=words):
            shards.main()


def test_full_disk_leaves_no_half_shard(folder):
    # A limit on the size of a file stands in for a full disk.
    def full():
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    output = folder.parent / "out"
    status, _, errors = run("-m", "data.shards", folder, "-o", output, preexec_fn=full)
    assert status == 1 and len(errors) == 1 and f"{output}: a shard cannot be written: " in errors[0]
    assert list(output.iterdir()) == []


def test_places_that_cannot_be_packed(folder, packed):
    for source, output, words in [
        (packed, folder.parent / "more", "holds shards already"),
        (folder, folder, "give another folder for the shards"),
        (folder.parent / "none", packed, "does not exist"),
    ]:
        with pytest.raises(DatasetError, match=words):
            pack(source, output, 4)
    with pytest.raises(DatasetError, match="at least 1"):
        pack(folder, packed, 0)
