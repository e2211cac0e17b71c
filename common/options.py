"""Types of options with the bounds of their values, which `find_problem` checks."""

import dataclasses
import os
import re
import typing
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import tyro
from annotated_types import Interval
from pydantic import AfterValidator, ConfigDict, TypeAdapter, ValidationError
from tyro.conf import arg

from common.files import PHOTO_SUFFIXES, REPLACED, describe_error

# An option that may be left out. Its description says what holds then, in place of "(default: None)"; "None" on the
# command line is a name like any other.
Value = TypeVar("Value")
IfGiven = tyro.conf.DisallowNone[Annotated[Value | None, arg(help_behavior_hint="")]]
# One or more values, which `find_problem` asks for. Without this hint, --help calls them optional.
Needed = Annotated[Value, arg(help_behavior_hint="(required)")]
Count = Annotated[int, Interval(ge=1)]
Positive = Annotated[float, Interval(gt=0)]
NotNegative = Annotated[float, Interval(ge=0)]
Share = Annotated[float, Interval(ge=0, le=1)]
# NumPy and TensorFlow take seeds of 32 bits.
Seed = Annotated[int, Interval(ge=0, le=2**32 - 1)]
# Height or width in pixels of training crops and of scored photos; metrics.nyquist_energy needs 16.
Side = Annotated[int, Interval(ge=16, le=4096)]
# Shorter side in pixels of the copy that a network sees.
RenderSize = Annotated[int, Interval(ge=8, le=2048)]
Saturation = Annotated[float, Interval(ge=0, le=10), arg(help="Factor on the strength of the colours.")]
# Formats in which results are written.
PhotoFormat = Literal[*sorted(suffix[1:] for suffix in PHOTO_SUFFIXES - REPLACED.keys())]
Quality = Annotated[int, Interval(ge=1, le=100), arg(help="Of JPEG, WebP and AVIF files, 1 to 100.")]
Model = Annotated[
    str,
    arg(help="A trained model: a name (a run of yours or weights that ship), a run's folder, or a .keras file."),
]


@dataclasses.dataclass(frozen=True)
class OnlyWith:
    """Marks an option that has an effect only where another option has one of some values."""

    option: str
    values: tuple


def _existing_folder(path):
    if not path.is_dir():
        raise ValueError("no such folder")
    return path


def _writable_folder(path):
    try:
        places = (path, *path.absolute().parents)
    except FileNotFoundError as error:
        raise ValueError(describe_error(error)) from error
    place = next(place for place in places if os.path.lexists(place))
    if not place.is_dir():
        raise ValueError(f"{place} is a {'file' if place.exists() else 'broken link'}, where a folder is needed")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ValueError(f"{place} may not be written to")
    return path


def _writable_file(path):
    _writable_folder(path.parent)
    return path


def _model_file(path):
    if path.suffix != ".keras":
        raise ValueError("use a name that ends in .keras")
    return _writable_file(path)


def _picture(path):
    if path.suffix.lower() not in PICTURES:
        raise ValueError(f"use a name that ends in {', '.join(PICTURES)}")
    return _writable_file(path)


# What Matplotlib writes.
PICTURES = (".jpg", ".pdf", ".png", ".svg", ".webp")
Folder = Annotated[Path, AfterValidator(_existing_folder)]
OutputFolder = Annotated[Path, AfterValidator(_writable_folder)]
OutputFile = Annotated[Path, AfterValidator(_writable_file)]
ModelFile = Annotated[Path, AfterValidator(_model_file)]
Picture = Annotated[Path, AfterValidator(_picture)]


def find_problem(options):
    """The first option whose value is out of bounds: a sentence, or None where all values are good.

    Args:
        options: A dataclass of options. Pydantic checks each value against the option's type. Numbers have to be
            finite, and tuples not empty, unless that is the default.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(options)}
    for name, hint in typing.get_type_hints(type(options), include_extras=True).items():
        value = getattr(options, name)
        if dataclasses.is_dataclass(value):
            if problem := find_problem(value):
                return problem
        elif value == () and defaults[name] != ():
            return f"{_option(name, hint)} has no value: give at least one"
        else:
            try:
                TypeAdapter(hint, config=ConfigDict(allow_inf_nan=False, strict=True)).validate_python(value)
            except ValidationError as error:
                first = error.errors()[0]
                return f"{_option(name, hint)} {first['input']}: {describe_invalid(first)}"
    return None


def find_options(options):
    """The options of a dataclass, or of a union of some, as they are written on the command line: {option: type}."""
    found = {}
    for each in typing.get_args(options) or [options]:
        kinds = typing.get_type_hints(each)
        for name, hint in typing.get_type_hints(each, include_extras=True).items():
            kind = kinds[name]
            found |= find_options(kind) if dataclasses.is_dataclass(kind) else {_option(name, hint): kind}
    return found


def find_names(options):
    """The options of a dataclass as they are written on the command line; of a union, the subcommands."""
    subcommands = [kind.__name__.lower() for kind in typing.get_args(options)]
    return subcommands or [*find_options(options)]


def find_lists(options):
    """Those of `find_options` that take any number of values behind a name."""
    found = find_options(options).items()
    return [option for option, kind in found if option.startswith("--") and Ellipsis in typing.get_args(kind)]


def describe_invalid(error):
    """What one of Pydantic's errors says, as the advice that follows a value: "use a number greater than 0"."""
    words = error["msg"].removeprefix("Value error, ")
    return re.sub("^Input should be (an? |(?='))?", lambda at: f"use {'a number ' if at[1] is None else at[1]}", words)


def find_idle(options):
    """The options without effect, since another one has not the value they need: {name: why, as words}."""
    return {
        name: f"it has no effect {_describe_setting(mark.option, getattr(options, mark.option))}"
        for name, hint in typing.get_type_hints(type(options), include_extras=True).items()
        for mark in getattr(hint, "__metadata__", ())
        if isinstance(mark, OnlyWith) and getattr(options, mark.option) not in mark.values
    }


def _describe_setting(name, value):
    return f"without {_option(name)}" if value is False else f"with {_option(name)} {value}"


def _option(name, hint=None):
    """An option as it is written on the command line."""
    positional = tyro.conf.Positional[str].__metadata__[0] in getattr(hint, "__metadata__", ())
    return name.upper() if positional else f"--{name.replace('_', '-')}"
