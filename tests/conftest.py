"""Photos, frames and models that several tests use."""

import functools
import gc
import os
from pathlib import Path

# As the scripts do, see common/command_line.py: threads of OpenBLAS that wait take processor time.
os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}
# By default TensorFlow with oneDNN keeps the memory of freed tensors, and never gives it back to the system.
os.environ["TF_ONEDNN_USE_SYSTEM_ALLOCATOR"] = "1"
gc.disable()  # During imports, of which searches for garbage take half a second of processor time.

import cv2
import keras
import numpy as np
import processes
import pytest
from small_networks import shrink

import models
from colorizing.pixels import to_gray
from colorizing.serving.service import give_back_memory
from common.images import read_photo
from configs import SAMPLES
from models.colorization import PaperColorizer

processes.start_server()

ROOT = processes.ROOT
COLOR_SAMPLES = ("mountain-lake.jpg", "castle-forest.jpg", "great-wall-hills.jpg", "autumn-meadow.jpg")
# Megabytes that a test may leave behind until its file of tests has ended.
MUCH = 30


def free_memory():
    """Gives memory back to the system; Python frees the cycles in models only when told to."""
    gc.collect()
    give_back_memory()


def resident_megabytes():
    """Memory of this process where Linux tells it, else 0."""
    path = Path("/proc/self/statm")
    return int(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6 if path.exists() else 0


def pytest_addoption(parser):
    parser.addoption("--fuzz", type=int, default=80, help="damaged image files that test_fuzz.py sends through test.py")
    parser.addoption("--exif", type=int, default=60, help="photos with changed EXIF that test_metadata.py reads")
    parser.addoption("--damaged-photos", type=int, default=0, help="photos that test_damaged.py measures speed with")


def pytest_collection_finish():
    """What is imported by now stays, so that searches for garbage need not look at it."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol():
    """After a test that has left much behind, memory goes back to the system, as after each file of tests."""
    before = resident_megabytes()
    ended = yield
    if resident_megabytes() > before + MUCH:
        free_memory()
    return ended


def pytest_unconfigure():
    gc.unfreeze()
    processes.stop_server()


@pytest.fixture(autouse=True)
def float32():
    """Every test starts under float32, whatever the hardware and the tests before it."""
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="module", autouse=True)
def free_memory_after_each_file():
    yield
    free_memory()


@pytest.fixture(autouse=True)
def seeded():
    """Random weights are the same whichever tests ran before."""
    keras.utils.set_random_seed(0)


@pytest.fixture
def few_channels(monkeypatch):
    """Networks are small, see small_networks.py."""
    shrink(monkeypatch)


@pytest.fixture(scope="module")
def loaded_once():
    """Scripts that a file of tests calls load each model once, and its functions stay compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "load", functools.cache(models.load))
        yield


@pytest.fixture(scope="session")
def photos():
    """Four sample photos in colour, uint8 [4, 96, 128, 3]."""
    read = [cv2.imread(str(SAMPLES / name), cv2.IMREAD_COLOR_RGB) for name in COLOR_SAMPLES]
    return np.stack([cv2.resize(photo, (128, 96), interpolation=cv2.INTER_AREA) for photo in read])


@pytest.fixture(scope="session")
def gray():
    """The frames of a film: a sample photo that moves, uint8 [20, 96, 128]."""
    photo = to_gray(read_photo(SAMPLES / "mountain-lake.jpg"))[::3, ::3]
    return np.stack([photo[:96, 2 * number : 2 * number + 128] for number in range(20)])


@pytest.fixture(scope="session")
def model_file(tmp_path_factory):
    """A file with an untrained colorizer."""
    path = tmp_path_factory.mktemp("model") / "untrained.keras"
    keras.utils.set_random_seed(0)
    models.save(PaperColorizer(classification_size=64, lightness_scale=100.0), path, precision="float16")
    return path
