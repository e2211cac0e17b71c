"""The record of an output folder: which results of earlier runs it holds, and which photos they were made from.

It is a hidden file in the folder with one JSON object a line: the result's path in the folder, and the checksum of the
photo or film, with that of its hints after a plus and that of the settings after an @. The checksum is null while a
result is being replaced. A line is written before its result, so the record names every result, also after a run was
killed.
"""

import contextlib
import hashlib
import io
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from common.command_line import counted
from common.errors import UserError
from common.files import describe_error, is_regular

NAME = ".colorized.jsonl"
# What `Record.split` finds of a result.
MISSING, DONE, CHANGED, OTHER_SETTINGS = "missing", "done", "changed", "other settings"
# Files whose checksums are computed at a time.
THREADS = 8


def read_record(folder):
    """The results that a folder's record names: {path: checksum of the source, or None}. Raises OSError."""
    checksums = {}
    try:
        lines = (folder / NAME).read_text("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    for line in lines:
        try:
            entry = json.loads(line)
            checksums[folder / entry["result"]] = entry["checksum"]
        except (ValueError, KeyError, TypeError):
            continue  # Cut short by a full disk, or empty.
    return checksums


def known_results(folder, files):
    """Finds results of earlier runs among the files in a folder, by the records between the folder and them.

    Returns a set of the files, and a sentence for each record that cannot be read.
    """
    named, failures = set(), []
    folders = {file.parent for file in files}
    for place in sorted(
        {place for inner in folders for place in (inner, *inner.parents) if place.is_relative_to(folder)}
    ):
        try:
            named |= read_record(place).keys()
        except OSError as error:
            failures.append(f"{place / NAME}: {describe_error(error)}")
    return named & set(files), failures


@dataclass(eq=False)
class Record:
    """The record of an output folder, made with the first result. Raises UserError where it cannot be read."""

    folder: Path
    # From a photo or film to the file of its hints, which may be missing; None for no hints.
    hints_of: Callable | None = None
    # From a photo or film to a text of all other things that decide its result; None for none.
    settings_of: Callable | None = None

    def __post_init__(self):
        try:
            self._checksums = read_record(self.folder)
        except OSError as error:
            raise UserError(f"{self.folder / NAME}: {describe_error(error)}; choose another --output") from error
        self._lock = threading.Lock()

    def __contains__(self, result):
        return result in self._checksums

    @contextlib.contextmanager
    def noting(self, result, found):
        """A context in which the caller makes the result at a path. The record notes it before and after.

        `found` is the `checksum` of what it is made from, computed before hints or a film were read. If these change
        while the result is made, the record keeps the old checksum, and the next run makes the result anew.

        Raises:
            UserError: The record cannot be written, or a file has appeared where the result belongs that no other run
                has made from the same.
            OSError: The record cannot be read.
        """
        is_new = result not in self and os.path.lexists(result)
        if is_new and read_record(self.folder).get(result) != found:
            raise UserError(f"{result}: another file has appeared there since this run began; choose another --output")
        # Without an earlier result, the checksum is noted at once: if the run is killed in this context, a result that
        # it leaves is of this source.
        self._note(result, found if self._checksums.get(result) == found or not os.path.lexists(result) else None)
        yield
        self._note(result, found)

    def split(self, jobs):
        """Splits jobs, pairs of (source, result), by what is done already. Returns (todo, notes).

        `todo` are the jobs whose result is missing, or was made from something else or with other settings. `notes` has
        a sentence for each that was made from something else, and one for all that were made with other settings.
        """
        with ThreadPoolExecutor(THREADS) as pool:
            bar = tqdm(pool.map(self._state, jobs), "comparing", len(jobs), unit=" files", leave=False, disable=None)
            found = list(zip(jobs, bar, strict=True))
        why = "made anew, since {} or its hints are not what it was made from"
        notes = [f"{result}: {why.format(source)}" for (source, result), state in found if state == CHANGED]
        if count := sum(state == OTHER_SETTINGS for _, state in found):
            notes.append(f"{counted(count, 'result')} made anew, since made with another model or other options")
        return [job for job, state in found if state != DONE], notes

    def _state(self, job):
        source, result = job
        if not is_regular(result):
            return MISSING
        try:
            wanted = self.checksum(source)
        except OSError:
            return CHANGED
        known = self._checksums.get(result) or ""
        if known == wanted:
            return DONE
        return OTHER_SETTINGS if known.partition("@")[0] == wanted.partition("@")[0] else CHANGED

    def checksum(self, source, content=None):
        """The checksums of a photo or film, of its hints where it has any, and of the settings. Raises OSError."""
        hints = self.hints_of and self.hints_of(source)
        hints_part = f"+{checksum(hints)}" if hints and os.path.lexists(hints) else ""
        settings_part = f"@{checksum(self.settings_of(source).encode())}" if self.settings_of else ""
        return checksum(source if content is None else content) + hints_part + settings_part

    def _note(self, result, found):
        if result in self and self._checksums[result] == found:
            return
        entry = {"result": result.relative_to(self.folder).as_posix(), "checksum": found}
        try:
            with self._lock:
                self.folder.mkdir(parents=True, exist_ok=True)
                with (self.folder / NAME).open("a", encoding="utf-8") as file:
                    # Before the line, so that it stands alone even if the one before was cut short.
                    file.write("\n" + json.dumps(entry))
                self._checksums[result] = found
        except OSError as error:
            cause = f"{self.folder / NAME} cannot: {describe_error(error)}"
            raise UserError(f"{result}: cannot be written, since {cause}") from error


def checksum(source):
    """The checksum of bytes, or of a file's content by its path. Raises OSError."""
    with io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
