"""How fast archive.py is beside test.py, what it keeps when machines or processes are lost, and its memory.

    python -m benchmarks.archive --photos 5000

Makes photos from those that ship with the project, and judges every archive by its results, which have to be test.py's
within 1 of 255, and by its ledger, which has to account for every file once.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pyarrow.dataset as ds
from ray.cluster_utils import Cluster

from benchmarks.timing import print_table, run_apart, start
from common.command_line import parse, run
from common.images import read_photo, write_photo
from common.options import Count
from configs import SAMPLES
from data.photos import cut, scale_to_cover

Part = Literal["throughput", "node", "driver", "killers", "memory"]
# Photos that kill the process that reads them, and empty files that are listed to measure the driver's memory.
KILLERS, EMPTY_FILES = 20, 1_000_000
# A process that reads a photo with these bytes at its end is killed, as by a decoder's crash.
DEADLY = b"kills its reader"
KILLER = f"""
import os, pathlib, signal
read_bytes = pathlib.Path.read_bytes
def read_or_die(path):
    content = read_bytes(path)
    if content.endswith({DEADLY!r}):
        os.kill(os.getpid(), signal.SIGSEGV)
    return content
pathlib.Path.read_bytes = read_or_die
"""


@dataclass(frozen=True)
class Options:
    """Measures archive.py: throughput, memory, and what it keeps when a node, its driver or its workers are lost."""

    photos: Count = 5000
    """Photos to colorize."""
    parts: tuple[Part, ...] = get_args(Part)
    """What to measure."""


def make_photos(folder, count):
    """Writes photos of a third of a megapixel, random crops of the sample photos, into a hundred folders.

    They are PNG files: JPEG turns a difference in rounding, which the composition of batches makes, into several steps.
    """
    samples = [read_photo(path) for path in sorted(SAMPLES.glob("*.jpg"))]
    random = np.random.default_rng(0)
    for number in range(count):
        size = (480, 640) if number % 4 else (640, 480)
        photo = scale_to_cover(samples[number % len(samples)], size, margin=2)
        write_photo(folder / f"{number % 100:02}" / f"{number:06}.png", cut(photo, size, *random.random(2)))


def command(script, source, output, *more):
    output_option = ["--output"] if script == "test.py" else []
    return [sys.executable, script, source, *output_option, output, *more]


def results(folder):
    return {path.relative_to(folder): path for path in folder.rglob("*.png")}


def rate(folder):
    """Photos a second, from the times of the middle four fifths of the results, so without start and end."""
    times = np.sort([path.stat().st_mtime for path in results(folder).values()])
    first, last = len(times) // 10, len(times) * 9 // 10
    return (last - first) / (times[last] - times[first])


def judge(name, source, output, expected, dead=()):
    """A row of the table: what is in the output and its ledger. Exits where something is missing or wrong."""
    found, wanted = results(output), expected.keys() - set(dead)
    if found.keys() != wanted:
        sys.exit(f"{name}: {len(wanted - found.keys())} results are missing, {len(found.keys() - wanted)} too many")
    largest = max(int(np.abs(read_photo(found[path]).astype(int) - read_photo(expected[path])).max()) for path in found)
    if largest > 1:
        sys.exit(f"{name}: a result differs from that of test.py by {largest} of 255")
    parts = [str(part) for part in (output / "_ledger").glob("*-worked.parquet")]
    last = {row["path"]: row for row in ds.dataset(parts).to_table().to_pylist()}
    states = {
        state: {Path(path) for path, row in last.items() if row["state"] == state} for state in ("done", "failed")
    }
    if states != {"done": set(wanted), "failed": set(dead)}:
        sys.exit(f"{name}: the ledger has {len(states['done'])} done and {len(states['failed'])} failed")
    rows = sum(ds.dataset([part]).count_rows() for part in parts)
    return [name, str(len(results(source))), str(len(found)), str(len(states["failed"])), str(rows), str(largest)]


def wait_for_half(folder, count):
    while len(results(folder)) < count // 2:
        time.sleep(0.5)


def lose_a_node(source, output, count):
    """Colorizes on two nodes, one of which is killed half-way."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    node = cluster.add_node(num_cpus=1)
    driver = start(command("archive.py", source, output, "--cluster", cluster.address))
    wait_for_half(output, count)
    cluster.remove_node(node, allow_graceful=False)
    driver.wait()
    cluster.shutdown()


def lose_the_driver(source, output, count):
    """Kills the driver half-way, and starts it anew."""
    driver = start(command("archive.py", source, output))
    wait_for_half(output, count)
    driver.kill()
    driver.wait()
    run_apart(command("archive.py", source, output))


def lose_workers(source, output, folder):
    """Makes KILLERS of the photos deadly, and colorizes all. Returns the paths of these."""
    dead = sorted(results(source))[:: max(1, len(results(source)) // KILLERS)][:KILLERS]
    for path in dead:
        with (source / path).open("ab") as file:
            file.write(DEADLY)
    (folder / "sitecustomize.py").write_text(KILLER)
    run_apart(command("archive.py", source, output), status=1, env={**os.environ, "PYTHONPATH": str(folder)})
    return dead


def measure_throughput(source, folder):
    """test.py and archive.py on the same photos: the results of test.py, and prints the rates."""
    rows = []
    for script in ("test.py", "archive.py"):
        seconds, _ = run_apart(command(script, source, folder / script))
        share = rate(folder / script) / rate(folder / "test.py")
        rows.append([script, f"{rate(folder / script):.1f}", f"{seconds:.0f} s", f"{share:.2f}"])
    print_table(["", "photos a second", "with start and end", "of test.py's rate"], rows)
    return results(folder / "test.py")


def measure_memory(folder):
    """Prints the peak memory of the driver of an archive of empty files, which all fail."""
    for number in range(EMPTY_FILES):
        path = folder / f"{number // 1000:04}" / f"scan-{number:07}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    listing = command("archive.py", folder, folder.parent / "listed")
    seconds, peak = run_apart(listing, status=1, stderr=subprocess.DEVNULL)
    print(f"{EMPTY_FILES} empty files: {seconds:.0f} s, {1000 * peak:.0f} MB in the driver at most")


def main():
    options = parse(Options, "-m benchmarks.archive")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        source, rows = folder / "in", []
        if set(options.parts) - {"memory"}:
            make_photos(source, options.photos)
            expected = measure_throughput(source, folder)
            rows.append(judge("one machine", source, folder / "archive.py", expected))
        if "node" in options.parts:
            lose_a_node(source, folder / "node", options.photos)
            rows.append(judge("a node lost", source, folder / "node", expected))
        if "driver" in options.parts:
            lose_the_driver(source, folder / "driver", options.photos)
            rows.append(judge("the driver lost", source, folder / "driver", expected))
        if "killers" in options.parts:
            dead = lose_workers(source, folder / "killers", folder)
            rows.append(judge("readers killed", source, folder / "killers", expected, dead))
        if rows:
            print_table(["", "photos", "results", "failed", "rows", "largest difference of 255"], rows)
        if "memory" in options.parts:
            measure_memory(folder / "empty")


if __name__ == "__main__":
    run(main)
