"""Shards of photos: packed whole, read back byte for byte, and damage named."""

import contextlib
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from array_record.python.array_record_data_source import ArrayRecordDataSource
from processes import call, full_disk

from common.errors import DatasetError
from common.images import PhotoError, read_photo, write_photo
from configs import EXPERIMENTS
from data import shards
from data.packed import open_shard, read_manifest
from data.pairs import ReplicaShare
from data.photos import PhotoStore, cut, find_photos, split_photos
from data.shards import pack, verify
from training.data import TrainingData


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
    return sorted(packed.glob("*.array_record"))


def test_photos_come_back_byte_for_byte_in_the_same_order(folder, packed):
    files, found = find_photos(folder), find_photos(packed)
    assert [photo.name for photo in found.paths] == [str(path.relative_to(folder)) for path in files.paths]
    assert [photo.read_bytes() for photo in found.paths] == [path.read_bytes() for path in files.paths]
    assert found.classes == files.classes == ("sea", "wood")
    np.testing.assert_array_equal(found.labels, files.labels)
    assert found.labels.dtype == found.shards.dtype == np.int32 and files.shards is None
    assert [str(photo) for photo in found.paths] == [
        f"{packed}/photos-0000{number}-of-00003.array_record/{path.relative_to(folder)}"
        for number, path in zip(found.shards, files.paths, strict=True)
    ]
    # Every shard is a sample of all photos, not a stretch of them.
    assert sorted(np.bincount(found.shards)) == [3, 4, 4]
    assert all(np.diff(np.flatnonzero(found.shards == number)).max() > 1 for number in range(3))
    assert found.paths[-1].stem == "9"
    assert str(found.paths[0].relative_to(packed)).endswith("of-00003.array_record/sea/0.jpg")


def test_records_are_the_photos_that_the_manifest_names(folder, packed):
    manifest = json.loads((packed / "shards.json").read_text())
    seen = []
    for path, members in zip(shard_paths(packed), manifest["shards"], strict=True):
        for index, content in zip(members, ArrayRecordDataSource(str(path)), strict=True):
            assert content == (folder / manifest["names"][index]).read_bytes()
            seen.append(index)
    assert sorted(seen) == list(range(11)) and manifest["classes"] == ["sea", "wood"]


def test_shards_with_too_few_photos_for_a_machines_batch_are_one_sentence(packed):
    experiment = replace(EXPERIMENTS["scenes"], dataset=(packed,), crop=(32, 32), batch_size=10)
    with pytest.raises(DatasetError, match=r"packed: .* fewer photos \([34]\) than .* smaller --batch-size"):
        TrainingData(experiment, find_photos(packed), ReplicaShare(2, 0, 1))


def test_a_machine_reads_its_shards_and_statistics_are_of_all_photos(packed):
    experiment = replace(EXPERIMENTS["scenes"], dataset=(packed,), crop=(32, 32), batch_size=4, balance=True)
    photos = find_photos(packed)
    data = TrainingData(experiment, replace(photos, datasets=np.zeros(len(photos.paths), int)), ReplicaShare(2, 0, 1))
    assert set(photos.shards[data.order.indices]) == {0, 2} and len(data.order_of_all.indices) == 10
    for order in (data.order, data.order_of_all):
        indices, draws = order.plan(0)
        assert len(indices) == len(draws) == len(order.indices) and set(indices) <= set(order.indices)
    # Systematic sampling takes each photo as often as its weight says, rounded up or down.
    counts = np.bincount(data.order_of_all.plan(0)[0], minlength=11)[data.order_of_all.indices]
    weights = data.order_of_all.weights
    assert (np.abs(counts - 10 * weights / weights.sum()) < 1).all()


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


