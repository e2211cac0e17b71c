"""What the scripts share: quiet libraries, the command line, and the end."""

import importlib
import os
import shlex
import sys
import warnings
from pathlib import Path

import tyro

from common.errors import UserError


def tame_native_libraries():
    """Keeps libraries written in C and C++ quiet and out of each other's way. Comes before they are imported.

    What they write to stderr goes nowhere, while Python's own stderr stays what it was: TensorFlow reports on the
    machine while it loads, and libjpeg, libpng and Pillow on every damaged file; the scripts say what matters of it
    themselves. Where the environment variable TF_CPP_MIN_LOG_LEVEL is set all of it is shown, so
    TF_CPP_MIN_LOG_LEVEL=0 tells, for example, why a GPU is not used.

    NumPy's BLAS and OpenCV get one thread each: TensorFlow has one a core, photos are worked on by several threads, and
    more that wait by spinning take the cores away from these.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return
    warnings.filterwarnings("ignore", module="PIL|tifffile")
    sys.stderr.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def parse(options, script, usage, **arguments):
    """Reads the command line into a dataclass of options, whose docstring is the script's description.

    A wrong command line ends the script with what is wrong, the usage, and status 2.

    Args:
        options: The dataclass.
        script: What follows `python` on the command line to start the script.
        usage: What follows the script, for the message on a wrong command line.
        arguments: More for tyro.cli.
    """
    try:
        return tyro.cli(options, prog=script, **{"description": options.__doc__, **arguments})
    except SystemExit as end:
        if end.code:
            print(f"usage: python {script} {usage}", file=sys.stderr)
        raise


def run(main, interrupted="interrupted"):
    """Runs a script's main function; an error that a person can mend ends it with one line and status 1."""
    try:
        main()
    except (UserError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(interrupted)


def describe_run():
    """Returns what a result needs to be reproduced: the command, and the versions of Python and the libraries."""
    versions = {name: importlib.import_module(name).__version__ for name in ("tensorflow", "keras", "numpy", "cv2")}
    command = shlex.join(["python", Path(sys.argv[0]).name, *sys.argv[1:]])
    return {"command": command, "versions": {"python": sys.version.split()[0], **versions}}


def finish(summary, failures, notes=()):
    """Ends a script: prints a summary, then notes and failures, a line each, on stderr.

    The script's status is 1 if there is a failure, else 0.
    """
    print(summary)
    for line in [*notes, *failures]:
        print(line, file=sys.stderr)
    sys.exit(1 if failures else 0)
