"""A run over many photos and films: which are read, where results go, and the work on several photos at a time."""

import contextlib
import itertools
import os
import unicodedata
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from colorizing.conversion import THREADS
from common import files, images
from common.errors import UserError, first_line
from common.record import Record, known_results

# Bytes that a file's name has at most on most disks.
LONGEST_NAME = 255


@dataclass(frozen=True)
class Plan:
    """What a run has to do."""

    # Pairs of (photo or film, result) paths. No result has the path of an input or of another result, or would replace
    # a file that is not a result of an earlier run.
    jobs: list
    failures: list  # A sentence for each input that cannot be done.
    notes: list  # Sentences about what was passed over, and about results that do not have the name of their photo.
    record: Record  # That of the output folder.


def plan_jobs(inputs, output, suffix=None, films=False, hints_of=None, settings_of=None):
    """Decides which photos are read and where each result goes.

    A result has the name of its photo and lies in the same sub-folder of `output`. If its format is another one, the
    new suffix is appended: a.gif.png. If two results would have the same path, or paths that some disks take for
    one, the second is numbered: a-2.jpg.

    Args:
        inputs: Paths of photos, and of folders to search for photos.
        output: Folder of the results.
        suffix: Suffix of photos' results, like ".png". None keeps that of each photo unless `REPLACED` has another.
        films: Whether films are wanted, too. Their results keep their suffix unless `REWRAPPED` has another.
        hints_of, settings_of: See `Record`.

    Returns a `Plan`. Raises UserError where the record of the output folder cannot be read.
    """
    record = Record(output, hints_of, settings_of)
    found, failures, notes = find_inputs(inputs, output, films)
    root = output.resolve()
    taken, jobs = {without_case(source.resolve()): source for source, _ in found}, []
    for source, name in found:
        name = result_name(source, name, suffix)
        result = output / first_free(name, lambda free: without_case(root / free) in taken)
        if result != output / name:
            owner = taken[without_case(root / name)]
            notes.append(f"{source}: the result is {result}, since {output / name} belongs to {owner}")
        taken[without_case(root / result.relative_to(output))] = source
        if (length := len(os.fsencode(result.name))) > LONGEST_NAME:
            failures.append(f"{source}: its result's name has {length} bytes, of {LONGEST_NAME} at most; shorten it")
        elif os.path.lexists(result) and result not in record:
            failures.append(f"{source}: {result} exists and is not a result of an earlier run; choose another --output")
        else:
            jobs.append((source, result))
    if hints_of:
        folders = sorted({source.parent for source, _ in jobs})
        notes += [f"{file}: no photo or film of this name lies beside it" for file in find_stray_hints(folders)]
    return Plan(jobs, failures, notes, record)


def find_stray_hints(folders):
    """Gives the files of hints in folders that have the name of no photo or film there."""
    for folder in folders:
        beside = []
        with contextlib.suppress(OSError):  # Photos may be read from folders that may not be listed.
            beside = sorted(path for path in folder.iterdir() if files.is_shown(path.name))
        stems = {path.stem for path in beside if files.is_photo(path) or files.is_film(path)}
        yield from (
            path
            for path in beside
            if path.name.endswith(files.HINTS_SUFFIX) and path.name.removesuffix(files.HINTS_SUFFIX) not in stems
        )


def without_case(path):
    """A path as disks see it that ignore case and how letters are composed: there, a.jpg and A.JPG are one file."""
    return unicodedata.normalize("NFC", str(path).casefold())


def find_inputs(inputs, output, films):
    """Finds photos, and films where wanted. Returns (found, failures, notes).

    `found` are pairs of a path and the name of its result, a path in the output folder, without doubles. Arguments as
    for `plan_jobs`.
    """
    found, folders, passed_over, failures = {}, set(), Counter(), []
    for path in inputs:
        if os.path.isdir(path):  # noqa: PTH112  Path.is_dir raises for some links.
            folder = path.resolve()
            if folder in folders:
                continue
            folders.add(folder)
            listing = search_folder(path, output, films)
            for file in listing.files:
                name = file.relative_to(path)
                found.setdefault((folder / name, name), (file, name))
            passed_over += listing.passed_over
            failures += listing.failures
        elif files.is_regular(path):
            name = Path(path.name)
            found.setdefault((path.parent.resolve() / name, name), (path, name))
        else:
            failures.append(f"{path}: {describe_missing(path)}")
    return [*found.values()], failures, [files.describe_passed_over(passed_over)] if passed_over else []


