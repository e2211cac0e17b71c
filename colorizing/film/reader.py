"""A film's file, read: upright frames of one size, the packets of everything else, and what is broken."""

import re
from fractions import Fraction

import av
import cv2
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import Colorspace, Interpolation

from colorizing.film.clock import JOINED, Clock
from colorizing.film.container import PARTLY_ENCRYPTED, find_untold, is_cut, is_encrypted
from common.errors import FileError
from common.files import REWRAPPED, describe_error
from common.images import MAX_MEGAPIXELS

# Demuxers that are tried on a file: those of film. FFmpeg knows others, which would follow links in a text file.
READ_FORMATS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,asf,ogg,flv,mxf,dv"
# Tag of the matrix (ISO/IEC 23091-2) of frames that have none, for which PyAV has swscale's numbers only.
UNTAGGED = 2
# Lines of the largest picture that players take for BT.601 where no tag says what it is: PAL television.
LARGEST_BT601 = 576
ACCURATE = (
    Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND
)
# Errors that decoders log although no picture is lost: about data beside the pictures, or unneeded references.
HARMLESS = re.compile(
    r"\b(SEI|mmco|VUI|HRD|APP|APP\d+|extradata|side data|colou?r|ICC|Exif|metadata|aspect ratio|timecode|level)\b",
    re.IGNORECASE,
)
# Errors that demuxers log when data are lost. Their other errors are about indexes, times and tags.
LOST = re.compile(
    r"prematurely|partial file|truncat|corrupt|damaged|mismatch|exceeds|EBML|error reading|read error|invalid data|"
    r"overlap|incomplete|invalid (packet|chunk|length)|0x00 at pos",
    re.IGNORECASE,
)
# A film is whole if it lasts at least PROMISED times as long as its header says, less SLACK seconds.
PROMISED, SLACK = 0.98, 0.1
# Seconds that the clock of files that can be joined may go ahead between two pictures, at most.
SET_AHEAD = 60
# Formats in which not every picture has a time. FFmpeg guesses the others; some guesses are earlier than the picture
# before, above all at the end of the film.
GUESSED_TIMES = ("mpeg", "mpegvideo")
# Codecs whose pictures are not in the order of their packets, though some MP4 and MOV do not say so.
UNORDERED = ("svq3", "vc1")
# FFmpeg's warning that a packet lacks bytes. It also warns before a seam of joined files, at most NEAR_SEAM seconds
# before the next file.
INCOMPLETE, NEAR_SEAM = re.compile(r"Packet corrupt \(stream = (\d+)"), 0.5
# Seconds that a frame is shown at least.
SHORTEST = Fraction(1, 1000)
# Two sizes have the same shape if their aspect ratios differ by less than this factor.
SAME_SHAPE = 1.02

ENCRYPTED = "it is encrypted against copying, so it cannot be decoded"
# The tag of encrypted ASF (WMV), of which FFmpeg decodes noise.
PROTECTED = "ASF_Protection_Type"


class FilmError(FileError):
    """A film that cannot be read or written."""


