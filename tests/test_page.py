"""The page in a real browser: Chromium, driven by Playwright."""

import os
import shutil
import signal
import socket
import time
import urllib.request
from importlib.util import find_spec

import cv2
import numpy as np
import pytest
from processes import Script, call
from skimage import color

from colorizing.pixels import to_gray
from common.images import read, read_photo
from configs import SAMPLES

playwright = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
    # The server is a process of its own, so Gradio need not take time and memory here.
    pytest.mark.skipif(find_spec("gradio") is None, reason="the page needs requirements-app.txt"),
]
SECONDS = 60_000


@pytest.fixture(scope="module")
def server(tmp_path_factory, browser):
    """The server as a person starts it, which leaves no uploads when it is ended, be a page open. Gives its address."""
    folder = tmp_path_factory.mktemp("temporary")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = Script("app.py", "--port", port, "--max-megapixels", 2, env=os.environ | {"TMPDIR": str(folder)})
    address = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{address}/api/health", timeout=5)
            break
        except OSError:
            time.sleep(0.1)
    assert list(folder.glob("colorize-*"))
    yield address
    for path in ("/gradio_api/upload", "/api/colorize"):
        with socket.create_connection(("127.0.0.1", port)) as visitor:  # One that breaks off.
            head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n"
            visitor.send(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n".encode() + bytes(9999))
    page = browser.new_page()
    with page.expect_response("**/heartbeat/*"):  # The connection that a page keeps open.
        page.goto(address)
    page.wait_for_timeout(500)  # For what else the page loads.
    script.send(signal.SIGTERM)
    status, _, errors = script.wait(timeout=60)
    # uvicorn says "Cancel 1 running task(s)" where it has waited for a request in vain.
    assert status == 0 and not any("Traceback" in line or "Cancel" in line for line in errors), errors
    assert not list(folder.glob("colorize-*"))


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.fixture
def gray_file(tmp_path):
    """A gray photo of an odd size with spaces in its name."""
    gray = to_gray(read_photo(SAMPLES / "mountain-lake.jpg"))
    path = tmp_path / "a gray photo.png"
    cv2.imwrite(str(path), cv2.resize(gray, (601, 343), interpolation=cv2.INTER_AREA))
    return path


def open_page(browser, server, width, elsewhere, **options):
    """Opens the page, with every request that goes elsewhere noted."""
    page = browser.new_page(viewport={"width": width, "height": 900}, accept_downloads=True, **options)
    page.on(
        "request",
        lambda request: None if request.url.startswith((server, "data:", "blob:")) else elsewhere.append(request.url),
    )
    page.goto(server)
    page.get_by_text("Colour for gray photographs").first.wait_for(timeout=SECONDS)
    return page


def upload(page, path):
    page.locator("input[type=file]").first.set_input_files(str(path))


def wait_for_colour(page, words="601 x 343 pixels"):
    page.get_by_text(words).first.wait_for(timeout=SECONDS)


def download(page, folder):
    with page.expect_download(timeout=SECONDS) as waiting:
        page.get_by_role("button", name="Download at full size").click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def chroma(path):
    return np.ptp(read(path).pixels.astype(int), axis=-1).mean()


def test_a_photo_becomes_coloured(server, browser, gray_file, tmp_path):
    elsewhere = []
    page = open_page(browser, server, 1440, elsewhere)
    upload(page, gray_file)
    wait_for_colour(page)
    first = download(page, tmp_path)
    assert first.suffix == ".png" and read(first).pixels.shape == (343, 601, 3) and chroma(first) > 5

    # Nothing else offers what is shown, which can be smaller.
    assert page.get_by_role("link", name="Download").count() == 0
    # The slider: a pixel column near the middle changes from colour to gray as the handle passes over it.
    slider = page.locator("[data-testid=imageslider], .slider-wrap").first
    box = slider.bounding_box()
    before = page.screenshot()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2, steps=8)
    page.mouse.up()
    assert page.screenshot() != before

    # Saturation 0 by keyboard gives gray.
    handle = page.get_by_role("slider", name="Saturation").first
    handle.focus()
    page.keyboard.press("Home")
    page.wait_for_timeout(300)
    for _ in range(100):
        page.wait_for_timeout(200)
        second = download(page, tmp_path)
        if chroma(second) < 2:
            break
    assert chroma(second) < 2 and elsewhere == []
    page.close()


def test_a_photo_that_replaces_one_in_work_gets_its_own_result(server, browser, gray_file, tmp_path):
    slow = tmp_path / "slow.jp2"  # Noise takes JPEG 2000 a second.
    cv2.imwrite(str(slow), np.random.default_rng(0).integers(0, 65536, (1200, 1600, 3), np.uint16))
    page = open_page(browser, server, 1440, [])

    def asks_for_colours(request):
        return "/queue/join" in request.url and "natural" in request.post_data_json["data"]

    with page.expect_request(asks_for_colours, timeout=SECONDS):
        upload(page, slow)
    upload(page, gray_file)
    wait_for_colour(page)
    assert download(page, tmp_path).name == "a gray photo-colorized.png"
    page.close()


