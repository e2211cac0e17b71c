"""What colour hints gain, how far a hint reaches across an object's edge, and what the correction costs.

    python -m benchmarks.hints gain datasets/natural/test --plot docs/hints.svg
    python -m benchmarks.hints leak datasets/bsds500/images --boundaries datasets/bsds500/boundaries
    python -m benchmarks.hints cost

`gain` follows Zhang et al., *Real-Time User-Guided Image Colorization with Learned Deep Priors*, SIGGRAPH 2017: hints
at random places, each with the own mean ab of 7x7 pixels there. The hints of one draw are nested. `leak` sets one hint
near a boundary that people drew, and compares the correction across the boundary with that on the hint's own side, at
the same distance. Both compare three ways to spread a correction: `hints`, the package's; `lightness`, the same with
lightness as the only affinity; and `distance`, the same without affinities.
"""

import asyncio
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path

from common.command_line import parse, run, tame_native_libraries

if __name__ == "__main__":
    tame_native_libraries()

import cv2
import keras
import matplotlib.pyplot as plt
import numpy as np
import scipy.sparse.linalg
import tyro
from scipy.stats import bootstrap
from tqdm import tqdm

import models
from colorizing.hints import Hint, correct, normal_equations, place_of, solve_direct
from colorizing.photo import Pipeline
from colorizing.pixels import lightness_of
from colorizing.service import Limits, Service
from common.images import Photo, encode, read_photo
from configs import MODEL, SAMPLES
from data.photos import find_photos
from evaluation.boundaries import AGREEMENT, distance_to, read_map
from evaluation.metrics import psnr
from models.precision import choose_policy
from utils import ab_from_rgb

COUNTS = (0, 1, 2, 5, 10, 20, 50, 100)
# Side in pixels of the patch whose mean ab a hint has.
PATCH = 7
# Pixels from a boundary to a hint, and half of those from the hint to where the correction is compared.
APART = 8
# Length in Lab units of the correction that a hint near a boundary asks for.
STEP = 30.0
# Ways to spread a correction, see above.
METHODS = ("hints", "lightness", "distance")


@dataclass(frozen=True)
class Gain:
    """PSNR and ab error by the number of hints."""

    photos: tyro.conf.Positional[Path]
    """Folder of colour photos, searched recursively."""
    models: tuple[str, ...] = (MODEL,)
    """Trained models."""
    count: int | None = None
    """Photos, evenly chosen from all. Default: all."""
    draws: int = 5
    """Draws of places for each photo."""
    plot: Path | None = None
    """File for the plot, .svg or .png."""


@dataclass(frozen=True)
class Leak:
    """How much of a correction crosses boundaries that people drew."""

    photos: tyro.conf.Positional[Path]
    """Folder of colour photos."""
    boundaries: Path
    """Folder of their boundary maps, PNG files named like the photos."""
    models: tuple[str, ...] = (MODEL,)
    """Trained models."""
    count: int | None = None
    """Photos, evenly chosen from all. Default: all."""
    places: int = 5
    """Boundary places a photo, at most."""


@dataclass(frozen=True)
class Cost:
    """Milliseconds of a correction, of other solvers, and of a whole photo as the page has it colorized."""

    sizes: tuple[int, ...] = (128, 224)
    """Shorter sides of grids of 3:2."""
    counts: tuple[int, ...] = (1, 10, 100)
    """Numbers of hints."""
    rounds: int = 5
    """Measurements, of which the median is shown."""


def spread(method, ab, lightness, hints, features=None):
    """The corrected ab by one of `METHODS`; other arguments as for `colorizing.hints.correct`.

    The plain methods correct an ab of 0 by hints that ask for the difference, so ab has no part in the affinities.
    """
    if method == "hints":
        return correct(ab, lightness, hints, features)
    asked = [replace(hint, ab=tuple(hint.ab - ab[place_of(hint, ab)])) for hint in hints]
    known = lightness if method == "lightness" else np.zeros_like(lightness)
    return ab + correct(np.zeros_like(ab), known, asked)


