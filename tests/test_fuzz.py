"""Damaged files of every format through the command line; pytest tests/test_fuzz.py --fuzz 2000 for more of them."""

import imagecodecs
import numpy as np
from processes import run

from common import images
from common.files import REPLACED
from common.images import Photo, read

SUFFIXES = (".jpg", ".png", ".webp", ".tif", ".bmp", ".ppm", ".jp2", ".avif", ".gif", ".jxl")


def mutate(data, random):
    """A damaged copy of a file: cut off, with bytes changed, moved, repeated or zeroed, often those of the header."""
    data = bytearray(data)
    end = 64 if random.random() < 0.4 else len(data)
    for _ in range(random.integers(1, 5)):
        start, length = random.integers(0, min(end, len(data))), int(random.integers(1, 40))
        kind = random.integers(0, 6)
        if kind == 0:
            del data[max(8, start) :]
        elif kind == 1:
            data[start : start + length] = random.bytes(length)
        elif kind == 2:
            data[start : start + length] = bytes(length)
        elif kind == 3:
            data[start:start] = data[start : start + length]
        elif kind == 4:
            data[start : start + 4] = b"\xff\xff\xff\xff"
        else:
            data[start] ^= 1 << random.integers(0, 8)
        if len(data) < 9:
            break
    return bytes(data)


def encode(photo, suffix):
    """A whole file's content."""
    if suffix in REPLACED:
        return imagecodecs.gif_encode(photo.pixels) if suffix == ".gif" else imagecodecs.jpegxl_encode(photo.pixels)
    return images.encode("photo", photo, suffix)[0]


def test_damaged_files_stop_nothing(tmp_path, photos, model_file, pytestconfig):
    random = np.random.default_rng(0)
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    whole = {}
    for number, suffix in enumerate(SUFFIXES):
        # Small enough to be quick, large enough for JPEG 2000.
        photo = Photo(photos[number % 4][:64, :64], alpha=None if number % 2 else photos[0][:64, :64, 0])
        whole[suffix] = encode(photo, suffix)
        (folder / f"good{suffix}").write_bytes(whole[suffix])
    for number in range(pytestconfig.getoption("--fuzz")):
        suffix = SUFFIXES[number % len(SUFFIXES)]
        (folder / f"{number}{suffix}").write_bytes(mutate(whole[suffix], random))
    status, output, errors = run("test.py", folder, "--output", out, "--model", model_file, timeout=1800)

    results = {path.name for path in out.glob("[!.]*")}
    for path in sorted(folder.iterdir()):
        result = f"{path.name}{REPLACED[path.suffix]}" if path.suffix in REPLACED else path.name
        failed = any(line.startswith(f"{path}: ") for line in errors)
        assert failed != (result in results), (path.name, failed)
        assert not (failed and path.stem == "good"), errors
    for name in results:  # Also no temporary file.
        assert read(out / name).pixels.shape[2:] == (3,), name
    assert status == 1 and f"{len(results)} of " in output
