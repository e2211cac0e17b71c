"""Scores trained models on folders of colour photos.

    python evaluate.py datasets/intel-scenes/test --models natural scenes
    python evaluate.py photos/a photos/b plates/green:plates/colour --output results

Each photo is turned gray, colorized, and compared with what it was. Given GRAY:COLOUR, a folder of gray photos and a
folder of the same photos in colour, the gray ones are colorized. Beside the models, the photos themselves are scored,
gray output (ab = 0), and the mean colour of the training set everywhere. With --boundaries, colours are also compared
with human boundary maps. With --output, results.json holds the means, the differences from the first model, and the
command; photos.csv holds the scores of each photo. docs/evaluation.md defines the metrics.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

from common.command_line import finish, parse, prepare_imports, run, say

if __name__ == "__main__":
    prepare_imports()

import keras
import tyro

import models
from colorizing.photo import Pipeline
from common.errors import OptionError
from common.files import describe_error
from common.options import Folder, IfGiven, Needed, NotNegative, OutputFolder, RenderSize, Saturation, Side
from common.trained import short_names
from configs import MODEL
from evaluation.photo_sets import find_set
from evaluation.scores import format_differences, format_means
from evaluation.scoring import evaluate
from models.precision import choose_policy, describe_devices


@dataclass(frozen=True)
class Options:
    """Scores trained models on folders of colour photos."""

    # Folders of colour photos, searched recursively, or GRAY:COLOUR for two folders. Each is a set of its own.
    photos: tyro.conf.Positional[Needed[tuple[str, ...]]]
    # Trained models: names (runs of yours or weights that ship), runs' folders, or .keras files.
    models: tuple[str, ...] = (MODEL,)
    # Height and width in pixels of central crops to score. Default: each photo at its own size.
    crop: IfGiven[tuple[Side, Side]] = None
    # The paper's T, for the target of mse alone; all else is compared with the photo itself.
    saturation_factor: NotNegative = 1.8
    # Folder of human boundary maps of the one set, PNG files named like the photos, as BSDS500 has them.
    boundaries: IfGiven[Folder] = None
    saturation: Saturation = 1.0  # Factor on the strength of the models' colours, as for test.py.
    # Shorter side in pixels of the copy that the models see, as for test.py. Default: that of their training.
    render_size: IfGiven[RenderSize] = None
    # Folder for results.json and photos.csv; of several sets, each gets a folder of its name in it.
    output: IfGiven[OutputFolder] = None


def find_mean_colors(names):
    """The mean ab of the models' training sets: {"mean colour": ab}, and {"mean colour, NAME": ab} for other ones."""
    known = {}
    for short, name in short_names(names).items():
        ab = models.describe(name).get("mean_ab")
        if ab and ab not in known.values():
            known["mean colour" if not known else f"mean colour, {short}"] = ab
    return known


def results_folders(output, sets):
    """The folder for the results of each `PhotoSet`: `output` itself for one, else one inside it named like the set.

    Raises:
        OptionError: Two sets would share a folder.
    """
    if len(sets) == 1:
        return [output]
    names = [Path(photo_set.name.replace(":", "-for-")).parts for photo_set in sets]
    folders = [output.joinpath(*(part for part in parts if part not in ("/", ".."))) for parts in names]
    if len(set(folders)) < len(folders):
        raise OptionError("--output: two sets of photos have the same name; score them one after the other")
    return folders


def load_pipelines(options):
    """{short name: `Pipeline`} of --models. Raises OptionError for two of one file, or one named like another row."""
    names = short_names(options.models)
    for name in names.keys() & {"photo", "gray"}:
        raise OptionError(f"--models {names[name]}: {name} is a row of its own in the tables; rename the model")
    models.check_distinct(options.models)
    return {
        short: Pipeline(models.load(name), options.render_size, options.saturation) for short, name in names.items()
    }


def score_set(pipelines, mean_colors, photo_set, folder, options):
    """Scores models on a `PhotoSet`, shows the tables and, unless `folder` is None, saves them there.

    Returns:
        (failures, notes): sentences about files that cannot be read or written, and about gray photos.
    """
    scores, failures = evaluate(
        pipelines, mean_colors, photo_set, options.crop, options.saturation_factor, options.boundaries
    )
    count, first = len(photo_set.photos), next(iter(pipelines))
    how = "crops of {}x{}".format(*options.crop) if options.crop else "each at its own size"
    say(f"{count - len(failures)} of {count} photos of {photo_set.name}, {how}")
    if scores is None:
        return failures, []
    say("\n".join(describe_scores(scores, first)))
    if folder:
        try:
            scores.save(folder, asdict(options), first)
        except OSError as error:
            failures.append(f"{folder}: the results cannot be saved: {describe_error(error)}")
    return failures, describe_gray(scores, photo_set.name)


def describe_scores(scores, first):
    """Tables for the terminal: the means and, of several photos, the differences from the first model."""
    tables = [format_means(scores.means())]
    if differences := format_differences(scores.differences(first)):
        tables.append(f"differences from {first}, 95 % intervals\n{differences}")
    return tables


def describe_gray(scores, name):
    """A list of one sentence about the photos of a set that have no colours, empty if there are none."""
    gray = int((scores.values["photo"]["colorfulness"] < 0.5).sum())
    return [f"{name} holds gray photos ({gray} of {len(scores.photos)}): scores of colours say nothing"] if gray else []


def main():
    options = parse(Options, "evaluate.py")
    if options.boundaries and len(options.photos) > 1:
        raise OptionError("--boundaries belongs to one set of photos; give one folder")
    if options.render_size and options.crop:
        raise OptionError("--render-size: it has no effect with --crop, since models see crops as they are")
    keras.config.set_dtype_policy(choose_policy())
    sets = [find_set(given) for given in options.photos]
    folders = results_folders(options.output, sets) if options.output else [None] * len(sets)
    say(f"scores on {describe_devices()}")
    pipelines, mean_colors = load_pipelines(options), find_mean_colors(options.models)
    failures, notes = [], [photo_set.passed_over for photo_set in sets if photo_set.passed_over]
    for photo_set, folder in zip(sets, folders, strict=True):
        bad, gray = score_set(pipelines, mean_colors, photo_set, folder, options)
        failures += bad
        notes += gray
    finish("", failures, notes)


if __name__ == "__main__":
    run(main)
