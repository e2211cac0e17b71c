"""The documentation: its links lead somewhere, and its commands are ones that their scripts understand."""

import ast
import importlib
import re
import subprocess
import sys
import tempfile

import pytest
from conftest import ROOT

import train
from common.errors import OptionError

PAGES = [ROOT / name for name in ("README.md", "weights/README.md", "data/samples/README.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
# Runs what bash itself knows, such as loops; of all programs only `python` does something: it shows its arguments.
STUB = 'command_not_found_handle() { :; }\npython() { printf "%s\\t" "$@"; echo; }\n'


def commands_of_page(page):
    """The Python commands of a page, its shell blocks and sentences."""
    text = page.read_text()
    yield from re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    yield from (" ".join(code.split()) for code in re.findall(r"`(python [^`]+)`", text))


def commands_of_script(script):
    """The commands in the docstring of a script, without what is said of them behind two spaces."""
    docstring = ast.get_docstring(ast.parse(script.read_text())) or ""
    yield from (re.split(" {2,}", line.strip())[0] for line in docstring.splitlines() if re.match(" *python ", line))


def shown(commands):
    """What `STUB` shows of commands, a line each. Files that they write into are made elsewhere, and lost."""
    script = STUB + "\n".join(commands)
    shell = ["/bin/bash", "--noprofile", "--norc"]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(shell, input=script, env={"PATH": ""}, cwd=folder, capture_output=True, text=True)
    return done.stdout.splitlines()


def documented():
    """{command: where it stands}, commands as tuples of the arguments of `python`, as bash expands them."""
    scripts = [file for file in ROOT.rglob("*.py") if file.relative_to(ROOT).parts[0] not in ("tests", ".venv")]
    found = {}
    for place, commands in [(p, commands_of_page(p)) for p in PAGES] + [(s, commands_of_script(s)) for s in scripts]:
        for line in shown(commands):
            arguments = tuple(argument for argument in line.split("\t")[:-1] if argument != "...")
            found.setdefault(arguments, place.relative_to(ROOT))
    return found


def module_and_arguments(command):
    """(module of ours, its arguments) of a command, or None if it starts something else."""
    name, *arguments = command[1:] if command[:1] == ("-m",) else (command[0].removesuffix(".py"), *command[1:])
    return (name, arguments) if (ROOT / name.replace(".", "/")).with_suffix(".py").exists() else None


COMMANDS = {command: place for command, place in documented().items() if command and module_and_arguments(command)}


def test_commands_are_found_where_they_stand():
    places = {str(place) for place in COMMANDS.values()}
    assert {"README.md", "weights/README.md", "docs/results.md", "train.py", "benchmarks/paper.py"} <= places
    expanded = ("test.py", *(f"data/samples/{name}.jpg" for name in ("mountain-lake", "canyon-river", "castle-forest")))
    assert any(command[:4] == expanded for command in COMMANDS)


class Understood(Exception):
    """A script has read its command line, which is as far as it should go here."""


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{COMMANDS[command]}: {' '.join(command)}")
def test_commands_are_understood(command, monkeypatch):
    name, arguments = module_and_arguments(command)
    try:
        module = importlib.import_module(name)
    except (ImportError, SystemExit) as missing:
        pytest.skip(str(missing))

    def stop(function):
        """The function, which ends the script after it has read the command line."""

        def read(*given, **more):
            function(*given, **more)
            raise Understood

        return read

    reader = "read_command_line" if module is train else "parse"
    monkeypatch.setattr(module, reader, stop(getattr(module, reader)))
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    try:
        module.main()
    except (Understood, SystemExit):  # After --help, too.
        pass
    except OptionError as error:
        # Sentences name scripts without arguments, some arguments are placeholders, and no data sets ship.
        assert not arguments or "is named NAME" in str(error) or "no such folder" in str(error), error


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall("^#+ (.*)", text, re.M)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\((?!http)([^)\s]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
