"""Tables of scores: means, differences between models with confidence intervals, and their files.

    python -m evaluation.scores results/*/photos.csv --reference scenes
    python -m evaluation.scores results/*/photos.csv --reference without --seeds

As a script, it joins tables that evaluate.py wrote about the same photos, and needs no weights. With --seeds, models
whose names differ only in a final number, such as with-0, with-1 and with-2, are compared as one, seed by seed: with-1
with without-1. Seeds that only one of the two has count for its mean, but not for the difference.
"""

import csv
import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path

from common.command_line import counted, describe_run, finish, parse, prepare_imports, run

if __name__ == "__main__":
    prepare_imports()

import numpy as np
import tyro
from scipy.stats import bootstrap, sem, t

from common.errors import OptionError, UserError
from common.files import write_csv, write_json
from common.options import Needed

# Resamples of the photos behind a confidence interval, and the seed that draws them.
RESAMPLES = 2000
SEED = 0
# Rows and metrics that depend on the photos, their crops and the target of mse alone. The classifier's metrics do not
# belong to them: its precision has changed.
BASELINES = ("photo", "gray")
BASELINE_METRICS = ("mse", "psnr", "ab_rmse")


@dataclass(frozen=True)
class Scores:
    """The metrics of each model on each photo."""

    photos: list  # Names of the photos.
    # {model: {metric: float [photos]}}. nan or inf where there is no value: the boundary error of a photo without
    # boundaries, the psnr of a result that equals the photo.
    values: dict
    sets: dict = field(default_factory=dict)  # {model: {metric: value}}, of metrics of all photos together.

    @classmethod
    def load(cls, *tables):
        """Reads one or more photos.csv of the same photos. Keeps the metrics that all of them have.

        Of a model in several files, the last file counts.

        Raises:
            UserError: A file is not such a table, or has other photos than the first one, or the same ones scored with
                other options.
        """
        photos, start = read_table(tables[0])
        values = dict(start)
        for table in tables[1:]:
            names, more = read_table(table)
            if names != photos:
                raise UserError(f"{table}: scores of other photos than {tables[0]}")
            if difference := _find_difference(start, more):
                raise UserError(
                    f"{table}: {difference} differs from that in {tables[0]}, so the photos, --crop or "
                    "--saturation-factor were others; join tables of the same ones"
                )
            values |= more
        first, *others = values.values()
        shared = [metric for metric in first if all(metric in other for other in others)]
        return cls(photos, {model: {metric: own[metric] for metric in shared} for model, own in values.items()})

    def means(self):
        """{model: {metric: mean}}, over the photos that `_comparable` names; nan where a model has no value."""
        return {
            model: {metric: _mean(values[self._comparable(metric)]) for metric, values in metrics.items()}
            | self.sets.get(model, {})
            for model, metrics in self.values.items()
        }

    def differences(self, reference):
        """Differences of the other models from a reference model, over the photos that `_comparable` names.

        Returns:
            {model: {metric: (mean, low, high)}} of model minus reference, with the 95 % confidence interval of a paired
            percentile bootstrap over the photos.
        """
        others = {model: metrics for model, metrics in self.values.items() if model != reference}
        with np.errstate(invalid="ignore"):  # inf - inf
            return {
                model: {
                    metric: mean_interval((values - self.values[reference][metric])[self._comparable(metric)])
                    for metric, values in metrics.items()
                }
                for model, metrics in others.items()
            }

    def _comparable(self, metric):
        """The photos that all models have a value for, bool [photos]; models without any value are ignored.

        Gray output of a gray photo has an infinite psnr. That photo counts for no model, so that means compare.
        """
        known = [np.isfinite(metrics[metric]) for metrics in self.values.values()]
        return np.all([values for values in known if values.any()] or known, axis=0)

    def save(self, folder, options, reference):
        """Writes results.json (means, differences from a reference model and what made them) and photos.csv."""
        folder.mkdir(parents=True, exist_ok=True)
        summary = {
            "photos": len(self.photos),
            "means": self.means(),
            "differences": {"reference": reference, **self.differences(reference)},
            "options": options,
            **describe_run(),
        }
        # JSON has no nan and no inf.
        summary = json.loads(json.dumps(summary, default=str), parse_constant=lambda _: None)
        write_json(folder / "results.json", summary)
        rows = [["model", "photo", *next(iter(self.values.values()))]]
        for model, columns in self.values.items():
            for photo, *values in zip(self.photos, *columns.values(), strict=True):
                rows.append([model, photo, *(f"{value:.6g}" for value in values)])
        write_csv(folder / "photos.csv", rows)


