"""What the scripts share: what libraries say, and names of any bytes, on the terminal."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import tensorflow as tf
from conftest import ROOT

from common.command_line import counted, prepare_imports, printable, run
from models import precision

# Where the tests run as a background job of a shell, Ctrl-C is ignored until a handler is set.
START = """
import ctypes, logging, os, signal, sys
# A test run under nohup, or behind an &, ignores these two.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from common.command_line import prepare_imports
prepare_imports()
os.write(2, b"I0000 00:00:17 report.cc:1] a report\\nTo enable the following instructions: AVX2, rebuild\\n")
os.write(2, b"E0000 00:00:17 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA error\\n")
os.write(2, b"F0000 00:00:17 check.cc:1] Check failed: size\\n")
logging.getLogger("tensorflow").warning("a warning")
print("Stra\\u00dfe \\udcf6", flush=True)
print("error of the script \\udcf6", file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("end", "status", "shown"),
    [
        ("", 0, []),
        ("sys.exit(3)", 3, []),
        ("ctypes.CDLL(None).abort()", -6, ["The process ended without a message of its own", "F0000"]),
        ("os.kill(os.getpid(), 15)", -15, []),
        ("os.kill(os.getpid(), 1)", -1, []),
        ("os.kill(os.getpid(), 2)", -2, []),
        ("os.kill(os.getpid(), 11)", -11, ["The process ended without a message of its own", "F0000"]),
    ],
)
def test_what_libraries_say_is_shown_only_if_they_end_the_process(end, status, shown):
    environment = {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", START + end], env=environment, capture_output=True, timeout=60)
    assert done.returncode == status and done.stdout == b"Stra\\xdfe \\udcf6\n"
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1 + len(shown) and lines.count("error of the script \\udcf6") == 1
    for line in shown:
        assert any(found.startswith(line) for found in lines)


QUIET = """
import os, signal, sys, threading, time
from common.command_line import finish, prepare_imports, run
prepare_imports()
"""


def start(end, closed=""):
    """Runs a script in a shell that closes or redirects streams, with buffers. Returns (status, stderr)."""
    shell = ["sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, QUIET + end]
    done = subprocess.run(shell, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_stop_nothing_and_no_file_takes_their_place(closed, tmp_path):
    check = (
        f"file = open({str(tmp_path / 'a')!r}, 'w'); print('text'); finish('done', [], ['note'] * (file.fileno() < 3))"
    )
    assert start(check, closed) == (0, "")
    assert (tmp_path / "a").read_text() == ""


NOBODY_TAKES = pytest.mark.parametrize(
    ("closed", "cause"), [("| true", "broken pipe"), (">/dev/full", "no space left on device")]
)


@NOBODY_TAKES
def test_tables_that_nobody_takes_end_with_a_sentence(closed, cause):
    status, errors = start("time.sleep(0.2); run(lambda: print('a table'))", closed)
    assert errors == f"standard output: {cause}\n"
    assert status == (0 if closed.startswith("|") else 1)


@NOBODY_TAKES
def test_a_summary_that_nobody_takes_is_said_after_the_failures(closed, cause):
    status, errors = start("time.sleep(0.2); run(lambda: finish('done', ['a.png: empty']))", closed)
    assert errors.splitlines() == ["a.png: empty", f"standard output: {cause}"]
    assert status == (0 if closed.startswith("|") else 1)  # Of the last one in a pipe.


def test_a_machine_without_a_folder_for_temporary_files(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere"])
    with pytest.raises(SystemExit, match=r"temporary directory found in \['/nowhere'\]; give one .* TMPDIR"):
        prepare_imports()


def test_a_working_directory_that_is_gone(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for main in (Path.cwd, Path("file").absolute):
        with pytest.raises(SystemExit, match=r"^the working directory is gone; change to another one$"):
            run(main)


def test_another_ctrl_c_ends_the_threads_that_python_waits_for():
    script = """
def main():
    threading.Thread(target=time.sleep, args=[50]).start()
    threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT]).start()
    signal.raise_signal(signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
run(main)
"""
    assert start(script) == (128 + signal.SIGINT, "interrupted\n")


def test_ctrl_c_during_the_first_imports_says_nothing():
    script = """
import signal, sys
class Pressed:
    def find_spec(self, name, path, target=None):
        if name == "tyro":
            signal.raise_signal(signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Pressed())
import common.command_line
"""
    environment = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, b"", b"")


def test_everything_is_shown_where_it_is_asked_for():
    environment = {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "0"}
    done = subprocess.run([sys.executable, "-c", START], env=environment, capture_output=True, timeout=60)
    assert all(words in done.stderr for words in (b"a report", b"Check failed", b"a warning"))


def test_garbage_is_collected_from_the_end_of_the_imports_on():
    script = """
import gc
from common.command_line import prepare_imports, run
prepare_imports()
print(gc.isenabled())
run(lambda: print(gc.isenabled(), gc.get_freeze_count() > 1000))
"""
    environment = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["False", "True", "True"], done.stderr


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (
            "{{function_node __wrapped__SaveV2}} out/part-0; No space left on device [Op:SaveV2]",
            "out/part-0; No space le",
        ),
        (
            "Graph execution error:\n\nDetected at node conv\nOOM, shape[9]\n\t [[{{node conv}}]]\nHint [Op:f]",
            "OOM, sha",
        ),
    ],
)
def test_errors_of_tensorflow_are_one_line(message, cause):
    def fail():
        raise tf.errors.ResourceExhaustedError(None, None, message)

    with pytest.raises(SystemExit) as end:
        run(fail)
    assert str(end.value).startswith(f"TensorFlow cannot go on (ResourceExhaustedError: {cause}")
    assert "Op:" not in str(end.value) and "\n" not in str(end.value)
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 / 0)


def test_one_thing_is_told_without_an_s():
    assert [counted(number, "photo") for number in range(3)] == ["0 photos", "1 photo", "2 photos"]


def test_any_name_is_one_line_of_any_encoding():
    assert printable("a\nb\x1b[31m\t\udcff") == r"a\nb\x1b[31m\t\udcff"
    assert printable("Straße 雪 ") == "Straße 雪 "


def test_devices_are_named(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(precision.tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(precision, "NVIDIA", tmp_path / "none")
    assert precision.describe_devices().startswith("the CPU (") and "GPU" not in precision.describe_devices()
    monkeypatch.setattr(precision, "NVIDIA", tmp_path)
    assert "not on the NVIDIA GPU: with TF_CPP_MIN_LOG_LEVEL=0" in precision.describe_devices()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "GPU" not in precision.describe_devices()


@pytest.mark.parametrize(
    ("hidden", "code", "requirements"),
    [
        ("tyro", "import train", "requirements.txt"),
        ("pydantic", "import test", "requirements.txt"),
        ("cv2", "prepare_imports(); import cv2", "requirements.txt"),
        ("tensorflow", "prepare_imports(); import tensorflow.lite", "requirements.txt"),  # Not tensorflow-datasets.
        ("tensorflow_datasets", "prepare_imports(); import tensorflow_datasets.core", "requirements-data.txt"),
        ("importlib_resources", "prepare_imports(); import importlib_resources", "requirements-data.txt"),
        ("onnxruntime", "prepare_imports(); import onnxruntime", "requirements-export.txt"),
        ("torch", "prepare_imports(); run(lambda: __import__('torch'))", "requirements-pretrained.txt"),
        ("ray", "prepare_imports(); from colorizing.archive import cluster", "requirements-archive.txt"),
    ],
)
def test_a_missing_package_is_one_sentence(hidden, code, requirements):
    prepare = "from common.command_line import prepare_imports, run; " if code.startswith("prepare") else ""
    script = f"import sys; sys.modules[{hidden!r}] = None; {prepare}{code}"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    asked = f"{hidden} is missing; in the environment of this project: pip install -r {requirements}\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", asked)


@pytest.mark.parametrize("module", ["evaluation.scores", "benchmarks.serving", "evaluation.figures", "data.shards"])
def test_a_missing_package_of_a_command_is_one_sentence(module, tmp_path):
    (tmp_path / "numpy.py").write_text("raise ModuleNotFoundError(name='numpy')")
    done = subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    asked = "numpy is missing; in the environment of this project: pip install -r requirements.txt\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", asked)


def test_a_slip_in_the_file_to_edit_is_one_sentence(tmp_path):
    (tmp_path / "configs.py").write_text('EPOCHS = 3\nDATASET = Path("photos"\n')
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {QUIET}import configs"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "configs.py, line 2: '(' was never closed\n")


def test_other_errors_of_imports_keep_their_traceback():
    status, errors = start("import json; json.nothing")
    assert status == 1 and errors.splitlines()[-1] == "AttributeError: module 'json' has no attribute 'nothing'"


def test_an_environment_for_other_programs_changes_and_says_nothing():
    environment = {
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "error",
        "KERAS_BACKEND": "torch",
        "HOME": "/proc/nowhere",
    }
    script = f"{QUIET}import matplotlib; print(os.environ['KERAS_BACKEND'])"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "tensorflow\n", "")
