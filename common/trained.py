"""Trained models on disk: which there are, and the file of each. Needs no TensorFlow."""

from pathlib import Path

from common.errors import UserError
from common.files import describe_error, is_regular


class ModelError(UserError):
    """A model that cannot be found or loaded; the message says which and what to do."""


def find(name, runs, weights):
    """The file of a model given as a file, a run's folder, or a name.

    A name is looked up among the finished runs in the folder `runs`, then among the files that ship in `weights`, then
    among unfinished runs. Raises ModelError where there is no such model, and lists those there are; or where it may
    not be read.
    """
    candidates = [
        Path(name),
        Path(name) / "model.keras",
        Path(name) / "best.keras",
        runs / name / "model.keras",
        weights / f"{name}.keras",
        runs / name / "best.keras",
    ]
    for path in candidates:
        if is_regular(path):
            return path
    for path in candidates:
        try:
            path.stat()
        except PermissionError as error:
            raise ModelError(f"{path}: {describe_error(error)}") from error
        except (OSError, ValueError):
            continue
    found = ", ".join(names(runs, weights)) or "none yet"
    raise ModelError(f"{name}: no such model; there are {found}, or pass a .keras file")


def names(runs, weights):
    """Names of all trained models that `find` finds in these folders, sorted."""
    runs, weights = runs.glob("*/*.keras"), weights.glob("*.keras")
    return sorted({path.parent.name for path in runs} | {path.stem for path in weights})


def short_names(given):
    """{short name: name as given} of models: files and runs without their folders, unless two would be the same."""
    short = [Path(name).stem if name.endswith(".keras") else Path(name).name for name in given]
    return dict(zip(short if len(set(short)) == len(short) else given, given, strict=True))
