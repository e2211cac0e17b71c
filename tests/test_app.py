"""The HTTP API: photos in, photos out, limits, and hostile uploads."""

import asyncio
import os
import socket
import threading
import time

import cv2
import imagecodecs
import numpy as np
import pytest
from conftest import resident_megabytes
from PIL import Image
from processes import Script
from skimage import color
from small_networks import Gray
from test_fuzz import SUFFIXES, encode, mutate
from test_metadata import encode as by_pillow
from test_metadata import mutate as mutate_exif

from colorizing.serving import service
from common import images
from common.errors import UserError
from common.images import Photo

pytest.importorskip("gradio", reason="the server needs requirements-app.txt")
import uvicorn
from fastapi.testclient import TestClient

from app import Server, listen
from colorizing.serving.server import make_server
from colorizing.serving.service import Busy, Limits, Service


@pytest.fixture(scope="module")
def client():
    with TestClient(make_server(Limits(max_megabytes=0.5, max_megapixels=0.2))) as client:
        yield client


def content_of(pixels, suffix):
    return bytes(images.encode("photo", Photo(pixels), suffix)[0])


def post(client, content, **query):
    return client.post("/api/colorize", content=content, params=query)


@pytest.mark.parametrize(
    ("host", "cause"), [("127.0.0.1", "address already in use"), ("192.0.2.1", "cannot assign requested address")]
)
def test_an_address_that_cannot_be_used_is_named(host, cause):
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"^{host}:{port}: {cause}; give another --host or --port"):
            listen(host, port)


def test_a_name_that_no_host_can_have_is_named():
    with pytest.raises(UserError, match=r"^ü{300}: not a name that a host can have; give another --host$"):
        listen("ü" * 300, 7860)


def test_health_names_models_and_formats(client):
    health = client.get("/api/health").json()
    assert health["status"] == "ok" and "scenes" in health["models"] and {"jpg", "png", "tif"} <= set(health["formats"])


def test_health_takes_head_and_refuses_other_methods(client):
    answer = client.head("/api/health")
    assert answer.status_code == 200 and not answer.content
    for method in ("POST", "PROPFIND"):
        answer = client.request(method, "/api/health")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("suffix", "kind"), [(".png", "image/png"), (".jpg", "image/jpeg"), (".tif", "image/tiff"), (".webp", "image/webp")]
)
def test_a_photo_comes_back_in_its_format_and_size(client, photos, suffix, kind):
    response = post(client, content_of(photos[0][:61, :97, 1], suffix))
    assert response.status_code == 200 and response.headers["content-type"] == kind
    assert images.suffix_of(response.content) == suffix
    result = images.decode("result", response.content).pixels
    assert result.shape == (61, 97, 3) and np.ptp(result.astype(int), axis=-1).mean() > 5


def test_saturation_scales_the_colours_and_lightness_stays(client, photos):
    gray = photos[0][..., 1]
    chroma = {}
    for saturation in (0, 1):
        result = images.decode("result", post(client, content_of(gray, ".png"), saturation=saturation).content).pixels
        lab = color.rgb2lab(result)
        chroma[saturation] = np.linalg.norm(lab[..., 1:], axis=-1).mean()
        expected = color.rgb2lab(np.repeat(gray[..., None], 3, axis=-1))[..., 0]
        np.testing.assert_allclose(lab[..., 0], expected, atol=0.3)
    assert chroma[0] < 0.5 and chroma[1] > 5


def test_hints_come_as_a_second_part(client, photos):
    content = content_of(photos[0][..., 1], ".png")
    hints = '{"hints": [{"x": 0.5, "y": 0.5, "ab": [60, -50], "radius": 0.1}]}'

    def send(**parts):
        return client.post("/api/colorize", files=parts)

    plain, alone = post(client, content), send(photo=("a.png", content))
    assert alone.status_code == 200 and alone.content == plain.content
    as_file, as_text = send(photo=("a.png", content), hints=("h.json", hints)), send(photo=content, hints=(None, hints))
    assert as_file.status_code == as_text.status_code == 200 and as_file.content == as_text.content
    change = color.rgb2lab(images.decode("result", as_file.content).pixels) - color.rgb2lab(
        images.decode("result", plain.content).pixels
    )
    assert np.abs(change)[48, 64].max() > 20
    for words, parts in (
        ("hints: hint 1: x 3", {"photo": content, "hints": (None, hints.replace("0.5", "3", 1))}),
        ("hints: Invalid JSON", {"photo": content, "hints": (None, "red")}),
        ("no part 'photo'", {"hints": (None, hints)}),
        ("no part 'photo'", {"photo": (None, "text")}),
    ):
        response = send(**parts)
        assert response.status_code == 400 and words in response.json()["detail"]
    broken = client.post("/api/colorize", content=content, headers={"content-type": "multipart/form-data"})
    assert broken.status_code == 400 and "not a form" in broken.json()["detail"]


