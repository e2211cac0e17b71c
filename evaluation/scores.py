"""What models scored on photos: means, differences that can be told from chance, and the files that keep them.

    python -m evaluation.scores results/*/photos.csv --reference scenes
    python -m evaluation.scores results/*/photos.csv --reference without --seeds

Run as a script, this file puts tables that evaluate.py wrote side by side, so that models can be compared whose weights
are gone. What was trained several times, from seed to seed, is compared as one: models with-0, with-1 and with-2, say,
with without-0, without-1 and without-2.
"""

import csv
import io
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tyro
from scipy.stats import bootstrap, ttest_1samp

from common.command_line import describe_run, parse, run
from common.errors import UserError
from common.files import write_whole

# Resamples of the photos behind a confidence interval, and the seed that draws them.
RESAMPLES = 2000
SEED = 0


@dataclass(frozen=True)
class Scores:
    """Figures of each model for each photo.

    Attributes:
        photos: Names of the photos.
        values: {model: {figure: float [photos]}}. Values that do not exist are nan or inf: the boundary error of a
            photo without boundaries, the psnr of one that comes back exactly.
        sets: {model: {figure: value}}, of figures that only all photos together have; may be empty.
    """

    photos: list
    values: dict
    sets: dict = field(default_factory=dict)

    @classmethod
    def load(cls, *tables):
        """Reads one or more photos.csv of the same photos, and of them the figures that all of them have.

        Of a model in several of them, the last one counts.

        Raises:
            UserError: A file is not such a table, or is about other photos than the first.
        """
        photos, values = None, {}
        for table in tables:
            try:
                header, *rows = csv.reader(table.read_text().splitlines())
                models = dict.fromkeys(row[0] for row in rows)
                own = {model: [row for row in rows if row[0] == model] for model in models}
                names = [row[1] for row in next(iter(own.values()))]
                columns = {model: np.array([row[2:] for row in mine], float).T for model, mine in own.items()}
            except (ValueError, IndexError, StopIteration) as error:
                raise UserError(f"{table}: not a photos.csv that evaluate.py wrote ({error})") from error
            if photos not in (None, names):
                raise UserError(f"{table}: scores of other photos than {tables[0]}")
            photos = names
            values |= {model: dict(zip(header[2:], column, strict=True)) for model, column in columns.items()}
        first, *others = values.values()
        shared = [figure for figure in first if all(figure in other for other in others)]
        return cls(photos, {model: {figure: own[figure] for figure in shared} for model, own in values.items()})

    def means(self):
        """{model: {figure: mean}}, over the photos that count; nan where a model has no value."""
        return {
            model: {figure: _mean(values[self._counts(figure)]) for figure, values in figures.items()}
            | self.sets.get(model, {})
            for model, figures in self.values.items()
        }

    def differences(self, reference):
        """How far the other models are from one of them, photo by photo, over the photos that count.

        Returns:
            {model: {figure: (mean difference, low, high)}}: the model minus the reference, with the 95 % confidence
            interval of a paired percentile bootstrap over the photos.
        """
        others = {model: figures for model, figures in self.values.items() if model != reference}
        with np.errstate(invalid="ignore"):  # inf - inf
            return {
                model: {
                    figure: mean_interval((values - self.values[reference][figure])[self._counts(figure)])
                    for figure, values in figures.items()
                }
                for model, figures in others.items()
            }

    def _counts(self, figure):
        """Which photos count, bool [photos]: those that all models have a value for, apart from models without any.

        Gray output has no psnr on a gray photo, which comes back exactly; if that photo counted for the other models
        alone, means could not be compared.
        """
        known = [np.isfinite(figures[figure]) for figures in self.values.values()]
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
        write_whole(folder / "results.json", f"{json.dumps(summary, indent=2)}\n".encode())
        write_whole(folder / "photos.csv", self._table().encode(errors="backslashreplace"))

    def _table(self):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        figures = list(next(iter(self.values.values())))
        writer.writerow(["model", "photo", *figures])
        for model, columns in self.values.items():
            for photo, *row in zip(self.photos, *columns.values(), strict=True):
                writer.writerow([model, photo, *(f"{value:.6g}" for value in row)])
        return text.getvalue()


