"""The server of app.py under load: requests a second, latency and memory.

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

import numpy as np

from benchmarks import timing
from benchmarks.timing import print_table, show
from common.command_line import parse, run
from configs import MODEL

# Visitors at a time, and requests for each number of them.
VISITORS, REQUESTS = (1, 4, 16), 96
# Requests after which the server's memory is compared; of several servers, one after the other, since it differs by
# chance.
MEMORY_REQUESTS, SERVERS = (50, 500), 4


@dataclass(frozen=True)
class Options:
    """Measures requests a second, latency and memory of the server."""

    model: str = MODEL
    """A trained model: the name of a run of yours or of weights that ship."""


def request(address, content):
    """Sends a photo to the API. Returns the seconds until the answer."""
    started = time.perf_counter()
    with urllib.request.urlopen(address, content, timeout=120) as response:
        response.read()
    return time.perf_counter() - started


def visit(address, content, visitors, requests):
    """Sends requests from several visitors. Returns (seconds for all, latencies)."""
    started = time.perf_counter()
    with ThreadPoolExecutor(visitors) as pool:
        latencies = list(pool.map(lambda _: request(address, content), range(requests)))
    return time.perf_counter() - started, latencies


@contextlib.contextmanager
def server(model):
    """A server for as long as the context lasts: (its process's number, address of the API for a model)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process, address = timing.start([sys.executable, "app.py", "--port", port]), f"http://127.0.0.1:{port}/api"
    try:
        while True:
            if process.poll() is not None:
                raise SystemExit("the server did not start")
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
                break
            time.sleep(0.2)
        yield process.pid, f"{address}/colorize?{urllib.parse.urlencode({'model': model})}"
    finally:
        process.terminate()


def measure_load(content, model):
    """Prints requests a second and latencies by the number of visitors."""
    with server(model) as (_, address):
        visit(address, content, 4, 16)  # Compiles.
        rows = []
        for visitors in VISITORS:
            seconds, latencies = visit(address, content, visitors, REQUESTS)
            median, most = np.quantile(latencies, [0.5, 0.95])
            rows.append([str(visitors), f"{REQUESTS / seconds:.1f}", f"{median:.2f} s", f"{most:.2f} s"])
    print_table(["visitors", "requests a second", "latency, median", "95 % within"], rows)


def measure_memory(content, model):
    """Starts a server and gives its memory in MB after each of MEMORY_REQUESTS in all, from four visitors."""
    megabytes, done = [], 0
    with server(model) as (process, address):
        for count in MEMORY_REQUESTS:
            visit(address, content, 4, count - done)
            done = count
            time.sleep(1)  # Memory is given back after the last answer.
            megabytes.append(1000 * timing.memory(process, "VmRSS"))
    return megabytes


def main():
    options = parse(Options, "-m benchmarks.serving")
    content = timing.megapixel()
    measure_load(content, options.model)
    megabytes = np.transpose([measure_memory(content, options.model) for _ in range(SERVERS)])
    for requests, values in zip(MEMORY_REQUESTS, megabytes, strict=True):
        print(f"memory after {requests} requests: {show(values, 0)} MB")


if __name__ == "__main__":
    run(main)
