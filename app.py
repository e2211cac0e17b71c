"""A page to drop a photo on, and an HTTP API, on one server.

    python app.py

The page is at /, the API at /api/colorize and /api/health. The server listens on this machine alone unless --host says
otherwise.
"""

import contextlib
import os
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from common.command_line import parse, prepare_imports, printable, run

if __name__ == "__main__":
    prepare_imports()

import fastapi
import gradio
import keras
import numpy as np
import uvicorn
from annotated_types import Interval
from fastapi.exceptions import RequestValidationError
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

import models
from colorizing.hints import format_hints, parse_hints, place_of
from colorizing.pixels import shrink, to_gray
from colorizing.serving.hint_editor import SWATCH, Edits, ab_of_picked, draw_dots, draw_swatches, offered_colors
from colorizing.serving.service import Busy, Limits, Service, share_one_heap
from common import images
from common.errors import UserError
from common.files import PHOTO_SUFFIXES, describe_error, is_photo
from common.samples import as_color
from configs import MODEL, SAMPLES
from models.precision import choose_policy, describe_devices
from utils import rgb_to_lab

# Longer side in pixels of what the page shows; the download has the photo's own size.
PREVIEW_SIZE = 1600
# Seconds after which visitors' files are removed, and seconds between two searches for such files.
KEPT_SECONDS, LOOK_SECONDS = 600, 60
# Header of an answer that says what of the photo was left out or converted.
NOTES = "Colorize-Notes"
# The page may load what this server sends and nothing else.
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; font-src 'self' data:; connect-src 'self'; frame-ancestors 'self'"
)
# Browsers show a broken picture in place of a TIFF, HEIC or JPEG XL photo. Errors do not bubble, but can be captured.
HEAD = """<script>
document.addEventListener("error", ({target}) => {if (target.tagName === "IMG") target.hidden = true}, true)
document.addEventListener("load", ({target}) => {if (target.tagName === "IMG") target.hidden = false}, true)
</script>"""
INTRODUCTION = """# Colour for gray photographs
Drop a photo below, or paste it. It stays on this server for ten minutes and goes nowhere else."""

HINTS = """## Put a colour right
Click where a colour is wrong and choose a colour for the dot: what is near and looks alike takes it. A dot without a
colour protects the colour there. Click on a dot to change it."""


@dataclass(frozen=True)
class Options(Limits):
    """Serves a page and an HTTP API that colorize photos."""

    host: str = "127.0.0.1"
    """Address to listen on. Behind a reverse proxy leave it as it is."""
    port: Annotated[int, Interval(ge=1, le=65535)] = 7860
    """Port to listen on."""


def offer(shown, hint, likely):
    """The colours on offer for a hint: what is shown at its place, then the likely ones, then common ones.

    Args:
        shown: The picture on the page, sRGB uint8 [height, width, 3].
        hint: The hint.
        likely: ab that the network thinks likely at the place, [count, 2].

    Returns:
        (picture of the colours, see `draw_swatches`; their ab, a list of pairs).
    """
    lab = rgb_to_lab(shown[place_of(hint, shown)][None]).numpy()[0]
    ab, rgb = offered_colors(lab[0], [lab[1:], *likely])
    return draw_swatches(rgb), ab.tolist()


def preview(pixels):
    """Pixels as the page shows them: uint8, [height, width, 3], at most PREVIEW_SIZE on the longer side."""
    pixels = shrink(pixels, PREVIEW_SIZE / max(pixels.shape[:2]))
    return as_color(pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8))


@contextlib.contextmanager
def showing_errors():
    """Shows an error that a visitor can mend on the page."""
    try:
        yield
    except UserError as error:
        raise gradio.Error(str(error), print_exception=False) from error


