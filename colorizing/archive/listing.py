"""Lists an archive's files: which are photos, and where the result of each goes."""

from pathlib import PurePosixPath

from colorizing.archive.ledger import FAILED, LEFT_OUT, WAITING, key_of
from colorizing.archive.storage import describe_problem
from colorizing.jobs import first_free, result_name, without_case
from common.files import HINTS_SUFFIX, is_film, is_photo, is_shown


def list_files(source, skipped, suffix, made_by):
    """Yields a row of the ledger for each file below a storage, in the order of their paths within each folder.

    This goes folder by folder, so that memory grows with the largest folder only.

    Args:
        source: The storage.
        skipped: Path of a folder in it whose files are not listed; None for none.
        suffix: Suffix of the results, like ".png"; None for that of each photo, or a format that can be written.
        made_by: The model and the settings, which decide the result together with the file.
    """
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            files, folders = source.list_folder(folder)
        except OSError as error:
            cause = f"the folder cannot be read: {describe_problem(error)}"
            yield {"path": _readable(f"{folder or '.'}/"), "state": FAILED, "cause": cause}
            continue
        taken = set()
        for file in files:
            yield _list_file(PurePosixPath(folder, file.name), file, suffix, taken, made_by)
        for name in reversed(folders):
            path = str(PurePosixPath(folder, name))
            if path != skipped:
                pending.append(path)


def _list_file(path, file, suffix, taken, made_by):
    """The row of the `File` at a path. `taken`, the paths of results so far, gets that of its own result."""
    row = {"path": _readable(path), "size": file.size, "version": file.version}
    if cause := _why_left_out(path) or file.oddity:
        return {**row, "state": LEFT_OUT, "cause": cause}
    if str(path) != row["path"]:
        return {**row, "state": FAILED, "cause": "its path is not UTF-8; rename it"}
    result = first_free(result_name(path, path, suffix), lambda free: without_case(free) in taken)
    taken.add(without_case(result))
    key = key_of(file.size, file.version, result, *made_by)
    return {**row, "state": WAITING, "cause": None, "result": str(result), "key": key}


def _why_left_out(path):
    """Why a file is no photo to colorize, by its name; None if it is one."""
    if path.name.startswith("."):
        return "a hidden file"
    if not all(map(is_shown, path.parts[:-1])):
        return "in a hidden folder, or one of thumbnails or deleted files"
    if is_film(path):
        return "a film, which test.py colorizes"
    if path.name.endswith(HINTS_SUFFIX):
        return "hints, which test.py takes"
    if not is_photo(path):
        return "not a photo by its name"
    return None


def _readable(path):
    """A path in which bytes that are not UTF-8 are written as escapes."""
    return str(path).encode(errors="backslashreplace").decode()