def test_a_photo_is_colorized_once_and_pictures_have_files_of_their_own(server, browser, gray_file):
    """A file that is written again while a browser reads it arrives in part."""
    page = open_page(browser, server, 1440, [])
    asked, addresses = [], []
    page.on("request", lambda request: "/queue/join" in request.url and asked.append(request.post_data_json["data"]))

    def wait_for_new_picture():
        source = "document.querySelector('#result img')?.getAttribute('src')"
        page.wait_for_function(f"seen => {source} && !seen.includes({source})", arg=addresses, timeout=SECONDS)
        page.wait_for_timeout(500)  # For requests that should not come.
        addresses.append(page.evaluate(source))

    for number in range(1, 4):  # The same photo again, and at last an example.
        upload(page, gray_file) if number < 3 else page.get_by_role("button", name="prairie-shack").click()
        wait_for_new_picture()
        assert sum("natural" in data for data in asked) == number
        if number == 1:  # The photo that is replaced has a dot.
            click_image(page, "#result", 0.3, 0.9)
            wait_for_new_picture()
            asked.pop()
    page.close()


def download_when(page, folder, holds):
    """The download as soon as a condition on its Lab holds."""
    for _ in range(100):
        path = download(page, folder)
        if holds(color.rgb2lab(read(path).pixels)):
            return path
        page.wait_for_timeout(200)
    raise AssertionError("the result does not change as it should")


def click_image(page, selector, across, down):
    """Clicks into a picture, at shares of its width and height."""
    image = page.locator(f"{selector} img").first
    image.wait_for(timeout=SECONDS)
    box = image.bounding_box()
    image.click(position={"x": box["width"] * across, "y": box["height"] * down})


def test_a_click_and_a_colour_and_the_object_takes_it(server, browser, gray_file, tmp_path):
    page = open_page(browser, server, 1440, [])
    upload(page, gray_file)
    wait_for_colour(page)
    before = download(page, tmp_path).read_bytes()
    plain = color.rgb2lab(read(tmp_path / "a gray photo-colorized.png").pixels)
    # Down on the lake. The swatch is that of "red".
    click_image(page, "#result", 0.3, 0.9)
    click_image(page, "#swatches", 5.5 / 12, 0.5)
    place, far = (round(0.9 * 343), round(0.3 * 601)), (30, 570)
    path = download_when(page, tmp_path, lambda lab: lab[place][1] > plain[place][1] + 15)
    hinted, changed = path.read_bytes(), color.rgb2lab(read(path).pixels)
    assert abs(np.arctan2(changed[place][2], changed[place][1]) - np.arctan2(40, 60)) < 0.15
    assert np.abs(changed[far] - plain[far]).max() < 3

    # What test.py makes of the saved hints is the same file.
    with page.expect_download(timeout=SECONDS) as waiting:
        page.get_by_role("button", name="Save the hints").click()
    assert waiting.value.suggested_filename == "a gray photo.hints.json"
    hints = tmp_path / "a gray photo.hints.json"
    waiting.value.save_as(hints)
    assert call("test.py", gray_file, "--hints", hints, "-o", tmp_path / "out")[0] == 0
    assert (tmp_path / "out" / gray_file.name).read_bytes() == hinted

    # One undo takes the colour back, and loading the hints brings it again.
    page.get_by_text("Undo", exact=True).click()
    path = download_when(page, tmp_path, lambda lab: lab[place][1] < plain[place][1] + 5)
    assert path.read_bytes() == before
    hints = hints.rename(tmp_path / "hints.txt")  # As some mail programs name it.
    with page.expect_file_chooser() as choosing:
        page.get_by_role("button", name="Load hints").click()
    choosing.value.set_files(str(hints))
    assert download_when(page, tmp_path, lambda lab: lab[place][1] > plain[place][1] + 15).read_bytes() == hinted
    page.close()


def test_what_is_no_photo_gets_a_sentence(server, browser, gray_file, tmp_path):
    page = open_page(browser, server, 1440, [])
    for name in ("text.jpg", "text.txt", "film.mp4"):
        (tmp_path / name).write_text("no photo")
        upload(page, tmp_path / name)
        # In the corner for ten seconds, and below the empty result.
        page.get_by_text(f"{name}: not an image in a format that can be read").nth(1).wait_for(timeout=SECONDS)
    assert "Traceback" not in page.content()
    assert not page.get_by_text("Put a colour right").is_visible()
    page.close()


