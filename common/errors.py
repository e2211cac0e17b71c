"""Errors that a person can do something about."""

import re
from pathlib import Path


class UserError(Exception):
    """An error whose message is one sentence for the person at the terminal: what is wrong, with what, and the way out.

    The scripts print it and exit with status 1; see `command_line.run`.
    """


def first_line(error):
    """The first line of an error's message, or its type where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def describe_missing_package(error):
    """What a ModuleNotFoundError means: the package, and the command that installs it and those that go with it."""
    package = error.name.partition(".")[0]
    line = re.compile(rf"^{package.replace('_', '[-_]')}(?![\w-])", re.MULTILINE)
    optional = Path(__file__).parent.parent.glob("requirements-*.txt")
    file = next((file.name for file in optional if line.search(file.read_text())), "requirements.txt")
    return f"{package} is missing; in the environment of this project: pip install -r {file}"


class OptionError(UserError):
    """A value on the command line that cannot be used; the message names the option and what it takes."""


class DatasetError(UserError):
    """A data set that cannot be used; the message says why and what to do."""


class FileError(UserError):
    """A file that cannot be read or written. `cause` says why; the message names the file as well."""

    def __init__(self, path, cause):
        super().__init__(f"{path}: {cause}")
        self.cause = cause


class PhotoError(FileError):
    """A photo that cannot be read or written."""


class TooLarge(PhotoError):
    """A photo of more pixels than the limit."""
