"""Film in, film out: what test.py does with films.

A film goes through frame by frame, as a photo does (colorizing/photo.py), a few frames in memory at a time. Between the
network and the enlargement its colours are steadied, at the network's own size (steadiness.py). The result has the
film's size, time stamps and sound; pictures are encoded anew as H.264 (VP9 for WebM) with 8 bits, tagged as BT.709.

- Frames are turned upright, as players show them, so a phone's film comes out upright and without a rotation tag.
- H.264 has quarter colour resolution (4:2:0) for even sizes only: odd sizes get full resolution (4:4:4), which plays on
  computers but not on every device.
- Interlaced film keeps its lines, without the tag that they are interlaced.
- HDR film keeps its code values, but not its HDR tags: it looks dull.
- Sound is copied as it is, except where the container does not hold its codec. Subtitles are dropped.
"""

import contextlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation
from tqdm import tqdm

from colorizing.jobs import MEGAPIXELS_AT_A_TIME, Outcome, describe_surprise
from colorizing.pixels import side_by_side, to_gray
from colorizing.steadiness import STEADINESS, Steadier
from common.errors import UserError
from common.files import REWRAPPED, describe_error, replacing
from common.images import MAX_MEGAPIXELS

# Frames that go through the network together.
FRAMES_AT_A_TIME = 8
# Demuxers that are tried on a file: those of film. FFmpeg knows others, which would follow links in a text file.
READ_FORMATS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,asf,ogg"
WRITTEN_FORMATS = {".mkv": "matroska", ".mov": "mov", ".mts": "mpegts", ".webm": "webm"}
# Colours get more bits than x264 would give them: from its own rounding they would flicker again.
H264 = {"crf": "18", "x264-params": "chroma-qp-offset=-12"}
VP9 = {"crf": "24", "cpu-used": "4", "row-mt": "1"}
# Tags of a matrix (ISO/IEC 23091-2), for which PyAV has swscale's numbers only: that of BT.709, and none.
BT709_MATRIX = 1
UNTAGGED = 2
# Lines of the largest picture that players take for BT.601 where no tag says what it is: PAL television.
LARGEST_BT601 = 576
ACCURATE = (
    Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND
)


class FilmError(UserError):
    """A film that cannot be read or written; the message names the file and the cause."""

    def __init__(self, path, cause):
        super().__init__(f"{path}: {cause}")