def test_a_scan_that_browsers_cannot_draw_is_colorized_without_a_broken_picture(server, browser, gray_file, tmp_path):
    cv2.imwrite(str(tmp_path / "scan.tif"), cv2.imread(str(gray_file)))
    page = open_page(browser, server, 1440, [])
    upload(page, tmp_path / "scan.tif")
    wait_for_colour(page)
    page.locator("#result img").wait_for(timeout=SECONDS)
    seen = "[...document.images].filter(image => image.complete && !image.naturalWidth && image.checkVisibility())"
    page.wait_for_function(f"{seen}.length == 0")
    # A photo after it is shown again.
    upload(page, gray_file)
    page.wait_for_function("[...document.images].some(image => image.naturalWidth == 601 && image.checkVisibility())")
    page.close()


def test_a_photo_without_a_media_type_is_taken(server, browser, gray_file, tmp_path):
    page = open_page(browser, server, 1440, [])
    with page.expect_file_chooser() as waiting:
        page.locator("#photo button").first.click()
    assert waiting.value.element.get_attribute("accept") == ""  # The dialog shows all files.
    waiting.value.set_files(gray_file.rename(tmp_path / "a photo.mpo"))
    wait_for_colour(page)
    page.close()


@pytest.mark.parametrize(("kind", "data"), [("drop", "dataTransfer"), ("paste", "clipboardData")])
def test_a_photo_is_taken_wherever_it_is_dropped_or_pasted(server, browser, gray_file, kind, data):
    page = open_page(browser, server, 1440, [])
    script = f"""content => {{
        const data = new DataTransfer()
        data.items.add(new File([Uint8Array.from(content)], "a photo.png"))
        const event = new Event("{kind}", {{bubbles: true, cancelable: true}})
        event.{data} = data
        document.querySelector("h1").dispatchEvent(event)
        return event.defaultPrevented
    }}"""
    assert page.evaluate(script, list(gray_file.read_bytes()))  # Else the browser would leave the page.
    wait_for_colour(page)
    page.close()


def test_screen_readers_get_names(server, browser, gray_file):
    page = open_page(browser, server, 1440, [])
    page.evaluate("""() => {
        window.said = []
        const note = () => window.said.push(document.querySelector(".sr-only[role=status]").innerText)
        new MutationObserver(note).observe(document.body, {subtree: true, childList: true, characterData: true})
    }""")
    upload(page, gray_file)
    wait_for_colour(page)
    click_image(page, "#result", 0.3, 0.9)
    page.locator("#swatches img").wait_for(timeout=SECONDS)
    page.wait_for_function("[...document.images].every(image => image.alt)")
    seen = page.locator("body").aria_snapshot().splitlines()
    assert any("By keyboard, " in line for line in seen)
    buttons = [line.strip() for line in seen if line.strip().startswith("- button")]
    assert len(buttons) > 30 and all(line.startswith('- button "') for line in buttons), buttons
    assert {'- button "prairie-shack":', '- button "Click where a colour is wrong":'} <= set(buttons)
    page.wait_for_function("window.said.includes('Done')", timeout=SECONDS)
    page.close()


def contrast(page, locator):
    """The contrast of an element's text with its background (WCAG 2.2)."""
    luminance = []
    for name in ("color", "backgroundColor"):
        value = locator.evaluate(f"""element => {{
            for (; getComputedStyle(element).{name} == "rgba(0, 0, 0, 0)"; element = element.parentElement);
            return getComputedStyle(element).{name}
        }}""")
        channels = np.array([int(channel) for channel in value.removeprefix("rgb(").strip(")").split(",")]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        luminance.append(linear @ (0.2126, 0.7152, 0.0722) + 0.05)
    return max(luminance) / min(luminance)


@pytest.mark.parametrize(("scheme", "widths"), [("light", (390, 1440)), ("dark", (1440, 390))])
def test_the_page_fits_its_window_and_its_words_and_focus_stand_out(server, browser, gray_file, scheme, widths):
    page = open_page(browser, server, widths[0], [], color_scheme=scheme)
    assert contrast(page, page.get_by_text("- or -")) >= 4.5
    upload(page, gray_file)
    wait_for_colour(page)
    for width in widths:
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function(f"innerWidth == {width} && document.documentElement.scrollWidth <= {width}")
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        light = sum(int(value) for value in background.strip("rgba()").split(",")[:3]) > 380
        assert light == (scheme == "light")

    page.set_viewport_size({"width": 1440, "height": 900})
    button = page.get_by_role("button", name="Download at full size")
    page.wait_for_function("!document.querySelector('button.primary').disabled")
    page.wait_for_timeout(500)  # For the change of its colour.
    assert contrast(page, button) >= 4.5
    button.hover()
    page.wait_for_timeout(500)
    assert contrast(page, button) >= 4.5
    button.focus()
    for _ in range(4):  # Model, number, reset, slider.
        page.keyboard.press("Tab")
    handle = page.locator("input[type=range]:focus")
    assert handle.count() == 1 and handle.evaluate("input => getComputedStyle(input).outlineStyle") != "none"
    page.close()
