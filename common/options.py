"""What options accept. It stands at each option, as its type, and `find_problem` checks all of them."""

import dataclasses
import math
import os
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Interval

Count = Annotated[int, Interval(ge=1)]
Positive = Annotated[float, Interval(gt=0)]
NotNegative = Annotated[float, Interval(ge=0)]
Share = Annotated[float, Interval(ge=0, le=1)]
# NumPy and TensorFlow take seeds of 32 bits.
Seed = Annotated[int, Interval(ge=0, le=2**32 - 1)]
# Height or width in pixels of photos that networks learn from and are scored on; metrics.nyquist_energy needs 16.
Side = Annotated[int, Interval(ge=16, le=4096)]
# Shorter side in pixels of what a network is shown, factor on the strength of colours, and quality of JPEG.
RenderSize = Annotated[int, Interval(ge=8, le=2048)]
Saturation = Annotated[float, Interval(ge=0, le=10)]
Quality = Annotated[int, Interval(ge=1, le=100)]


@dataclasses.dataclass(frozen=True)
class Check:
    """What a value has to pass: a function that gives what is wrong with it, as words, or None."""

    describe_problem: Callable


@dataclasses.dataclass(frozen=True)
class OnlyWith:
    """Marks an option that has an effect only where another option has one of some values."""

    option: str
    values: tuple


def _problem_of_folder(path):
    return None if path.is_dir() else "no such folder"


def _problem_of_output(path):
    place = next(place for place in (path, *path.absolute().parents) if os.path.lexists(place))
    if not place.is_dir():
        return f"{place} is a file, where a folder is needed" if place != path else "a file, where a folder is needed"
    return None if os.access(place, os.W_OK | os.X_OK) else f"{place} may not be written to"


def _problem_of_picture(path):
    if path.suffix.lower() not in PICTURES:
        return f"use a name that ends in {', '.join(PICTURES)}"
    return _problem_of_output(path.parent)


# What Matplotlib writes.
PICTURES = (".jpg", ".pdf", ".png", ".svg", ".webp")
Folder = Annotated[Path, Check(_problem_of_folder)]
OutputFolder = Annotated[Path, Check(_problem_of_output)]
Picture = Annotated[Path, Check(_problem_of_picture)]


def find_problem(options):
    """The first option whose value is out of bounds: a sentence, or None where all values are good.

    Args:
        options: A dataclass of options. Values have to lie in every `Interval` and pass every `Check` that the option's
            type holds, at any depth. Numbers have to be finite, and tuples not empty, unless that is the default.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(options)}
    for name, hint in typing.get_type_hints(type(options), include_extras=True).items():
        value = getattr(options, name)
        if value == () == defaults[name]:
            continue
        if dataclasses.is_dataclass(value):
            problem = find_problem(value)
        else:
            problem = _describe_problem(hint, value)
            problem = problem and f"{_option(name, hint)} {problem}"
        if problem:
            return problem
    return None


def find_names(options):
    """The options of a dataclass as they are written on the command line; of a union, the subcommands."""
    if isinstance(options, types.UnionType):
        return [kind.__name__.lower() for kind in typing.get_args(options)]
    hints = typing.get_type_hints(options)
    nested = [
        find_names(hint) if dataclasses.is_dataclass(hint) else [_option(name, None)] for name, hint in hints.items()
    ]
    return [name for names in nested for name in names]


def find_idle(options):
    """The options without effect, since another one has not the value they need: {name: why, as words}."""
    return {
        name: f"it has no effect {_describe_setting(mark.option, getattr(options, mark.option))}"
        for name, hint in typing.get_type_hints(type(options), include_extras=True).items()
        for mark in getattr(hint, "__metadata__", ())
        if isinstance(mark, OnlyWith) and getattr(options, mark.option) not in mark.values
    }


def _describe_setting(name, value):
    return f"without {_option(name, None)}" if value is False else f"with {_option(name, None)} {value}"


def _option(name, hint):
    """An option as it is written on the command line."""
    positional = tyro.conf.Positional[str].__metadata__[0] in getattr(hint, "__metadata__", ())
    return name.upper() if positional else f"--{name.replace('_', '-')}"


def _describe_problem(hint, value):
    if value == ():
        return "has no value: give at least one"
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, float) and not math.isfinite(item):
            return f"{item}: use a finite number"
        for condition in _conditions(hint) if item is not None else ():
            if isinstance(condition, Check) and (problem := condition.describe_problem(item)):
                return f"{item}: {problem}"
            if isinstance(condition, Interval) and not _lies_in(item, condition):
                return f"{item}: use {_describe(condition)}"
    return None


def _conditions(hint):
    """Every `Interval` and `Check` in a type, at any depth."""
    for part in (*getattr(hint, "__metadata__", ()), *typing.get_args(hint)):
        if isinstance(part, (Interval, Check)):
            yield part
        else:
            yield from _conditions(part)


def _lies_in(number, interval):
    above = interval.ge is None or number >= interval.ge
    strictly_above = interval.gt is None or number > interval.gt
    below = interval.le is None or number <= interval.le
    strictly_below = interval.lt is None or number < interval.lt
    return above and strictly_above and below and strictly_below


def _describe(interval):
    """An interval in words: "at least 1", "more than 0", "0 to 1", "at least 0 and less than 1"."""
    if interval.ge is not None and interval.le is not None:
        return f"{interval.ge} to {interval.le}"
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    return " and ".join(
        f"{word} {bound}" for field, word in words.items() if (bound := getattr(interval, field)) is not None
    )
