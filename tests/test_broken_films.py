"""Broken films: what could be read is written, and only what loses pictures or sound counts as damage."""

from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from films import RATE, copy_film, listed, make_film, process, read

from colorizing.film.container import ASF_PROPERTIES, is_cut
from colorizing.film.reader import Reader


def test_broken_films_give_what_could_be_read(gray, tmp_path):
    data = {}
    for suffix in (".mkv", ".mp4", ".mov"):
        path = make_film(tmp_path / f"film{suffix}", np.concatenate([gray, gray[::-1]]), sound=["aac"])
        data[suffix] = bytearray(path.read_bytes())
    (tmp_path / "cut.mkv").write_bytes(data[".mkv"][: len(data[".mkv"]) // 2])
    middle = len(data[".mp4"]) // 2
    data[".mp4"][middle : middle + 3000] = bytes(byte ^ 0x5A for byte in data[".mp4"][middle : middle + 3000])
    (tmp_path / "flipped.mp4").write_bytes(data[".mp4"])
    (tmp_path / "no index.mov").write_bytes(data[".mov"][: len(data[".mov"]) // 2])
    names = ("cut.mkv", "flipped.mp4", "no index.mov")
    outcome = process([(tmp_path / name, tmp_path / "out" / name) for name in names])
    assert outcome.done == 0 and len(outcome.failures) == 3
    for name, failure in zip(names[:2], outcome.failures, strict=False):
        assert failure.startswith(f"{tmp_path / name}: broken after ") and "\n" not in failure
        assert failure.endswith(f"what could be read is in {tmp_path / 'out' / name}")
        seconds = float(failure.split("broken after ")[1].split(" s ")[0])
        times, pixels = read(tmp_path / "out" / name)
        assert 0.2 < seconds < 1.5 and len(times) == len(pixels) < 40
        assert times == sorted(set(times)) and set(times) <= set(read(tmp_path / f"film{Path(name).suffix}")[0])
        if name == "cut.mkv":
            assert abs(times[-1] + 1 / RATE - seconds) < 0.06
    assert "not a film" in outcome.failures[2]
    assert listed(tmp_path / "out") == ["cut.mkv", "flipped.mp4"]


def test_parts_of_a_transport_stream(gray, tmp_path):
    data = make_film(tmp_path / "film.ts", gray, sound=["ac3"]).read_bytes()
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    pictures = [packet for packet in packets if not (packet[1] & 31 == 1 and packet[2] == 1)]
    (tmp_path / "silent.ts").write_bytes(b"".join(pictures))  # The sound is announced and never comes.
    (tmp_path / "end.ts").write_bytes(data[-len(data) // 8 :])  # Behind the last picture that stands alone.
    silent, end = (process([(tmp_path / name, tmp_path / "out" / name)]) for name in ("silent.ts", "end.ts"))
    assert silent.done == 1 and silent.losses[0].endswith("a sound track of unknown codec dropped")
    assert end.failures[0].startswith(f"{tmp_path / 'end.ts'}: no picture in it can be decoded")


@pytest.mark.parametrize("suffix", [".ts", ".m2ts"])
def test_zeros_behind_a_transport_stream_are_no_damage(gray, tmp_path, suffix):
    path = make_film(tmp_path / f"film{suffix}", gray, sound=["ac3"])
    data = path.read_bytes()
    for content, cut in ((data + bytes(1000), False), (data[:-100] + bytes(10), True), (data + bytes(1 << 18), True)):
        path.write_bytes(content)
        assert is_cut(path, "mpegts", 0) == cut


@pytest.mark.parametrize(
    ("suffix", "codec", "sound"),
    [
        (".avi", "mpeg4", "libmp3lame"),
        (".mkv", "libx264", "libmp3lame"),
        (".ts", "libx264", "libmp3lame"),
        (".m2ts", "libx264", "ac3"),
        (".mpg", "mpeg2video", "mp2"),
        (".vob", "mpeg2video", "mp2"),
        (".dv", "dvvideo", "pcm_s16le"),
        (".ogv", "libvpx", "flac"),
        (".wmv", "wmv2", "wmav2"),
        (".mxf", "mpeg2video", "pcm_s16le"),
    ],
)
def test_a_film_that_is_cut_anywhere_is_broken(gray, tmp_path, suffix, codec, sound):
    frames = np.concatenate([gray, gray])
    if codec == "dvvideo":
        frames = np.stack([cv2.resize(frame, (720, 576)) for frame in frames])
    path = make_film(tmp_path / f"film{suffix}", frames, codec=codec, sound=[sound])
    content = path.read_bytes()
    for share in (1, 0.37, 0.5, 0.65, 0.8, 0.91):
        path.write_bytes(content[: int(share * len(content)) | 1])  # Between packets, transport streams do not tell.
        with Reader(path) as film:
            frames = sum(isinstance(item, av.VideoFrame) for item in film)
        if share == 1:
            assert (frames, film.damage) == (40, None)
            continue
        assert 0 < frames <= 40 and film.damage.startswith("broken after "), share
        with Reader(make_film(tmp_path / "whole.mkv", gray[:2])) as film:
            assert len(list(film)) == 2 and film.damage is None, "blamed for another film"


@pytest.mark.parametrize(("suffix", "options"), [(".mp4", {"movflags": "frag_keyframe"}), (".3gp", {})])
def test_mp4_that_lacks_the_end_of_a_box_is_broken(gray, tmp_path, suffix, options):
    """FFmpeg takes tables that are cut behind those of the pictures for those of a film without sound."""
    source = make_film(tmp_path / "film.mkv", gray, sound=["aac"])
    path = copy_film(source, tmp_path / f"film{suffix}", **options)
    content = path.read_bytes()
    box = content.rindex(b"moof" if options else b"trak") - 4
    for size, damaged in ((len(content), False), (box + 12, True)):
        path.write_bytes(content[:size])
        with Reader(path) as film:
            assert len(list(film)) > 4
            assert (film.damage is not None) == damaged


def test_a_gap_in_a_transport_stream_is_damage_and_the_seam_of_two_is_none(gray, tmp_path):
    path = make_film(tmp_path / "film.ts", np.concatenate([gray, gray]), codec="mpeg2video", sound=["mp2"])
    data = path.read_bytes()
    sound = [at for at in range(0, len(data), 188) if data[at + 1] & 31 == 1 and data[at + 2] == 1]
    middle = sound[len(sound) // 3]
    gap = data[:middle] + data[middle + 188 :]
    for content, damaged in ((data * 3, False), (gap, True), (data + gap, True), (gap + data, True)):
        path.write_bytes(content)
        with Reader(path) as film:
            assert sum(isinstance(item, av.VideoFrame) for item in film) == 40 * round(len(content) / len(data))
            assert (film.damage is not None and "audio data missing" in film.damage) == damaged


def test_a_flv_film_that_is_cut_between_two_tags_is_broken(gray, tmp_path):
    path = make_film(tmp_path / "film.flv", gray, codec="flv", sound=["aac"])
    whole = content = path.read_bytes()
    while len(content) > len(whole) / 2:  # Behind each tag is its size.
        content = content[: -4 - int.from_bytes(content[-4:], "big")]
    path.write_bytes(content)
    with Reader(path) as film:
        assert 0 < sum(isinstance(item, av.VideoFrame) for item in film) < 20
        assert film.damage.endswith("its header promises 0.8 s)")


def test_an_asf_header_that_is_cut_anywhere(tmp_path):
    """The object has its identifier, 24 bytes, the file's size, 40 bytes, and the flags, of which 1 is broadcast."""
    path = tmp_path / "film.wmv"
    for flags in (0, 1):
        properties = ASF_PROPERTIES + bytes(24) + (10_000).to_bytes(8, "little") + bytes(40) + bytes([flags, 0, 0, 0])
        for length in range(len(properties) + 1):
            path.write_bytes(properties[:length])
            assert is_cut(path, "asf", 0) == (length >= 42 and not (flags and length > 88)), length


def test_a_clock_that_jumps_ahead_is_damage(gray, tmp_path):
    times = [40 * number + (90_000 if number >= 10 else 0) for number in range(20)]
    with Reader(make_film(tmp_path / "film.ts", gray, times)) as film:
        assert len(list(film)) == 20 and film.damage == "broken after 0.4 s (time jumps ahead)"


def test_packets_without_bytes_are_no_damage(gray, tmp_path):
    """Theora has them, for which there is no encoder here."""
    with Reader(make_film(tmp_path / "film.mkv", gray[:4])) as film:
        whole, packets = film._container, list(film._container.demux())
        empty = av.Packet(b"")
        empty.stream = packets[0].stream
        film._container = SimpleNamespace(
            demux=lambda: iter([packets[0], empty, *packets[1:]]),
            close=whole.close,
            format=whole.format,
            duration=whole.duration,
        )
        assert len(list(film)) == 4 and film.damage is None


@pytest.mark.parametrize(
    ("name", "line", "damaged"),
    [
        ("h264", "SEI type 5 size 2208 truncated at 48", False),
        ("h264", "mmco: unref short failure", False),
        ("h264", "error while decoding MB 10 7, bytestream -5", True),
        ("h264", "Invalid NAL unit size (1584 > 1393).", True),
        ("matroska,webm", "File ended prematurely at pos. 5000", True),
        ("matroska,webm", "Page at 5 is missing granule", False),
        ("matroska,webm", "st: 0 edit list: 1 Missing key frame while searching for timestamp: 1000", False),
        ("matroska,webm", "Referenced QT chapter track not found", False),
        ("ass", "Invalid data found", False),
        ("png", "Invalid PNG signature", False),
        ("swscaler", "deprecated pixel format used", False),
        ("aac", "Input buffer exhausted before END element found", False),
    ],
)
def test_only_what_loses_pictures_or_sound_is_damage(gray, tmp_path, name, line, damaged):
    """Sound is copied here, so its decoder has no part in it."""
    with Reader(make_film(tmp_path / "film.mkv", gray[:2], sound=["aac"])) as film:
        film._attempt(lambda: av.logging.log(av.logging.ERROR, name, line))
        assert (film.damage is not None) == damaged
        if damaged:
            assert line in film.damage