def over_seeds(means):
    """Puts the means of models whose names end in a seed, like "scenes-0", together.

    Returns:
        {name: {figure: float [seeds]}}, in the order given; of models without a seed, one value each.
    """
    groups = {}
    for model, figures in means.items():
        name, _, seed = model.rpartition("-")
        for figure, value in figures.items():
            groups.setdefault(name if seed.isdigit() else model, {}).setdefault(figure, []).append(value)
    return {name: {figure: np.array(values) for figure, values in figures.items()} for name, figures in groups.items()}


def seed_differences(groups, reference):
    """How far the other groups of `over_seeds` are from one of them, seed by seed.

    Returns:
        {name: {figure: (mean difference, low, high)}}: with the 95 % confidence interval of a paired t-test over seeds,
        for groups of as many seeds.
    """
    seeds = {name: len(next(iter(figures.values()))) for name, figures in groups.items()}
    return {
        name: {figure: _seed_interval(values - groups[reference][figure]) for figure, values in figures.items()}
        for name, figures in groups.items()
        if name != reference and seeds[name] == seeds[reference]
    }


def format_seeds(groups):
    """Means and standard deviations over seeds as aligned text, a line a group."""
    header = ["", *next(iter(groups.values()))]
    return _align([header, *([name, *map(_spread, figures.values())] for name, figures in groups.items())])


def format_means(means):
    """Means as aligned text, a line a model."""
    return _align(
        [["", *next(iter(means.values()))], *([model, *map(_short, row.values())] for model, row in means.items())]
    )


def format_differences(differences):
    """Differences with their intervals as aligned text, a line a model and figure; * where 0 lies outside."""
    lines = [
        [model, figure, f"{mean:+.3g}", f"{low:+.3g} .. {high:+.3g}", "*" if low > 0 or high < 0 else " "]
        for model, figures in differences.items()
        for figure, (mean, low, high) in figures.items()
        if np.isfinite(mean)
    ]
    return _align(lines)


def _mean(values):
    """The mean; nan of values that are not all finite, or of none."""
    return float(values.mean()) if len(values) and np.isfinite(values).all() else float("nan")


def mean_interval(values):
    """Mean of values and its 95 % confidence interval by a percentile bootstrap: (mean, low, high); nan without one."""
    if len(values) < 2 or not np.isfinite(values).all():
        return (float("nan"),) * 3
    options = {"n_resamples": RESAMPLES, "method": "percentile", "rng": np.random.default_rng(SEED)}
    interval = bootstrap((values,), np.mean, **options).confidence_interval
    return float(values.mean()), float(interval.low), float(interval.high)


def _seed_interval(differences):
    interval = ttest_1samp(differences, 0).confidence_interval()
    return float(differences.mean()), float(interval.low), float(interval.high)


def _spread(values):
    spread = f" ± {values.std(ddof=1):.2g}" if len(values) > 1 and np.isfinite(values).all() else ""
    return _short(values.mean()) + spread


def _short(value):
    # What is left of an exact zero in floating point is shown as one.
    return f"{value if abs(value) > 1e-12 else 0:.4g}" if np.isfinite(value) else "-"


def _align(lines):
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


@dataclass(frozen=True)
class Options:
    """Puts scores that evaluate.py wrote side by side."""

    tables: tyro.conf.Positional[tuple[Path, ...]]
    """photos.csv files about the same photos."""
    reference: str = "scenes"
    """The model that the others are compared with."""
    seeds: bool = False
    """Put models whose names end in a seed, like scenes-0 and scenes-1, together."""


def main():
    options = parse(Options, "-m evaluation.scores")
    scores = Scores.load(*options.tables)
    means = over_seeds(scores.means()) if options.seeds else scores.means()
    if options.reference not in means:
        raise UserError(f"--reference {options.reference}: the tables have {', '.join(means)}")
    print(f"{len(scores.photos)} photos")
    if options.seeds:
        print(format_seeds(means))
        differences = seed_differences(means, options.reference)
    else:
        print(format_means(means))
        differences = scores.differences(options.reference)
    print(f"differences from {options.reference}, 95 % intervals\n{format_differences(differences)}")


if __name__ == "__main__":
    run(main)