class Reader:
    """Reads a film's frames and the packets of its sound, as far as they can be read. A context manager.

    Raises FilmError where the file is missing, empty, of frames larger than `max_megapixels`, encrypted, or not a film.
    """

    def __init__(self, path, max_megapixels=MAX_MEGAPIXELS):
        self.path = path
        self.damage = None  # After reading, where and why the film is broken, as words; None for a whole one.
        self.changes = 0  # How many frames had another size than the first.
        try:
            if not path.stat().st_size:
                raise FilmError(path, "the file is empty")
            if is_encrypted(path):
                raise FilmError(path, ENCRYPTED)
            options = {"format_whitelist": READ_FORMATS}
            self._container = av.open(f"file:{path}", options=options, metadata_errors="replace")
        except OSError as error:
            raise FilmError(path, describe_error(error)) from error
        except av.FFmpegError as error:
            raise FilmError(path, "not a film in a format that can be read, or a damaged one") from error
        self._format, self.streams = self._container.format.name, self._container.streams
        self.untold = find_untold(path, self._format)  # What its header says that cannot be kept, as words.
        self.metadata, self.chapters = self._container.metadata, self._container.chapters()
        if PROTECTED in self.metadata:
            self._container.close()
            raise FilmError(path, ENCRYPTED)
        for stream in self.streams if self._format == "ogg" else ():  # It has a film's tags there.
            self.metadata |= {key: tag for key, tag in stream.metadata.items() if key != "language"}
        self._max_megapixels = max_megapixels
        self.video = next((stream for stream in self.streams.video if not is_cover(stream)), None)
        try:
            if self.video is None or self.video.codec_context is None:
                raise FilmError(path, "no film in it that can be decoded")
            self._check_size(self.video.width, self.video.height)
        except FilmError:
            self._container.close()
            raise
        # Some containers give the ticks of their clock, thousands a second. MPEG-4 without a rate has an average of 25.
        averages = [] if self._format == "m4v" else [self.video.average_rate]
        rates = (*averages, self.video.guessed_rate, Fraction(25))
        self.rate = next(rate for rate in rates if rate and rate <= 1 / SHORTEST)  # Frames a second, a Fraction.
        start = Fraction(self._container.start_time or 0, av.time_base)
        # A DVD's second file starts minutes after 0. In MP4, players would show nothing until then.
        shift = start if path.suffix.lower() in REWRAPPED else Fraction(0)
        self._start = start - shift
        self._clock = Clock(self._format, shift)
        # When, in seconds, streams had packets that lack bytes, by their indices; size of the first picture's packet.
        self._doubts, self._picture = {}, 0
        self._end, self._last, self._size = 0.0, None, None
        # The frame whose duration is known with the next one only; when the first came, and how long all packets last.
        self._held, self._first, self._duration = None, None, 0
        # When the last picture that stands alone was decoded, and how much later the first picture came out.
        self._key = self._delay = None
        self._says_order = False  # Whether a picture has a time of its own beside that of its decoding.
        self._decoders = {self.video.codec_context.name}

    def __enter__(self):
        self._log_level = av.logging.get_level()
        av.logging.set_level(av.logging.WARNING)
        # What is held back as repeated would come out while the next film is read.
        av.logging.set_skip_repeated(False)
        self._capture = av.logging.Capture(local=False)
        self._complaints = self._capture.__enter__()
        return self

    def __exit__(self, *error):
        self._container.close()
        self._capture.__exit__(*error)
        av.logging.set_level(self._log_level)

    @property
    def frames(self):
        """Approximate number of frames; None where the file does not say."""
        return self.video.frames or (round(self.seconds * self.rate) if self.seconds else None)

    @property
    def seconds(self):
        """Duration; None where the file does not say."""
        return self._container.duration and self._container.duration / av.time_base

    def end_of(self, frame):
        """When a frame of `video` ends, in seconds from the start: 1 / `rate` after its time stamp."""
        return float(frame.pts * self.video.time_base - self._start + 1 / self.rate)

    def __iter__(self):
        """Yields av.VideoFrame of `video` and av.Packet of sound, in the file's order, and sets `damage`.

        Raises FilmError where the film is encrypted.
        """
        packets = self._container.demux()
        while (packet := self._attempt(lambda: next(packets, None), decoding=False)) is not None:
            # MP4 says it of each packet, Matroska of the whole stream. Not all pictures or sounds need be encrypted.
            if packet.has_sidedata("encryption_info") or "enc_key_id" in packet.stream.metadata:
                raise FilmError(self.path, ENCRYPTED)
            self._doubt(packet, in_further_file=self._clock.move(packet))
            if packet.stream.index == self.video.index:
                if packet.size:  # Theora has packets without bytes, which repeat a picture.
                    self._picture = self._picture or packet.size
                    self._key = packet.dts if packet.is_keyframe else self._key
                    self._says_order |= packet.pts != packet.dts
                    self._duration += 0 if packet.is_discard else packet.duration or 0
                    yield from self._read_frames(packet)
            elif packet.stream.type == "audio":
                yield packet
        # After an error the decoder still holds frames.
        yield from self._read_frames(None)
        if self._held is not None:
            self._held.duration = self._last_duration(self._held)
            yield self._held
        if self._last is None and is_encrypted(self.path, PARTLY_ENCRYPTED):
            raise FilmError(self.path, ENCRYPTED)
        promised = self._promised_seconds()
        if self._clock.reached < PROMISED * promised - SLACK:
            self._note(f"its header promises {promised:.1f} s")
        if is_cut(self.path, self._format, self._picture):
            self._note("cut short")
        for index in self._doubts:
            self._note(f"{self.streams[index].type} data missing")

    def _doubt(self, packet, in_further_file):
        """Notes that a stream lacks data. FFmpeg also says so of the last ones before the seam of joined files."""
        for found in filter(None, [INCOMPLETE.match(text) for _, _, text in list(self._complaints)]):
            if self.streams[int(found[1])].type in ("audio", "video"):
                self._doubts.setdefault(int(found[1]), self._clock.reached)
        index = packet.stream.index
        if in_further_file:
            self._doubts.pop(index, None)
        elif self._clock.reached > self._doubts.get(index, self._clock.reached) + NEAR_SEAM:
            self._note(f"{packet.stream.type} data missing")

    def decode(self, packet):
        """The frames of a packet of any stream. A broken packet has none and sets `damage`."""
        self._decoders.add(packet.stream.codec_context.name)
        return self._attempt(packet.decode) or []

    def pixels(self, frame):
        """A frame of `video`, upright and of the first frame's size: sRGB, uint8 [height, width, 3].

        Frames of another size are scaled to it, between black bars where they have another shape. Raises FilmError
        where the frame is too large, or FFmpeg does not convert its colours.
        """
        self._check_size(frame.width, frame.height)
        # Without a tag, players take large pictures for BT.709, and others, as swscale does, for BT.601.
        untagged = frame.colorspace == UNTAGGED and frame.height > LARGEST_BT601
        matrix = Colorspace.ITU709 if untagged else None
        try:
            rgb = frame.reformat(format="rgb24", src_colorspace=matrix, interpolation=ACCURATE).to_ndarray()
        except av.FFmpegError as error:
            kind = f"{frame.format.name}, colour matrix {int(frame.colorspace)}"
            raise FilmError(self.path, f"pictures of a kind that is not read ({kind}); convert it to BT.709") from error
        rgb = upright(rgb, display_matrix(frame))
        self._size = self._size or rgb.shape[:2]
        if rgb.shape[:2] != self._size:
            self.changes += 1
            rgb = fit(rgb, self._size)
        return rgb

    def _promised_seconds(self):
        """The film's duration in its header, in seconds; 0.0 for formats whose header does not say."""
        if self._format == "avi":  # Of a cut AVI, `seconds` is what is left.
            return float(self.video.frames * self.video.time_base)
        return (self.seconds or 0.0) if self._format in ("flv", "matroska,webm") else 0.0

    def _check_size(self, width, height):
        size, limit = width * height / 1e6, self._max_megapixels
        if size > limit:
            raise FilmError(self.path, f"pictures of {size:.3g} megapixels; the limit is {limit:g} (--max-megapixels)")

    def _read_frames(self, packet):
        for frame in self._attempt(lambda: self.video.decode(packet)) or []:
            if frame.is_corrupt:
                self._note("damaged picture")
            if self._format in ("avi", "mxf") or self._is_unordered():
                # Packets may have times of decoding only, in MXF as FFmpeg writes it. What FFmpeg makes of them fails
                # for H.264.
                if self._delay is None and frame.dts is not None:
                    start = frame.pts if self._format == "mxf" else self._key
                    self._delay = 0 if start is None else frame.dts - start
                frame.pts = None if frame.dts is None else frame.dts - self._delay
            guessed = self._format in GUESSED_TIMES and self._last is not None
            if frame.pts is None or (guessed and frame.pts <= self._last):
                frame.pts = 0 if self._last is None else self._last + round(1 / (self.rate * self.video.time_base))
            step = 1 if self._last is None else frame.pts - self._last
            if step <= 0:
                self._note("time runs backwards")
                continue
            if self._format in JOINED and step * self.video.time_base > SET_AHEAD:
                self._note("time jumps ahead")
            self._last = frame.pts
            self._first = frame.pts if self._first is None else self._first
            self._end = self.end_of(frame)
            if self._held is not None:
                # FFmpeg's own durations are wrong where frames are not in the order of their packets.
                self._held.duration = frame.pts - self._held.pts
                yield self._held
            self._held = frame

    def _is_unordered(self):
        codec = self.video.codec_context.name
        return self._format.startswith("mov,") and codec in UNORDERED and not self._says_order

    def _last_duration(self, frame):
        """How long the film's last frame is shown, in ticks."""
        if not self._format.startswith("mov,"):
            return frame.duration
        # The header's duration counts from 0 in some films of fragments; that of the packets, in the order of decoding,
        # can be too long, as can be that of the last frame's packet.
        lengths = [self._duration] + [self.video.duration] * (self.video.duration is not None)
        left = self._first + min(lengths) - frame.pts
        return left if left * self.video.time_base >= SHORTEST else frame.duration

    def _attempt(self, read, decoding=True):
        """Calls `read`, and returns None if it fails. FFmpeg logs many errors and goes on, so its log is searched."""
        self._complaints.clear()
        result = cause = None
        try:
            result = read()
        except EOFError:
            pass
        except av.FFmpegError as error:
            cause = describe_error(error)
        errors = [(name, text.strip()) for level, name, text in list(self._complaints) if level <= av.logging.ERROR]
        lines = [text for name, text in errors if self._costs(name, text, decoding)]
        if cause or lines:
            self._note(lines[0] if lines else cause)
        return result

    def _costs(self, name, text, decoding):
        """Whether a line that FFmpeg's component `name` has logged says that pictures or sound are lost."""
        demuxer = name == self._format
        if name in self._decoders and (decoding or not demuxer):
            return not HARMLESS.search(text)
        return demuxer and bool(LOST.search(text))

    def _note(self, cause):
        self.damage = self.damage or f"broken after {self._end:.1f} s ({cause})"


