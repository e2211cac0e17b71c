"""Film in, film out: all but the colours is as it was, and what is broken is named."""

import os
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from av.sidedata.sidedata import Type
from films import (
    RATE,
    Painter,
    colorize,
    copy_pictures,
    listed,
    make_changing_film,
    make_film,
    process,
    read,
    read_sound,
)
from processes import call, full_disk
from skimage import color

from colorizing.film.colorize import colorize_film
from colorizing.film.reader import FilmError, Reader
from colorizing.jobs import plan_jobs
from colorizing.photo import Pipeline
from common.images import write_photo


@pytest.mark.parametrize(
    "suffix, sound",
    [(".mp4", ["aac", "aac"]), (".mov", ["pcm_s16le"]), (".mkv", ["flac", "libopus"]), (".mts", ["aac"])],
)
def test_size_time_and_sound_are_the_films_own(gray, tmp_path, suffix, sound):
    path, result = make_film(tmp_path / f"film{suffix}", gray, sound=sound), tmp_path / "out" / f"film{suffix}"
    assert colorize(path, result) == []
    assert listed(result.parent) == [result.name]
    (times, pixels), (expected_times, expected) = read(result), read(path)
    assert times == expected_times and pixels.shape == expected.shape
    assert (pixels != pixels[..., :1]).any()
    assert len(read_sound(path)[0]) == len(sound) and read_sound(result)[0] == read_sound(path)[0]
    np.testing.assert_allclose(np.concatenate(read_sound(result)[1]), np.concatenate(read_sound(path)[1]), atol=0.002)
    with av.open(str(path)) as film, av.open(str(result)) as colored:
        assert colored.format.name == film.format.name
        assert colored.streams.video[0].average_rate == film.streams.video[0].average_rate == RATE
        assert abs(colored.duration - film.duration) <= 2000
        assert colored.streams.video[0].codec_context.colorspace == 1
        languages = [[track.language for track in container.streams.audio] for container in (film, colored)]
        assert languages[0] == languages[1]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_variable_frame_rate(gray, tmp_path, suffix):
    times, result = [0, 40, 130, 170, 800, 810, 1500, 2300, 2310, 2400], tmp_path / f"out{suffix}"
    path = make_film(tmp_path / f"film{suffix}", gray[: len(times)], times)
    colorize(path, result)
    assert read(result)[0] == read(path)[0] == [Fraction(time, 1000) for time in times]
    with av.open(str(path)) as film, av.open(str(result)) as colored:
        assert colored.duration == film.duration == 1000 * (times[-1] + 1000 // RATE)


def test_subtitles_are_dropped(gray, tmp_path):
    plain, path = make_film(tmp_path / "plain.mkv", gray[:4]), tmp_path / "film.mkv"
    with av.open(str(path), "w") as container:
        subtitles = container.add_mux_stream("subrip")
        copy_pictures(plain, container)
        packet = av.Packet(b"Hello.")
        packet.stream, packet.pts, packet.dts, packet.duration = subtitles, 0, 0, 100
        container.mux(packet)
    assert colorize(path, tmp_path / "out.mkv") == [f"{tmp_path / 'out.mkv'}: subtitles dropped"]
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert [stream.type for stream in container.streams] == ["video"]


@pytest.mark.parametrize(
    "pix_fmt, tags",
    [
        ("yuv420p", {}),
        ("yuv420p", {"colorspace": 6, "color_range": 1}),
        ("yuv420p", {"colorspace": 1, "color_range": 2}),
        ("yuv420p10le", {"colorspace": 1, "color_range": 1}),
    ],
)
def test_lightness_is_kept(gray, tmp_path, pix_fmt, tags):
    levels = np.tile(np.linspace(0, 255, 128).round().astype(np.uint8), (32, 1))
    frames = np.stack([np.concatenate([levels, pixels[32:]]) for pixels in gray[:4]])
    path = make_film(tmp_path / "film.mkv", frames, pix_fmt=pix_fmt, **tags)
    expected = color.rgb2lab(np.repeat(frames[..., None], 3, axis=-1))[..., 0]
    for saturation in (0, 1):
        colorize(path, tmp_path / "out.mkv", saturation=saturation)
        lab = color.rgb2lab(read(tmp_path / "out.mkv")[1])
        difference = lab[..., 0] - expected
        assert abs(difference.mean()) < 0.2 and np.abs(difference).mean() < 1
        assert np.abs(difference[:, :32].mean(axis=(0, 1))).max() < 1.5  # At every level of gray.
        chroma = np.linalg.norm(lab[..., 1:], axis=-1).mean()
        assert chroma < 1.5 if saturation == 0 else chroma > 6


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("flips", ["", "h", "v"])
def test_turned_and_mirrored_film_comes_out_upright(gray, tmp_path, rotation, flips):
    path = make_film(tmp_path / "film.mp4", gray[:2], rotation=rotation, flips=flips)
    colorize(path, tmp_path / "out.mp4", saturation=0)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert not next(container.decode(video=0)).side_data.get(Type.DISPLAYMATRIX)
    upright = np.rot90(gray[:2], rotation // 90, axes=(1, 2))
    upright = np.flip(upright, [{"h": 2, "v": 1}[flip] for flip in flips])
    pixels = read(tmp_path / "out.mp4")[1]
    assert pixels.shape[1:3] == upright.shape[1:]
    assert np.abs(pixels.mean(axis=-1) - upright).mean() < 3


@pytest.mark.parametrize("size", [(48, 64), (96, 64), (120, 160)])
def test_a_film_that_changes_its_size_keeps_that_of_its_first_frame(gray, tmp_path, size):
    second = np.stack([cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA) for frame in gray[4:8]])
    path = make_changing_film(tmp_path / "film.ts", [gray[:4], second])
    losses = colorize(path, tmp_path / "out.ts", saturation=0)
    assert losses == [f"{tmp_path / 'out.ts'}: pictures of another size (4) scaled to that of the first"]
    times, pixels = read(tmp_path / "out.ts")
    assert len(times) == 8 and pixels.shape == (8, 96, 128, 3)
    shown = pixels[4:].mean(axis=-1)
    if size == (96, 64):  # Half as wide: between black bars.
        assert shown[..., :30].max() < 24 and shown[..., -30:].max() < 24
        shown, expected = shown[..., 32:96], second
    else:
        expected = gray[4:8]
    assert np.abs(shown - expected).mean() < 8


def test_a_picture_that_becomes_too_large_is_refused(gray, tmp_path):
    large = np.repeat(np.repeat(gray[4:6], 3, axis=1), 3, axis=2)
    path = make_changing_film(tmp_path / "film.ts", [gray[:4], large])
    outcome = process([(path, tmp_path / "out" / "film.ts")], max_megapixels=0.05)
    assert outcome.done == 0 and "pictures of 0.111 megapixels; the limit is 0.05" in outcome.failures[0]
    assert listed(tmp_path / "out") == []


@pytest.mark.parametrize(("suffix", "kept"), [(".mp4", True), (".mkv", True), (".mov", True), (".webm", False)])
def test_the_shape_of_pixels_is_kept_or_its_loss_is_said(gray, tmp_path, suffix, kept):
    path = make_film(tmp_path / "film.mkv", gray[:2], sample_aspect_ratio=Fraction(16, 11))
    result = tmp_path / f"out{suffix}"
    losses = colorize(path, result)
    assert [line.endswith("so it looks too narrow or too wide") for line in losses] == [True] * (not kept)
    with av.open(str(result)) as film:
        assert film.streams.video[0].sample_aspect_ratio == (Fraction(16, 11) if kept else 1)


def test_colours_that_cannot_be_converted_are_refused_for_what_they_are(gray, tmp_path):
    path = make_film(tmp_path / "film.mkv", gray[:2], colorspace=8)  # YCgCo, of which FFmpeg knows the number alone.
    outcome = process([(path, tmp_path / "out" / "film.mkv")])
    cause = "pictures of a kind that is not read (yuv420p, colour matrix 8); convert it to BT.709"
    assert outcome.failures == [f"{path}: {cause}"] and listed(tmp_path / "out") == []


def test_chapters_are_kept_and_not_named_as_lost(gray, tmp_path):
    plain, path = make_film(tmp_path / "plain.mp4", gray[:4]), tmp_path / "film.mp4"
    chapters = [{"id": 0, "start": 0, "end": 100, "time_base": Fraction(1, 1000), "metadata": {"title": "one"}}]
    with av.open(str(path), "w") as container:
        container.set_chapters(chapters)
        copy_pictures(plain, container)
    assert colorize(path, tmp_path / "out.mp4") == []
    for name in (path, tmp_path / "out.mp4"):
        with av.open(str(name)) as container:
            assert [chapter["metadata"] for chapter in container.chapters()] == [{"title": "one"}]
            assert len(container.streams.data) == 1


def test_what_a_result_does_not_keep_is_said(gray, tmp_path):
    def losses(path):
        return {line.split(": ", 1)[1] for line in colorize(path, tmp_path / "out" / path.name)}

    assert losses(make_film(tmp_path / "a.mkv", gray[:2], codec="ffv1", pix_fmt="yuva420p")) == {"transparency dropped"}
    assert losses(make_film(tmp_path / "b.mkv", gray[:2], pix_fmt="yuv420p10le")) == {"10 bits reduced to 8"}
    hdr = make_film(tmp_path / "c.mkv", gray[:2], pix_fmt="yuv420p10le", color_trc=16)
    assert losses(hdr) == {"10 bits reduced to 8", "HDR tags dropped, so it looks dull"}
    with av.open(str(tmp_path / "d.mkv"), "w") as container:
        container.metadata["title"] = "two"
        copy_pictures(tmp_path / "b.mkv", container, times=2)
    assert losses(tmp_path / "d.mkv") == {"10 bits reduced to 8", "another stream of pictures dropped"}


@pytest.mark.parametrize(("name", "kept"), [("a.mov", True), ("a.mp4", True), ("a.mkv", True), ("a.ts", False)])
def test_timecode_is_kept_or_its_loss_is_said(gray, tmp_path, name, kept):
    path = make_film(tmp_path / "film.mov", gray[:4], metadata={"timecode": "01:02:03:04"})
    losses = colorize(path, tmp_path / "out" / name)
    with av.open(str(tmp_path / "out" / name)) as container:
        everywhere = [container.metadata, *(stream.metadata for stream in container.streams)]
    found = {value for metadata in everywhere for key, value in metadata.items() if key.lower() == "timecode"}
    assert found == ({"01:02:03:04"} if kept else set())
    assert losses == ([] if kept else [f"{tmp_path / 'out' / name}: timecode dropped"])


def test_compare_and_render_size(gray, tmp_path):
    sizes = set()

    class Watching(Painter):
        def colorize(self, lightness):
            sizes.add(lightness.shape[1:])
            return super().colorize(lightness)

    path = make_film(tmp_path / "film.mp4", gray[:9])
    colorize_film(Pipeline(Watching(), render_size=48), path, tmp_path / "out.mp4", compare=True)
    left, right = np.split(read(tmp_path / "out.mp4")[1].astype(float), 2, axis=2)
    assert sizes == {(48, 64, 1)} and left.shape == (9, 96, 128, 3)
    # Away from the seam, across which colours are shared.
    assert np.ptp(left[:, :, :120], axis=-1).mean() < 2 < np.ptp(right[:, :, 8:], axis=-1).mean()


# --- what goes wrong


def test_film_names_of_any_bytes(gray, tmp_path):
    folder = tmp_path / os.fsdecode(b"K\xf6ln")
    folder.mkdir()
    path = make_film(tmp_path / "film.mp4", gray[:2]).rename(folder / os.fsdecode(b"\xff \n.mp4"))
    plan = plan_jobs([folder], tmp_path / os.fsdecode(b"out\xe9"), films=True)
    assert process(plan.jobs).done == 1
    assert listed(plan.jobs[0][1].parent) == [path.name]


def test_what_is_no_film_is_refused(gray, tmp_path):
    (tmp_path / "text.mp4").write_text("#EXTM3U\nfilm.mp4\n")
    (tmp_path / "empty.mkv").touch()
    write_photo(tmp_path / "photo.png", gray[0])
    (tmp_path / "photo.png").rename(tmp_path / "photo.mp4")
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("flac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 8000, 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    make_film(tmp_path / "large.mp4", gray[:2])
    causes = {"text.mp4": "not a film", "empty.mkv": "empty", "photo.mp4": "not a film", "sound.mkv": "no film"}
    causes |= {"missing.mp4": "no such file", "large.mp4": "pictures of 0.0123 megapixels; the limit is 0.01"}
    films = [(tmp_path / name, tmp_path / "out" / name) for name in causes]
    outcome = process(films, max_megapixels=0.01)
    assert outcome.done == 0 and len(outcome.failures) == len(causes)
    for (name, cause), failure in zip(causes.items(), outcome.failures, strict=True):
        assert failure.startswith(f"{tmp_path / name}: ") and cause in failure
    assert listed(tmp_path / "out") == []
    with pytest.raises(FilmError, match="empty"):
        Reader(tmp_path / "empty.mkv")


def test_pictures_that_the_encoder_does_not_take_are_refused_before_the_work(tmp_path):
    class Idle(Painter):
        def colorize(self, lightness):
            raise AssertionError("works in vain")

    for size, compare in (((2, 16_386), False), ((16_386, 2), False), ((2, 8_194), True)):
        path = make_film(tmp_path / "film.mkv", np.full((1, *size), 90, np.uint8), codec="ffv1", pix_fmt="yuv444p")
        outcome = process([(path, tmp_path / "out" / "film.mkv")], Idle(), compare=compare)
        height, width = size[0], size[1] * (2 if compare else 1)
        assert outcome.failures == [
            f"{tmp_path / 'out' / 'film.mkv'}: {width} x {height} pixels are too many for its encoder, at most 16384 "
            "a side; make the film smaller"
        ]
        assert listed(tmp_path / "out") == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError("out of memory")])