def test_interrupted_packing_continues(folder, packed, monkeypatch):
    again = folder.parent / "again"
    whole = shards.write_shard

    def interrupted(path, photos, progress):
        if any(photo.name == "0.jpg" for photo in photos):
            with shards.replacing(path):
                raise KeyboardInterrupt
        return whole(path, photos, progress)

    number = find_photos(packed).shards[0]
    monkeypatch.setattr(shards, "write_shard", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pack(folder, again, 4)
    names = {f"photos-0000{done}-of-00003.array_record" for done in range(number)}
    assert names and {path.name for path in again.iterdir()} == names | {"shards.json"}
    for use in (find_photos, verify):
        with pytest.raises(DatasetError, match="holds a part of the shards only; run the command"):
            use(again)
    before = {name: (again / name).stat().st_mtime_ns for name in names}

    monkeypatch.setattr(shards, "write_shard", whole)
    pack(folder, again, 4)
    assert before == {name: (again / name).stat().st_mtime_ns for name in names}
    assert contents(again) == contents(packed)


def test_photos_that_changed_are_packed_again(folder, packed):
    again = folder.parent / "changed"
    pack(folder, again, 4)
    photo, other = find_photos(folder).paths[:2]
    status, content = photo.stat(), other.read_bytes()
    photo.write_bytes(content)
    os.utime(photo, ns=(status.st_atime_ns, status.st_mtime_ns))  # As by a copy that keeps dates.
    before = {path: path.stat().st_mtime_ns for path in again.glob("photos-*")}
    pack(folder, again, 4)
    assert find_photos(again).paths[0].read_bytes() == content
    assert sum(path.stat().st_mtime_ns != time for path, time in before.items()) == 1


def damage(path, position=None):
    """Flips a bit of a file, in the middle or at a position."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if position is None else position] ^= 1
    path.write_bytes(data)


def test_flipped_bit_is_found_and_named(packed):
    found = find_photos(packed)
    photo = found.paths[3]
    damage(photo.shard, photo.shard.read_bytes().index(photo.read_bytes()) + 700)
    with pytest.raises(PhotoError, match=r"array_record/sea/3\.png: the shard is missing or damaged here"):
        read_photo(photo)
    store = PhotoStore(found.paths, (64, 64), cache_bytes=0)
    assert [index for index in range(11) if store.load(index) is None] == [3, 4]
    assert {path.name for path in store.skipped} == {"sea/3.png", "sea/empty.jpg"}
    assert verify(packed)[1] == [f"{photo.shard}: damaged; copy or pack the shards again"]


def test_photos_of_a_truncated_shard_are_skipped(packed):
    found = find_photos(packed)
    path = shard_paths(packed)[1]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    store = PhotoStore(found.paths, (64, 64), cache_bytes=0)
    lost = [index for index in range(11) if store.load(index) is None and index != 4]
    assert lost == [index for index in np.flatnonzero(found.shards == 1) if index != 4]
    causes = {store.skipped[found.paths[index]] for index in lost}
    assert causes == {"the shard is missing or damaged here; copy or pack it again"}


def test_no_bit_of_a_shard_goes_wrong_unseen(packed):
    path = shard_paths(packed)[0]
    whole, expected = path.read_bytes(), list(ArrayRecordDataSource(str(path)))
    random = np.random.default_rng(0)
    for position in random.integers(0, len(whole), 200).tolist():
        damage(path, position)
        found = find_photos(packed)
        for photo in (found.paths[index] for index in np.flatnonzero(found.shards == 0)):
            open_shard.cache_clear()
            with contextlib.suppress(OSError):
                assert photo.read_bytes() == expected[photo.position]
        path.write_bytes(whole)


def test_damaged_shards_are_packed_again(folder, packed):
    expected = contents(packed)
    first, second, _ = shard_paths(packed)
    damage(first)
    second.unlink()
    pack(folder, packed, 4)
    assert contents(packed) == expected and verify(packed)[1] == []


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("shards.json", b"{", "pack the photos again"),
        ("shards.json", b"[]", "pack the photos again"),
        ("shards.json", b'{"sha256": "", "names": [], "classes": [], "photos_per_shard": 1}', "is damaged; pack"),
        ("shards.json", None, "does not exist; pack the photos again"),
        ("photos-00001-of-00003.array_record", None, "does not exist; copy or pack"),
    ],
)
def test_damage_to_the_folder_is_named(folder, packed, name, content, words):
    (packed / name).unlink()
    if content is not None:
        (packed / name).write_bytes(content)
    with pytest.raises(DatasetError, match=f"{name}.*{words}"):
        find_photos(packed)
    if name == "shards.json":
        before = contents(packed)
        with pytest.raises(DatasetError, match="shards that cannot be continued; give another folder"):
            pack(folder, packed, 4)
        assert contents(packed) == before


def test_no_bit_of_a_manifest_goes_wrong_unseen(packed):
    path = packed / "shards.json"
    whole = read_manifest(packed)
    data = path.read_bytes()
    for position in range(0, len(data), 7):
        damage(path, position)
        try:
            assert read_manifest(packed) == whole
        except DatasetError as error:
            assert "\n" not in str(error) and path.name in str(error)
        path.write_bytes(data)


def test_shards_of_other_photos_are_not_overwritten(folder, packed, photos):
    before = contents(packed)
    with pytest.raises(DatasetError, match=f"{packed} holds shards of other photos or of another size"):
        pack(folder, packed, 5)
    write_photo(folder / "sea" / "new.png", photos[0])
    with pytest.raises(DatasetError, match="give another folder"):
        pack(folder, packed, 4)
    assert contents(packed) == before


def test_unreadable_photos_are_skipped_named_and_tried_again(folder, tmp_path, monkeypatch):
    class Unreadable:
        """Stands for a photo that vanished or whose rights are missing: root, who runs tests, may read everything."""

        def __init__(self, path):
            self.relative_to = path.relative_to

        def read_bytes(self):
            raise PermissionError(13, "Permission denied")

    def one_unreadable(folder):
        photos = find_photos(folder)
        return replace(photos, paths=[Unreadable(path) if path.name == "3.png" else path for path in photos.paths])

    with monkeypatch.context() as patch:
        patch.setattr(shards, "find_photos", one_unreadable)
        manifest = pack(folder, tmp_path / "packed", 4)
    assert manifest.skipped == {"sea/3.png": "permission denied"} and sum(map(len, manifest.shards)) == 10
    assert read_manifest(tmp_path / "packed") == manifest and verify(tmp_path / "packed") == (manifest, [])
    assert [photo.name for photo in find_photos(tmp_path / "packed").paths].count("sea/3.png") == 0
    assert pack(folder, tmp_path / "packed", 4).skipped == {}
    assert len(find_photos(tmp_path / "packed").paths) == 11


def test_command_line(folder, packed):
    output, command = folder.parent / "out", ("-m", "data.shards")
    told = f"11 of 11 photos packed into 3 shards, in {output}\n"
    assert call(*command, folder, "-o", output, "--photos-per-shard", "4") == (0, told, [])
    assert contents(output) == contents(packed)
    assert call(*command, "--verify", output) == (0, "3 of 3 shards are whole\n", [])
    damage(shard_paths(output)[1])
    shard_paths(output)[2].unlink()
    status, told, (damaged, missing) = call(*command, "--verify", output)
    assert (status, told) == (1, "1 of 3 shards are whole\n")
    assert damaged.startswith(f"{shard_paths(output)[1]}: damaged")
    assert "00002-of-00003.array_record: does not exist" in missing
    for arguments, status, words in [
        ((folder,), 2, "-o DIR"),
        (("--verify", folder), 1, "shards.json does not exist"),
        (("--verify", output, "-o", output), 2, "--verify: no other option has an effect with it; leave it out"),
    ]:
        found, _, (error,) = call(*command, *arguments)
        assert found == status and words in error


def test_full_disk_leaves_no_half_shard(folder):
    output = folder.parent / "out"
    with full_disk(50_000):
        status, _, errors = call("-m", "data.shards", folder, "-o", output)
    assert status == 1 and len(errors) == 1 and f"{output}: a shard cannot be written: " in errors[0]
    assert [path.name for path in output.iterdir()] == ["shards.json"]


def test_places_that_cannot_be_packed(folder, packed):
    for source, output, words in [
        (packed, folder.parent / "more", "holds shards already"),
        (folder, folder, "give another folder for the shards"),
        (folder.parent / "none", packed, "does not exist"),
    ]:
        with pytest.raises(DatasetError, match=words):
            pack(source, output, 4)
