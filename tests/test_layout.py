"""Imports run one way: every package uses only those of earlier lines."""

import ast

from conftest import ROOT

LAYERS = (
    {"common"},
    {"configs", "utils"},
    {"models", "data"},
    {"training", "colorizing", "conversion"},
    {"evaluation"},
    {"train", "test", "evaluate", "export", "app", "archive", "benchmarks"},
)
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}
# What all share and the paper's colour know of nothing else.
ALONE = {"common", "utils"}


def imported(file):
    """The first names of all modules that a Python file imports, at the top or inside functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.split(".")[0]


def test_imports_run_one_way():
    files = [file for name in LAYER for file in (ROOT / name).rglob("*.py")] + list(ROOT.glob("*.py"))
    seen = set()
    for file in files:
        place = file.relative_to(ROOT).parts[0].removesuffix(".py")
        assert place in LAYER, f"{place}: not a part of the layout"
        seen.add(place)
        for name in set(imported(file)) & LAYER.keys() - {place}:
            allowed = LAYER[name] < LAYER[place] or place in LAYERS[-1]
            assert allowed and place not in ALONE, f"{file.relative_to(ROOT)} imports {name}"
    assert seen == LAYER.keys()
