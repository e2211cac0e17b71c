"""Errors that a person can do something about."""


class UserError(Exception):
    """An error whose message is one sentence for the person at the terminal: what is wrong, with what, and the way out.

    The scripts print it and exit with status 1; see `command_line.run`.
    """


def first_line(error):
    """The first line of an error's message, or its type where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


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
