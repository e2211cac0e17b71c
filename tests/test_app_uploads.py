"""Visitors' files on the page's server: which of them it takes, and when they are removed."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
from small_networks import Gray

from colorizing.serving import service
from common import images
from common.images import Photo
from configs import SAMPLES

pytest.importorskip("gradio", reason="the server needs requirements-app.txt")
from fastapi.testclient import TestClient

from colorizing.serving import uploads
from colorizing.serving.server import make_server
from colorizing.serving.service import Limits

PHOTO = SAMPLES / "mountain-lake.jpg"
HINTS = b'{"hints": [{"x": 0.5, "y": 0.5, "ab": [60, -50]}]}'
# What marks a file in Gradio's requests. Without it, Gradio takes a path as it is.
MARK = {"meta": {"_type": "gradio.FileData"}}


@pytest.fixture(scope="module")
def client():
    with TestClient(make_server(Limits())) as client:
        yield client


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    monkeypatch.setattr(service, "_load", lambda name: Gray())


def events(client):
    """The page's events: {types of their inputs: number}; of several with the same inputs, the first."""
    config = client.get("/config").json()
    types = {component["id"]: component["type"] for component in config["components"]}
    found = {}
    for event in config["dependencies"]:
        found.setdefault(tuple(types[number] for number in event["inputs"]), event["id"])
    return found


def ask(client, inputs, *data):
    """Sends an event with inputs of some types. Returns whether it succeeded, and the answer as text."""
    body = {"data": data, "fn_index": events(client)[inputs], "session_hash": "abc", "event_data": None}
    assert client.post("/gradio_api/queue/join", json=body | {"trigger_id": None}).status_code == 200
    with client.stream("GET", "/gradio_api/queue/data?session_hash=abc") as answer:
        for line in answer.iter_lines():
            message = json.loads(line.removeprefix("data:") or "{}")
            if message.get("msg") == "process_completed":
                return message["success"], json.dumps(message["output"])
    raise AssertionError("no answer")


def colorize(client, photo, saturation=1, model="natural"):
    return ask(client, ("image", "dropdown", "slider", "state"), photo, model, saturation, None)


def load(client, hints):
    return ask(client, ("state", "uploadbutton"), None, hints)


def upload(client, name, content):
    """Uploads a file as a browser does. Returns its path on the server."""
    (path,) = client.post("/gradio_api/upload", files={"files": (name, content)}).json()
    return path


def test_what_was_uploaded_is_taken(client):
    path = upload(client, "a.jpg", PHOTO.read_bytes())
    good, answer = colorize(client, {"path": path, "url": f"http://testserver/gradio_api/file={path}"} | MARK)
    assert good and "a-colorized.jpg" in answer
    good, answer = load(client, {"path": upload(client, "a.json", HINTS)} | MARK)
    assert good and "Error" not in answer


@pytest.mark.parametrize("mark", [{}, MARK])
def test_no_other_file_is_read_and_none_is_told_to_exist(client, tmp_path, mark):
    (tmp_path / "a.json").write_bytes(HINTS)
    inside = upload(client, "a.jpg", PHOTO.read_bytes())
    paths = [
        *map(str, (PHOTO, PHOTO.with_name("missing.jpg"), tmp_path / "a.json", tmp_path / "missing.json", tmp_path)),
        *("app.py", "file:///etc/passwd", "/dev/zero", "a\0b", "x" * 5000, "", client.app.state.folder.name),
        f"{inside}/../../../../../..{PHOTO}",
        "https://127.0.0.1:1/a.jpg",
        3,
    ]
    answers = {send(client, {"path": path} | mark) for path in paths for send in (colorize, load)}
    # In place of a value that is no file, too: Gradio would fetch it or copy it.
    answers.add(colorize(client, None, model={"path": str(PHOTO)} | mark))
    answers.add(colorize(client, None, saturation=[{"deeper": {"path": "https://127.0.0.1:1/a"} | mark}]))
    ((good, answer),) = answers
    assert not good and "This file is not on the server any more" in answer


def test_an_address_beside_the_path_is_not_fetched(client):
    good, answer = colorize(client, {"path": None, "url": "https://127.0.0.1:1/a.jpg"} | MARK)
    assert good and "colorized" not in answer


def test_an_empty_saturation_is_1(client):
    path = upload(client, "a.jpg", PHOTO.read_bytes())
    good, answer = colorize(client, {"path": path} | MARK, saturation=None)
    assert good and "a-colorized.jpg" in answer


def test_a_very_long_photo_is_taken(client):
    photo = bytes(images.encode("photo", Photo(np.full((1, 5000), 90, np.uint8)), ".png")[0])
    good, answer = colorize(client, {"path": upload(client, "long.png", photo)} | MARK)
    assert good and "5000 x 1 pixels" in answer


def test_an_example_is_taken(client):
    good, answer = ask(client, ("dataset",), 0)
    (photo, *_) = json.loads(answer)["data"]
    assert good and colorize(client, {"path": photo["value"]["path"]} | MARK)[0]


def test_old_files_are_removed_even_if_their_upload_broke_off_and_the_examples_stay(monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")  # So that what the server sets is forgotten.
    monkeypatch.setattr(uploads, "LOOK_SECONDS", 0.01)
    server = make_server(Limits())
    folder = Path(server.state.folder.name)
    examples = set(folder.rglob("*"))
    assert PHOTO.name in {path.name for path in examples}
    old = time.time() - uploads.KEPT_SECONDS - 1
    for path in examples:
        os.utime(path, (old, old))
    with TestClient(server) as client:
        whole, fresh = (Path(upload(client, name, name.encode())) for name in ("whole.jpg", "fresh.jpg"))
        broken, empty = folder / "tmp1", folder / "tmp2"
        broken.write_bytes(b"broken off")
        empty.mkdir()
        for path in (whole, broken, empty):
            os.utime(path, (old, old))
        wait_until_gone(whole, broken, empty)
        os.utime(whole.parent, (old, old))
        wait_until_gone(whole.parent)
        assert set(folder.rglob("*")) == examples | {fresh.parent, fresh}


def wait_until_gone(*paths):
    deadline = time.monotonic() + 30
    while any(path.exists() for path in paths):
        assert time.monotonic() < deadline
        time.sleep(0.01)
