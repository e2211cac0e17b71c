"""The page: drop a photo, compare gray and colour, put colours right with hints, download the result."""

import contextlib
import tempfile
import time
from pathlib import Path

import gradio
import numpy as np
from PIL import Image

import models
from colorizing.hints import format_hints, parse_hints
from colorizing.pixels import shrink, to_gray
from colorizing.serving.hint_editor import SWATCH, Edits, ab_of_picked, draw_dots, offer
from colorizing.serving.uploads import Blocks
from common.errors import UserError
from common.files import HINTS_SUFFIX, is_photo
from common.samples import as_color
from configs import MODEL, SAMPLES

TITLE = "Colour for gray photographs"
# Longer side in pixels of what the page shows; the download has the photo's own size.
PREVIEW_SIZE = 1600
INTRODUCTION = f"""# {TITLE}
Drop a photo on this page, or paste it, one at a time. It stays on this server for ten minutes and goes nowhere else."""
HINTS = """## Put a colour right
Click where a colour is wrong and choose a colour for the dot: what is near and looks alike takes it. A dot without a
colour protects the colour there. Click on a dot to change it. By keyboard, "Load hints" takes dots from a file."""


class Page:
    """The page of a `Service`; `blocks` is the gradio.Blocks. Results for download are put into a folder."""

    def __init__(self, service, folder):
        self._service = service
        self._folder = folder
        with Blocks(folder, title=TITLE, analytics_enabled=False) as self.blocks:
            gradio.Markdown(INTRODUCTION)
            self._add_photo()
            self._add_hints()
            examples = [[str(path)] for path in sorted(SAMPLES.iterdir()) if is_photo(path)]
            look = {"examples_per_page": len(examples), "label": "Or try one of these"}
            self._examples = gradio.Examples(examples, self._photo, **look)
            self._connect()
        self.blocks.queue(max_size=service.limits.max_waiting, default_concurrency_limit=4)

    # === Layout ===

    def _add_photo(self):
        with gradio.Row():
            with gradio.Column():
                look = {"label": "Photo", "height": 320, "elem_id": "photo"}
                self._photo = gradio.Image(type="filepath", sources=["upload", "clipboard"], **look)
                # Gradio would open the file with Pillow, whose errors are not for visitors. The service reads it.
                self._photo.preprocess = lambda payload: payload and payload.path
            with gradio.Column():
                # Without a button that downloads what is shown, which is smaller than the result.
                look = {"interactive": False, "buttons": ["fullscreen"]}
                self._slider = gradio.ImageSlider(label="Before and after", **look)
                self._message = gradio.Markdown()
                self._download = gradio.DownloadButton("Download at full size", interactive=False, variant="primary")
        with gradio.Row():
            self._model = gradio.Dropdown(models.names(), value=MODEL, label="Model")
            self._saturation = gradio.Slider(0, 2, value=1, step=0.05, label="Saturation")
            # The field beside the slider is null while it is empty, which Gradio would show as an internal error.
            number_of = self._saturation.preprocess
            self._saturation.preprocess = lambda payload: 1 if payload is None else number_of(payload)

    def _add_hints(self):
        self._edits, self._size, self._offered = gradio.State(Edits()), gradio.State(), gradio.State([])
        with gradio.Column(visible=False) as self._hinting:
            gradio.Markdown(HINTS)
            with gradio.Row():
                with gradio.Column(scale=2):
                    look = {"interactive": False, "buttons": ["fullscreen"], "elem_id": "result"}
                    self._result = gradio.Image(label="Click where a colour is wrong", **look)
                    with gradio.Row():
                        look = {"size": "sm", "min_width": 100}  # So that the three fit into one row.
                        self._undo = gradio.Button("Undo", **look)
                        self._saved = gradio.DownloadButton("Save the hints", interactive=False, **look)
                        self._loaded = gradio.UploadButton("Load hints", **look)
                with gradio.Column():
                    self._add_colors()

    def _add_colors(self):
        with gradio.Column(visible=False) as self._coloring:
            look = {"interactive": False, "buttons": [], "height": 110, "elem_id": "swatches"}
            self._swatches = gradio.Image(label="Colours for the chosen dot", **look)
            self._picker = gradio.ColorPicker(label="Another colour")
            self._moving = gradio.Checkbox(label="The next click moves the chosen dot")
            self._network = gradio.Button("Keep the network's colour there", size="sm")
            self._remove = gradio.Button("Remove the dot", size="sm")

    # === What happens ===

    def _connect(self):
        """Calls the methods below at what a visitor does. Each change of the dots colorizes the photo anew."""
        edits, private, last = self._edits, {"api_visibility": "private"}, {"trigger_mode": "always_last"}
        # One event for all that changes the result, so that the last one stays.
        changes = [edits.change, self._model.change, self._saturation.change]
        paint = self._colorize, [self._photo, self._model, self._saturation, edits], self._outputs()
        gradio.on(changes, *paint, show_progress="minimal", **private, **last)
        # Not at the photo's `change`, which comes twice where a photo replaces another one.
        begin = self._begin, self._photo, [edits, *self._outputs()]
        self._photo.input(*begin, show_progress="hidden", **private, **last)
        self._examples.load_input_event.then(*begin, show_progress="hidden", **private, **last)
        self._result.select(_click, [edits, self._size, self._moving], edits, **private)
        self._swatches.select(_choose, [edits, self._offered], edits, **private)
        self._picker.input(_pick, [edits, self._picker], edits, **private, **last)
        self._network.click(lambda edits: edits.color(None), edits, edits, **private)
        self._remove.click(Edits.remove, edits, edits, **private)
        self._undo.click(Edits.undo, edits, edits, **private)
        self._loaded.upload(_load, [edits, self._loaded], edits, **private)

    def _outputs(self):
        """The components that a colorized photo changes."""
        hints = [self._result, self._size, self._saved, self._swatches, self._offered, self._hinting, self._coloring]
        return [self._slider, self._download, self._message, *hints]

    def _begin(self, path):
        """The page with a photo that is to be colorized, or without one if the path is None."""
        return self._nothing("Colorizing ..." if path else "") | {self._edits: Edits(begun=time.monotonic())}

    async def _colorize(self, path, model, saturation, edits):
        """Colorizes a photo. Returns {component: value} for all `_outputs`."""
        if path is None:
            return self._nothing()
        started = time.perf_counter()
        path = Path(path)
        try:
            done = await self._service.colorize(
                path.name, path.read_bytes(), model, saturation, edits.hints, edits.hint
            )
        except UserError as error:
            gradio.Warning(str(error))  # For ten seconds; the sentence stays below the empty result.
            return self._nothing(str(error))
        before, after = (preview(pixels) for pixels in (to_gray(done.photo.pixels), done.photo.pixels))
        height, width = done.photo.pixels.shape[:2]
        words = f"{width} x {height} pixels, {time.perf_counter() - started:.1f} seconds"
        values = self._nothing("  \n".join([words, *done.losses])) | {
            self._slider: (self._show(before), self._show(after)),
            self._result: self._show(draw_dots(after, edits)),
            self._size: (width, height),
            self._download: self._keep(f"{path.stem}-colorized{done.suffix}", done.content),
            self._hinting: gradio.Column(visible=True),
        }
        if edits.hints:
            values[self._saved] = self._keep(path.stem + HINTS_SUFFIX, format_hints(edits.hints).encode())
        if edits.hint:
            swatches, values[self._offered] = offer(after, edits.hint, done.likely)
            values[self._swatches] = self._show(swatches, ".png")
            values[self._coloring] = gradio.Column(visible=True)
        return values

    def _nothing(self, words=""):
        """The page without a result, but with a message: {component: value} for all `_outputs`."""
        off, hidden = gradio.DownloadButton(interactive=False), gradio.Column(visible=False)
        values = {self._message: words, self._download: off, self._saved: off}
        values |= {self._offered: [], self._hinting: hidden, self._coloring: hidden}
        return dict.fromkeys(self._outputs()) | values

    def _keep(self, name, content):
        """Writes a file for download. Returns what a button takes."""
        place = self._new(name)
        place.write_bytes(content)
        return gradio.DownloadButton(value=place, interactive=True)

    def _show(self, pixels, suffix=".jpg"):
        """Writes a picture, sRGB uint8 [height, width, 3], for the page. Returns its path.

        Gradio would write equal pictures into one file, also while a browser reads it.
        """
        place = self._new(f"preview{suffix}")
        Image.fromarray(pixels).save(place)
        return place

    def _new(self, name):
        """A path of a file for a visitor in a folder of its own."""
        return Path(tempfile.mkdtemp(dir=self._folder)) / name


def preview(pixels):
    """Pixels as the page shows them: uint8, [height, width, 3], at most PREVIEW_SIZE on the longer side."""
    pixels = shrink(pixels, PREVIEW_SIZE / max(pixels.shape[:2]))
    return as_color(pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8))


# What a visitor does to the dots: each returns the new `Edits`.


def _click(event: gradio.SelectData, edits, size, moving):
    # The picture on the page may be smaller than the photo.
    shown = min(1, PREVIEW_SIZE / max(size)) * np.array(size)
    x, y = np.clip((np.array(event.index) + 0.5) / shown, 0, 1).tolist()
    return edits.click(x, y, size[0] / size[1], moving)


def _choose(event: gradio.SelectData, edits, offered):
    return edits.color(tuple(offered[min(event.index[0] // SWATCH, len(offered) - 1)]))


def _pick(edits, picked):
    with _showing_errors():
        return edits.color(ab_of_picked(picked))


def _load(edits, file):
    with _showing_errors():
        return edits.change(parse_hints(Path(file).read_bytes(), Path(file).name), None)


@contextlib.contextmanager
def _showing_errors():
    """Shows an error that a visitor can mend on the page."""
    try:
        yield
    except UserError as error:
        raise gradio.Error(str(error), print_exception=False) from error
