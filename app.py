"""A page to drop a photo on, and an HTTP API, on one server.

    python app.py

The page is at /, the API at /api/colorize and /api/health. The server listens on this machine alone unless --host says
otherwise.
"""

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from common.command_line import parse, run, tame_native_libraries

if __name__ == "__main__":
    tame_native_libraries()

import cv2
import keras
import numpy as np
from annotated_types import Interval

import models
from colorizing.pixels import as_color, to_gray
from colorizing.service import Busy, Limits, Service, share_one_heap
from common import images
from common.errors import UserError
from common.files import PHOTO_SUFFIXES, is_photo
from configs import MODEL, SAMPLES
from models.precision import choose_policy, describe_devices

try:
    import fastapi
    import gradio
    import uvicorn
except ImportError as error:
    raise SystemExit(
        f"app.py needs {error.name}, which is not installed: pip install -r requirements-app.txt"
    ) from None

# Longer side in pixels of what the page shows; the download has the photo's own size.
PREVIEW_SIZE = 1600
# Seconds after which files of visitors are removed, and between looks for them.
KEPT_SECONDS, LOOK_SECONDS = 600, 60
# Header of an answer that says what of the photo was left out or converted.
NOTES = "Colorize-Notes"
# The page may load what this server sends and nothing else.
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; font-src 'self' data:; connect-src 'self'; frame-ancestors 'self'"
)
INTRODUCTION = """# Colour for gray photographs
Drop a photo below, or paste it. It stays on this server for ten minutes and goes nowhere else."""


@dataclass(frozen=True)
class Options(Limits):
    """Serves a page and an HTTP API that colorize photos."""

    host: str = "127.0.0.1"
    """Address to listen on. Behind a reverse proxy leave it as it is."""
    port: Annotated[int, Interval(ge=1, le=65535)] = 7860
    """Port to listen on."""


def preview(pixels):
    """Pixels as the page shows them: uint8, [height, width, 3], at most PREVIEW_SIZE on the longer side."""
    scale = PREVIEW_SIZE / max(pixels.shape[:2])
    if scale < 1:
        pixels = cv2.resize(np.ascontiguousarray(pixels), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    pixels = pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)
    return as_color(pixels)


def make_page(service, folder):
    """The page, a gradio.Blocks; results for download are put into a folder."""

    async def colorize(path, model, saturation):
        if path is None:
            return None, None, ""
        started = time.perf_counter()
        name = Path(path).name
        try:
            result = await service.colorize(name, Path(path).read_bytes(), model, saturation)
        except UserError as error:
            raise gradio.Error(str(error), print_exception=False) from error
        place = Path(tempfile.mkdtemp(dir=folder)) / f"{Path(name).stem}-colorized{result.suffix}"
        place.write_bytes(result.content)
        height, width = result.photo.pixels.shape[:2]
        size = f"{width} x {height} pixels, {time.perf_counter() - started:.1f} seconds"
        message = "  \n".join([size, *result.losses])
        pictures = tuple(preview(pixels) for pixels in (to_gray(result.photo.pixels), result.photo.pixels))
        return pictures, gradio.DownloadButton(value=place, interactive=True), message

    with gradio.Blocks(
        title="Colour for gray photographs", analytics_enabled=False, delete_cache=(LOOK_SECONDS, KEPT_SECONDS)
    ) as page:
        gradio.Markdown(INTRODUCTION)
        with gradio.Row():
            with gradio.Column():
                photo = gradio.Image(type="filepath", sources=["upload", "clipboard"], label="Photo", height=320)
                # Gradio would open the file with Pillow, whose errors are no sentences; reading is the service's part.
                photo.preprocess = lambda payload: payload and payload.path
            with gradio.Column():
                slider = gradio.ImageSlider(label="Before and after", interactive=False, type="numpy", format="jpeg")
                message = gradio.Markdown()
                download = gradio.DownloadButton("Download at full size", interactive=False)
        with gradio.Row():
            model = gradio.Dropdown(models.names(), value=MODEL, label="Model")
            saturation = gradio.Slider(0, 2, value=1, step=0.05, label="Saturation")
        examples = [[str(path)] for path in sorted(SAMPLES.iterdir()) if is_photo(path)]
        gradio.Examples(examples, photo, examples_per_page=len(examples))
        gradio.on(
            [photo.change, model.change, saturation.change],
            colorize,
            [photo, model, saturation],
            [slider, download, message],
            trigger_mode="always_last",
            show_progress="full",
            api_visibility="private",
        )
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

    @server.get("/api/health")
    def health():
        return {"status": "ok", "models": models.names(), "formats": sorted(s[1:] for s in PHOTO_SUFFIXES)}

    @server.post("/api/colorize")
    async def colorize(
        request: fastapi.Request,
        model: str = MODEL,
        saturation: float = fastapi.Query(1.0, ge=0, le=10, allow_inf_nan=False),
    ):
        content = bytearray()
        async for chunk in request.stream():
            content += chunk
            if len(content) > limits.max_megabytes * 1e6:
                raise fastapi.HTTPException(413, f"the limit is {limits.max_megabytes:g} MB")
        try:
            result = await service.colorize("photo", bytes(content), model, saturation)
        except UserError as error:
            raise fastapi.HTTPException(status_of(error), str(error)) from error
        kind = images.MEDIA_TYPES[result.suffix]
        # Headers hold ASCII.
        losses = "; ".join(result.losses).encode("ascii", "replace").decode()
        return fastapi.Response(result.content, media_type=kind, headers={NOTES: losses} if losses else None)

    # Gradio keeps what visitors upload in here, which goes when the server ends.
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
        theme=gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
    )


def status_of(error):
    """The HTTP status of an error that a visitor can mend."""
    statuses = {images.TooLarge: 413, models.ModelError: 404, Busy: 429}
    return next((status for kind, status in statuses.items() if isinstance(error, kind)), 400)


def main():
    options = parse(Options, "app.py", "[options]")
    keras.config.set_dtype_policy(choose_policy())
    share_one_heap()
    server = make_server(options)
    print(f"http://{options.host}:{options.port}, colorizes on {describe_devices()}", flush=True)
    uvicorn.run(server, host=options.host, port=options.port, log_level="warning", limit_concurrency=200)


if __name__ == "__main__":
    run(main)
