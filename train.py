"""Trains one of the experiments in configs.py.

    python train.py                                      the paper's recipe
    python train.py scenes --dataset DIR --epochs 3      another experiment, with fields overridden
    python train.py scenes --dataset DIR --resume        goes on after the last finished epoch

All GPUs of a machine are used; several machines train together where TF_CONFIG says so, see docs/training.md.

The run's folder, runs/NAME, then holds: config.json, history.csv, best.keras (the best epoch so far), last.weights.h5
(to go on from), logs/ (for TensorBoard) and, at the end, model.keras with model.json (the best epoch in half precision,
for `python test.py --model NAME`, and what made it) and skipped.txt (photos that could not be learned from).
"""

import itertools
import sys
from dataclasses import dataclass

from common.command_line import parse, prepare_imports, run

if __name__ == "__main__":
    prepare_imports()

import tyro

import models
from common.errors import OptionError
from common.options import Count, IfGiven, OutputFolder, Positive, find_idle, find_problem
from configs import EXPERIMENTS, RUNS, Experiment
from training.trainer import train


@dataclass(frozen=True)
class Options:
    """Trains one of the experiments in configs.py; without a name, `paper`."""

    experiment: tyro.conf.OmitArgPrefixes[Experiment]
    # The run's folder. Default: a folder in RUNS (configs.py) named like the experiment.
    run_dir: IfGiven[OutputFolder] = None
    # Minutes of training steps, instead of --epochs: the speed is measured first, and the schedule fitted to it.
    # Validation takes extra time.
    minutes: IfGiven[Positive] = None
    resume: bool = False  # Go on from the last checkpoint in the run's folder; start anew where there is none.
    # Save what --resume needs every so many steps, too, and not only after each epoch.
    save_every_steps: IfGiven[Count] = None


def read_command_line(arguments):
    """Reads the experiment's name, `paper` without one, and the options. Returns (name, Options)."""
    if arguments and not arguments[0].startswith("-"):
        name, *rest = arguments
    else:
        name, rest = "paper", arguments
        # An option of several values, like --dataset, would take a name behind it for one of them.
        for before, argument in itertools.pairwise(rest):
            if argument in EXPERIMENTS and not before.startswith("-"):
                raise OptionError(f"{argument}: an experiment's name comes first: python train.py {argument} ...")
    if name not in EXPERIMENTS:
        raise OptionError(f"no experiment is named {name}; there are {', '.join(EXPERIMENTS)}")
    if problem := find_problem(EXPERIMENTS[name]):
        raise OptionError(f"configs.py, {name}: {problem}")
    description = f"{Options.__doc__} There are {', '.join(EXPERIMENTS)}; the defaults shown are those of {name}."
    options = parse(Options, f"train.py {name}", description=description, default=Options(EXPERIMENTS[name]), args=rest)
    check_effect(options, rest)
    return name, options


def check_effect(options, arguments):
    """Raises OptionError for a given option that another option leaves without effect."""
    experiment = options.experiment
    reasons = dict.fromkeys(
        models.fields_of_others(experiment.model), f"it has no effect on the network {experiment.model}; leave it out"
    )
    reasons |= find_idle(experiment)
    if experiment.initializer == "he_fan_out" and experiment.model != "colornet":
        reasons["initializer"] = "he_fan_out is for colornet"
    if options.minutes is not None:
        reasons["epochs"] = "--minutes decides instead"
    given = {argument.partition("=")[0].replace("_", "-") for argument in arguments}
    for name, reason in reasons.items():
        option = name.replace("_", "-")
        for spelling in given & {f"--{option}", f"--no-{option}"}:
            raise OptionError(f"{spelling}: {reason}")


def main():
    name, options = read_command_line(sys.argv[1:])
    train(options.experiment, options.run_dir or RUNS / name, options.resume, options.minutes, options.save_every_steps)


if __name__ == "__main__":
    run(main, interrupted="interrupted; pass --resume to go on from the last checkpoint")
