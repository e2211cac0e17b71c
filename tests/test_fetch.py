"""Data sets with names: fetched through TensorFlow Datasets' own builders, from tiny archives of the same layout."""

import hashlib
import io
import os
import shutil
import signal
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import pytest
from processes import Script, call

for package in ("tensorflow_datasets", "importlib_resources"):
    pytest.importorskip(package, reason="needs requirements-data.txt")

import requests
import tensorflow_datasets as tfds

from common.errors import DatasetError
from data import fetch as fetching
from data.categories import OUTDOOR_NATURAL
from data.fetch import fetch
from data.photos import find_photos

PLACES = {
    "/b/beach/00000001.jpg": 48,
    "/b/beach/00000002.jpg": 48,
    "/a/airfield/00000001.jpg": 0,
    "/f/forest/broadleaf/00000001.jpg": 150,
    "/b/bedroom/00000007.jpg": 52,
}
FACES = ("Ada/Ada_0001.jpg", "Ada/Ada_0002.jpg", "Ben/Ben_0001.jpg")


def tar(path, files, mode="w"):
    """Packs {name: content} into an archive."""
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def jpegs(photos):
    """As many JPEG files as there are photos in the tiny data sets, each another one."""
    count = max(len(PLACES), len(FACES))
    return [cv2.imencode(".jpg", photos[number % 4][number:, :, ::-1])[1].tobytes() for number in range(count)]


@pytest.fixture
def data_dir(tmp_path, jpegs, monkeypatch):
    """A folder of TensorFlow Datasets where the archives of places365_small and lfw were put by hand, tiny ones."""
    folder = tmp_path / "tfds" / "downloads" / "manual"
    folder.mkdir(parents=True)
    places = dict(zip(PLACES, jpegs, strict=False))
    tar(folder / "train_256_places365standard.tar", {f"data_256{name}": content for name, content in places.items()})
    tar(folder / "val_256.tar", {"val_256/Places365_val_00000001.jpg": jpegs[0]})
    tar(folder / "test_256.tar", {"test_256/Places365_test_00000001.jpg": jpegs[0]})
    lists = {
        "places365_train_standard.txt": "".join(f"{name} {label}\n" for name, label in PLACES.items()).encode(),
        "places365_val.txt": b"Places365_val_00000001.jpg 0\n",
        "places365_test.txt": b"Places365_test_00000001.jpg\n",
    }
    tar(folder / "filelist_places365-standard.tar", lists)
    tar(folder / "lfw.tgz", {f"lfw/{name}": content for name, content in zip(FACES, jpegs, strict=False)}, "w:gz")
    for name in ("places365_small", "lfw"):
        infos = tfds.builder(name, data_dir=tmp_path / "tfds").url_infos
        for url, info in list(infos.items()):
            content = (folder / info.filename).read_bytes()
            tiny = type(info)(size=len(content), checksum=hashlib.sha256(content).hexdigest(), filename=info.filename)
            monkeypatch.setitem(infos, url, tiny)
    return tmp_path / "tfds"


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_scene_is_a_category_of_the_data_set():
    known = tfds.core.tfds_path("image_classification/categories_places365.txt").read_text().split()
    assert len(known) == 365 and len(OUTDOOR_NATURAL) == 48 and OUTDOOR_NATURAL < set(known)


def test_places_are_written_byte_for_byte_by_category(data_dir, tmp_path, jpegs):
    count, _ = fetch("places365", tmp_path / "all", data_dir=data_dir)
    assert count == 5
    assert contents(tmp_path / "all") == {
        "beach/00000001.jpg": jpegs[0],
        "beach/00000002.jpg": jpegs[1],
        "airfield/00000001.jpg": jpegs[2],
        "forest-broadleaf/00000001.jpg": jpegs[3],
        "bedroom/00000007.jpg": jpegs[4],
    }
    found = find_photos(tmp_path / "all")
    assert found.classes == ("airfield", "beach", "bedroom", "forest-broadleaf")
    # The archives may go: what was prepared from them serves the paper's data set as well.
    shutil.rmtree(data_dir / "downloads")
    assert fetch("places2", tmp_path / "natural", data_dir=data_dir)[0] == 3
    assert find_photos(tmp_path / "natural").classes == ("beach", "forest-broadleaf")


def test_faces_are_written_by_person(data_dir, tmp_path, jpegs):
    assert fetch("faces", tmp_path / "faces", data_dir=data_dir)[0] == 3
    written = contents(tmp_path / "faces")
    assert sorted(written.values()) == sorted(jpegs[:3])
    assert sorted(name.split("/")[0] for name in written) == ["Ada", "Ada", "Ben"]
    assert {name.split("/")[1] for name in written} == {"00000000.jpg", "00000001.jpg", "00000002.jpg"}
    assert find_photos(tmp_path / "faces").classes == ("Ada", "Ben")