def draw_hints(ab, count, random):
    """Hints at random places with a photo's own colours: the mean of PATCH x PATCH pixels of ab, [height, width, 2]."""
    height, width = ab.shape[:2]
    rows, columns = random.integers(0, height, count), random.integers(0, width, count)
    reach = PATCH // 2
    hints = []
    for row, column in zip(rows, columns, strict=True):
        patch = ab[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]
        color = tuple(patch.mean(axis=(0, 1)).tolist())
        hints.append(Hint((column + 0.5) / width, (row + 0.5) / height, color, PATCH / 2 / min(height, width)))
    return hints


def measure_gain(pipeline, photo, draws, seed):
    """PSNR in dB and mean distance in ab of one photo: {method: float [2, draws, COUNTS]}."""
    lightness, truth = pipeline.reduce(photo), np.asarray(ab_from_rgb(photo))
    ab = pipeline.predict(lightness[None])[0]
    features = pipeline.model.features(lightness[None])
    features = None if features is None else np.asarray(features)[0]

    def score(corrected):
        result = np.ascontiguousarray(pipeline.paint(photo, lightness, corrected))
        error = np.linalg.norm(np.asarray(ab_from_rgb(result)) - truth, axis=-1).mean()
        return psnr(result[None], photo[None])[0], error

    start = score(ab)
    figures = {method: np.empty((2, draws, len(COUNTS))) for method in METHODS}
    for draw in range(draws):
        hints = draw_hints(truth, max(COUNTS), np.random.default_rng((seed, draw)))
        for method, own in figures.items():
            for column, count in enumerate(COUNTS):
                own[:, draw, column] = score(spread(method, ab, lightness, hints[:count], features)) if count else start
    return figures


def interval(values):
    """Mean and 95 % confidence interval of the mean over photos, by a percentile bootstrap: (mean, low, high)."""
    options = {"n_resamples": 2000, "method": "percentile", "rng": np.random.default_rng(0)}
    found = bootstrap((values,), np.mean, **options).confidence_interval
    return float(np.mean(values)), float(found.low), float(found.high)


def show(values, digits=2):
    """The `interval` of values as words."""
    return "{:.{d}f} ({:.{d}f}..{:.{d}f})".format(*interval(values), d=digits)


