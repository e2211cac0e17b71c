"""Builds, saves and loads the networks."""

import json
import pkgutil
import warnings
import zipfile

import keras
import numpy as np

import configs
from common import trained
from common.errors import OptionError, first_line
from common.files import describe_error
from common.trained import ModelError
from configs import RUNS, WEIGHTS
from models.colorizer import ClassifyingColorizer, Colorizer
from models.precision import ignore_keras_json, numeric_policy

NETWORKS = {name: pkgutil.resolve_name(place) for name, place in configs.NETWORKS.items()}


def build(experiment, classes=0):
    """Builds an experiment's network from the fields that the network asks for.

    Args:
        experiment: An `Experiment`, see configs.py.
        classes: Number of scene classes, for networks that can classify; 0 for no classification head.
    """
    ignore_keras_json()
    network = NETWORKS[experiment.model]
    options = {name: getattr(experiment, name) for name in network.experiment_fields}
    if issubclass(network, ClassifyingColorizer):
        options["classes"] = classes
    return network(**options)


def fields_of_others(network):
    """Returns the fields of an `Experiment` that only networks other than the given one, a key of NETWORKS, take."""
    fields = {name: set(each.experiment_fields) for name, each in NETWORKS.items()}
    return set().union(*fields.values()) - fields[network]


def find(name):
    """The file of a model given as a file, a run's folder, or a name. Raises ModelError, see `trained.find`."""
    return trained.find(name, RUNS, WEIGHTS)


def names():
    """Names of all trained models that `find` finds, sorted."""
    return trained.names(RUNS, WEIGHTS)


def check_distinct(names):
    """Raises OptionError where two names mean the same file, as `natural` does after a training run of that name."""
    found = {}
    for name in names:
        file = find(name)
        first = found.setdefault(file.resolve(), name)
        if first != name:
            raise OptionError(f"--models {first} {name}: both are {file}; leave one out, or give another file")


def load(name):
    """Loads a trained colorizer by file, run folder or name (see `find`), under the current numeric policy.

    Raises:
        ModelError: There is no such model, or its file is damaged or holds something else.
    """
    ignore_keras_json()
    path = find(name)
    try:
        with path.open("rb") as file:
            if path.suffix != ".keras" or not zipfile.is_zipfile(file):  # Keras would say that there is no file.
                raise ModelError(f"{path}: not a .keras file, or damaged")
    except OSError as error:
        raise ModelError(f"{path}: {describe_error(error)}") from error
    try:
        with warnings.catch_warnings():
            # Keras would leave these layers with random weights.
            warnings.filterwarnings("error", "Skipping nested container", UserWarning)
            model = keras.saving.load_model(path, compile=False)
    except Exception as error:  # Whatever a damaged or foreign file makes h5py, zipfile or Keras raise.
        raise ModelError(f"{path}: not a model that can be loaded ({first_line(error)})") from error
    if not isinstance(model, Colorizer):
        raise ModelError(f"{path}: a Keras model, but not a colorizer of this project")
    if not all(np.isfinite(weights).all() for weights in model.get_weights()):
        raise ModelError(f"{path}: has weights that are not finite numbers; use another copy, or train it anew")
    return model


def describe(name):
    """What made a model: the content of the .json file beside it, {} where there is none.

    Arguments as for `load`. Raises ModelError where that file is damaged or may not be read.
    """
    file = find(name).with_suffix(".json")
    try:
        return dict(json.loads(file.read_bytes())) if file.is_file() else {}
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{file}: it cannot be read ({first_line(error)}); remove it to do without it") from error


def save(model, path, precision="float32"):
    """Saves a colorizer's weights and configuration, without its optimizer; `load` gives it back under any policy.

    Args:
        model: The colorizer, compiled or not.
        path: A .keras file.
        precision: "float32", or "float16" for a file of half the size.
    """
    with numeric_policy(precision):
        copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    copy.save(path)