def read_table(file):
    """Reads (photos, values), see `Scores`, from the Path of a photos.csv. Raises UserError for another file."""
    try:
        header, *rows = csv.reader(file.read_text("utf-8").splitlines())
        rows_of = {}
        for model, photo, *values in rows:
            rows_of.setdefault(model, []).append((photo, values))
        photos, *others = ([photo for photo, _ in own] for own in rows_of.values())
        if any(other != photos for other in others):
            raise UserError(f"{file}: its models have different photos; let evaluate.py write it again")
        columns = {model: np.array([values for _, values in own], float).T for model, own in rows_of.items()}
        return photos, {model: dict(zip(header[2:], own, strict=True)) for model, own in columns.items()}
    except (ValueError, csv.Error) as error:
        raise UserError(f"{file}: not a photos.csv that evaluate.py wrote") from error


def _find_difference(values, others):
    """The first score, as words, that differs between two tables though no model has a part in it; "" if none does.

    Args:
        values, others: See `Scores`, of photos of the same names.
    """
    for model, metric in itertools.product(BASELINES, BASELINE_METRICS):
        if any(metric not in table.get(model, {}) for table in (values, others)):
            continue
        own, other = values[model][metric], others[model][metric]
        # One pixel that another processor rounds to its neighbour makes an infinite psnr finite.
        known = np.isfinite(own) & np.isfinite(other)
        # Of one set of photos, tables differ by less than 1e-3 of a score; crops of another size by 3e-2 and more.
        if not np.allclose(own[known], other[known], rtol=1e-3, atol=1e-6):
            return f"{metric} of {model}"
    return ""


def over_seeds(means):
    """Groups means by the model's name without its seed: "scenes-0" and "scenes-1" become "scenes".

    Returns:
        {name: {metric: {seed: value}}}. Seeds are as the names have them, "0" and "1"; "" for a model without one.
    """
    groups = {}
    for model, metrics in means.items():
        name, _, seed = model.rpartition("-")
        name, seed = (name, seed) if seed.isdecimal() else (model, "")
        group = groups.setdefault(name, {})
        for metric, value in metrics.items():
            group.setdefault(metric, {})[seed] = value
    return groups


def seed_differences(groups, reference):
    """Differences of the other groups of `over_seeds` from a reference group, over the seeds that both have.

    Returns:
        ({name: {metric: (mean, low, high)}}, notes): group minus reference, with the 95 % confidence interval of a
        paired t-test over the seeds; and sentences about groups and seeds that are left out. Groups without seeds, such
        as gray, are left out without one.
    """
    differences, notes = {}, []
    base, base_seeds = groups[reference], _seeds(groups[reference])
    for name, metrics in groups.items():
        seeds = _seeds(metrics)
        if name == reference or not seeds:
            continue
        shared = [seed for seed in seeds if seed in base_seeds]
        alone = [f"{name}-{seed}" for seed in seeds if seed not in shared]
        alone += [f"{reference}-{seed}" for seed in base_seeds if seed not in shared]
        if len(shared) < 2:
            count = counted(len(shared), "seed")
            notes.append(f"{name}: not compared with {reference}: they share {count}; score two or more of both")
            continue
        if alone:
            over, left_out = ", ".join(shared), ", ".join(alone)
            notes.append(f"{name}: compared with {reference} over seeds {over}; left out: {left_out}")
        differences[name] = {
            metric: _seed_interval(np.array([values[seed] - base[metric][seed] for seed in shared]))
            for metric, values in metrics.items()
        }
    if not differences and not notes:
        notes.append(f"nothing is compared: no other model than {reference} has seeds, as NAME-0 and NAME-1 have")
    return differences, notes


