"""A run over many photos and films: which are read, where results go, and the work on several photos at a time."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tqdm import tqdm

from colorizing.batching import computing
from common import images
from common.files import COLORLESS, FILM_SUFFIXES, PHOTO_SUFFIXES, REPLACED, REWRAPPED, is_film, is_photo
from common.images import PhotoError

# Photos worked on at a time: while some are in the network, others are read and written.
THREADS = 32
# Photos worked on at a time have at most this many megapixels together, or are alone.
MEGAPIXELS_AT_A_TIME = 48


def plan_jobs(inputs, output, suffix=None, films=False):
    """Decides which photos are read and where each result goes.

    Args:
        inputs: Paths of photos, and of folders to search for photos.
        output: Folder of the results.
        suffix: Of the results' names, like ".png"; None for that of each photo, or one that can hold colour.
        films: Whether films are wanted, too. Their results have the suffix of the film, or one that can be written.

    Returns:
        (jobs, failures): a list of (photo, result) in which no result has the path of a photo or of another result,
        and one sentence for each input that is missing or a folder without photos.
    """
    kinds, suffixes = ("photos or films", PHOTO_SUFFIXES | FILM_SUFFIXES) if films else ("photos", PHOTO_SUFFIXES)
    photos, failures = {}, []
    for path in inputs:
        if path.is_dir():
            # Results of an earlier run are not photos, when they lie inside the folder.
            inside = path.resolve() in output.resolve().parents
            found = [
                file
                for file in sorted(path.rglob("*"))
                if (is_photo(file) or (films and is_film(file)))
                and not (inside and output.resolve() in file.resolve().parents)
            ]
            photos.update({file.resolve(): (file, file.relative_to(path)) for file in found})
            if not found:
                failures.append(f"{path}: a folder without {kinds} ({', '.join(sorted(suffixes))})")
        elif path.exists():
            photos[path.resolve()] = (path, path.relative_to(path.parent))
        else:
            failures.append(f"{path}: no such file or folder")
    taken, jobs = set(photos), []
    for photo, name in photos.values():
        if films and is_film(photo):
            name = name.with_suffix(REWRAPPED.get(name.suffix.lower(), name.suffix))
        else:
            name = name.with_suffix(suffix or REPLACED.get(name.suffix.lower(), name.suffix))
        result, copies = output / name, 1
        while result.resolve() in taken:
            copies += 1
            result = output / name.with_stem(f"{name.stem}-{copies}")
        taken.add(result.resolve())
        jobs.append((photo, result))
    return jobs, failures


@dataclass
class Outcome:
    """What became of a run: photos or films done, and a sentence for each that failed and each loss of a format."""

    done: int = 0
    failures: list = field(default_factory=list)
    losses: list = field(default_factory=list)


def process_photos(jobs, work, max_megapixels=images.MAX_MEGAPIXELS, quality=images.QUALITY, columns=1):
    """Reads, works on and writes photos, several at a time, with a progress bar; a bad one does not stop the others.

    Args:
        jobs: Pairs of (photo, result) paths.
        work: Function from a `Photo` to the result, a `Photo`; called from several threads.
        max_megapixels: Larger photos are refused.
        quality: See `images.write`.
        columns: How many times as wide as its photo a result is.

    Returns:
        An `Outcome`.
    """
    room = Room(MEGAPIXELS_AT_A_TIME)

    def do(photo_path, result_path):
        with room.hold(min(images.megapixels(photo_path), max_megapixels)), computing:
            photo = images.read(photo_path, max_megapixels)
            height, width = photo.pixels.shape[:2]
            images.check_size(result_path, columns * width, height)
            losses = images.write(result_path, work(photo), quality)
        if photo_path.suffix.lower() in REPLACED:
            reason = "holds no colour" if photo_path.suffix.lower() in COLORLESS else "is read only"
            losses.append(f"{result_path}: written in this format, since {photo_path.suffix} {reason}")
        return losses

    outcome = Outcome()
    with ThreadPoolExecutor(THREADS) as pool, tqdm(total=len(jobs), unit=" photos", leave=False, disable=None) as bar:
        futures = [pool.submit(do, *job) for job in jobs]
        try:
            for (photo_path, _), future in zip(jobs, futures, strict=True):
                try:
                    outcome.losses += future.result()
                    outcome.done += 1
                except PhotoError as error:
                    outcome.failures.append(str(error))
                except Exception as error:  # Out of memory, say: named, and the others are still done.
                    outcome.failures.append(describe_surprise(photo_path, error))
                bar.update()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return outcome


def describe_surprise(path, error):
    """One line for an error that nobody expected, with the photo or film that it came from."""
    reason = (str(error).strip().splitlines() or [""])[0]
    return f"{path}: cannot be done ({type(error).__name__}: {reason})"


class Room:
    """Lets threads in as long as what they hold together stays below a limit; one that holds more waits to be alone."""

    def __init__(self, limit):
        self._limit = limit
        self._held = []
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def hold(self, amount):
        with self._changed:
            self._changed.wait_for(lambda: not self._held or sum(self._held) + amount <= self._limit)
            self._held.append(amount)
        try:
            yield
        finally:
            with self._changed:
                self._held.remove(amount)
                self._changed.notify_all()