class Reader:
    """A film being read, as far as it can be: frames, and packets of everything else. A context manager.

    Args:
        path: The film.
        max_megapixels: Films of larger frames are refused.

    Attributes:
        video: Its stream of frames.
        streams: All its streams.
        damage: After reading, where and why the film is broken, as words; None for a whole one.

    Raises:
        FilmError: The file is missing, empty, too large, or not a film.
    """

    def __init__(self, path, max_megapixels=MAX_MEGAPIXELS):
        self.path = path
        self.damage = None
        try:
            if not Path(path).stat().st_size:
                raise FilmError(path, "the file is empty")
            self._container = av.open(f"file:{path}", options={"format_whitelist": READ_FORMATS})
        except OSError as error:
            raise FilmError(path, describe_error(error)) from error
        except av.FFmpegError as error:
            raise FilmError(path, "not a film in a format that can be read, or a damaged one") from error
        self.streams = self._container.streams
        self.metadata, self.chapters = self._container.metadata, self._container.chapters()
        # A cover picture is a stream of frames, too.
        films = [stream for stream in self.streams.video if not stream.disposition & stream.disposition.attached_pic]
        try:
            if not films or films[0].codec_context is None:
                raise FilmError(path, "no film in it that can be decoded")
            self.video = films[0]
            size = self.video.width * self.video.height / 1e6
            if size > max_megapixels:
                raise FilmError(path, f"{size:.0f} megapixels; the limit is {max_megapixels:g} (--max-megapixels)")
        except FilmError:
            self._container.close()
            raise
        self.rate = self.video.average_rate or self.video.guessed_rate or Fraction(25)
        self._start = Fraction(self._container.start_time or 0, av.time_base)
        self._end, self._last = 0.0, None

    def __enter__(self):
        self._log_level = av.logging.get_level()
        av.logging.set_level(av.logging.ERROR)
        self._capture = av.logging.Capture(local=False)
        self._complaints = self._capture.__enter__()
        return self

    def __exit__(self, *error):
        self._container.close()
        self._capture.__exit__(*error)
        av.logging.set_level(self._log_level)

    @property
    def frames(self):
        """About how many there are; None where the file does not say."""
        seconds = self._container.duration and self._container.duration / av.time_base
        return self.video.frames or (round(seconds * self.rate) if seconds else None)

    def __iter__(self):
        """Yields av.VideoFrame of `video` and av.Packet of other streams, in the file's order, and sets `damage`."""
        packets = self._container.demux()
        while (packet := self._attempt(lambda: next(packets, None))) is not None:
            if packet.is_corrupt:
                self._note("cut short")
            if packet.stream.index == self.video.index:
                yield from self._read_frames(packet)
            else:
                yield packet
        # After an error nothing has asked yet for the frames that the decoder still holds.
        yield from self._read_frames(None)

    def decode(self, packet):
        """The frames of a packet, of any stream; none of a broken one, which sets `damage`."""
        return self._attempt(packet.decode) or []

    def pixels(self, frame):
        """A frame of `video`, upright and of one size: sRGB, uint8 [height, width, 3]."""
        # Without a tag, players take large pictures for BT.709, and others, as swscale does, for BT.601.
        untagged = frame.colorspace == UNTAGGED and frame.height > LARGEST_BT601
        rgb = frame.reformat(
            width=self.video.width,
            height=self.video.height,
            format="rgb24",
            src_colorspace=Colorspace.ITU709 if untagged else None,
            interpolation=ACCURATE,
        ).to_ndarray()
        return np.rot90(rgb, frame.rotation // 90)

    def _read_frames(self, packet):
        for frame in self._attempt(lambda: self.video.decode(packet)) or []:
            if frame.is_corrupt:
                self._note("damaged picture")
            if frame.pts is None:
                frame.pts = 0 if self._last is None else self._last + round(1 / (self.rate * self.video.time_base))
            if self._last is not None and frame.pts <= self._last:
                self._note("time runs backwards")
                continue
            self._last = frame.pts
            self._end = float(frame.pts * self.video.time_base - self._start + 1 / self.rate)
            yield frame

    def _attempt(self, read):
        """What `read` gives; None for what cannot be read. FFmpeg passes over much of it, so its log counts, too."""
        self._complaints.clear()
        result = cause = None
        try:
            result = read()
        except EOFError:
            pass
        except av.FFmpegError as error:
            cause = describe_error(error)
        if cause or self._complaints:
            self._note(self._complaints[0][2].strip() if self._complaints else cause)
        return result

    def _note(self, cause):
        self.damage = self.damage or f"broken after {self._end:.1f} s ({cause})"


class Writer:
    """A film being written. A context manager, at whose end the file is complete.

    Args:
        path: Where to; the suffix says the container.
        film: The `Reader` of the film whose time, sound and metadata this one has.
        height, width: Of its frames.
        upended: Whether frames were turned by a quarter.

    Attributes:
        losses: What is not as in the film, as words.
    """

    def __init__(self, path, film, height, width, upended=False):
        self._film = film
        suffix = Path(path).suffix.lower()
        self._container = av.open(f"file:{path}", "w", format=WRITTEN_FORMATS.get(suffix, "mp4"))
        self._container.metadata.update(film.metadata)
        self._container.set_chapters(film.chapters)
        codec, options, sound = ("libvpx-vp9", VP9, "libopus") if suffix == ".webm" else ("libx264", H264, "aac")
        self._video = self._container.add_stream(codec, rate=film.rate, options=options, width=width, height=height)
        whole = suffix != ".webm" and (height % 2 or width % 2)
        self._video.pix_fmt = "yuv444p" if whole else "yuv420p"
        encoder = self._video.codec_context
        encoder.time_base = film.video.time_base
        encoder.flags |= Flags.frame_duration
        encoder.color_range, encoder.colorspace = ColorRange.MPEG, BT709_MATRIX
        encoder.color_primaries, encoder.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        if aspect := film.video.sample_aspect_ratio:
            encoder.sample_aspect_ratio = 1 / aspect if upended else aspect
        self._copies, self._encoders, self._reached, self.losses = {}, {}, {}, []
        for stream in film.streams.audio:
            self._add_sound(stream, sound, suffix)
        if film.streams.subtitles:
            self.losses.append("subtitles dropped")

    def _add_sound(self, stream, codec, suffix):
        if stream.codec_context is None:
            self.losses.append("a sound track of unknown codec dropped")
            return
        try:
            copy = self._copies[stream.index] = self._container.add_stream_from_template(stream)
        except ValueError:  # The container does not hold the codec.
            layout = "mono" if stream.channels == 1 else "stereo"
            copy = self._encoders[stream.index] = self._container.add_stream(codec, rate=48000, layout=layout)
            self.losses.append(f"sound encoded anew, since {suffix} does not hold {stream.codec_context.name}")
        copy.metadata.update(stream.metadata)
        copy.disposition = stream.disposition

    def write_frame(self, pixels, like):
        """Writes a frame, sRGB uint8 [height, width, 3], at the time of the av.VideoFrame `like`."""
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24").reformat(
            format=self._video.pix_fmt,
            interpolation=ACCURATE,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
        )
        frame.time_base = self._video.codec_context.time_base
        frame.pts, frame.duration = like.pts, like.duration
        self._container.mux(self._video.encode(frame))

    def write_packet(self, packet):
        """Copies a packet of sound; others are passed over, and what broken films have out of order."""
        index = packet.stream.index
        if index in self._copies and packet.size and packet.dts is not None:
            if packet.dts >= self._reached.get(index, packet.dts):
                self._reached[index] = packet.dts
                packet.stream = self._copies[index]
                self._container.mux(packet)
        elif encoder := self._encoders.get(index):
            for frame in self._film.decode(packet):
                self._container.mux(encoder.encode(frame))

    def __enter__(self):
        return self

    def __exit__(self, kind, *error):
        try:
            if kind is None:
                for stream in (self._video, *self._encoders.values()):
                    self._container.mux(stream.encode(None))
                self._container.close()
        finally:
            # Complete already, or thrown away for what is known to be wrong with it.
            with contextlib.suppress(av.FFmpegError):
                self._container.close()


