"""Options: every number has bounds, and a value out of them is one line and status 2, before any work."""

import dataclasses
import importlib
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
import tyro
from annotated_types import Interval
from conftest import ROOT
from processes import call

import models
import train
from common.command_line import parse, run
from common.errors import OptionError
from common.options import Count, Folder, IfGiven, Needed, NotNegative, OutputFolder, Picture, Share, find_problem
from configs import EXPERIMENTS, Experiment


@dataclass(frozen=True)
class Options:
    """Options of every kind."""

    count: Count = 1
    share: Share = 0.5
    factor: NotNegative | None = None
    open: Annotated[float, Interval(ge=0, lt=1)] = 0.5
    size: tuple[Count, Count] = (1, 1)
    names: tuple[str, ...] = ("a",)
    number: float = 0.0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--count", "0"], "--count 0: use a number greater than or equal to 1"),
        (["--share", "1.5"], "--share 1.5: use a number less than or equal to 1"),
        (["--share", "nan"], "--share nan: use a finite number"),
        (["--number", "inf"], "--number inf: use a finite number"),
        (["--factor", "-1"], "--factor -1.0: use a number greater than or equal to 0"),
        (["--open", "1"], "--open 1.0: use a number less than 1"),
        (["--size", "5", "0"], "--size 0: use a number greater than or equal to 1"),
        (["--names"], "--names has no value: give at least one"),
        (["--names", ""], "an argument is empty; see python script.py --help"),
        (["--number="], "an argument is empty; see python script.py --help"),
        (["--count", "3", "--share", "1", "--factor", "0", "--open", "0", "--names", "b", "c"], None),
    ],
)
def test_a_value_out_of_bounds_is_one_sentence(arguments, problem):
    if problem is None:
        assert parse(Options, "script.py", args=arguments).share == 1
        return
    with pytest.raises(OptionError) as error:
        parse(Options, "script.py", args=arguments)
    assert str(error.value) == problem


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--cuont", "3"], "unknown: --cuont, 3; use --count"),
        (["--nothing-like-it"], "unknown: --nothing-like-it"),
        (["--count"], "--count has no value"),
        (["--count", "many"], "--count many: use a whole number"),
        (["--count", "it's"], "--count it's: use a whole number"),
        (["--share", "half"], "--share half: use a number"),
        (["--kind", "purple"], "--kind purple: use green, red"),
        (["--count", "1", "--place"], "-p/--place has no value"),
        (["stray"], "unknown: stray"),
        (["count"], "unknown: count"),
        ([], "missing: -p/--place"),
        (["--box", "1", "--place", "x"], "--box 1: use two whole numbers"),
        (["--sides", "1", "--place", "x"], "--sides: use two whole numbers"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(arguments, problem, monkeypatch):
    @dataclass(frozen=True)
    class Wanted:
        place: Annotated[Path, tyro.conf.arg(aliases=["-p"])]
        kind: Literal["red", "green"] = "red"
        count: Count = 1
        share: Share | None = None
        box: tuple[Count, Count] | None = None
        sides: tuple[Count, Count] = (1, 1)

    monkeypatch.setenv("FORCE_COLOR", "1")
    arguments = arguments if not arguments or "--place" in arguments else [*arguments, "--place=x"]
    with pytest.raises(OptionError) as error:
        parse(Wanted, "script.py", args=arguments)
    assert str(error.value) == f"{problem}; see python script.py --help"


def test_what_has_no_sentence_of_ours_is_said_by_tyro(capsys):
    @dataclass(frozen=True)
    class Wrong:
        count: int = 1

        def __post_init__(self):
            raise ValueError("counts nothing")

    with pytest.raises(SystemExit) as end:
        parse(Wrong, "script.py", args=[])
    assert end.value.code == 2 and "counts nothing" in capsys.readouterr().err


def test_a_script_ends_with_one_line_and_status_2(capsys):
    with pytest.raises(SystemExit) as end:
        run(lambda: parse(Options, "script.py", args=["--count", "0"]))
    assert end.value.code == 2 and capsys.readouterr().err == "--count 0: use a number greater than or equal to 1\n"


def test_none_is_a_value_of_experiments_alone(capsys):
    @dataclass(frozen=True)
    class Given:
        folder: IfGiven[Path] = None
        kind: IfGiven[Literal["red", "green"]] = None

    assert parse(Given, "script.py", args=["--folder", "None"]).folder == Path("None")
    with pytest.raises(OptionError, match="--kind None: use red,green;"):
        parse(Given, "script.py", args=["--kind", "None"])
    assert train.read_command_line(["natural", "--render-size", "None"])[1].experiment.native_size == 160
    for options, arguments in ((Given, {}), (train.Options, {"default": train.Options(EXPERIMENTS["natural"])})):
        with pytest.raises(SystemExit):
            parse(options, "script.py", args=["--help"], **arguments)
    said = capsys.readouterr().out
    assert "--folder PATH " in said and "crop's shorter side. (default: 224)" in " ".join(said.split())


def test_help_says_which_lists_may_not_be_empty(capsys):
    @dataclass(frozen=True)
    class Given:
        """Options."""

        photos: tyro.conf.Positional[Needed[tuple[Path, ...]]]
        names: tuple[str, ...] = ()

    with pytest.raises(OptionError, match="PHOTOS has no value: give at least one"):
        parse(Given, "script.py", args=[])
    assert parse(Given, "script.py", args=["a", "b"]).photos == (Path("a"), Path("b"))
    with pytest.raises(SystemExit):
        parse(Given, "script.py", args=["--help"])
    said = capsys.readouterr().out
    assert said.count("(required)") == said.count("(default: )") == 1


def test_places(tmp_path):
    @dataclass(frozen=True)
    class Places:
        folder: Folder = tmp_path
        output: OutputFolder = tmp_path / "new" / "deep"
        picture: Picture = tmp_path / "new" / "a.PNG"

    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "lost").symlink_to("nowhere")
    assert find_problem(Places()) is None and not (tmp_path / "new").exists()
    for changes, words in (
        ({"folder": tmp_path / "none"}, "no such folder"),
        ({"output": tmp_path / "file"}, "file is a file, where a folder is needed"),
        ({"output": tmp_path / "file" / "out"}, "file is a file, where a folder is needed"),
        ({"output": tmp_path / "loop"}, "loop is a broken link, where a folder is needed"),
        ({"output": tmp_path / "lost" / "out"}, "lost is a broken link, where a folder is needed"),
        ({"picture": tmp_path / "a.xyz"}, "use a name that ends in .jpg"),
        ({"picture": tmp_path / "file" / "a.png"}, "a folder is needed"),
    ):
        assert words in find_problem(dataclasses.replace(Places(), **changes))


