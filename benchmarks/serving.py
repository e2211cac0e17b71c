"""The server of app.py under load: requests a second and latency.

    python -m benchmarks.serving

Starts the server on this machine and sends it photos of one megapixel, from 1, 4 and 16 visitors at a time. Each
visitor waits for the answer before sending the next photo. Load generator and server share the processor.
"""

import contextlib
import socket
import sys
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from common.command_line import parse, prepare_imports, run

if __name__ == "__main__":
    prepare_imports()

import numpy as np
from PIL import Image

from benchmarks.timing import print_table, seconds, start
from common.images import Photo, encode, read_photo
from configs import MODEL, SAMPLES

# Visitors at a time, and requests for each number of them.
VISITORS, REQUESTS = (1, 4, 16), 96


@dataclass(frozen=True)
class Options:
    """Measures requests a second and latency of the server."""

    model: str = MODEL  # A trained model: the name of a run of yours or of weights that ship.


def megapixel():
    """A sample photo of one megapixel, the content of a JPEG file."""
    photo = Image.fromarray(read_photo(SAMPLES / "castle-forest.jpg")).resize((1224, 816))
    return bytes(encode("photo", Photo(np.asarray(photo)), ".jpg")[0])


def visit(address, content, visitors, requests):
    """Sends a photo to the API so many times, from several visitors. Returns (seconds for all, latencies)."""

    def request():
        with urllib.request.urlopen(address, content, timeout=120) as response:
            response.read()

    started = time.perf_counter()
    with ThreadPoolExecutor(visitors) as pool:
        latencies = list(pool.map(lambda _: seconds(request), range(requests)))
    return time.perf_counter() - started, latencies


@contextlib.contextmanager
def server(model):
    """A server for as long as the context lasts: the address of its API for a model."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process, address = start([sys.executable, "app.py", "--port", port]), f"http://127.0.0.1:{port}/api"
    try:
        while True:
            if process.poll() is not None:
                raise SystemExit("the server did not start")
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
                break
            time.sleep(0.2)
        yield f"{address}/colorize?{urllib.parse.urlencode({'model': model})}"
    finally:
        process.terminate()


def main():
    options = parse(Options, "-m benchmarks.serving")
    content = megapixel()
    rows = []
    with server(options.model) as address:
        visit(address, content, 4, 16)  # Compiles.
        for visitors in VISITORS:
            took, latencies = visit(address, content, visitors, REQUESTS)
            median, most = np.quantile(latencies, [0.5, 0.95])
            rows.append([str(visitors), f"{REQUESTS / took:.1f}", f"{median:.2f} s", f"{most:.2f} s"])
    print_table(["visitors", "requests a second", "latency, median", "95 % within"], rows)


if __name__ == "__main__":
    run(main)