def test_a_form_is_one_in_any_case(client, photos):
    content = content_of(photos[0], ".png")
    body = b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a.png"\r\n\r\n' + content + b"\r\n--x--\r\n"
    response = client.post("/api/colorize", content=body, headers={"content-type": "Multipart/Form-Data; boundary=x"})
    assert response.status_code == 200


def test_what_is_not_known_is_refused(client, photos):
    content = content_of(photos[0], ".png")
    for words, files, query in (
        ("a form of photo, photo; send one", [("photo", ("a", content)), ("photo", ("b", content))], {}),
        ("a form of photo, hint; send one", [("photo", ("a", content)), ("hint", ("h", b"{}"))], {}),
        ("unknown: saturatoin; there are model and saturation", [("photo", ("a", content))], {"saturatoin": 2}),
        ("model, model; give model and saturation once", [("photo", ("a", content))], {"model": ["scenes", "natural"]}),
    ):
        response = client.post("/api/colorize", files=files, params=query)
        assert response.status_code == 400 and words in response.json()["detail"]


def test_a_photo_that_is_not_sent_or_that_curl_changed_is_explained(client, photos):
    for method in ("GET", "OPTIONS", "PUT", "PROPFIND", "TRACE", "ODD"):
        response = client.request(method, "/api/colorize")
        assert (response.status_code, response.headers["allow"]) == (405, "POST")
        assert response.json()["detail"].startswith("send a photo, with POST")
    content = content_of(photos[0], ".png").translate(None, b"\r\n\0")  # As `curl -d` sends it.
    for kind, explained in (("application/x-www-form-urlencoded", True), ("image/png", False)):
        response = client.post("/api/colorize", content=content, headers={"content-type": kind})
        assert response.status_code == 400 and ("--data-binary" in response.json()["detail"]) == explained


def test_notes_are_one_line(client, photos, cheap, monkeypatch):
    answer = images.encode
    monkeypatch.setattr(images, "encode", lambda *photo: (answer(*photo)[0], ["two\nlines", "M\u00fcnchen"]))
    assert post(client, content_of(photos[0], ".png")).headers["Colorize-Notes"] == r"two\nlines; M?nchen"


