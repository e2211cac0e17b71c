"""Films that tests make, and what colorizing them gives."""

from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import Colorspace

from colorizing.film.colorize import process_films
from colorizing.film.reader import ACCURATE
from colorizing.photo import Pipeline
from common.record import Record

RATE = 25


class Painter:
    """Stands for a network: mild colours, smooth over the picture."""

    native_size = 32
    grid = 8

    def colorize(self, lightness):
        across = np.linspace(-20, 20, lightness.shape[2], dtype=np.float32)[None, None, :, None]
        return np.concatenate([across + 0 * lightness, lightness / 4 - 12], axis=-1)


def make_film(
    path, gray, times=None, codec="libx264", pix_fmt="yuv420p", sound=(), rotation=0, flips=(), metadata=None, **tags
):
    """Writes gray frames, uint8 [count, height, width], at times in 1/1000 s, with a stream of noise a sound codec."""
    times = times or [1000 * number // RATE for number in range(len(gray))]
    duration = times[-1] + 40
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, width=gray.shape[2], height=gray.shape[1], pix_fmt=pix_fmt)
        container.metadata.update(metadata or {})
        # MPEG and DV know a few frame rates only, and AVI has one frame a tick.
        ticks = RATE if codec in ("mpeg1video", "mpeg2video", "dvvideo") or path.suffix == ".avi" else 1000
        stream.codec_context.time_base = Fraction(1, ticks)
        stream.options = {"crf": "6", "g": "12"} if codec == "libx264" else {}
        stream.bit_rate = 0 if codec == "libx264" else 4_000_000
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        if rotation or flips:
            stream.set_display_rotation(rotation, hflip="h" in flips, vflip="v" in flips)
        tracks = [container.add_stream(name, rate=48000, layout="stereo", bit_rate=128_000) for name in sound]
        for number, track in enumerate(tracks):
            track.metadata["language"] = ("deu", "fra")[number]
        for pixels, milliseconds in zip(gray, times, strict=True):
            rgb = av.VideoFrame.from_ndarray(np.repeat(pixels[..., None], 3, axis=-1), format="rgb24")
            matrix = {1: Colorspace.ITU709, 6: Colorspace.ITU601}.get(tags.get("colorspace"))
            frame = rgb.reformat(format=pix_fmt, dst_colorspace=matrix, dst_color_range=tags.get("color_range"))
            frame.pts, frame.time_base = milliseconds, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        random = np.random.default_rng(0)
        for track in tracks:
            samples = random.normal(0, 3000, (1, 2 * 48 * duration)).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
            container.mux(track.encode(frame))
        for track in [stream, *tracks]:
            container.mux(track.encode(None))
    return path


def make_changing_film(path, parts):
    """Writes a transport stream whose gray frames have the sizes of one part after the other."""
    number = 0
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=RATE, width=parts[0].shape[2], height=parts[0].shape[1])
        for gray in parts:
            encoder = av.CodecContext.create("libx264", "w")
            encoder.height, encoder.width = gray.shape[1:]
            encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", Fraction(1, RATE), Fraction(RATE)
            encoder.options = {"crf": "6", "bf": "0"}
            packets = []
            for pixels in gray:
                frame = av.VideoFrame.from_ndarray(np.repeat(pixels[..., None], 3, axis=-1), format="rgb24")
                frame = frame.reformat(format="yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, RATE)
                packets += encoder.encode(frame)
                number += 1
            for packet in packets + encoder.encode(None):
                packet.stream = stream
                container.mux(packet)
    return path


def copy_film(source, path, tags=(), **options):
    """Copies a film's packets into another container, with tags for its streams and options. Returns the path."""
    with av.open(str(source)) as film, av.open(str(path), "w", options=options) as container:
        copies = {stream.index: container.add_stream_from_template(stream, opaque=True) for stream in film.streams}
        for stream, own in zip(copies.values(), tags, strict=False):
            stream.metadata.update(own)
        for packet in film.demux():
            if packet.size:
                packet.stream = copies[packet.stream.index]
                container.mux(packet)
    return path


def copy_pictures(path, container, times=1):
    """Copies a film's pictures into a container that is open for writing, as one stream or several equal ones."""
    with av.open(str(path)) as film:
        streams = [container.add_stream_from_template(film.streams.video[0], opaque=True) for _ in range(times)]
        for packet in film.demux(video=0):
            if packet.size:
                for stream in streams:
                    packet.stream = stream
                    container.mux(packet)


def read(path):
    """(times in seconds, pixels [frames, height, width, 3]) of a film; swscale's default would round them down."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    times = [frame.pts * frame.time_base for frame in frames]
    return times, np.stack([f.to_ndarray(format="rgb24", interpolation=ACCURATE) for f in frames])


def read_sound(path):
    """The packets of each sound stream, as bytes, and the streams' times in seconds."""
    with av.open(str(path)) as container:
        packets = [p for p in container.demux() if p.stream.type == "audio" and p.size]
        indices = sorted({p.stream.index for p in packets})
        data = [[bytes(p) for p in packets if p.stream.index == index] for index in indices]
        times = [[float(p.pts * p.time_base) for p in packets if p.stream.index == index] for index in indices]
        return data, times


def process(jobs, model=None, saturation=1.0, **options):
    """The outcome of films whose results lie in one folder."""
    pipeline = Pipeline(model or Painter(), saturation=saturation)
    return process_films(jobs, pipeline, Record(jobs[0][1].parent), **options)


def listed(folder):
    """Names of the files in a folder, hidden ones excepted."""
    return sorted(path.name for path in folder.glob("[!.]*"))


def colorize(path, result, **options):
    """Losses of a film that has to be whole."""
    outcome = process([(path, result)], **options)
    assert (outcome.done, outcome.failures) == (1, [])
    return outcome.losses