def test_a_working_directory_that_is_gone(tmp_path, monkeypatch):
    @dataclass(frozen=True)
    class Places:
        output: OutputFolder = Path("outputs")

    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert find_problem(Places()) == "--output outputs: the working directory is gone; change to another one"
    assert find_problem(Places(tmp_path)) is None


def option_classes():
    """Every dataclass of options of every script."""
    names = ["app", "archive", "evaluate", "export", "test", "train", "colorizing.gray", "data.fetch", "data.shards"]
    names += ["evaluation.figures", "evaluation.scores"]
    names += [f"benchmarks.{path.stem}" for path in sorted((ROOT / "benchmarks").glob("*.py"))]
    for name in names:
        module = importlib.import_module(name)
        for kind in ("Options", "Docs", "Compare"):
            if hasattr(module, kind):
                yield name, getattr(module, kind)
    yield "configs", Experiment


def parts(hint):
    """A type and all types and marks in it, at any depth."""
    yield hint
    for part in (*getattr(hint, "__metadata__", ()), *typing.get_args(hint)):
        yield from parts(part)


def test_every_number_of_every_script_has_bounds():
    seen = 0
    for script, kind in option_classes():
        for name, hint in typing.get_type_hints(kind, include_extras=True).items():
            if any(part in (int, float) for part in parts(hint) if isinstance(part, type)):
                assert any(isinstance(part, Interval) for part in parts(hint)), f"{script}: {name}"
                seen += 1
    assert seen > 50


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"dataset": "my/photos"}, "--dataset my/photos: use a valid tuple"),
        ({"dataset": ("my/photos",)}, "--dataset my/photos: use an instance of Path"),
        ({"epochs": "3"}, "--epochs 3: use a valid integer"),
        ({"crop": 128}, "--crop 128: use a valid tuple"),
        ({"optimizer": "Adam"}, "--optimizer Adam: use 'sgd', 'adam', 'adamw' or 'adadelta'"),
    ],
)
def test_an_experiment_of_wrong_types_in_the_configuration_is_one_sentence(change, problem, monkeypatch):
    monkeypatch.setitem(EXPERIMENTS, "mine", dataclasses.replace(EXPERIMENTS["demo"], **change))
    status, _, errors = call("train.py", "mine")
    assert status == 2 and errors == [f"configs.py, mine: {problem}"]