def test_errors_are_4xx_with_a_message(client, photos):
    good = content_of(photos[0], ".png")
    for status, words, content, query in (
        (400, "empty", b"", {}),
        (400, "not an image", b"no photo", {}),
        (400, "damaged", good[: len(good) // 2], {}),
        (404, "no such model", good, {"model": "../../etc/passwd"}),
        (413, "more than 0.2 megapixels (0.25); reduce", content_of(np.zeros((500, 500), np.uint8), ".png"), {}),
        (413, "more than 0.5 MB; reduce the photo", bytes(600_000), {}),
        (422, "saturation -1: Input should be greater than or equal to 0", good, {"saturation": -1}),
        (422, "saturation nan: Input should be a finite number", good, {"saturation": "nan"}),
    ):
        response = post(client, content, **query)
        assert (response.status_code, words in response.text) == (status, True), response.text
        assert isinstance(response.json()["detail"], str)


def upload_slowly(server, length, *messages):
    """What the server answers to an upload of a length, of which it is told some messages and then nothing more."""
    received = iter(messages)
    sent = []

    async def receive():
        return next(received, None) or await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    headers = [(b"content-length", str(length).encode())]
    scope = {"type": "http", "method": "POST", "path": "/api/colorize", "query_string": b"", "headers": headers}
    asyncio.run(asyncio.wait_for(server(scope, receive, send), 30))
    return [message["status"] for message in sent if "status" in message]


BEGINNING = {"type": "http.request", "body": b"\xff\xd8", "more_body": True}


def test_an_upload_that_breaks_off_is_no_fault_of_the_server(client):
    """Errors that reach uvicorn end up on the terminal."""
    assert upload_slowly(client.app, 9000, BEGINNING, {"type": "http.disconnect"}) in ([], [400])


def test_an_upload_has_its_time_and_one_that_says_it_is_too_large_is_not_waited_for(client):
    assert upload_slowly(client.app, 600_000) == [413]
    assert upload_slowly(make_server(Limits(max_seconds=0.1)), 9000, BEGINNING) == [408]


def test_an_upload_that_hangs_does_not_keep_the_server_from_its_end(caplog):
    with listen("127.0.0.1", 0) as listening:
        server = Server(uvicorn.Config(make_server(Limits()), log_config=None, timeout_graceful_shutdown=1))
        running = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        running.start()
        with socket.create_connection(listening.getsockname()) as visitor:
            visitor.sendall(b"POST /api/colorize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000\r\n\r\nphoto")
            deadline = time.monotonic() + 60
            while not server.server_state.tasks and time.monotonic() < deadline:
                time.sleep(0.01)
            server.should_exit = True
            running.join(30)
    assert not running.is_alive()
    errors = [record for record in caplog.records if record.name == "uvicorn.error" and record.levelname == "ERROR"]
    assert len(errors) == 1 and not errors[0].exc_info  # That a request was cut off.


def test_a_photo_in_work_does_not_keep_the_process(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import time, app\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "app.Server.run = lambda *_, **__: ThreadPoolExecutor().submit(time.sleep, 100)\napp.main()\n"
    )
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    process = Script(script, "--port", port, env=os.environ | {"TMPDIR": str(tmp_path)})
    status, output, errors = process.wait(timeout=80)
    assert status == 0 and not any("Traceback" in line for line in errors), errors
    assert f":{port}, colorizes on" in output
    assert not list(tmp_path.glob("colorize-*"))


def test_the_page_may_load_nothing_from_elsewhere(client):
    page = client.get("/")
    assert page.status_code == 200 and "default-src 'self'" in page.headers["content-security-policy"]
    for path in ("/etc/passwd", "configs.py", "../configs.py", "weights/scenes.keras"):
        assert client.get(f"/gradio_api/file={path}").status_code in (403, 404), path


@pytest.mark.parametrize("path", ["/", "/config", "/api/health", "/gradio_api/queue/status"])
@pytest.mark.parametrize("host", ["colorize.example.org", "127.0.0.1:7860"])
def test_no_other_site_reads_what_the_server_answers(client, path, host):
    headers = {"host": host, "origin": "https://evil.example"}
    asked = client.options(path, headers=headers | {"access-control-request-method": "GET"})
    for answer in (asked, client.get(path, headers=headers)):
        assert not any(name.startswith("access-control-allow-origin") for name in answer.headers)
    assert answer.status_code == 200 and asked.status_code == 400


@pytest.fixture
def cheap(monkeypatch):
    monkeypatch.setattr(service, "_load", lambda name: Gray())


def test_hostile_uploads_never_stop_the_server(client, photos, cheap):
    random = np.random.default_rng(1)
    whole = [encode(Photo(photos[number % 4][:64, :64]), suffix) for number, suffix in enumerate(SUFFIXES)]
    answers = []
    for number in range(200):
        response = post(client, mutate(whole[number % len(whole)], random))
        answers.append(response.status_code)
        if response.status_code == 200:
            assert images.decode("result", response.content).pixels.shape[2:] == (3,)
        else:
            assert 400 <= response.status_code < 500 and response.json()["detail"]
    assert set(answers) == {200, 400} or set(answers) == {200, 400, 413}
    assert post(client, whole[0]).status_code == 200


def test_what_is_left_out_or_damaged_beside_the_pixels_is_told_in_a_header(client, photos, cheap):
    small = photos[0][:64, :64]
    assert "Colorize-Notes" not in post(client, content_of(small, ".png")).headers
    random = np.random.default_rng(0)
    exif = Image.Exif()
    exif.update({271: "Maker", 282: 300.0, 33432: "\u00a9 somebody"})
    gamma = imagecodecs.cms_profile("gray", gamma=1.8)
    kinds = {
        "profile": by_pillow(small[..., 0], "JPEG", icc_profile=gamma),
        "damaged profile": by_pillow(small, "PNG", icc_profile=gamma[:200]),
        "large profile": by_pillow(small, "JPEG", icc_profile=imagecodecs.cms_profile("srgb") + bytes(200_000)),
        "pictures": by_pillow(small, "GIF", save_all=True, append_images=[Image.fromarray(small[::-1])]),
    }
    for name, content in kinds.items():
        response = post(client, content)
        assert response.status_code == 200, name
        assert name == "large profile" or response.headers["Colorize-Notes"], name
    for _ in range(30):
        response = post(client, by_pillow(small, "JPEG", exif=mutate_exif(b"Exif\0\0" + exif.tobytes(), random)))
        assert response.status_code == 200 and sorted(images.decode("result", response.content).pixels.shape) == [
            3,
            64,
            64,
        ]


class Slow(Gray):
    def colorize(self, lightness):
        time.sleep(0.3)
        return super().colorize(lightness)


def test_who_waits_too_long_or_behind_too_many_is_told(photos, monkeypatch):
    monkeypatch.setattr(service, "_load", lambda name: Slow())
    content = content_of(photos[0], ".png")
    patient, hasty = Service(Limits(max_waiting=3)), Service(Limits(max_seconds=0.05))

    async def visit(count, asked):
        return await asyncio.gather(
            *(asked.colorize("photo", content, "scenes") for _ in range(count)), return_exceptions=True
        )

    answers = asyncio.run(visit(8, patient))
    told = [answer for answer in answers if isinstance(answer, Busy)]
    assert len(told) == 5 and "too many photos are waiting (at most 3)" in str(told[0])
    assert all(isinstance(answer, service.Result) for answer in answers if answer not in told)
    assert not any(isinstance(answer, Busy) for answer in asyncio.run(visit(3, patient)))  # The places are free again.
    (late,) = asyncio.run(visit(1, hasty))
    assert isinstance(late, Busy) and "longer than 0.05 seconds" in str(late)


def test_visitors_share_batches(photos, monkeypatch):
    sizes = []

    class Watching(Slow):
        def colorize(self, lightness):
            sizes.append(len(lightness))
            return super().colorize(lightness)

    watched = service.Batcher(Watching())
    monkeypatch.setattr(service, "_load", lambda name: watched)
    shared = Service(Limits())
    content = content_of(cv2.resize(photos[0], (64, 64)), ".png")

    async def visit():
        await asyncio.gather(*(shared.colorize("photo", content, "scenes") for _ in range(8)))

    asyncio.run(visit())
    assert sum(sizes) == 8 and max(sizes) > 1 and threading.active_count() < 100


def test_memory_is_given_back_when_nobody_is_left(photos, monkeypatch):
    begun, ended = threading.Event(), threading.Event()

    class Held(Slow):
        def colorize(self, lightness):
            begun.set()
            assert ended.wait(timeout=60)
            return super().colorize(lightness)

    monkeypatch.setattr(service, "_load", lambda name: Held())
    left = []
    for thread in threading.enumerate():  # Of services of other tests.
        if isinstance(thread, threading.Timer):
            thread.join()
    monkeypatch.setattr(service, "give_back_memory", lambda: left.append(threading.get_ident()))
    patient = Service(Limits())
    content = content_of(photos[0], ".png")

    async def visit():
        slow = asyncio.create_task(patient.colorize("photo", content, "scenes"))
        assert await asyncio.to_thread(begun.wait, 60)
        with pytest.raises(images.PhotoError):
            await patient.colorize("photo", b"no photo", "scenes")
        assert not left  # The first photo is still worked on.
        ended.set()
        await slow

    asyncio.run(visit())
    deadline = time.monotonic() + 5
    while not left and time.monotonic() < deadline:
        time.sleep(0.01)
    # Not on the thread that answers, which the others would have to wait for.
    assert left and threading.get_ident() not in left


def test_free_memory_goes_back_to_the_system():
    # Blocks small enough to lie in the heap, and one in twenty that stays there.
    blocks = [np.ones(100_000, np.uint8) for _ in range(1000)]
    kept = blocks[::20]
    del blocks
    before = resident_megabytes()
    service.give_back_memory()
    assert resident_megabytes() < before - 50 and kept[-1].all()
