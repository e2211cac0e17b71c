"""What the benchmarks share: timing in rounds, tables, and measurements of other processes."""

import multiprocessing
import os
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.options import Count

# Seconds between two readings of a process's memory.
INTERVAL = 0.01


@dataclass(frozen=True)
class Rounds:
    """Options of all benchmarks that time in rounds."""

    rounds: Count = 5  # Rounds of measurements.


def seconds(function):
    """How long a function without arguments takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def time_rounds(runs, rounds):
    """Times {name: function} by turns, so that all meet the machine in the same state: {name: seconds, float [rounds]}.

    Each function is called once before, since a first call compiles.
    """
    for function in runs.values():
        function()
    times = [[seconds(function) for function in runs.values()] for _ in range(rounds)]
    return dict(zip(runs, np.transpose(times), strict=True))


def show(values, digits):
    """The median and the range of a row of measurements."""
    return f"{np.median(values):.{digits}f} ({np.min(values):.{digits}f}..{np.max(values):.{digits}f})"


def print_table(header, rows):
    """Prints rows of strings as a Markdown table."""
    print(f"| {' | '.join(header)} |\n|{' --- |' * len(header)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def start(command):
    """Starts a command of words and paths, whose output is not shown: a subprocess.Popen."""
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)


def measure_command(command):
    """Runs a command, see `start`, to its end. Returns (seconds, peak memory in GB); exits if it fails.

    The peak comes from /proc, since that of `os.wait4` includes the memory of this process.
    """
    started = time.perf_counter()
    process = start(command)
    peak = 0.0
    while process.poll() is None:
        peak = memory(process.pid) or peak
        time.sleep(INTERVAL)
    if process.returncode:
        raise SystemExit(f"{' '.join(process.args)} failed")
    return time.perf_counter() - started, peak


def memory(process="self"):
    """Peak memory of a process in GB; None once it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except (ProcessLookupError, FileNotFoundError):
        return None
    return next((int(line.split()[1]) / 1e6 for line in lines if line.startswith("VmHWM")), None)


def call_in_process(function, *arguments, cores=None):
    """Calls a module's function in a fresh process, on some `cores` or all. Returns (result, peak memory in GB)."""
    allowed = sorted(os.sched_getaffinity(0))[:cores]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, os.sched_setaffinity, (0, allowed)) as pool:
        return pool.submit(function, *arguments).result(), pool.submit(memory).result()