def is_cover(stream):
    """Whether a stream of frames is a cover picture and not a film."""
    return bool(stream.disposition & stream.disposition.attached_pic)


def side_data(frame):
    """What accompanies a frame, such as captions: {kind: data}. Empty if PyAV does not know all kinds in it."""
    try:
        return {data.type: data for data in frame.side_data}
    except ValueError:  # Such as the number of a stereoscopic film's view.
        return {}


def display_matrix(frame):
    """The part of a frame's display matrix that turns and mirrors: (a, b, c, d), or that of an upright frame.

    A pixel (x, y) is shown at (a x + c y, b x + d y), moved into view; see FFmpeg's libavutil/display.h.
    """
    data = side_data(frame).get(Type.DISPLAYMATRIX)
    if data is not None:
        return tuple(np.frombuffer(data, np.int32)[[0, 1, 3, 4]].tolist())
    turn = np.deg2rad(frame.rotation)
    a, b = round(np.cos(turn)), -round(np.sin(turn))
    return a, b, -b, a


def is_upended(frame):
    """Whether a frame is shown turned by a quarter, so that its width and height are exchanged."""
    a, b, _, _ = display_matrix(frame)
    return abs(b) > abs(a)


def upright(pixels, matrix):
    """Pixels, [height, width, 3], turned and mirrored as a display matrix says, by the nearest quarter."""
    a, b, c, d = matrix
    right, down = a, d
    if abs(b) > abs(a):
        pixels, right, down = pixels.swapaxes(0, 1), c, b
    return pixels[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1]


def fit(pixels, size):
    """Pixels, [height, width, 3], scaled to fit into (height, width), with black around them."""
    height, width = size
    scales = height / pixels.shape[0], width / pixels.shape[1]
    if max(scales) / min(scales) < SAME_SHAPE:
        rows, columns = size
    else:
        rows, columns = (max(1, round(side * min(scales))) for side in pixels.shape[:2])
    scaled = cv2.resize(np.ascontiguousarray(pixels), (columns, rows), interpolation=cv2.INTER_AREA)
    top, left = (height - rows) // 2, (width - columns) // 2
    bottom, right = height - rows - top, width - columns - left
    return cv2.copyMakeBorder(scaled, top, bottom, left, right, cv2.BORDER_CONSTANT)
