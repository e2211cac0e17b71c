"""A film's file, written: pictures encoded anew, sound copied, and what is lost."""

import contextlib
import io
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.codec.context import Flags
from av.format import Flags as FormatFlags
from av.sidedata.sidedata import Type
from av.stream import Discard
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from colorizing.film.reader import ACCURATE, FilmError, is_cover, is_upended, side_data

# Colours get more bits than by default: x264's coarser rounding would make them flicker again.
H264 = {"crf": "18", "x264-params": "chroma-qp-offset=-12"}
VP9 = {"crf": "24", "cpu-used": "4", "row-mt": "1"}
# Tag of BT.709's matrix (ISO/IEC 23091-2), for which PyAV has swscale's number only.
BT709_MATRIX = 1
# Transfer functions of HDR film (ISO/IEC 23091-2): PQ and HLG.
HDR = (16, 18)
TIMECODE = "timecode"
# What stands in tags for bytes that are not UTF-8, as old AVI files have them.
UNREADABLE = "\N{REPLACEMENT CHARACTER}"
# Tags that say how a file was written, not what film it holds. FFmpeg writes its own.
FILE_TAGS = frozenset("compatible_brands encoder major_brand minor_version software wmfsdkneeded wmfsdkversion".split())
# What FFmpeg writes as the date of a film without one.
NO_DATE = "1970-01-01T00:00:00"
# What the names of Apple's and Android's tags begin with. MP4 and MOV hold those of any name in a table of its own
# kind, without the tags that players look for in other films.
NAMED_TAGS, IN_TABLE = "com.", {"movflags": "use_metadata_tags"}
# Without this, Matroska and WebM get random numbers, and no two results of a film are the same.
REPEATABLE = {"fflags": "bitexact"}
CAPTIONS = "closed captions dropped"
# Sound that transport streams can name, and those of Blu-ray discs. FFmpeg writes other codecs, too, and players
# have to guess what these are.
TRANSPORTED = frozenset("aac aac_latm ac3 dts eac3 mp1 mp2 mp3 opus s302m truehd".split())
BLU_RAY = frozenset("ac3 dts eac3 pcm_bluray truehd".split())
# Samples of a frame of AMR, by FFmpeg's names of its decoders.
AMR = {"amrnb": 160, "amrwb": 320}
# Seconds between two frames of sound that count as coarse times. Longer ones are silence.
LONGEST_GAP = 0.1
# FFmpeg's usual layouts by their number of channels.
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
DROPPING_RATES = (Fraction(30000, 1001), Fraction(60000, 1001))


class Container(NamedTuple):
    """How a kind of film's file is written."""

    format: str = "mp4"  # FFmpeg's name of it.
    options: dict | None = None  # FFmpeg's, for the container.
    timecode: bool = False  # Whether it holds timecode.
    sound: frozenset | None = None  # Codecs of sound that it can name; None for all that FFmpeg writes.
    sound_encoder: str = "aac"  # For sound that is encoded anew.
    encoder: str = "libx264"
    encoder_options: dict = H264
    longest: int = 16_384  # Pixels a side that the encoder takes at most.


# By suffix; all others are MP4.
CONTAINERS = {
    ".3gp": Container("3gp"),
    # Transport streams of Blu-ray discs and camcorders have four more bytes before each packet.
    ".m2ts": Container("mpegts", {"mpegts_m2ts_mode": "1"}, sound=BLU_RAY, sound_encoder="ac3"),
    ".mkv": Container("matroska", REPEATABLE, timecode=True),
    ".mov": Container("mov", timecode=True),
    ".mts": Container("mpegts", sound=TRANSPORTED),
    ".ts": Container("mpegts", sound=TRANSPORTED),
    ".webm": Container(
        "webm", REPEATABLE, sound_encoder="libopus", encoder="libvpx-vp9", encoder_options=VP9, longest=65_535
    ),
}
MP4 = Container(timecode=True)


