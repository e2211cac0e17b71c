"""Scripts as tests run them: in this process, or in processes of their own that start at once.

Importing TensorFlow takes a processor several seconds, more than most tests of a script. `call` runs a script's main
function in this process, where also compiled functions stay compiled. `Script` and `run` are for what needs a process:
signals, and what native libraries write. A server, forked from this process before any operation has started
TensorFlow's threads, forks into each of these scripts. From then on it is what `python SCRIPT` makes it, with an
environment, a standard output and error, and a status of its own.
"""

import atexit
import contextlib
import faulthandler
import importlib
import io
import multiprocessing
import os
import resource
import runpy
import signal
import sys
import tempfile
from multiprocessing import forkserver, resource_tracker, util
from pathlib import Path

import keras
import pytest

import evaluate  # noqa: F401  The scripts that `Script` runs most import together what they need.
import export  # noqa: F401
import test  # noqa: F401
import train  # noqa: F401
from common import command_line

ROOT = Path(__file__).parent.parent
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([])
# A variable that switches the scripts' silence off: tf2onnx, which other tests import, sets it.
LOUD = "TF_CPP_MIN_LOG_LEVEL"


class Script:
    """A script that runs.

    Attributes:
        pid: Of its process.
    """

    def __init__(self, *command, env=None):
        """Starts it.

        Args:
            command: What follows `python` on the command line.
            env: Environment variables; those of this process by default.
        """
        self._folder = tempfile.TemporaryDirectory()
        self._output, self._errors = (Path(self._folder.name) / name for name in ("output", "errors"))
        environment = {name: value for name, value in (os.environ if env is None else env).items() if name != LOUD}
        arguments = [*map(str, command)], environment, self._output, self._errors
        self._process = FORKS.Process(target=become, args=arguments)
        self._process.start()
        self.pid = self._process.pid

    @property
    def status(self):
        """None while it runs; -N where signal N ended it."""
        return self._process.exitcode

    @property
    def output(self):
        """What it has written to stdout so far."""
        return self._output.read_text() if self._output.exists() else ""

    def send(self, number):
        """Sends it a signal."""
        os.kill(self.pid, number)

    def wait(self, timeout=300):
        """Waits for its end. Returns its status, stdout, and the lines of stderr."""
        self._process.join(timeout)
        late = self.status is None
        if late:
            self._process.kill()
            self._process.join()
        output, errors = (path.read_text(errors="surrogateescape") for path in (self._output, self._errors))
        self._folder.cleanup()
        assert not late, f"still running after {timeout} s: {errors}"
        return self.status, output, errors.splitlines()


def run(*command, env=None, timeout=300):
    """Runs a script. Returns its status, stdout, and the lines of stderr."""
    status, output, errors = Script(*command, env=env).wait(timeout)
    assert not any("Traceback" in line for line in errors), errors
    return status, output, errors


def call(*command):
    """Runs a script's main function in this process. Returns what `run` returns."""
    name, *arguments = map(str, command[1:] if command[0] == "-m" else command)
    main = importlib.import_module(name.removesuffix(".py")).main
    policy, output, errors = keras.config.dtype_policy(), io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *arguments])
        patch.chdir(ROOT)
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            try:
                command_line.run(main)
                status = 0
            except SystemExit as end:
                status = end.code or 0
    keras.config.set_dtype_policy(policy)
    lines = errors.getvalue().splitlines()
    return (status, output.getvalue(), lines) if isinstance(status, int) else (1, output.getvalue(), [*lines, status])


@contextlib.contextmanager
def full_disk(size):
    """A context in which this process can write at most so many bytes to a file, as if the disk were full then."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@contextlib.contextmanager
def ordinary_user(folder):
    """A context in which this process works in a folder and, if root runs it, has the rights of another user there."""
    before = Path.cwd()
    folder.chmod(0o755)
    os.chdir(folder)
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        yield
    finally:
        os.seteuid(user)
        os.chdir(before)


def start_server():
    """Starts the server that forks."""
    resource_tracker.ensure_running()  # A process of multiprocessing's own, started in the same way.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(util, "spawnv_passfds", fork_server)
        forkserver.ensure_running()


def fork_server(path, arguments, descriptors):
    """Forks this process into the server, where multiprocessing would start Python and import all of it once more.

    Arguments and result are those of `multiprocessing.util.spawnv_passfds`.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        return pid
    # pytest's streams and files are for the tests alone. The server ends when the last writer of a pipe has closed it,
    # so it must not hold that end itself.
    faulthandler.disable()
    sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__
    for number in [int(path.name) for path in Path("/dev/fd").iterdir()]:
        if number > 2 and number not in descriptors:
            with contextlib.suppress(OSError):  # That of the listing.
                os.close(number)
    try:
        exec(arguments[-1])
    finally:
        os._exit(0)


def stop_server():
    """Ends the process that forks, and what is left of its forks."""
    for process in multiprocessing.active_children():
        process.kill()
    forkserver._forkserver._stop()  # Waits for it, so that its processor time counts as that of the tests.


def become(command, environment, output, errors):
    """Runs a script in this process, which is a fork."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Ignored in what a shell has started in the background.
    for number, path in ((1, output), (2, errors)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # What TMPDIR says now.
    os.chdir(ROOT)
    try:
        if command[0] == "-m":
            sys.argv = command[1:]
            runpy.run_module(command[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = command
            runpy.run_path(command[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # A fork ends without.
