"""Runs an archive's work on Ray Data: on this machine, or on all machines of a cluster."""

import contextlib
import itertools
import json
import logging
import os
import signal
import socket
import time
import warnings
from pathlib import Path

from colorizing.archive.ledger import FAILED, WAITING, shares
from colorizing.archive.storage import describe_problem
from colorizing.archive.worker import Worker
from common.errors import UserError, first_line
from common.files import describe_error

# Usage is not reported to the makers of Ray.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
import ray.data

PROJECT = Path(__file__).parents[2]
# Photos that go to a worker together. A worker works on two batches, so that one fills the gaps of the other.
BATCH = 32
BATCHES_AT_A_TIME = 2
# Cores a worker: with more, its threads wait for each other.
CORES = 4
# Most rows, and most seconds, between two additions to the ledger.
ROWS_A_PART = 10_000
SECONDS_A_PART = 10
SECONDS_TO_CONNECT = 10
# Bytes of memory that Ray keeps for what goes between processes: names and rows only.
OBJECT_STORE = 256 << 20
# What the workers' machines need of the project's folder.
EXCLUDED = [".git", ".venv", "data/samples", "datasets", "docs", "outputs", "runs", "tests", "weights"]


@contextlib.contextmanager
def connected(address=None):
    """A context with a connection to the cluster at an address or, without one, to a cluster of this machine alone.

    Raises UserError where there is no cluster at the address, or Ray cannot write to the home folder.
    """
    if address is None:
        options = {"address": "local", "include_dashboard": False, "object_store_memory": OBJECT_STORE}
    else:
        check_reachable(address)
        # Machines need the packages installed; the project is sent to them.
        options = {"address": address, "runtime_env": {"working_dir": str(PROJECT), "excludes": EXCLUDED}}
    try:
        ray.init(**options, log_to_driver=False, logging_level=logging.CRITICAL)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(f"{address or 'this machine'}: no cluster to connect to ({first_line(error)})") from error
    except OSError as error:  # It keeps a token in ~/.ray.
        cause = describe_error(error)
        raise UserError(f"{error.filename}: {cause}; Ray needs a home folder that may be written to (HOME)") from error
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # Ray's own handler ends a script without a word.
    try:
        yield
    finally:
        ray.shutdown()


