"""The server: the HTTP API, the page, and the rule that the page loads nothing from elsewhere."""

import asyncio
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import fastapi
import gradio
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from starlette.datastructures import MutableHeaders
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

import models
from colorizing.hints import parse_hints
from colorizing.serving.page import TITLE, Page
from colorizing.serving.service import Busy, Service
from common import images
from common.command_line import printable
from common.errors import UserError
from common.files import PHOTO_SUFFIXES
from configs import MODEL

# Header of an answer that says what of the photo was left out or converted.
NOTES = "Colorize-Notes"
# The page may load what this server sends and nothing else.
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; font-src 'self' data:; connect-src 'self'; frame-ancestors 'self'"
)
# The texts and buttons of Gradio's own theme have too little contrast (WCAG 2.2, 1.4.3).
THEME = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]).set(
    body_text_color_subdued="*neutral_500",
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_hover_dark="*primary_800",
)


def make_server(limits):
    """The server: a fastapi.FastAPI with the API, the page, and the rule that the page loads nothing from elsewhere."""
    service = Service(limits)
    # Gradio keeps uploads in this folder, which is deleted when the server ends.
    folder = tempfile.TemporaryDirectory(prefix="colorize-")
    os.environ["GRADIO_TEMP_DIR"] = folder.name
    blocks = Page(service, folder.name).blocks
    server = fastapi.FastAPI(title=TITLE, docs_url=None, redoc_url=None, lifespan=blocks.sweeping)
    server.state.folder = folder

    @server.exception_handler(RequestValidationError)
    async def explain(request, error):
        """Says in one sentence, as all other errors do, what is wrong with a query."""
        problems = [f"{problem['loc'][-1]} {problem['input']}: {problem['msg']}" for problem in error.errors()]
        return JSONResponse({"detail": "; ".join(problems)}, 422)

    # Without it, Gradio lets pages of other servers read its answers.
    server.add_middleware(CORSMiddleware, allow_origins=[])
    server.add_middleware(WithPolicy)

    @server.api_route("/api/health", methods=["GET", "HEAD"])
    def health():
        return {"status": "ok", "models": models.names(), "formats": sorted(s[1:] for s in PHOTO_SUFFIXES)}

    @server.post("/api/colorize")
    async def colorize(
        request: fastapi.Request,
        model: str = MODEL,
        saturation: float = fastapi.Query(1.0, ge=0, le=10, allow_inf_nan=False),
    ):
        names = [name for name, _ in request.query_params.multi_items()]
        if unknown := set(names) - {"model", "saturation"}:
            raise fastapi.HTTPException(400, f"unknown: {', '.join(sorted(unknown))}; there are model and saturation")
        if len(names) > len(set(names)):
            raise fastapi.HTTPException(400, f"{', '.join(names)}; give model and saturation once each")
        try:
            photo, hints = await split_request(request.headers, await read_body(request, limits))
            result = await service.colorize("photo", photo, model, saturation, hints)
        except UserError as error:
            raise fastapi.HTTPException(status_of(error), f"{error}{advice(request.headers, error)}") from error
        except ClientDisconnect:  # Nobody reads the answer.
            raise fastapi.HTTPException(400, "the upload broke off") from None
        # Headers hold ASCII, in one line.
        losses = printable("; ".join(result.losses)).encode("ascii", "replace").decode()
        return fastapi.Response(
            result.content, media_type=media_type(result.suffix), headers={NOTES: losses} if losses else None
        )

    # Without these, the page answers other methods that there is no such address.
    server.router.add_route("/api/health", Refusal("ask with GET", "GET, HEAD"), include_in_schema=False)
    explanation = "send a photo, with POST: curl --data-binary @photo.jpg"
    server.router.add_route("/api/colorize", Refusal(explanation, "POST"), include_in_schema=False)

    gradio.mount_gradio_app(
        server,
        blocks,
        "/",
        footer_links=[],
        run_history=False,
        show_error=True,
        max_file_size=int(limits.max_megabytes * 1e6),
        ssr_mode=False,
        head_paths=Path(__file__).with_name("head.html"),
        theme=THEME,
        i18n=gradio.I18n(en={"common.complete": "Done"}),  # Gradio tells screen readers the bare key.
    )
    # Every open page holds a connection, until Gradio is told by this event that the server ends.
    server.state.pages_end = server.routes[-1].app.stop_event
    return server


async def read_body(request, limits):
    """The body of a request, bytes.

    Raises fastapi.HTTPException where it is too large, by its Content-Length or in fact, or takes too long, and
    ClientDisconnect where it broke off.
    """
    too_large = fastapi.HTTPException(413, f"more than {limits.max_megabytes:g} MB; reduce the photo")
    claimed = request.headers.get("content-length", "")
    if claimed.isdecimal() and int(claimed) > limits.max_megabytes * 1e6:
        raise too_large
    content = bytearray()
    try:
        async with asyncio.timeout(limits.max_seconds):
            async for chunk in request.stream():
                content += chunk
                if len(content) > limits.max_megabytes * 1e6:
                    raise too_large
    except TimeoutError:
        raise fastapi.HTTPException(408, f"the upload took longer than {limits.max_seconds:g} seconds") from None
    return bytes(content)


class WithPolicy:
    """Middleware that adds what browsers may do with answers to their headers.

    FastAPI's own kind would take a request that its browser breaks off for a fault.
    """

    def __init__(self, app):
        self._app = app

    async def __call__(self, scope, receive, send):
        async def send_with_policy(message):
            if message["type"] == "http.response.start":
                headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}
                MutableHeaders(scope=message).update(headers)
            await send(message)

        await self._app(scope, receive, send_with_policy)


@dataclass(frozen=True)
class Refusal:
    """Answers requests of every method that the routes before it do not take: 405, with a sentence."""

    explanation: str
    allowed: str  # The methods that are taken, as in the header Allow.

    async def __call__(self, scope, receive, send):
        raise fastapi.HTTPException(405, self.explanation, {"Allow": self.allowed})


async def split_request(headers, content):
    """The photo's content and the hints of a request with a body: the body, or a form's parts `photo` and `hints`.

    Raises UserError where the form is damaged, lacks a photo, has other parts or one twice, or hints that are wrong.
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


def advice(headers, error):
    """What to add to an error where curl may have changed the photo; "" elsewhere."""
    by_curl = headers.get("content-type") == "application/x-www-form-urlencoded"
    return "; curl -d leaves bytes out, --data-binary does not" * (by_curl and status_of(error) == 400)


def media_type(suffix):
    """The media type of a format, given by its suffix."""
    names = {".jpg": "jpeg", ".ppm": "x-portable-pixmap", ".tif": "tiff"}
    return f"image/{names.get(suffix, suffix[1:])}"


def status_of(error):
    """The HTTP status of an error that a visitor can mend."""
    statuses = {images.TooLarge: 413, models.ModelError: 404, Busy: 429}
    return next((status for kind, status in statuses.items() if isinstance(error, kind)), 400)