class Writer:
    """A film being written. A context manager, at whose end the file is complete.

    Args:
        path: Where to; the suffix says the container.
        film: The `Reader` of the film whose time, sound and metadata this one has.
        height, width: Of its frames.
        like: The film's first frame.
    """

    def __init__(self, path, film, height, width, like):
        self._film = film
        self._suffix = Path(path).suffix.lower()
        self._kind = kind = CONTAINERS.get(self._suffix, MP4)
        told = {key: value for key, value in film.metadata.items() if value and not value.startswith(NO_DATE)}
        self._tags = {key: value for key, value in told.items() if key.lower() not in {TIMECODE, *FILE_TAGS}}
        named = kind.format in ("mov", "mp4") and any(key.startswith(NAMED_TAGS) for key in self._tags)
        options = IN_TABLE if named else kind.options
        self._container = av.open(f"file:{path}", "w", format=kind.format, options=options)
        self._container.metadata.update(self._tags)
        self._container.set_chapters(film.chapters)
        # Ticks between packets of sound. Matroska takes several of one time, as of TrueHD, which has 1200 a second.
        self._step = 0 if self._container.format.flags & FormatFlags.ts_nonstrict.value else 1
        shape = {"width": width, "height": height}
        self._video = self._container.add_stream(kind.encoder, rate=film.rate, options=kind.encoder_options, **shape)
        # H.264 has quarter colour resolution for even sizes only. Not every device plays full resolution.
        whole = kind.encoder == "libx264" and (height % 2 or width % 2)
        self._video.pix_fmt = "yuv444p" if whole else "yuv420p"
        tags = track_tags(film.video)  # Others are about its encoding.
        self._video.metadata.update({key: tags[key] for key in ("language", "title") if key in tags})
        encoder = self._video.codec_context
        encoder.time_base = film.video.time_base
        encoder.flags |= Flags.frame_duration
        encoder.color_range, encoder.colorspace = ColorRange.MPEG, BT709_MATRIX
        encoder.color_primaries, encoder.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        if aspect := film.video.sample_aspect_ratio:
            encoder.sample_aspect_ratio = 1 / aspect if is_upended(like) else aspect
        self.losses = []  # What is not as in the film, as words.
        self._copies, self._encoders, self._reached = {}, {}, {}
        for stream in film.streams.audio:
            self._add_sound(stream)
        self._keep_timecode()
        if UNREADABLE in str([film.metadata, film.chapters, [stream.metadata for stream in film.streams.audio]]):
            self.losses.append(f"letters in its tags that are not in UTF-8 replaced by {UNREADABLE}")
        self.losses += find_losses(film, like) + film.untold

    def _keep_timecode(self):
        """Writes the film's timecode where the container can hold it, and notes its loss where not."""
        film = self._film
        tags = {key.lower(): value for key, value in {**film.metadata, **film.video.metadata}.items()}
        timecode = tags.get(TIMECODE)
        if timecode is None:
            return
        # FFmpeg refuses drop-frame timecode at other frame rates.
        drops = ";" in timecode or "." in timecode
        if self._kind.timecode and (not drops or film.rate in DROPPING_RATES):
            self._container.metadata[TIMECODE] = timecode
        else:
            self.losses.append("timecode dropped")

    def _add_sound(self, stream):
        """Adds a stream of sound for the packets of the film's, which are copied or, if need be, encoded anew."""
        if stream.codec_context is None or not stream.sample_rate:
            self.losses.append("a sound track of unknown codec dropped")
            return
        if added := self._copy_sound(stream):
            self._copies[stream.index] = added
        else:
            layout = "mono" if stream.channels == 1 else "stereo"
            added = self._container.add_stream(self._kind.sound_encoder, rate=48000, layout=layout)
            self._encoders[stream.index] = added
            reduced = f" in stereo instead of {stream.channels} channels" if stream.channels > 2 else ""
            codec = stream.codec_context.name
            self.losses.append(f"sound encoded anew{reduced}, since {self._suffix} does not hold {codec}")
        added.metadata.update(track_tags(stream))
        added.disposition = stream.disposition

    def _copy_sound(self, stream):
        """A stream of the same codec, or None where the container does not hold or cannot name it."""
        name = stream.codec_context.codec.canonical_name
        if name not in (self._kind.sound or {name}) or has_packed_amr(stream):
            return None
        try:
            # Some containers refuse a stream when their header is written, too late for another one.
            with av.open(io.BytesIO(), "w", format=self._container.format.name) as trial:
                _add_copy(trial, stream)
                trial.start_encoding()
            return _add_copy(self._container, stream)
        except (ValueError, av.FFmpegError):
            return None

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
        if CAPTIONS not in self.losses and has_captions(like):
            self.losses.append(CAPTIONS)
        self._container.mux(self._video.encode(frame))

    def write_packet(self, packet):
        """Copies a packet of sound. Other packets, and those that a broken film has out of order, are skipped."""
        index = packet.stream.index
        if index in self._copies and packet.size and packet.dts is not None:
            last, written = self._reached.get(index, (packet.dts, packet.dts - self._step))
            if packet.dts >= last:
                late = max(0, written + self._step - packet.dts)
                self._reached[index] = packet.dts, packet.dts + late
                packet.dts += late
                packet.pts = None if packet.pts is None else packet.pts + late
                packet.stream = self._copies[index]
                self._container.mux(packet)
        elif encoder := self._encoders.get(index):
            for frame in self._film.decode(packet):
                self._line_up(frame, index)
                self._container.mux(encoder.encode(frame))

    def _line_up(self, frame, index):
        """Moves a frame of sound to the end of the one before; its own time may be missing, or too coarse for that."""
        due = self._reached.get(index)
        if frame.pts is not None:
            start = round(frame.pts * frame.time_base * frame.sample_rate)
            due = start if due is None or start > due + LONGEST_GAP * frame.sample_rate else due
        frame.pts, frame.time_base = due or 0, Fraction(1, frame.sample_rate)
        self._reached[index] = frame.pts + frame.samples

    def __enter__(self):
        return self

    def __exit__(self, kind, *error):
        try:
            if kind is None:
                for stream in (self._video, *self._encoders.values()):
                    self._container.mux(stream.encode(None))
                self._container.close()
                self._note_lost_tags()
        finally:
            # The file is complete, or it will be deleted because of an error that is reported already.
            with contextlib.suppress(av.FFmpegError):
                self._container.close()

    def _note_lost_tags(self):
        """Notes which tags the complete file lacks, and whether its pixels have another shape."""
        film, name = self._film, self._container.format.name
        with av.open(self._container.name, format=name, metadata_errors="replace") as result:
            kept = {key.lower() for key in result.metadata}
            languages = {stream.language for stream in result.streams}
            aspect = result.streams.video[0].sample_aspect_ratio
        # FFmpeg reads an English title of MOV twice, as title and as title-eng.
        twice = {key for key, value in film.metadata.items() if film.metadata.get(key[:-4]) == value}
        lost = [key for key in self._tags if key not in twice and key.lower() not in kept]
        if {stream.language for stream in (film.video, *film.streams.audio)} - languages - {None, "und"}:
            lost.append("language")
        if lost:
            self.losses.append(f"tags dropped: {', '.join(lost)}")
        if not np.isclose(float(aspect or 1), float(self._video.codec_context.sample_aspect_ratio or 1), rtol=0.01):
            self.losses.append("the shape of its pixels dropped, so it looks too narrow or too wide")