def choose(folder, count):
    """Photos of a folder, all or so many of them, evenly chosen."""
    paths = find_photos(folder).paths
    count = min(count or len(paths), len(paths))
    return [paths[number * len(paths) // count] for number in range(count)]


def report_gain(options):
    paths = choose(options.photos, options.count)
    curves = {}
    for name in options.models:
        pipeline = Pipeline(models.load(name))
        rows = [
            measure_gain(pipeline, read_photo(path), options.draws, seed)
            for seed, path in enumerate(tqdm(paths, unit=" photos", leave=False, disable=None))
        ]
        print(f"\n{name}, {len(paths)} photos of {options.photos.name}, {options.draws} draws, {choose_policy()}\n")
        print(f"| hints | {' | '.join(f'{method}: PSNR, dB | ab error' for method in METHODS)} |")
        print(f"| --- {'| --- | --- ' * len(METHODS)}|")
        # Draws of one photo are not independent: their mean counts.
        means = {method: np.mean([row[method] for row in rows], axis=2) for method in METHODS}
        for column, count in enumerate(COUNTS):
            cells = [show(means[method][:, figure, column]) for method in METHODS for figure in (0, 1)]
            print(f"| {count} | {' | '.join(cells)} |")
        ten = COUNTS.index(10)
        for method in METHODS:
            print(f"ten over none, {method}: {show(means[method][:, 0, ten] - means[method][:, 0, 0])} dB")
            curves[name, method] = [interval(means[method][:, 0, column]) for column in range(len(COUNTS))]
    if options.plot:
        draw_curves(curves, options.plot)


def draw_curves(curves, path):
    """Draws {(model, method): a (mean, low, high) for each of COUNTS} as lines with intervals."""
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    marks = dict(zip(METHODS, ("o-", "s--", "^:"), strict=True))
    for number, ((model, method), points) in enumerate(curves.items()):
        mean, low, high = np.transpose(points)
        # The log axis has no 0: that point stands at 0.5. Lines are shifted a little, so that intervals stay apart.
        places = np.maximum(COUNTS, 0.5) * 1.02 ** (number % len(METHODS))
        axes.errorbar(places, mean, (mean - low, high - mean), fmt=marks[method], capsize=2, label=f"{model}, {method}")
    axes.set_xscale("log")
    axes.set_xticks([max(count, 0.5) for count in COUNTS], COUNTS)
    axes.minorticks_off()
    axes.set_xlabel("hints")
    axes.set_ylabel("PSNR, dB")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)
    plt.close(figure)


def find_places(drawn, count, random):
    """Where hints near boundaries can be set: up to `count` of (hint, across, own side), a (row, column) each.

    The hint lies APART pixels from the nearest boundary pixel and the other two 2 * APART pixels from the hint, one
    across the boundary, one away from it; no other boundary is between them.

    Args:
        drawn: bool [height, width], the boundaries.
        count: Places.
        random: A NumPy generator.
    """
    distance = distance_to(drawn)
    down, right = np.gradient(distance)
    found = []
    rows, columns = np.nonzero(np.abs(distance - APART) < 0.5)
    for number in random.permutation(len(rows)):
        row, column = rows[number], columns[number]
        normal = np.array([down[row, column], right[row, column]])
        if np.linalg.norm(normal) < 0.9:  # Between two boundaries.
            continue
        normal /= np.linalg.norm(normal)
        steps = np.arange(-2 * APART, 2 * APART + 1)
        line = np.round([row, column] + steps[:, None] * normal).astype(int)
        if line.min() < 0 or (line >= drawn.shape).any():
            continue
        away = distance[tuple(line.T)]
        # On the line, the boundary is crossed once, half way to the place across.
        if away[0] < APART - 1 or away[2 * APART :].min() < APART - 1 or away[: APART // 2].min() < APART / 2:
            continue
        found.append((tuple(line[2 * APART]), tuple(line[0]), tuple(line[-1])))
        if len(found) == count:
            break
    return found


def measure_leak(pipeline, photo, drawn, count, seed):
    """Correction across a boundary and on the hint's own side, as shares of that at the hint.

    Returns:
        {method: float [places, 2]}.
    """
    random = np.random.default_rng(seed)
    height, width = photo.shape[:2]
    lightness = pipeline.reduce(photo)
    ab = pipeline.predict(lightness[None])[0]
    features = pipeline.model.features(lightness[None])
    features = None if features is None else np.asarray(features)[0]
    own = lightness_of(photo)
    before = pipeline.enlarge(photo, lightness, ab).ab(own)
    shares = {method: [] for method in METHODS}
    for places in find_places(drawn, count, random):
        angle = random.uniform(0, 2 * np.pi)
        row, column = places[0]
        wanted = before[row, column] + STEP * np.array([np.cos(angle), np.sin(angle)])
        hint = Hint((column + 0.5) / width, (row + 0.5) / height, tuple(wanted.tolist()))
        for method in METHODS:
            corrected = spread(method, ab, lightness, [hint], features)
            moved = pipeline.enlarge(photo, lightness, corrected).ab(own) - before
            at_hint, across, same = (np.linalg.norm(moved[place]) for place in places)
            shares[method].append((across / at_hint, same / at_hint))
    return {method: np.reshape(rows, (-1, 2)) for method, rows in shares.items()}


def report_leak(options):
    paths = choose(options.photos, options.count)
    for name in options.models:
        pipeline = Pipeline(models.load(name))
        rows = []
        for seed, path in enumerate(tqdm(paths, unit=" photos", leave=False, disable=None)):
            drawn = read_map(options.boundaries / f"{path.stem}.png") > AGREEMENT
            rows.append(measure_leak(pipeline, read_photo(path), drawn, options.places, seed))
        rows = [row for row in rows if len(row["hints"])]
        places = sum(len(row["hints"]) for row in rows)
        print(f"\n{name}, {places} places in {len(rows)} photos of {options.photos.name}, {choose_policy()}\n")
        print("| spread | own side | across the boundary | across, as a share of own side |")
        print("| --- | --- | --- | --- |")
        for method in METHODS:
            across, same = np.transpose([row[method].mean(axis=0) for row in rows])
            ratio = across.mean() / same.mean()
            print(f"| {method} | {show(same)} | {show(across)} | {ratio:.2f} |")


def solvers():
    """Solvers of a sparse symmetric system for two right-hand sides: {name: function(matrix, right)}."""

    def conjugate_gradients(matrix, right):
        matrix = matrix.tocsr()
        scale = scipy.sparse.diags_array(1 / matrix.diagonal())
        solve = scipy.sparse.linalg.cg
        return np.stack([solve(matrix, plane, M=scale, rtol=1e-5, maxiter=10_000)[0] for plane in right.T], axis=1)

    def multigrid(matrix, right):
        solver = pyamg.ruge_stuben_solver(matrix.tocsr())
        return np.stack([solver.solve(plane, tol=1e-5, accel="cg") for plane in right.T], axis=1)

    known = {"direct": solve_direct, "conjugate gradients": conjugate_gradients}
    try:
        import pyamg
    except ImportError:
        return known
    return known | {"pyamg": multigrid}


def median_milliseconds(function, rounds):
    """The median of several calls, after one that does not count."""
    seconds = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds[1:])


def report_cost(options):
    known = solvers()
    print(f"| grid | hints | correction, ms | {' | '.join(f'{name}, ms (largest error)' for name in known)} |")
    print(f"| --- | --- | --- {'| --- ' * len(known)}|")
    photo = read_photo(SAMPLES / "castle-forest.jpg")
    for size in options.sizes:
        pipeline = Pipeline(models.load(MODEL), size)
        lightness = pipeline.reduce(photo)
        ab = pipeline.predict(lightness[None])[0]
        for count in options.counts:
            hints = draw_hints(ab, count, np.random.default_rng(0))
            whole = median_milliseconds(lambda: correct(ab, lightness, hints), options.rounds)  # noqa: B023
            matrix, right = normal_equations(ab, lightness, hints)
            exact = solve_direct(matrix, right)
            cells = []
            for solve in known.values():
                took = median_milliseconds(lambda: solve(matrix, right), options.rounds)  # noqa: B023
                cells.append(f"{took:.0f} ({np.abs(solve(matrix, right) - exact).max():.1g})")
            rows, columns = ab.shape[:2]
            print(f"| {columns}x{rows} | {count} | {whole:.0f} | {' | '.join(cells)} |")
    photo = cv2.resize(photo, (1224, 816), interpolation=cv2.INTER_AREA)
    content = encode("photo", Photo(photo), ".jpg")[0]
    service = Service(Limits())

    async def answer(hints):
        await service.colorize("photo", content, MODEL, hints=hints)

    for count in (0, *options.counts):
        hints = draw_hints(np.asarray(ab_from_rgb(photo)), count, np.random.default_rng(0))
        took = median_milliseconds(lambda: asyncio.run(answer(hints)), options.rounds)  # noqa: B023
        print(f"a JPEG file of 1 megapixel to another, {count} hints: {took:.0f} ms")


def main():
    options = parse(Gain | Leak | Cost, "-m benchmarks.hints", description=__doc__)
    keras.config.set_dtype_policy(choose_policy())
    {Gain: report_gain, Leak: report_leak, Cost: report_cost}[type(options)](options)


if __name__ == "__main__":
    run(main)