def check_reachable(address):
    """Raises UserError where nothing answers at the HOST:PORT of an address; Ray tries for minutes without a word."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if port.isdigit():
        try:
            socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_CONNECT).close()
        except OSError as error:
            raise UserError(f"{address}: no cluster to connect to ({describe_error(error)})") from error


def worker_pool():
    """(workers, resources of each) for the machines that are there: one on each GPU, or else one on every `CORES`."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = int(sum(node.get("GPU", 0) for node in nodes))
    cores = [int(node.get("CPU", 0)) for node in nodes if node.get("CPU", 0) >= 1]
    if not cores:
        raise UserError("the cluster has no machine with a core to work on")
    if gpus:
        return gpus, {"num_gpus": 1, "num_cpus": max(1, min(CORES, sum(cores) // gpus))}
    share = min(CORES, *cores)
    return sum(number // share for number in cores), {"num_cpus": share}


def work_through(ledger, run, work, model, report, retry_failed):
    """Colorizes all photos of a run that wait, and adds to the ledger what becomes of each.

    Photos without a row after a pass are tried again: their worker ended, or they met an error that may be temporary.
    Once a pass of single photos gives no row at all, the remaining photos end every worker, and have failed.

    `run` is the row of the run in the `Ledger`, `model` the content of a .keras file. `report` is called with each
    number of photos newly done or failed. With `retry_failed`, photos that failed in an earlier run are tried again.
    """
    for attempt in itertools.count():
        count, resources = worker_pool()
        batch = BATCH if attempt < Worker.ALONE else 1
        waiting = sum(1 for _ in itertools.islice(find_waiting(ledger, run, retry_failed), count * batch))
        if not waiting:
            return
        count = min(count, -(-waiting // batch))
        worker = {"work": work, "model": model, "attempt": attempt}
        answers = one_pass(ledger, run, worker, batch, count, resources, retry_failed)
        # Where the ledger cannot be written, Ray's work ends while it is quiet.
        with quiet(), contextlib.closing(answers):
            answered = record(ledger, run, answers, report)
        # While other photos get rows, those without may have been lost with another photo's worker or a machine.
        if attempt >= Worker.ALONE and not answered:
            break
    cause = f"the process that colorized it ended, {attempt + 1} times, most likely because memory ran out"
    waiting = find_waiting(ledger, run, retry_failed)
    record(ledger, run, ([{**file, "state": FAILED, "cause": cause}] for file in waiting), report)


def find_waiting(ledger, run, retry_failed, share=None, worked=None):
    """The listing's rows of the photos that wait; arguments as for `Ledger.look_up`."""
    for row, state, _ in ledger.look_up(run, share, worked, retry_failed):
        if state == WAITING:
            yield {name: row[name] for name in ("path", "size", "version", "result", "key")}


def one_pass(ledger, run, worker, batch, count, resources, retry_failed):
    """Gives every waiting photo to a worker, and yields lists of the ledger's rows as they come.

    A worker that ends is restarted, here or on another machine. The photos that it was working on get no row.

    Args:
        ledger, run, retry_failed: As for `work_through`.
        worker: Arguments of `Worker`.
        batch: Photos that go to a worker together.
        count, resources: Number of workers, and the resources of each.

    Raises UserError where the workers cannot start, or the ledger cannot be read.
    """
    # Listed once, so that a task that Ray repeats reads the same parts.
    worked = ledger.parts("worked")
    at_a_time = 1 if batch == 1 else BATCHES_AT_A_TIME

    def batches(share):
        waiting = find_waiting(ledger, run, retry_failed, share["item"], worked)
        try:
            while files := list(itertools.islice(waiting, batch)):
                yield {"files": json.dumps(files), "problem": ""}
        except Exception as error:  # Ray would drop it without a word.
            yield {"files": "[]", "problem": describe_problem(error)}

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # What a worker's end drops is tried again by the next pass.
    context.max_errored_blocks = -1
    # Each row, a batch of photos, becomes a task.
    context.target_max_block_size = 1
    pool = ray.data.ActorPoolStrategy(
        size=count,
        max_tasks_in_flight_per_actor=at_a_time,
        max_concurrent_calls_per_actor=at_a_time,
        enable_true_multi_threading=True,
    )
    results = (
        ray.data.from_items(list(range(shares(run))), override_num_blocks=shares(run))
        # Without cores, since the workers hold them all; and few at a time, since each takes memory.
        .flat_map(batches, num_cpus=0, compute=ray.data.TaskPoolStrategy(size=2))
        .map(
            RayWorker,
            fn_constructor_kwargs={**worker, "model": ray.put(worker["model"])},
            compute=pool,
            # Ray deprecates this, and the versions that requirements-archive.txt allows have nothing in its place.
            ray_remote_args_fn=lambda: {"max_restarts": -1, "max_task_retries": 0},
            **resources,
        )
    )
    try:
        for result in results.iter_rows():
            if result["problem"]:
                raise UserError(f"the ledger cannot be read: {result['problem']}")
            yield json.loads(result["rows"])
    except ray.exceptions.RayError as error:
        cause = str(error).strip().splitlines()[-1].rpartition("ModelError: ")[2]
        raise UserError(f"the workers cannot start with the model {run['model']}: {cause}") from error


class RayWorker(Worker):
    """A `Worker` in an actor of Ray, which gets the model from Ray's memory."""

    def __init__(self, model, **arguments):
        super().__init__(model=ray.get(model), **arguments)


def record(ledger, run, answers, report):
    """Adds the rows of `answers`, which yields lists of them, to the ledger, and returns their number.

    A part is added every ROWS_A_PART rows or SECONDS_A_PART seconds, and at the end. The other arguments are those of
    `work_through`.
    """
    rows, last, count = [], time.monotonic(), 0
    try:
        for more in answers:
            rows += [{**row, "model": run["model"], "settings": run["settings"]} for row in more]
            if len(rows) >= ROWS_A_PART or time.monotonic() - last > SECONDS_A_PART:
                ledger.add("worked", run["run"], rows)
                rows, last = [], time.monotonic()
            report(len(more))
            count += len(more)
    finally:
        ledger.add("worked", run["run"], rows)
    return count


@contextlib.contextmanager
def quiet():
    """Hides what Ray prints: warnings, and a report for each worker that ends. Its logs in /tmp/ray have them."""
    handlers = [handler for handler in logging.getLogger("ray.data").handlers if handler.name == "console"]
    with contextlib.ExitStack() as stack:
        for handler in handlers:
            stack.callback(handler.setLevel, handler.level)
            handler.setLevel(logging.CRITICAL)
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        nowhere = stack.enter_context(Path(os.devnull).open("w"))
        stack.enter_context(contextlib.redirect_stdout(nowhere))
        yield