def format_means(means):
    """Means as aligned text, a line a model; those of `over_seeds` as the mean ± the standard deviation."""
    header = ["", *next(iter(means.values()))]
    return _align([header, *([model, *map(_spread, row.values())] for model, row in means.items())])


def format_differences(differences):
    """Differences with their intervals as aligned text, a line a model and metric; * where 0 lies outside."""
    lines = [
        [model, metric, f"{mean:+.3g}", f"{low:+.3g} .. {high:+.3g}", "*" if low > 0 or high < 0 else " "]
        for model, metrics in differences.items()
        for metric, (mean, low, high) in metrics.items()
        if np.isfinite(mean)
    ]
    return _align(lines)


def _mean(values):
    """The mean; nan where a value is not finite, or there is none."""
    return float(values.mean()) if len(values) and np.isfinite(values).all() else float("nan")


def mean_interval(values):
    """(mean, low, high) of values, with the 95 % interval of a percentile bootstrap; nan for one, or one not finite."""
    if len(values) < 2 or not np.isfinite(values).all():
        return (float("nan"),) * 3
    options = {"n_resamples": RESAMPLES, "method": "percentile", "rng": np.random.default_rng(SEED)}
    interval = bootstrap((values,), np.mean, **options).confidence_interval
    return float(values.mean()), float(interval.low), float(interval.high)


def describe_mean(values, digits):
    """The mean of values and, of several, its 95 % interval, as words: "2.1 (1.8..2.4)"."""
    _, low, high = mean_interval(values)
    interval = f" ({low:.{digits}f}..{high:.{digits}f})" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{interval}"


def _seeds(metrics):
    """The seeds of a group of `over_seeds`, in the order of their numbers; none for a model without one."""
    return sorted(filter(None, next(iter(metrics.values()))), key=int)


def _seed_interval(differences):
    """(mean, low, high) of two or more differences, [seeds], with the 95 % interval of a t-test."""
    mean, half = differences.mean(), t.ppf(0.975, len(differences) - 1) * sem(differences)
    return float(mean), float(mean - half), float(mean + half)


def _spread(values):
    """A value, or the mean ± the standard deviation of several, {seed: value}; "-" where one is not finite."""
    values = list(values.values()) if isinstance(values, dict) else values
    mean, deviation = np.mean(values), f" ± {np.std(values, ddof=1):.2g}" if np.size(values) > 1 else ""
    # Rounding errors around zero are shown as 0.
    return f"{mean if abs(mean) > 1e-12 else 0:.4g}{deviation}" if np.isfinite(mean) else "-"


def _align(lines):
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


@dataclass(frozen=True)
class Options:
    """Joins tables that evaluate.py wrote, and compares their models."""

    tables: tyro.conf.Positional[Needed[tuple[Path, ...]]]  # photos.csv files about the same photos.
    reference: str = "scenes"  # The model that the others are compared with.
    seeds: bool = False  # Compare models whose names end in a seed, like scenes-0 and scenes-1, as one.


def main():
    options = parse(Options, "-m evaluation.scores")
    scores = Scores.load(*options.tables)
    means = over_seeds(scores.means()) if options.seeds else scores.means()
    if options.reference not in means:
        raise OptionError(f"--reference {options.reference}: the tables have {', '.join(means)}")
    if options.seeds:
        differences, notes = seed_differences(means, options.reference)
    else:
        differences, notes = scores.differences(options.reference), []
    tables = [counted(len(scores.photos), "photo"), format_means(means)]
    if lines := format_differences(differences):
        tables.append(f"differences from {options.reference}, 95 % intervals\n{lines}")
    finish("\n".join(tables), [], notes)


if __name__ == "__main__":
    run(main)
