"""What the scripts share: quiet libraries, the command line, and the end."""

import atexit
import contextlib
import difflib
import gc
import importlib
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import warnings
from pathlib import Path

from common import native_log
from common.errors import OptionError, UserError, describe_missing_package
from common.files import describe_error

try:
    import tyro
    from tyro import _errors as rejections

    from common.options import find_lists, find_names, find_problem
except ModuleNotFoundError as error:
    sys.exit(describe_missing_package(error))
except KeyboardInterrupt:  # Before `prepare_imports` can set a handler.
    sys.exit(128 + signal.SIGINT)


def prepare_imports():
    """Keeps libraries quiet and imports fast. To be called before other imports.

    If the environment variable TF_CPP_MIN_LOG_LEVEL is set, all that libraries report is shown: with 0, for example,
    why a GPU is not used.

    NumPy's BLAS and OpenCV get one thread each. TensorFlow has a thread for each core, and photos are worked on by
    several threads: further ones, which spin while they wait, would take the cores away from these.

    Python collects no garbage until `run`: looking for it among the objects of modules takes a quarter of the import of
    TensorFlow and Keras.
    """
    try:
        tempfile.gettempdir()  # Libraries ask for it while they are imported.
    except FileNotFoundError as error:
        sys.exit(f"{error.strerror}; give one that may be written to in the environment variable TMPDIR")
    sys.excepthook = _describe_failed_import
    gc.disable()
    os.environ["KERAS_BACKEND"] = "tensorflow"  # The networks are of its operations, whatever else Keras is used with.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # Closed: the next file to be opened, a photo say, would take its place.
            setattr(sys, name, Path(os.devnull).open(mode))
    # Names of files may hold bytes that no encoding of the terminal knows.
    sys.stdout.reconfigure(errors="backslashreplace")
    if "TF_CPP_MIN_LOG_LEVEL" not in os.environ:
        warnings.filterwarnings("ignore", module="PIL|tifffile")
        # TensorFlow warns of photos of many shapes, since it traces the network for each; Matplotlib of a home that may
        # not be written to.
        for library in ("tensorflow", "matplotlib"):
            logging.getLogger(library).setLevel(logging.ERROR)
        _start_native_log()


def _start_native_log():
    """Sends what libraries written in C and C++ write to stderr to another process, which shows it only if they end
    this one, see native_log.py; Python's own stderr stays what it was.

    TensorFlow reports on the machine while it loads, and libjpeg, libpng and Pillow on every damaged file; the scripts
    say what matters of it themselves.
    """
    sys.stderr.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    log = subprocess.Popen(
        [sys.executable, "-I", "-S", native_log.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for this process alone.
    )
    os.dup2(log.stdin.fileno(), 2)
    log.stdin.close()
    log.returncode = 0  # It ends after this process. Else Python would warn of that.
    atexit.register(end_native_log)
    for number in {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}:  # Windows has no SIGHUP.
        if signal.getsignal(number) is signal.SIG_DFL:  # Under nohup, SIGHUP is ignored.
            signal.signal(number, _end_by_signal)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end_by_signal)  # While modules are imported; then `run` says what is whole.


def end_native_log():
    """Says that this process ends by itself, so that nothing of what libraries wrote has to be shown."""
    with contextlib.suppress(OSError):
        os.write(2, native_log.DONE)