def test_interruption_and_surprises_leave_no_file(gray, tmp_path, error):
    class Failing(Painter):
        calls = 0

        def colorize(self, lightness):
            self.calls += 1
            if self.calls == 2:
                raise error
            return super().colorize(lightness)

    path = make_film(tmp_path / "film.mp4", gray)
    jobs = [(path, tmp_path / "out" / "1.mp4"), (path, tmp_path / "out" / "2.mp4")]
    if error is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            process(jobs, Failing())
        assert listed(tmp_path / "out") == []
    else:
        outcome = process(jobs, Failing())
        assert outcome.done == 1 and "cannot be done (MemoryError" in outcome.failures[0]
        assert listed(tmp_path / "out") == ["2.mp4"]


def test_a_file_that_appears_while_a_film_is_written_is_kept(gray, tmp_path):
    path, result = make_film(tmp_path / "film.mp4", gray[:4]), tmp_path / "out" / "film.mp4"

    class Slow(Painter):
        def colorize(self, lightness):
            result.write_text("mine")
            return super().colorize(lightness)

    (failure,) = process([(path, result)], Slow()).failures
    assert failure.startswith(f"{result}: another file has appeared there") and result.read_text() == "mine"
    assert listed(result.parent) == ["film.mp4"]


def test_photos_and_films_in_one_run(loaded_once, gray, photos, model_file, tmp_path):
    folder, output = tmp_path / "in", tmp_path / "out"
    (folder / "deep").mkdir(parents=True)
    film = make_film(folder / "deep" / "film.mp4", gray[:5])
    write_photo(folder / "photo.png", photos[0])
    (folder / "text.mp4").write_text("no film")
    before = film.read_bytes()
    command = ["test.py", folder, tmp_path / "missing.mp4", "--output", output, "--model", model_file]
    command += ["--steadiness", "0.5"]
    status, summary, errors = call(*command)
    assert status == 1 and "1 of 1 photos and 1 of 2 films colorized" in summary
    assert len(errors) == 2 and "missing.mp4: no such file" in errors[0] and "text.mp4: not a film" in errors[1]
    written = {path: path.stat().st_mtime_ns for path in output.rglob("[!.]*") if path.is_file()}
    assert set(written) == {output / "photo.png", output / "deep" / "film.mp4"}
    assert read(output / "deep" / "film.mp4")[1].shape == (5, 96, 128, 3) and film.read_bytes() == before

    (folder / "text.mp4").unlink()
    noise = np.random.default_rng(0).integers(0, 256, (40, 96, 128), np.uint8)
    make_film(folder / "long.mp4", noise)
    with full_disk(50_000):  # The write fails half way.
        status, summary, errors = call(*command, "--skip-existing")
    assert status == 1 and "0 of 1 photos and 0 of 2 films colorized, 2 skipped" in summary
    assert len(errors) == 2 and f"{output / 'long.mp4'}: cannot be written: file too large" in errors[1]
    assert written == {path: path.stat().st_mtime_ns for path in output.rglob("[!.]*") if path.is_file()}


def test_films_are_no_training_photos(tmp_path):
    for name in ("a.png", "b.mp4", "c.MKV", ".d.mp4"):
        (tmp_path / name).touch()
    assert [path.name for path, _ in plan_jobs([tmp_path], tmp_path / "out").jobs] == ["a.png"]
    names = [
        (path.name, result.name) for path, result in plan_jobs([tmp_path], tmp_path / "out", ".jpg", films=True).jobs
    ]
    assert names == [("a.png", "a.png.jpg"), ("b.mp4", "b.mp4"), ("c.MKV", "c.MKV")]
