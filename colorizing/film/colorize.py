"""Film in, film out: what test.py does with films.

Frames are colorized as photos are (colorizing/photo.py), with a few in memory at a time. The network's ab is smoothed
over time before it is enlarged (steadiness.py). The result has the film's size, time stamps and sound; pictures are
encoded anew as H.264 (VP9 for WebM) with 8 bits, tagged as BT.709. docs/film.md says what is kept and what is dropped.
"""

import contextlib
import os

import av
import numpy as np
from tqdm import tqdm

from colorizing.conversion import MEGAPIXELS_AT_A_TIME
from colorizing.film.moving_hints import MovingHints
from colorizing.film.reader import FilmError, Reader
from colorizing.film.steadiness import STEADINESS, Steadier
from colorizing.film.writer import Writer, check_size
from colorizing.hints import HintError
from colorizing.jobs import Outcome
from colorizing.pixels import side_by_side, to_gray
from common.files import REWRAPPED, describe_error, replacing
from common.images import MAX_MEGAPIXELS

# Frames that go through the network together.
FRAMES_AT_A_TIME = 8


def colorize_film(
    pipeline, path, result, steadiness=STEADINESS, compare=False, max_megapixels=MAX_MEGAPIXELS, hints=()
):
    """Colorizes a film, with a progress bar. The result appears whole or not at all; its folder is made if need be.

    Args:
        pipeline: The `colorizing.photo.Pipeline` that frames go through.
        path, result: Of the film and of the result.
        steadiness: See `Steadier`.
        compare: Whether to put the gray film beside the result.
        max_megapixels: Films of larger frames are refused.
        hints: `colorizing.hints.Hint`s, see `MovingHints`.

    Returns:
        (losses, damage): a sentence for each thing that the result does not keep; where and why the film is broken, as
        words, or None. The result of a broken film has what could be read.

    Raises:
        FilmError: The film cannot be read at all, or the disk or its rights do not allow the result.
        HintError: The film is over before a hint's time.
    """
    steadier, moving = Steadier(steadiness), MovingHints(hints)

    def colorize(film, frames):
        photos = [film.pixels(frame) for frame in frames]
        height, width = photos[0].shape[:2]
        check_size(result, height, 2 * width if compare else width)  # Before the work, which would be in vain.
        lightness = np.stack([pipeline.reduce(pixels) for pixels in photos])
        for frame, pixels, small, ab in zip(frames, photos, lightness, pipeline.predict(lightness), strict=True):
            ab = steadier.steady(small, ab)
            ab = pipeline.correct(small, ab, moving.at(film.end_of(frame), steadier.origins))
            painted = pipeline.paint(pixels, small, ab)
            yield side_by_side(to_gray(pixels), painted) if compare else painted

    with Reader(path, max_megapixels) as film:
        late = [hint.time for hint in hints if hint.time and film.seconds and hint.time > film.seconds]
        if late:
            raise HintError(path, f"it ends at {film.seconds:.3g} s, before a hint's time, {late[0]:.3g} s")
        try:
            result.parent.mkdir(parents=True, exist_ok=True)
            is_new = not os.path.lexists(result)
            with replacing(result) as temporary:
                losses = _write(film, temporary, colorize)
                if is_new and os.path.lexists(result):
                    raise FilmError(result, "another file has appeared there since the film was begun, which was kept")
        except (OSError, av.FFmpegError) as error:  # An error of writing; `film` catches those of reading.
            raise FilmError(result, f"cannot be written: {describe_error(error)}") from error
    if path.suffix.lower() in REWRAPPED:
        losses.append(f"in another container than {path.suffix}, which cannot be written")
    return [f"{result}: {loss}" for loss in losses], film.damage


def _write(film, path, colorize):
    """Writes a film whose lists of frames go through a function. Returns what is lost, as words."""
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=film.frames, unit=" frames", leave=False, disable=None))
        writer = None
        for frames, packets in _batches(film):
            if frames:
                for frame, pixels in zip(frames, colorize(film, frames), strict=True):
                    if writer is None:
                        writer = stack.enter_context(Writer(path, film, *pixels.shape[:2], frame))
                    writer.write_frame(pixels, frame)
                    bar.update()
            if writer is not None:
                for packet in packets:
                    writer.write_packet(packet)
        if writer is None:
            raise FilmError(film.path, f"no picture in it can be decoded ({film.damage or 'it is empty'})")
    changes = [f"pictures of another size ({film.changes}) scaled to that of the first"] if film.changes else []
    return writer.losses + changes


def _batches(film):
    """Splits a film into pairs of lists: frames that go through the network together, and the packets among them."""
    megapixels = film.video.width * film.video.height / 1e6 or 1  # A stream that begins in the middle has no size yet.
    most = max(1, min(FRAMES_AT_A_TIME, int(MEGAPIXELS_AT_A_TIME / megapixels)))
    frames, packets = [], []
    for item in film:
        (frames if isinstance(item, av.VideoFrame) else packets).append(item)
        if len(frames) == most:
            yield frames, packets
            frames, packets = [], []
    yield frames, packets


def process_films(jobs, pipeline, record, find_hints=lambda path: (), **options):
    """Colorizes films, pairs of (film, result) paths, one after another; a bad one does not stop the others.

    `record` is the `Record` of the output folder, `find_hints` a function from a film's path to its hints; the others
    are for `colorize_film`. Returns an `Outcome`. A broken film of which a part could be read is a failure.
    """
    outcome = Outcome()
    for path, result in jobs:
        with outcome.counting(path):
            with record.noting(result, record.checksum(path)):
                losses, damage = colorize_film(pipeline, path, result, hints=find_hints(path), **options)
            outcome.losses += losses
            if damage:
                raise FilmError(path, f"{damage}; what could be read is in {result}")
    return outcome