def search_folder(folder, output, films):
    """The `Listing` of a folder's photos, and films where wanted, without results of earlier runs."""
    if folder.resolve() == output.resolve():
        failure = f"{folder}: holds the photos, so it cannot be the folder of the results; choose another"
        return files.Listing([], Counter(), [failure])
    listing = files.list_files(folder, lambda file: files.is_photo(file) or (films and files.is_film(file)))
    results, unreadable = known_results(folder, listing.files)
    sources = [file for file in listing.files if file not in results]
    failures = listing.failures + [f"{cause}; results that it names are taken for photos" for cause in unreadable]
    if results and not sources:
        failures.append(f"{folder}: holds results of earlier runs only; give those that you mean one by one")
    elif not sources and not listing.failures:
        kinds = "photos or films" if films else "photos"
        failures.append(f"{folder}: a folder without {kinds}; docs/colorizing.md lists the formats that are read")
    return files.Listing(sources, listing.passed_over + Counter({"earlier result": len(results)}), failures)


def describe_missing(path):
    """Why a path that is neither a regular file nor a folder cannot be read, as words."""
    try:
        path.stat()
    except OSError as error:
        return files.describe_error(error)
    return "not a regular file"


def first_free(name, is_taken):
    """The name, or the first of photo-2.jpg, photo-3.jpg ... for photo.jpg that is not taken."""
    copies = (name.with_stem(f"{name.stem}-{number}") for number in itertools.count(2))
    return next(free for free in itertools.chain([name], copies) if not is_taken(free))


def result_name(source, name, suffix):
    """The name of a result, a Path, by that of its photo or film; `suffix` as for `plan_jobs`."""
    own = name.suffix.lower()
    wanted = files.REWRAPPED.get(own, own) if files.is_film(source) else (suffix or files.REPLACED.get(own, own))
    return name if wanted == own else name.with_name(name.name + wanted)


@dataclass
class Outcome:
    """What became of a run."""

    done: int = 0  # How many photos or films are done.
    failures: list = field(default_factory=list)  # A sentence for each that failed.
    losses: list = field(default_factory=list)  # What results do not keep, a sentence each.

    @contextlib.contextmanager
    def counting(self, path):
        """Counts the photo or film that the caller works on in this context as done or, after an error, as failed."""
        try:
            yield
        except UserError as error:
            self.failures.append(str(error))
        except OSError as error:
            self.failures.append(f"{error.filename or path}: {files.describe_error(error)}")
        except Exception as error:  # Out of memory, say: named, and the others are still done.
            self.failures.append(f"{path}: cannot be done ({type(error).__name__}: {first_line(error)})")
        else:
            self.done += 1


def process_photos(jobs, work, record, converter):
    """Reads, works on and writes photos, several at a time, with a progress bar; a bad one does not stop the others.

    Jobs are pairs of (photo, result) paths, for whose output folder `record` is the `Record`. `work` makes a `Photo` of
    a `Photo` and its path, in several threads. Returns an `Outcome`.
    """

    def do(path, result):
        with converter.file_in_memory(path.stat().st_size):
            content = path.read_bytes()
            checksum = record.checksum(path, content)
            _, content, losses = converter.convert(path, content, result, lambda photo: work(photo, path))
            with record.noting(result, checksum):
                images.write_content(result, content)
        if path.suffix.lower() in files.REPLACED:
            reason = "holds no colour" if path.suffix.lower() in files.COLORLESS else "is read only"
            losses.append(f"{result}: written in this format, since {path.suffix} {reason}")
        return losses

    outcome = Outcome()
    with ThreadPoolExecutor(THREADS) as pool, tqdm(total=len(jobs), unit=" photos", leave=False, disable=None) as bar:
        futures = [pool.submit(do, *job) for job in jobs]
        try:
            for (path, _), future in zip(jobs, futures, strict=True):
                with outcome.counting(path):
                    outcome.losses += future.result()
                bar.update()
        finally:
            pool.shutdown(cancel_futures=True)
    return outcome