def track_tags(stream):
    """The tags of a stream. FFmpeg reads the title that it writes to MP4 and MOV as name."""
    return {{"name": "title"}.get(key, key): value for key, value in stream.metadata.items()}


def has_packed_amr(stream):
    """Whether a stream of sound has several frames of AMR a packet, as phones record it; FFmpeg does not write it."""
    samples = AMR.get(stream.codec_context.name, 0) * stream.frames
    return samples > 0 and (stream.duration or 0) * stream.time_base * stream.sample_rate > 1.5 * samples


def _add_copy(container, stream):
    """Adds a stream to a container for the packets of another stream of sound."""
    copy = container.add_stream_from_template(stream)
    # AVI does not say where the channels belong, and MP4 has to.
    if copy.codec_context.layout.name.endswith("channels") and stream.channels in LAYOUTS:
        copy.codec_context.layout = LAYOUTS[stream.channels]
    return copy


def check_size(path, height, width):
    """Raises FilmError if the frames of a film at `path` would be larger than its encoder takes."""
    longest = CONTAINERS.get(Path(path).suffix.lower(), MP4).longest
    if max(height, width) > longest:
        limit = f"at most {longest} a side; make the film smaller"
        raise FilmError(path, f"{width} x {height} pixels are too many for its encoder, {limit}")


def find_losses(film, frame):
    """What a result loses of a `Reader`'s streams and, in 8 bits of opaque SDR, of its pictures: a list of words.

    Pictures are judged by the first frame.
    """
    others = [stream for stream in film.streams.video if stream.index != film.video.index]
    # Timecode, and the titles of chapters, of which FFmpeg gives no packets. Both are kept in another way.
    known = [stream for stream in film.streams.data if TIMECODE in stream.metadata or stream.discard == Discard.all]
    components, tags = frame.format.components, side_data(frame)
    bits = max(component.bits for component in components)
    # Of VP9's transparency only the stream's metadata tells.
    transparent = film.video.metadata.get("alpha_mode") == "1" or any(component.is_alpha for component in components)
    lost = {
        "subtitles dropped": len(film.streams.subtitles) > 0,
        "a cover picture dropped": any(map(is_cover, others)),
        "another stream of pictures dropped": not all(map(is_cover, others)),
        "attached files dropped": len(film.streams.attachments) > 0,
        "a stream of data dropped": len(film.streams.data) > len(known),
        f"{bits} bits reduced to 8": bits > 8,
        "transparency dropped": transparent,
        "HDR tags dropped, so it looks dull": frame.color_trc in HDR,
        "the tag that it is interlaced dropped": frame.interlaced_frame,
        "the tag that it is spherical dropped": Type.SPHERICAL in tags,
        # FFmpeg also tells of the kind 0, which is not stereoscopic.
        "the tag that it is stereoscopic dropped": any(bytes(tags.get(Type.STEREO3D, b""))[:4]),
    }
    return [words for words, is_lost in lost.items() if is_lost]


def has_captions(frame):
    """Whether a frame carries text of closed captions (CEA-608 and 708), and not only their padding."""
    data = np.frombuffer(side_data(frame).get(Type.A53_CC, b""), np.uint8).reshape(-1, 3)
    # The third bit of each three bytes says that the other two are valid; these are 7 bits each in CEA-608.
    return bool(((data[:, 0] & 4 > 0) & (data[:, 1:] & 0x7F).any(axis=1)).any())