def test_every_experiment_is_within_its_bounds():
    for name, experiment in EXPERIMENTS.items():
        assert find_problem(experiment) is None, name


@pytest.mark.parametrize(
    ("module", "arguments", "option"),
    [
        ("train", ["--epochs", "0"], "--epochs 0"),
        ("train", ["--minutes", "0"], "--minutes 0.0"),
        ("test", ["--saturation", "nan"], "--saturation nan"),
        ("evaluate", ["photos", "--crop", "8", "8"], "--crop 8"),
        ("evaluate", ["photos", "--models"], "--models has no value"),
        ("app", ["--port", "99999"], "--port 99999"),
        ("data.shards", ["photos", "--photos-per-shard", "0"], "--photos-per-shard 0"),
        ("data.fetch", ["faces", "--limit", "0"], "--limit 0"),
        ("evaluation.figures", ["compare", "a.jpg", "--models", "natural", "-o", "a.xyz"], "--output a.xyz"),
        ("benchmarks.paper", ["--dataset", "photos", "--rounds", "0"], "--rounds 0"),
    ],
)
def test_scripts_refuse_values_at_the_start(module, arguments, option):
    status, _, errors = call("-m", module, *arguments)
    assert status == 2 and len(errors) == 1 and errors[0].startswith(option), errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["zhang", "--no-edges"], "--no-edges: it has no effect on the network zhang; leave it out"),
        (["zhang", "--edges"], "--edges: it has no effect on the network zhang; leave it out"),
        (["scenes", "--initializer", "nope"], "--initializer nope: use glorot_normal, glorot_uniform, he_fan_out"),
        (["scenes", "--initializer", "he_fan_out"], "--initializer: he_fan_out is for colornet"),
        (["paper", "--model", "iizuka", "--classification_size=64"], "--classification-size: it has no effect on the"),
        (["scenes", "--flow", "gray"], "--flow: it has no effect on the network paper"),
        (["colornet-l", "--classification-weight", "0.1"], "--classification-weight: it has no effect on the"),
        (["paper", "--weight-decay", "0.1"], "--weight-decay: it has no effect with --optimizer sgd"),
        (["paper", "--warmup-steps", "3"], "--warmup-steps: it has no effect with --schedule plateau"),
        (["scenes", "--dataset-weights", "2"], "--dataset-weights: it has no effect without --balance"),
        (["--epochs", "1", "demo"], "demo: an experiment's name comes first: python train.py demo ..."),
        (["--dataset", "photos", "scenes", "--model=zhang"], "scenes: an experiment's name comes first"),
        (["scenes", "--minutes", "3", "--epochs", "2"], "--epochs: --minutes decides instead"),
        (["scenes", "--no-edges", "--classification-size", "64", "--warmup-steps", "3"], None),
        (["iizuka", "--no-batch-norm"], None),
    ],
)
def test_an_option_without_effect_is_refused(arguments, words):
    if words is None:
        assert train.read_command_line(arguments)[0] == arguments[0]
        assert train.read_command_line(["--model", "iizuka", "--no-batch-norm"])[0] == "paper"
        return
    with pytest.raises(OptionError) as error:
        train.read_command_line(arguments)
    assert str(error.value).startswith(words)


def test_fields_of_other_networks():
    assert "edges" in models.fields_of_others("zhang") and "edges" not in models.fields_of_others("paper")
