"""Training on a data set with damaged files: it runs, counts them by cause, lists them, and is hardly slower.

`pytest tests/test_damaged.py --damaged-photos 10000` measures the speed too.
"""

import time

import numpy as np
import pytest
from PIL import Image
from small_experiments import PLAIN, small

from common.images import write_photo
from data.pairs import TrainingOrder, training_crops
from data.photos import PhotoStore, find_photos
from training.trainer import train

# What may be wrong with a file, and the cause that training reports; None where it can be used.
DAMAGES = {
    "truncated": "damaged",
    "empty": "the file is empty",
    "text": "not an image",
    "cmyk": None,
    "palette": None,
    "sixteen-bits": None,
    "one-pixel": "less than 16 pixels",
    "thread": "more than 8:1 long",
}


def damage(path, kind, photo):
    """Writes a file in place of a photo, uint8 [height, width, 3]; returns its path."""
    if kind == "truncated":
        write_photo(path, photo)
        path.write_bytes(path.read_bytes()[:-200])
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("no photo")
    elif kind == "cmyk":
        Image.fromarray(photo).convert("CMYK").save(path)
    elif kind == "palette":
        path = path.with_suffix(".png")
        Image.fromarray(photo).convert("P").save(path)
    elif kind == "sixteen-bits":
        path = path.with_suffix(".png")
        write_photo(path, photo.astype(np.uint16) * 257)
    elif kind == "one-pixel":
        write_photo(path, photo[:1, :1])
    elif kind == "thread":
        write_photo(path, np.resize(photo, (1, 20000, 3)))
    return path


def make_data_set(folder, photos, count, damaged):
    """Writes `count` photos, of which a share is damaged in turn. Returns {path: kind of damage}."""
    folder.mkdir()
    kinds = list(DAMAGES)
    found = {}
    for number in range(count):
        photo = np.roll(photos[number % len(photos)], number, axis=1)
        path = folder / f"{number:05}.jpg"
        if number < round(count * damaged):
            kind = kinds[number % len(kinds)]
            found[damage(path, kind, photo)] = kind
        else:
            write_photo(path, photo)
    return found


def test_training_counts_and_lists_damaged_files(few_channels, tmp_path, photos, capfd):
    damaged = make_data_set(tmp_path / "photos", photos, count=40, damaged=0.4)
    train(small("scenes", dataset=(tmp_path / "photos",), epochs=1, batch_size=4, **PLAIN), tmp_path / "run")
    listed = dict(line.split(": ", 1) for line in (tmp_path / "run" / "skipped.txt").read_text().splitlines())
    assert set(listed) == {str(path) for path, kind in damaged.items() if DAMAGES[kind]}
    for path, cause in listed.items():
        expected = DAMAGES[next(kind for damaged_path, kind in damaged.items() if str(damaged_path) == path)]
        assert expected in cause
    errors = capfd.readouterr().err
    assert "photos skipped: 10 (" in errors and "2 the file is empty" in errors and "2 more than 8:1 long" in errors


def test_damaged_files_hardly_slow_training_down(tmp_path, photos, pytestconfig):
    count = pytestconfig.getoption("--damaged-photos")
    if not count:
        pytest.skip("a matter of minutes; --damaged-photos 10000 runs it")

    def open_data_set(name, share):
        make_data_set(tmp_path / name, photos, count, share)
        store = PhotoStore(find_photos(tmp_path / name).paths, (64, 64), cache_bytes=0)
        return store, training_crops(store, TrainingOrder(np.arange(count), 0, flip=True), 16, epoch=0)

    def seconds(crops):
        started = time.perf_counter()
        for _ in crops.dataset.take(crops.steps):
            pass
        return time.perf_counter() - started

    whole, broken = open_data_set("whole", 0.0), open_data_set("broken", 0.05)
    # Damaged files cost most in the first epoch, when each is opened: a new store a round.
    ratios = []
    for _ in range(5):
        for store, _ in (whole, broken):
            store.skipped.clear()
        ratios.append(seconds(broken[1]) / seconds(whole[1]))
    print(
        f"time with 5 % damaged files: {np.median(ratios):.3f} ({min(ratios):.3f}..{max(ratios):.3f}) of that without"
    )
    assert np.median(ratios) < 1.05 and len(broken[0].skipped) > 0.02 * count