def _describe_failed_import(kind, error, trace):
    """A `sys.excepthook`, for missing packages, slips in configs.py and all other errors."""
    if issubclass(kind, ModuleNotFoundError) and error.name:
        print(describe_missing_package(error), file=sys.stderr)
    elif issubclass(kind, SyntaxError) and Path(error.filename or "").name == "configs.py":  # The file to edit.
        print(f"configs.py, line {error.lineno}: {error.msg}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def _end_by_signal(number, _):
    """Ends as without a handler: who sends the signal knows why."""
    end_native_log()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def parse(options, script, **arguments):
    """Reads the command line into a dataclass of options, whose docstring is the script's description.

    `script` is what follows `python` to start the script, `arguments` are more for tyro.cli. Raises OptionError where
    the command line is wrong, or a value out of the bounds that the dataclass declares, see options.py.
    """
    given = arguments.get("args", sys.argv[1:])
    # An empty path would stand for the working directory. Most likely a variable of a shell script is empty.
    if any(argument == "" or re.fullmatch("--[^=]+=", argument) for argument in given):
        raise OptionError(f"an argument is empty; see python {script} --help")
    # The last one would hold, and what was meant as one more folder or model would replace those before.
    names = [argument.partition("=")[0].replace("_", "-") for argument in given]
    if twice := [name for name in find_lists(options) if names.count(name) > 1]:
        raise OptionError(f"{twice[0]} is given twice; give it once, with all its values behind it")

    # tyro does not wrap a description, and joins its lines except those that are indented.
    width, description = shutil.get_terminal_size().columns, arguments.get("description", options.__doc__)
    arguments["description"] = textwrap.fill(description, width, subsequent_indent=" ")

    def reject(rejection):
        if problem := describe_rejection(rejection, find_names(options)):
            raise OptionError(f"{problem}; see python {script} --help")

    with rejections.on_parse_error(reject):
        parsed = tyro.cli(options, prog=script, **arguments)
    if problem := find_problem(parsed):
        raise OptionError(problem)
    return parsed


def describe_rejection(rejection, names):
    """Why tyro rejects a command line that may hold `names`, as words; None for what only tyro has words for.

    A rejection is a `tyro._errors.ParseErrorEvent`. They are not among what tyro promises to keep, so requirements.txt
    names one version.
    """
    argument = getattr(rejection, "argument", None)
    match rejection:
        case rejections.MissingArgs():
            return f"missing: {', '.join(_name(missing.arg) for missing in rejection.missing_arguments)}"
        case rejections.MissingSubcommand():
            return f"missing: one of {', '.join(rejection.subcommand_spec.parser_from_name)}"
        case rejections.UnrecognizedArgs():
            option = rejection.tokens[0].partition("=")[0]
            if (value := option.strip("-").upper()) in names:
                return f"unknown: {option}; give {value} without it"
            subcommands = [name for name in names if name.isalpha() and name.islower()]
            alike = [name for name in names if name.startswith("-") == option.startswith("-")]
            meant = difflib.get_close_matches(option, alike, n=1) or subcommands
            return f"unknown: {', '.join(rejection.tokens)}" + (f"; use {', '.join(meant)}" if meant else "")
        case rejections.BadValue():
            if argument.lowered.nargs == 1:
                return f"{_name(argument)} has no value"
            return f"{_name(argument)}: use {_in_words(argument.lowered.metavar)}"
        case rejections.InvalidChoice():
            choices = sorted(set(rejection.choices) - {"None"})
            return f"{_name(argument)} {rejection.value}: use {', '.join(choices)}"
        case rejections.InstantiationFailure() if argument is not None:
            values = " ".join(value for _, value in re.findall(r"(['\"])(.*?)\1", rejection.message.partition("\n")[0]))
            return f"{_name(argument)} {values}".rstrip() + f": use {_in_words(argument.lowered.metavar)}"
    return None


def _name(argument):
    """An argument of tyro's as it is written on the command line."""
    return argument.display_name().upper() if argument.is_positional() else argument.display_name()


def _in_words(kind):
    """A kind of value as tyro names it, in words: "{None}|FLOAT" is "a number"."""
    kind = kind.replace("{None}|", "").strip("{}")
    several = {"INT INT": "two whole numbers", "FLOAT FLOAT FLOAT": "three numbers"}
    return {"INT": "a whole number", "FLOAT": "a number", **several}.get(kind, kind)


def run(main, interrupted="interrupted"):
    """Runs a script's main function; an error that a person can mend ends it with one line and status 1, or 2 where a
    value on the command line is wrong."""
    if signal.getsignal(signal.SIGINT) is _end_by_signal:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not gc.isenabled():  # After `prepare_imports`.
        gc.freeze()  # The objects of modules stay: garbage is not looked for among them, nor when the process ends.
        gc.enable()
    try:
        main()
        say("", end="")  # Else Python writes what is left of it when it ends, and has no sentence for an error.
    except UserError as error:
        print(printable(str(error)), file=sys.stderr)
        sys.exit(2 if isinstance(error, OptionError) else 1)
    except OSError as error:
        file = "" if error.filename is None else f"{error.filename}: "
        sys.exit(printable(file + describe_error(error)))
    except UnicodeEncodeError as error:
        text = error.object[max(0, error.start - 40) : error.end + 40]
        sys.exit(f"{printable(text)}: a name that is not UTF-8, which a library cannot use here; rename it")
    except KeyboardInterrupt:
        # Python waits for threads; pressed once more, Ctrl-C ends these, too.
        signal.signal(signal.SIGINT, signal.getsignal(signal.SIGTERM))
        sys.exit(interrupted)
    except Exception as error:
        # A full disk, a lack of memory and missing rights raise tf.errors.OpError, too.
        if "tensorflow" not in sys.modules or not isinstance(error, sys.modules["tensorflow"].errors.OpError):
            raise
        sys.exit(printable(describe_op_error(error)))


def describe_op_error(error):
    """What a tf.errors.OpError has to say, without operations and places in the code."""
    before_places, *_ = re.split(r"\s*\[(?:\[|Op:)", str(error))
    cause = re.sub(r"\{\{.*?\}\}\s*", "", before_places.splitlines()[-1].strip())
    return f"TensorFlow cannot go on ({type(error).__name__}: {cause})"


def describe_run():
    """Returns what a result needs to be reproduced: the command, and the versions of Python and the libraries."""
    versions = {name: importlib.import_module(name).__version__ for name in ("tensorflow", "keras", "numpy", "cv2")}
    command = shlex.join(["python", Path(sys.argv[0]).name, *sys.argv[1:]])
    return {"command": command, "versions": {"python": sys.version.split()[0], **versions}}


def say(text, end="\n"):
    """Prints a text, and what `print` has kept before it, at once.

    Raises UserError where nobody reads standard output any more, or its disk is full.
    """
    try:
        print(text, end=end, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Else Python tries again when it ends.
        raise UserError(f"standard output: {describe_error(error)}") from error


def finish(summary, failures, notes=()):
    """Ends a script: prints a summary unless it is "", then notes and failures, a line each, on stderr.

    The script's status is 1 if there is a failure, else 0.
    """
    try:
        if summary:
            say(summary)
    except UserError as error:
        failures = [*failures, str(error)]
    for line in [*notes, *failures]:
        print(printable(line), file=sys.stderr)
    sys.exit(1 if failures else 0)


def counted(number, noun):
    """A number with its noun, which takes an "s": "1 photo", "2 photos"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def printable(text):
    """A text as one line for terminals and lists: line breaks, control characters and bytes of names that are no UTF-8
    become escapes like \\n."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