def colorize_film(pipeline, path, result, steadiness=STEADINESS, compare=False, max_megapixels=MAX_MEGAPIXELS):
    """Colorizes a film, with a progress bar.

    Args:
        pipeline: The `colorizing.photo.Pipeline` that frames go through.
        path: The film.
        result: Where to; its folder is made if need be, and the file appears whole or not at all.
        steadiness: See `Steadier`.
        compare: Whether to put the gray film beside the result.
        max_megapixels: Films of larger frames are refused.

    Returns:
        (losses, damage): what the result does not keep, as a sentence each, and where and why the film is broken, as
        words; None for a whole film. Of a broken film the result has what could be read.

    Raises:
        FilmError: The film cannot be read at all, or the disk or its rights do not allow the result.
    """
    steadier = Steadier(steadiness)

    def colorize(photos):
        lightness = np.stack([pipeline.reduce(pixels) for pixels in photos])
        for pixels, small, ab in zip(photos, lightness, pipeline.predict(lightness), strict=True):
            painted = pipeline.paint(pixels, small, steadier.steady(small, ab))
            yield side_by_side(to_gray(pixels), painted) if compare else painted

    with Reader(path, max_megapixels) as film:
        try:
            result.parent.mkdir(parents=True, exist_ok=True)
            with replacing(result) as temporary:
                losses = _write(film, temporary, colorize)
        except (OSError, av.FFmpegError) as error:  # Of the result: `film` makes errors of reading its damage.
            raise FilmError(result, f"cannot be written: {describe_error(error)}") from error
    if path.suffix.lower() in REWRAPPED:
        losses.append(f"in another container than {path.suffix}, which cannot be written")
    return [f"{result}: {loss}" for loss in losses], film.damage


def _write(film, path, colorize):
    """Writes a film whose frames go through a function of lists of pixels. Returns what is lost, as words."""
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=film.frames, unit=" frames", leave=False, disable=None))
        writer = None
        for frames, packets in _batches(film):
            if frames:
                for frame, pixels in zip(frames, colorize([film.pixels(frame) for frame in frames]), strict=True):
                    if writer is None:
                        writer = stack.enter_context(Writer(path, film, *pixels.shape[:2], frame.rotation % 180 != 0))
                    writer.write_frame(pixels, frame)
                    bar.update()
            if writer is not None:
                for packet in packets:
                    writer.write_packet(packet)
        if writer is None:
            raise FilmError(film.path, f"no picture in it can be decoded ({film.damage or 'it is empty'})")
        return writer.losses


def _batches(film):
    """Splits a film into lists of frames, which go through the network together, and of the packets between them."""
    megapixels = film.video.width * film.video.height / 1e6
    most = max(1, min(FRAMES_AT_A_TIME, int(MEGAPIXELS_AT_A_TIME / megapixels)))
    frames, packets = [], []
    for item in film:
        (frames if isinstance(item, av.VideoFrame) else packets).append(item)
        if len(frames) == most:
            yield frames, packets
            frames, packets = [], []
    yield frames, packets


def process_films(jobs, pipeline, **options):
    """Colorizes films, one after another; a bad one does not stop the others.

    Args:
        jobs: Pairs of (film, result) paths.
        pipeline: See `colorize_film`.
        options: See `colorize_film`.

    Returns:
        An `Outcome`. A broken film of which a part could be read is a failure.
    """
    outcome = Outcome()
    for path, result in jobs:
        try:
            losses, damage = colorize_film(pipeline, path, result, **options)
        except FilmError as error:
            outcome.failures.append(str(error))
        except Exception as error:  # Out of memory, say: named, and the others are still done.
            outcome.failures.append(describe_surprise(path, error))
        else:
            outcome.losses += losses
            if damage:
                outcome.failures.append(f"{path}: {damage}; what could be read is in {result}")
            else:
                outcome.done += 1
    return outcome
