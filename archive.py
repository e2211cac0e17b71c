"""Colorizes an archive: any number of photos, on this machine or on all machines of a cluster.

    python archive.py SOURCE OUTPUT
    python archive.py s3://bucket/scans s3://bucket/colorized --cluster auto
    python archive.py --report OUTPUT

Results have the names that test.py gives them. The ledger, in OUTPUT/_ledger, accounts for every file of SOURCE. After
an interruption the same command goes on; photos whose file, model or settings changed since are done again.
"""

import hashlib
import itertools
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from common.command_line import counted, finish, parse, prepare_imports, run

if __name__ == "__main__":
    prepare_imports()

import tyro
from tqdm import tqdm

from colorizing.archive import cluster
from colorizing.archive.ledger import DONE, FAILED, FOLDER, LEFT_OUT, WAITING, Ledger
from colorizing.archive.listing import list_files
from colorizing.archive.storage import open_storage
from colorizing.archive.worker import Work
from common import images, trained
from common.errors import OptionError, UserError
from common.files import is_shown
from common.options import IfGiven, Model, PhotoFormat, Positive, Quality, RenderSize, Saturation
from configs import MODEL, RUNS, WEIGHTS

# Rows of the listing that are added to the ledger together.
ROWS_A_PART = 20_000


@dataclass(frozen=True)
class Options:
    """Colorizes an archive of photos, on this machine or a cluster, with a ledger that accounts for every file."""

    # Folder of photos, or a URL of object storage: s3://, gs:// or abfs://.
    source: tyro.conf.Positional[IfGiven[str]] = None
    output: tyro.conf.Positional[IfGiven[str]] = None  # Folder or URL for the results and the ledger.
    # Only report what became of the files of an archive, given its folder or URL of results.
    report: IfGiven[str] = None
    # Address of a Ray cluster, or `auto` on one of its machines. Default: RAY_ADDRESS, else this machine alone.
    cluster: IfGiven[str] = None
    model: Model = MODEL
    saturation: Saturation = 1.0
    # Shorter side in pixels of the copy that the network sees. Default: the size it was trained at.
    render_size: IfGiven[RenderSize] = None
    format: IfGiven[PhotoFormat] = None  # Format of the results. Default: that of each photo.
    quality: Quality = images.QUALITY
    max_megapixels: Positive = images.MAX_MEGAPIXELS  # Refuse larger photos.
    retry_failed: bool = False  # Try photos that failed in an earlier run again.


def open_places(options):
    """Opens source and output as storages. Returns them, and the path of the output in the source, or None."""
    Path.cwd()  # An error where it is gone: Ray needs it, too.
    source, output = open_storage(options.source), open_storage(options.output)
    if not source.exists():
        raise UserError(f"{options.source}: no such folder")
    if output.path_inside(source) is not None:
        raise UserError(f"{options.output}: holds the photos themselves; choose an OUTPUT of its own")
    check_nothing_is_replaced(output)
    return source, output, source.path_inside(output)


def check_nothing_is_replaced(output):
    """Raises UserError where the output holds files but no ledger, so that any of them might be replaced."""
    try:
        files, folders = output.list_folder("")
    except FileNotFoundError:
        return
    names = [*(file.name for file in files), *folders]
    if FOLDER not in names and any(map(is_shown, names)):
        raise UserError(f"{output.location}: holds files, but no ledger of an archive; choose an OUTPUT without files")


def read_model(name):
    """The content of a model's file, and an identifier: the model's name and the start of the file's SHA-256."""
    content = trained.find(name, RUNS, WEIGHTS).read_bytes()
    return content, f"{name} {hashlib.sha256(content).hexdigest()[:16]}"


def list_source(ledger, source, skipped, options, model):
    """Lists the source's files into the ledger; returns the row of the new run."""
    settings = json.dumps(
        {name: getattr(options, name) for name in ("saturation", "render_size", "format", "quality")}, sort_keys=True
    )
    name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.urandom(3).hex()}"
    suffix = f".{options.format}" if options.format else None
    listed, files = list_files(source, skipped, suffix, (model, settings)), 0
    bar = iter(tqdm(listed, "listing", unit=" files", leave=False, disable=None))
    while rows := list(itertools.islice(bar, ROWS_A_PART)):
        ledger.add("listed", name, rows)
        files += len(rows)
    row = {"run": name, "source": source.location, "model": model, "settings": settings, "files": files}
    ledger.add("run", name, [row])
    return row


def describe(summary, run):
    """Lines about a run: the counts of its `Summary`, then one for each cause."""
    states = {DONE: 0, FAILED: 0, LEFT_OUT: 0, WAITING: 0, **summary.states}
    lines = [f"{counted(run['files'], 'file')}: {', '.join(f'{number} {state}' for state, number in states.items())}"]
    causes = [(number, state, cause) for (state, cause), number in summary.causes.items() if cause]
    return [*lines, *(f"  {number} {state}: {cause}" for number, state, cause in sorted(causes, reverse=True))]


def name_failures(summary, output):
    """A line for each failed photo that `summary` names, for the number of others, and for photos that wait."""
    lines = [f"{path}: {cause}" for path, cause in sorted(summary.failures)]
    if unnamed := summary.states[FAILED] - len(lines):
        lines.append(f"{unnamed} more failed; {output}/{FOLDER} names them")
    if waiting := summary.states[WAITING]:
        lines.append(f"waiting: {waiting}; the same command as before goes on")
    return lines


def report(location):
    """Says what became of the files of an archive's last run, and ends the script."""
    ledger = Ledger(open_storage(location))
    last = ledger.last_run()
    if last is None:
        raise UserError(f"{location}: no ledger of an archive, or of one whose listing was not finished")
    summary = ledger.summary(last)
    finish("\n".join(describe(summary, last)), name_failures(summary, location))


def colorize(options, source, output, skipped, content, model):
    """Colorizes all photos of the source that wait, and ends the script with a report."""
    ledger = Ledger(output)
    last = list_source(ledger, source, skipped, options, model)
    before = ledger.summary(last, options.retry_failed)
    waiting = before.states[WAITING]
    if last["files"] == before.states[LEFT_OUT]:
        raise UserError(f"{options.source}: a folder without photos; other files, left out: {last['files']}")
    if waiting:
        print("\n".join(describe(before, last)))
        work = Work(
            source=source.location,
            output=output.location,
            saturation=options.saturation,
            render_size=options.render_size,
            quality=options.quality,
            max_megapixels=options.max_megapixels,
        )
        address = options.cluster or os.environ.get("RAY_ADDRESS")
        with cluster.connected(address), tqdm(total=waiting, unit=" photos", leave=False, disable=None) as bar:
            cluster.work_through(ledger, last, work, content, bar.update, options.retry_failed)
    summary = ledger.summary(last)
    finish("\n".join([*describe(summary, last), f"in {options.output}"]), name_failures(summary, options.output))


def main():
    options = parse(Options, "archive.py")
    if options.report is not None:
        if options != Options(report=options.report):
            raise OptionError("--report OUTPUT: nothing else has an effect with it; leave it out")
        report(options.report)
    if options.output is None:
        raise OptionError("name a SOURCE and an OUTPUT, or --report OUTPUT; see python archive.py --help")
    source, output, skipped = open_places(options)
    content, model = read_model(options.model)
    with output.lock():
        colorize(options, source, output, skipped, content, model)


if __name__ == "__main__":
    run(main, interrupted="interrupted; the results so far are whole, and the same command goes on")
