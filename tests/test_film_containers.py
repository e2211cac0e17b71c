"""Films in many containers: which one the result has, and that times and sound come through."""

import av
import cv2
import numpy as np
import pytest
from films import RATE, colorize, make_film, process, read, read_sound

from colorizing.jobs import plan_jobs


def test_odd_sizes_and_other_containers(gray, tmp_path):
    odd = make_film(tmp_path / "odd.mkv", gray[:, :41, :67], codec="ffv1", pix_fmt="yuv444p")
    colorize(odd, tmp_path / "odd.mp4")
    assert read(tmp_path / "odd.mp4")[1].shape == (20, 41, 67, 3)
    webm = make_film(tmp_path / "film.webm", gray[:6, :41, :67], codec="libvpx-vp9", sound=["libopus"])
    colorize(webm, tmp_path / "out.webm")
    assert read(tmp_path / "out.webm")[1].shape == (6, 41, 67, 3)
    assert read_sound(tmp_path / "out.webm")[0] == read_sound(webm)[0]


def test_containers_that_cannot_be_written(gray, tmp_path):
    films = [
        make_film(tmp_path / "a.wmv", gray[:8], codec="wmv2", sound=["wmav2"]),
        make_film(tmp_path / "b.avi", gray[:8], codec="mpeg4", sound=["libmp3lame"]),
    ]
    planned = plan_jobs(films, tmp_path / "out", ".png", films=True).jobs
    assert [result.name for _, result in planned] == ["a.wmv.mp4", "b.avi.mp4"]
    losses = [colorize(*job) for job in planned]
    assert ["wmav2" in losses[0][0], ".wmv" in losses[0][1], len(losses[1]), ".avi" in losses[1][0]] == [1, 1, 1, 1]
    assert read_sound(planned[1][1])[0] == read_sound(films[1])[0]
    with av.open(str(planned[0][1])) as container:
        seconds = sum(frame.samples for frame in container.decode(audio=0)) / 48000
    assert abs(seconds - 8 / RATE) < 0.1
    for path, result in planned:
        np.testing.assert_allclose(np.array(read(result)[0], float), np.array(read(path)[0], float), atol=0.001)


@pytest.mark.parametrize(
    ("suffix", "written", "codec", "pix_fmt", "size", "sound"),
    [
        (".ts", ".ts", "libx264", "yuv420p", (96, 128), "aac"),
        (".m2ts", ".m2ts", "mpeg2video", "yuv420p", (96, 128), "ac3"),
        (".3gp", ".3gp", "libx264", "yuv420p", (96, 128), "aac"),
        (".vob", ".vob.mp4", "mpeg2video", "yuv420p", (96, 128), "mp2"),
        (".flv", ".flv.mp4", "flv", "yuv420p", (96, 128), None),
        (".mxf", ".mxf.mov", "mpeg2video", "yuv420p", (96, 128), "pcm_s16le"),
        (".dv", ".dv.mov", "dvvideo", "yuv420p", (576, 720), "pcm_s16le"),
        (".avi", ".avi.mp4", "mpeg4", "yuv420p", (96, 128), "pcm_s16le"),
    ],
)
def test_containers_of_old_and_of_cameras(gray, tmp_path, suffix, written, codec, pix_fmt, size, sound):
    frames = np.stack([cv2.resize(frame, size[::-1]) for frame in gray[:5]])
    times = [40 * number for number in range(5)]
    path = make_film(tmp_path / f"film{suffix}", frames, times, codec, pix_fmt, sound=[sound] if sound else [])
    other = make_film(tmp_path / "film.mp4", gray[:2])
    plan = plan_jobs([path, other], tmp_path / "out", films=True)
    assert [result.name for _, result in plan.jobs] == [f"film{written}", "film.mp4"]
    outcome = process(plan.jobs)
    assert (outcome.done, outcome.failures) == (2, [])
    result = plan.jobs[0][1]
    times, pixels = read(result)
    assert pixels.shape == (5, *size, 3) and (pixels != pixels[..., :1]).any()
    assert float(times[-1] - times[0]) == pytest.approx(4 / RATE, abs=0.002)
    if sound:
        # Copied as it is, and all of it: the containers cut uncompressed sound into packets of their own.
        assert b"".join(read_sound(result)[0][0]) == b"".join(read_sound(path)[0][0])


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        (".avi", "libx264", {}),
        (".avi", "mpeg4", {"max_b_frames": 2}),
        (".avi", "mpeg4", {}),
        (".avi", "mjpeg", {"pix_fmt": "yuvj420p"}),
        (".mxf", "libx264", {}),
        (".mxf", "mpeg2video", {"max_b_frames": 2}),
    ],
)
def test_pictures_keep_their_order_and_begin_with_the_sound(gray, tmp_path, suffix, codec, options):
    """AVI, and MXF as FFmpeg writes H.264 into it, have times of decoding only, and a decoder holds pictures back that
    others are needed for."""
    path, result = make_film(tmp_path / f"film{suffix}", gray, codec=codec, **options), tmp_path / "film.mov"
    colorize(path, result, saturation=0)
    times, pixels = read(result)
    assert np.float64(times) == pytest.approx(np.arange(20) / RATE, abs=0.001)
    assert np.abs(pixels.mean(axis=-1) - gray).mean(axis=(1, 2)).max() < 3


