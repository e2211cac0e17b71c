"""What the server of app.py bears: requests a second, latency and memory.

    python -m benchmarks.serving

Starts the server on this machine and sends it photos of one megapixel, from 1, 4 and 16 visitors at a time, each of
whom waits for an answer before sending the next photo. Load generator and server share the processor.
"""

import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.timing import show
from common import images
from common.command_line import parse, run
from common.images import Photo, read_photo
from common.options import Count
from configs import MODEL, SAMPLES


@dataclass(frozen=True)
class Options:
    """Measures what the server bears."""

    model: str = MODEL
    """A trained model: the name of a run of yours or of weights that ship."""
    visitors: tuple[Count, ...] = (1, 4, 16)
    """Visitors at a time."""
    requests: Count = 96
    """Requests for each number of visitors."""
    memory_requests: tuple[Count, ...] = (50, 500)
    """Requests after which the server's memory is compared."""
    servers: Count = 4
    """Servers, one after the other, whose memory is measured: it differs by chance."""


def request(address, content):
    """Sends a photo to the API. Returns the seconds until the answer."""
    started = time.perf_counter()
    with urllib.request.urlopen(address, content, timeout=120) as response:
        response.read()
    return time.perf_counter() - started


def visit(address, content, visitors, requests):
    """Sends requests from several visitors. Returns (seconds for all, latencies)."""
    latencies = []

    def one(share):
        for _ in range(share):
            latencies.append(request(address, content))

    threads = [threading.Thread(target=one, args=(requests // visitors,)) for _ in range(visitors)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started, latencies


def memory(process):
    """Memory of a process in MB."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1000


def start(model):
    """Starts the server. Returns (process, address of the API that colorizes with a model)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "app.py", "--port", str(port)], stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}/api"
    while process.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/health", timeout=5).close()
            return process, f"{address}/colorize?{urllib.parse.urlencode({'model': model})}"
        except OSError:
            time.sleep(0.2)
    raise SystemExit("the server did not start")


def measure_load(content, options):
    """Prints requests a second and latencies by the number of visitors."""
    process, address = start(options.model)
    try:
        visit(address, content, 4, 16)  # Compiles.
        print("visitors  requests/s  p50 s  p95 s")
        for visitors in options.visitors:
            seconds, latencies = visit(address, content, visitors, options.requests)
            quantiles = np.quantile(latencies, [0.5, 0.95])
            print(
                f"{visitors:8}  {len(latencies) / seconds:10.1f}  {quantiles[0]:5.2f}  {quantiles[1]:5.2f}", flush=True
            )
    finally:
        process.terminate()


def measure_memory(content, options):
    """Starts a server and gives its memory in MB after some numbers of requests in all, from four visitors."""
    process, address = start(options.model)
    try:
        megabytes = []
        for before, count in zip((0, *options.memory_requests), options.memory_requests, strict=False):
            visit(address, content, 4, count - before)
            time.sleep(1)  # Memory is given back after the last answer.
            megabytes.append(memory(process))
        return megabytes
    finally:
        process.terminate()


def main():
    options = parse(Options, "-m benchmarks.serving")
    photo = cv2.resize(read_photo(SAMPLES / "castle-forest.jpg"), (1224, 816), interpolation=cv2.INTER_AREA)
    content = bytes(images.encode("photo", Photo(photo), ".jpg")[0])
    measure_load(content, options)
    megabytes = np.transpose([measure_memory(content, options) for _ in range(options.servers)])
    for requests, values in zip(options.memory_requests, megabytes, strict=True):
        print(f"memory after {requests} requests: {show(values, 0)} MB")


if __name__ == "__main__":
    run(main)