def test_fetching_goes_on_where_it_was(data_dir, tmp_path, monkeypatch):
    folder = tmp_path / "places"
    assert fetch("places365", folder, limit=2, data_dir=data_dir)[0] == 2
    first = contents(folder)
    times = {name: (folder / name).stat().st_mtime_ns for name in first}
    assert len(first) == 2

    whole = fetching.write_whole

    def interrupted(path, content):
        if len(contents(folder)) == 4:
            raise KeyboardInterrupt
        whole(path, content)

    monkeypatch.setattr(fetching, "write_whole", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch("places365", folder, data_dir=data_dir)
    monkeypatch.setattr(fetching, "write_whole", whole)
    assert len(contents(folder)) == 4
    assert fetch("places365", folder, data_dir=data_dir)[0] == 5
    assert contents(folder).items() > first.items()
    assert times == {name: (folder / name).stat().st_mtime_ns for name in times}
    # The same from the start, in one go.
    fetch("places365", tmp_path / "again", data_dir=data_dir)
    assert contents(tmp_path / "again") == contents(folder)


def test_size_is_said_before_the_download(data_dir, tmp_path, capsys):
    fetch("faces", tmp_path / "faces", data_dir=data_dir)
    line = capsys.readouterr().out
    assert line.startswith(
        "lfw: downloads 0.0 GB from ndownloader.figshare.com, where a refused download is tried again"
    )
    assert f"and takes about 0.0 GB in {data_dir}, which has" in line
    fetch("faces", tmp_path / "faces", data_dir=data_dir)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (requests.ConnectionError("HTTPSConnectionPool(...): Max retries exceeded\nand more"), "Max retries exceeded"),
        (tfds.download.DownloadError("Failed to get url. HTTP code: 404."), "HTTP code: 404"),
        (OSError(28, "No space left on device", "/x"), "No space left on device"),
        (EOFError(), "EOFError"),
    ],
)
def test_failed_downloads_are_a_sentence(data_dir, tmp_path, monkeypatch, error, words):
    def fail(self):
        raise error

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(DatasetError) as caught:
        fetch("faces", tmp_path / "faces", data_dir=data_dir)
    message = str(caught.value)
    assert message.startswith("lfw cannot be downloaded") and words in message and "\n" not in message
    assert f"lfw.tgz by other means from ndownloader.figshare.com and put them into {data_dir}" in message


def test_wrong_archives_are_a_sentence(data_dir, tmp_path):
    (data_dir / "downloads" / "manual" / "lfw.tgz").write_bytes(b"an error page")
    with pytest.raises(DatasetError, match=r"^lfw cannot be downloaded \(Artifact .* has wrong checksum"):
        fetch("faces", tmp_path / "faces", data_dir=data_dir)
    assert not (tmp_path / "faces").exists()


def test_damaged_copies_are_a_sentence(data_dir, tmp_path):
    _, builder = fetch("faces", tmp_path / "faces", data_dir=data_dir)
    path = next(data_dir.glob("lfw/*/*.tfrecord*"))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DatasetError, match=f"^{builder.data_dir} is damaged .*delete it and start again$") as caught:
        fetch("faces", tmp_path / "again", data_dir=data_dir)
    assert "\n" not in str(caught.value)


def test_photos_that_cannot_be_written_are_a_sentence(data_dir, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match=r"photos cannot be written \(not a directory\)"):
        fetch("faces", tmp_path / "file" / "faces", data_dir=data_dir)


def test_command_line(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "FETCHED", tmp_path)
    builder = tfds.builder("lfw", data_dir=data_dir)
    monkeypatch.setattr(tfds, "builder", lambda name, data_dir: builder)
    status, output, _ = call("-m", "data.fetch", "faces", "--limit", "2")
    assert status == 0 and f"2 photos in {tmp_path}/faces; to train on them: --dataset {tmp_path}/faces" in output
    assert len(find_photos(tmp_path / "faces").paths) == 2


def test_interruption_ends_a_download_at_once(tmp_path):
    asked, ended = threading.Event(), threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            asked.set()
            ended.wait(100)

        def log_message(self, *_):
            pass

    (tmp_path / "slow.py").write_text("""
import runpy, sys
from tensorflow_datasets.datasets.lfw import lfw_dataset_builder
lfw_dataset_builder._URL = sys.argv.pop()
runpy.run_module("data.fetch", run_name="__main__")
""")
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever).start()
        url = f"http://127.0.0.1:{server.server_port}/lfw.tgz"
        env = os.environ | {"TFDS_DATA_DIR": str(tmp_path / "tfds"), "no_proxy": "*"}
        script = Script(tmp_path / "slow.py", "faces", "-o", tmp_path / "faces", url, env=env)
        try:
            assert asked.wait(100)
            script.send(signal.SIGINT)
            status, _, errors = script.wait(timeout=20)
        finally:
            ended.set()
            server.shutdown()
    assert status == 1
    assert errors == ["interrupted; the photos so far are whole, and the same command goes on"]
    assert not (tmp_path / "faces").exists()