@pytest.mark.parametrize(("suffix", "start"), [(".vob", 0), (".mkv", 3600)])
def test_a_film_in_another_container_begins_at_0(gray, tmp_path, suffix, start):
    times = [3_600_000 + 40 * number for number in range(5)]
    path = make_film(tmp_path / f"film{suffix}", gray[:5], times, "mpeg2video")
    ((_, result),) = plan_jobs([path], tmp_path / "out", films=True).jobs
    colorize(path, result)
    assert np.float64(read(result)[0]) == pytest.approx([start + number / RATE for number in range(5)], abs=0.002)


@pytest.mark.parametrize(("suffix", "codec", "sound"), [(".vob", "mpeg2video", "mp2"), (".ts", "libx264", "aac")])
def test_files_that_were_joined_are_one_film(gray, tmp_path, suffix, codec, sound):
    path = make_film(tmp_path / f"film{suffix}", np.concatenate([gray, gray]), codec=codec, sound=[sound])
    whole = read_sound(path)[0][0]
    path.write_bytes(path.read_bytes() * 2)
    ((_, result),) = plan_jobs([path], tmp_path / "out", films=True).jobs
    colorize(path, result, saturation=0)
    times, pixels = read(result)
    steps = np.diff(np.float64(times))
    assert len(times) == 80 and 0 < np.delete(steps, 39).min() and np.delete(steps, 39).max() < 0.041
    assert 0 < steps[39] < 0.2
    assert np.abs(pixels.mean(axis=-1) - np.concatenate([gray] * 4)).mean() < 6
    assert b"".join(read_sound(result)[0][0]) == b"".join(whole) * 2


@pytest.mark.parametrize(
    ("codec", "source", "suffix", "anew"),
    [
        ("pcm_s16le", ".mov", ".ts", "aac"),
        ("pcm_bluray", ".m2ts", ".ts", "aac"),
        ("libopus", ".mkv", ".m2ts", "ac3"),
        ("aac", ".mkv", ".m2ts", "ac3"),
        ("pcm_bluray", ".m2ts", ".m2ts", None),
        ("libopus", ".mkv", ".ts", None),
    ],
)
def test_sound_that_a_transport_stream_cannot_name_is_encoded_anew(gray, tmp_path, codec, source, suffix, anew):
    """Blu-ray's have a number for each codec of these discs; FFmpeg writes the others as private data."""
    path, result = make_film(tmp_path / f"film{source}", gray[:5], sound=[codec]), tmp_path / f"out{suffix}"
    name = codec.removeprefix("lib")
    expected = [f"{result}: sound encoded anew, since {suffix} does not hold {name}"] if anew else []
    assert colorize(path, result) == expected
    with av.open(str(result)) as container:
        assert container.streams.audio[0].codec_context.name == (anew or name)
        seconds = sum(frame.samples for frame in container.decode(audio=0)) / 48000
    assert abs(seconds - 5 / RATE) < 0.1


@pytest.mark.parametrize("suffix", [".mkv", ".mov", ".mp4", ".ts", ".webm"])
def test_a_film_that_is_colorized_again_gives_the_same_file(gray, tmp_path, suffix):
    path = make_film(tmp_path / "film.mkv", gray[:3], sound=["aac"])
    results = [tmp_path / f"{number}{suffix}" for number in range(2)]
    for result in results:
        colorize(path, result)
    assert results[0].read_bytes() == results[1].read_bytes()