def make_page(service, folder):
    """The page, a gradio.Blocks; results for download are put into a folder."""

    def keep(name, content):
        """Writes a file for download. Returns what a button takes."""
        place = Path(tempfile.mkdtemp(dir=folder)) / name
        place.write_bytes(content)
        return gradio.DownloadButton(value=place, interactive=True)

    def show_nothing(words=""):
        """The page without a result, but with a message: {component: value} for all `outputs`, see below."""
        off, hidden = gradio.DownloadButton(interactive=False), gradio.Column(visible=False)
        values = {message: words, download: off, saved: off, offered: [], hinting: hidden, coloring: hidden}
        return dict.fromkeys(outputs) | values

    async def colorize(path, model, saturation, edits):
        """Colorizes a photo. Returns {component: value} for all `outputs`, see below."""
        if path is None:
            return show_nothing()
        started = time.perf_counter()
        path = Path(path)
        try:
            done = await service.colorize(path.name, path.read_bytes(), model, saturation, edits.hints, edits.hint)
        except UserError as error:
            gradio.Warning(str(error))  # For ten seconds; the sentence stays below the empty result.
            return show_nothing(str(error))
        before, after = (preview(pixels) for pixels in (to_gray(done.photo.pixels), done.photo.pixels))
        height, width = done.photo.pixels.shape[:2]
        words = f"{width} x {height} pixels, {time.perf_counter() - started:.1f} seconds"
        values = show_nothing("  \n".join([words, *done.losses]))
        values[slider], values[result], values[size] = (before, after), draw_dots(after, edits), (width, height)
        values[download] = keep(f"{path.stem}-colorized{done.suffix}", done.content)
        values[hinting] = gradio.Column(visible=True)
        if edits.hints:
            values[saved] = keep(f"{path.stem}.hints.json", format_hints(edits.hints).encode())
        if edits.hint:
            values[swatches], values[offered] = offer(after, edits.hint, done.likely)
            values[coloring] = gradio.Column(visible=True)
        return values

    def click(event: gradio.SelectData, edits, size, moving):
        # The picture on the page may be smaller than the photo.
        shown = min(1, PREVIEW_SIZE / max(size)) * np.array(size)
        x, y = np.clip((np.array(event.index) + 0.5) / shown, 0, 1).tolist()
        return edits.click(x, y, size[0] / size[1], moving)

    def choose(event: gradio.SelectData, edits, offered):
        return edits.color(tuple(offered[min(event.index[0] // SWATCH, len(offered) - 1)]))

    def pick(edits, picked):
        with showing_errors():
            return edits.color(ab_of_picked(picked))

    def load(edits, file):
        with showing_errors():
            return edits.change(parse_hints(Path(file).read_bytes(), Path(file).name), None)

    with gradio.Blocks(
        title="Colour for gray photographs", analytics_enabled=False, delete_cache=(LOOK_SECONDS, KEPT_SECONDS)
    ) as page:
        gradio.Markdown(INTRODUCTION)
        with gradio.Row():
            with gradio.Column():
                photo = gradio.Image(type="filepath", sources=["upload", "clipboard"], label="Photo", height=320)
                # Gradio would open the file with Pillow, whose errors are not for visitors. The service reads it.
                photo.preprocess = lambda payload: payload and payload.path
            with gradio.Column():
                slider = gradio.ImageSlider(label="Before and after", interactive=False, type="numpy", format="jpeg")
                message = gradio.Markdown()
                download = gradio.DownloadButton("Download at full size", variant="primary", interactive=False)
        with gradio.Row():
            model = gradio.Dropdown(models.names(), value=MODEL, label="Model")
            saturation = gradio.Slider(0, 2, value=1, step=0.05, label="Saturation")
        with gradio.Column(visible=False) as hinting:
            gradio.Markdown(HINTS)
            with gradio.Row():
                with gradio.Column(scale=2):
                    label = "Click where a colour is wrong"
                    look = {"interactive": False, "format": "jpeg", "buttons": ["fullscreen"]}
                    result = gradio.Image(label=label, elem_id="result", **look)
                    with gradio.Row():
                        look = {"size": "sm", "min_width": 100}  # So that the three fit into one row.
                        undo = gradio.Button("Undo", **look)
                        saved = gradio.DownloadButton("Save the hints", interactive=False, **look)
                        loaded = gradio.UploadButton("Load hints", file_types=[".json"], type="filepath", **look)
                with gradio.Column():
                    with gradio.Column(visible=False) as coloring:
                        look = {"interactive": False, "format": "png", "buttons": [], "height": 110}
                        swatches = gradio.Image(label="Colours for the chosen dot", elem_id="swatches", **look)
                        picker = gradio.ColorPicker(label="Another colour")
                        moving = gradio.Checkbox(label="The next click moves the chosen dot")
                        network = gradio.Button("Keep the network's colour there", size="sm")
                        remove = gradio.Button("Remove the dot", size="sm")
        examples = [[str(path)] for path in sorted(SAMPLES.iterdir()) if is_photo(path)]
        gradio.Examples(examples, photo, examples_per_page=len(examples), label="Or try one of these")
        edits, size, offered = gradio.State(Edits()), gradio.State(), gradio.State([])
        inputs = [photo, model, saturation, edits]
        outputs = [slider, result, download, message, size, saved, swatches, offered, hinting, coloring]
        private, last = {"api_visibility": "private"}, {"trigger_mode": "always_last"}
        photo.change(Edits, None, edits, **private, **last).then(colorize, inputs, outputs, **private)
        gradio.on([model.change, saturation.change], colorize, inputs, outputs, **private, **last)
        edits.change(colorize, inputs, outputs, show_progress="minimal", **private, **last)
        result.select(click, [edits, size, moving], edits, **private)
        swatches.select(choose, [edits, offered], edits, **private)
        picker.input(pick, [edits, picker], edits, **private, **last)
        network.click(lambda edits: edits.color(None), edits, edits, **private)
        remove.click(Edits.remove, edits, edits, **private)
        undo.click(Edits.undo, edits, edits, **private)
        loaded.upload(load, [edits, loaded], edits, **private)
    page.queue(max_size=service.limits.max_waiting, default_concurrency_limit=4)
    return page


def make_server(limits):
    """The server: a fastapi.FastAPI with the API, the page, and the rule that the page loads nothing from elsewhere."""
    service = Service(limits)
    server = fastapi.FastAPI(title="Colour for gray photographs", docs_url=None, redoc_url=None)

    @server.middleware("http")
    async def add_policy(request, call_next):
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    @server.exception_handler(RequestValidationError)
    async def explain(request, error):
        """Says in one sentence, as all other errors do, what is wrong with a query."""
        problems = [f"{problem['loc'][-1]} {problem['input']}: {problem['msg']}" for problem in error.errors()]
        return JSONResponse({"detail": "; ".join(problems)}, 422)

    @server.get("/api/health")
    def health():
        return {"status": "ok", "models": models.names(), "formats": sorted(s[1:] for s in PHOTO_SUFFIXES)}

    @server.post("/api/colorize")
    async def colorize(
        request: fastapi.Request,
        model: str = MODEL,
        saturation: float = fastapi.Query(1.0, ge=0, le=10, allow_inf_nan=False),
    ):
        if unknown := request.query_params.keys() - {"model", "saturation"}:
            raise fastapi.HTTPException(400, f"unknown: {', '.join(sorted(unknown))}; there are model and saturation")
        content = bytearray()
        try:
            async for chunk in request.stream():
                content += chunk
                if len(content) > limits.max_megabytes * 1e6:
                    raise fastapi.HTTPException(413, f"more than {limits.max_megabytes:g} MB; reduce the photo")
            photo, hints = await split_request(request.headers, bytes(content))
            result = await service.colorize("photo", photo, model, saturation, hints)
        except UserError as error:
            raise fastapi.HTTPException(status_of(error), str(error)) from error
        except ClientDisconnect:  # Nobody reads the answer.
            raise fastapi.HTTPException(400, "the upload broke off") from None
        # Headers hold ASCII, in one line.
        losses = printable("; ".join(result.losses)).encode("ascii", "replace").decode()
        return fastapi.Response(
            result.content, media_type=media_type(result.suffix), headers={NOTES: losses} if losses else None
        )

    # Gradio keeps uploads in this folder, which is deleted when the server ends.
    folder = tempfile.TemporaryDirectory(prefix="colorize-")
    os.environ["GRADIO_TEMP_DIR"] = folder.name
    server.state.folder = folder
    return gradio.mount_gradio_app(
        server,
        make_page(service, folder.name),
        "/",
        footer_links=[],
        run_history=False,
        show_error=True,
        max_file_size=int(limits.max_megabytes * 1e6),
        ssr_mode=False,
        head=HEAD,
        theme=gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
    )


async def split_request(headers, content):
    """The photo's content and the hints of a request with a body: the body, or a form's parts `photo` and `hints`.

    Raises:
        UserError: The form is damaged, lacks a photo, has other parts or one twice, or hints that cannot be used.
    """
    if not headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return content, []

    async def body():
        yield content

    try:
        form = await MultiPartParser(headers, body(), max_files=2, max_fields=2, max_part_size=len(content)).parse()
    except (MultiPartException, KeyError) as error:
        raise UserError(f"not a form that can be read ({error})") from error
    names = [name for name, _ in form.multi_items()]
    if len(names) > len(set(names)) or set(names) - {"photo", "hints"}:
        raise UserError(f"a form of {', '.join(names)}; send one part 'photo' and, if need be, one part 'hints'")
    parts = {name: part if isinstance(part, str) else await part.read() for name, part in form.items()}
    if not isinstance(parts.get("photo"), bytes):
        raise UserError("no part 'photo' with a file in the form")
    return parts["photo"], parse_hints(parts["hints"], "hints") if "hints" in parts else []


def media_type(suffix):
    """The media type of a format, given by its suffix."""
    names = {".jpg": "jpeg", ".ppm": "x-portable-pixmap", ".tif": "tiff"}
    return f"image/{names.get(suffix, suffix[1:])}"


def status_of(error):
    """The HTTP status of an error that a visitor can mend."""
    statuses = {images.TooLarge: 413, models.ModelError: 404, Busy: 429}
    return next((status for kind, status in statuses.items() if isinstance(error, kind)), 400)


def listen(host, port):
    """A socket that listens at an address of this machine. Raises UserError where the address cannot be used."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        cause, *_ = describe_error(error).split(" (")  # Python adds the address.
        raise UserError(f"{host}:{port}: {cause}; give another --host or --port") from error
    except TypeError as error:  # Python cannot encode the name.
        raise UserError(f"{host}: not a name that a host can have; give another --host") from error


def main():
    options = parse(Options, "app.py")
    listening = listen(options.host, options.port)
    keras.config.set_dtype_policy(choose_policy())
    share_one_heap()
    server = make_server(options)
    print(f"http://{options.host}:{options.port}, colorizes on {describe_devices()}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how the server is ended.
        uvicorn.Server(uvicorn.Config(server, log_level="warning", limit_concurrency=200)).run(sockets=[listening])


if __name__ == "__main__":
    run(main)
