"""Scripts as tests run them: in this process, or in processes of their own that start at once.

Importing TensorFlow takes a processor several seconds, more than most tests of a script. `call` runs a script's main
function in this process, where also compiled functions stay compiled. `Script` and `run` are for what needs a process:
signals, and what native libraries write. One process imports TensorFlow and forks into each of these scripts before any
operation has started TensorFlow's threads. From then on it is what `python SCRIPT` makes it, with an environment, a
standard output and error, and a status of its own.
"""

import atexit
import contextlib
import importlib
import io
import multiprocessing
import os
import resource
import runpy
import signal
import sys
import tempfile
from multiprocessing import forkserver
from pathlib import Path

import keras
import pytest

from common import command_line

ROOT = Path(__file__).parent.parent
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["pytest", "evaluate", "export", "test", "train"])
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
        start_server()
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
    """Starts the process that forks, if it does not run yet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.delenv(LOUD, raising=False)
        forkserver.ensure_running()


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
