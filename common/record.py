"""The record of an output folder: which results of earlier runs it holds, and which photos they were made from.

It is a hidden file in the folder with one JSON object a line: the result's path in the folder, and the checksum of the
photo or film, with that of its hints after a plus and that of the settings after an @. The checksum is null while a
result is being replaced. A line is written before its result, so the record names every result, also after a run was
killed.
"""

import json

from common.files import describe_error

NAME = ".colorized.jsonl"


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
    """Finds results of earlier runs among the files in a folder, by the records between the folder and them: a set of
    the files, and a sentence for each record that cannot be read."""
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
