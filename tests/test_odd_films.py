"""Films as other programs write them: tags, times, captions and encryption that FFmpeg's own writers do not make."""

from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from films import RATE, colorize, copy_film, copy_pictures, make_film, process, read, read_sound

from colorizing.film import reader
from colorizing.film.reader import Reader, display_matrix
from colorizing.film.writer import has_packed_amr


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".mp4"])
def test_tags_that_are_not_utf_8_are_said_to_be_lost(gray, tmp_path, suffix):
    path = make_film(tmp_path / f"film{suffix}", gray[:2], codec="mpeg4", metadata={"title": "Käthe"})
    content = path.read_bytes()
    assert content.count("Käthe".encode()) == 1
    path.write_bytes(content.replace("Käthe".encode(), "Käth ".encode("latin-1") + b"e"))
    result = tmp_path / "out.mkv"
    assert any("not in UTF-8" in line for line in colorize(path, result))
    with av.open(str(result)) as container:
        assert container.metadata["title"].replace(" ", "") == "K\N{REPLACEMENT CHARACTER}the"


def test_a_mpeg_film_of_many_pictures_a_packet_keeps_them_all(gray, tmp_path):
    """Of such pictures, only the first has a time, and FFmpeg gives some of the others that of an earlier one."""
    still = np.zeros((40, 96, 128), np.uint8) + np.arange(40, dtype=np.uint8)[:, None, None]
    path = make_film(tmp_path / "film.mpg", still, codec="mpeg1video", max_b_frames=2)
    with av.open(str(path)) as film:
        times = [frame.pts for frame in film.decode(video=0)]
    assert times != sorted(set(times))
    colorize(path, tmp_path / "out.mp4", saturation=0)
    times, pixels = read(tmp_path / "out.mp4")
    assert np.float64(times) == pytest.approx([number / RATE for number in range(40)], abs=0.001)
    assert pixels.mean(axis=(1, 2, 3)) == pytest.approx(np.arange(40), abs=2)


def test_pictures_out_of_order_of_which_the_container_does_not_tell(gray, tmp_path, monkeypatch):
    """Sorenson's codec and VC-1 are such ones, for which there is no encoder here."""
    assert set(reader.UNORDERED) == {"svq3", "vc1"}
    ordered, path = make_film(tmp_path / "film.mov", gray), tmp_path / "unordered.mov"
    with av.open(str(ordered)) as film, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(film.streams.video[0], opaque=True)
        packets = [packet for packet in film.demux(video=0) if packet.size]
        for number, packet in enumerate(packets):
            packet.pts = packet.dts = number * packet.duration
            packet.stream = stream
            container.mux(packet)
    with Reader(path) as film:
        assert sum(isinstance(item, av.VideoFrame) for item in film) < 20 and film.damage
    monkeypatch.setattr(reader, "UNORDERED", ("h264",))
    colorize(path, tmp_path / "out.mov", saturation=0)
    times, pixels = read(tmp_path / "out.mov")
    assert np.float64(times) == pytest.approx(np.arange(20) / RATE, abs=0.001)
    assert np.abs(pixels.mean(axis=-1) - gray).mean(axis=(1, 2)).max() < 3
    colorize(ordered, tmp_path / "again.mov")
    assert read(tmp_path / "again.mov")[0] == read(ordered)[0]


def test_the_last_frame_of_fragments_that_begin_late_has_its_own_duration(gray, tmp_path):
    """FFmpeg counts the duration of such a film from 0."""
    source = make_film(tmp_path / "film.mkv", gray[:5], [10_000 + 40 * number for number in range(5)])
    path = copy_film(source, tmp_path / "film.mp4", movflags="frag_every_frame+dash+delay_moov")
    with av.open(str(path)) as container:
        assert container.streams.video[0].duration * container.streams.video[0].time_base > 10
    with Reader(path) as film:
        seconds = [item.duration * film.video.time_base for item in film if isinstance(item, av.VideoFrame)]
    assert np.float64(seconds) == pytest.approx([1 / RATE] * 5, abs=0.001)


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(12)])
def test_mpeg_4_without_a_container(gray, tmp_path, b_frames, rate):
    path, encoder = tmp_path / "film.m4v", av.CodecContext.create("mpeg4", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.bit_rate = 128, 96, "yuv420p", 4_000_000
    encoder.time_base, encoder.max_b_frames = 1 / rate, b_frames
    packets = []
    for number in range(20):
        pixels = np.full((96, 128, 3), 60 + 5 * number, np.uint8)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = number, 1 / rate
        packets += encoder.encode(frame)
    path.write_bytes(b"".join(map(bytes, packets + encoder.encode(None))))
    assert colorize(path, tmp_path / "out.m4v", saturation=0) == []
    times, pixels = read(tmp_path / "out.m4v")
    assert np.float64(times) == pytest.approx(np.arange(20) / float(rate), abs=0.001)
    assert pixels.mean(axis=(1, 2, 3)) == pytest.approx(60 + 5 * np.arange(20), abs=2)
    with av.open(str(tmp_path / "out.m4v")) as container:
        assert container.streams.video[0].average_rate == rate


@pytest.mark.parametrize("scheme", ["cenc-aes-ctr", None])
def test_an_encrypted_film_is_refused(gray, tmp_path, scheme):
    path, encrypted = make_film(tmp_path / "film.mp4", gray[:4]), tmp_path / "encrypted.mp4"
    key = {"encryption_key": "01" * 16, "encryption_kid": "02" * 16, "encryption_scheme": scheme}
    with av.open(str(encrypted), "w", options=key if scheme else {}) as container:
        copy_pictures(path, container)
    outcome = process([(encrypted, tmp_path / "out" / "film.mp4")])
    sentence = f"{encrypted}: it is encrypted against copying, so it cannot be decoded"
    assert outcome.failures == ([sentence] if scheme else [])
    assert (tmp_path / "out" / "film.mp4").exists() == (scheme is None)


def box(kind, content):
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def change_samples(content, change):
    """Boxes of MP4, in which a function changes each description of samples."""
    boxes, at = [], 0
    while at < len(content):
        length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        inner = content[at + 8 : at + length]
        if kind == b"stsd":
            entries = change(inner[8:])
            inner = bytes(4) + len(entries).to_bytes(4, "big") + b"".join(entries)
        elif kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
            inner = change_samples(inner, change)
        boxes.append(box(kind, inner))
        at += length
    return b"".join(boxes)


@pytest.mark.parametrize(
    ("kind", "plain", "scheme"),
    [
        (b"encv", b"avc1", b"piff"),
        (b"enca", b"mp4a", b"piff"),
        (b"drmi", b"avc1", b"itun"),
        (b"drms", b"mp4a", b"itun"),
    ],
)
@pytest.mark.parametrize("also_plain", [False, True])
def test_films_of_old_schemes_of_encryption_are_refused(gray, tmp_path, kind, plain, scheme, also_plain):
    """FFmpeg says nothing of PIFF's and FairPlay's. A film may begin with pictures that are not encrypted."""

    def encrypt(entry):
        if entry[4:8] != plain:
            return [entry]
        scheme_type = box(b"schm", bytes(4) + scheme + bytes([0, 1, 0, 0]))
        protection = box(b"sinf", box(b"frma", plain) + scheme_type + box(b"schi", b""))
        return [*([entry] if also_plain else []), box(kind, entry[8:] + protection)]

    path, result = make_film(tmp_path / "film.mp4", gray[:4], sound=["aac"]), tmp_path / "out" / "film.mp4"
    path.write_bytes(change_samples(path.read_bytes(), encrypt))  # Its tables are behind the pictures and sound.
    failures = process([(path, result)]).failures
    sentence = f"{path}: it is encrypted against copying, so it cannot be decoded"
    assert failures == ([] if also_plain else [sentence]) and result.exists() == also_plain


def test_encrypted_wmv_is_refused(gray, tmp_path):
    """FFmpeg tells of it in a tag and decodes noise."""
    path = make_film(tmp_path / "film.wmv", gray[:2], codec="wmv2", metadata={"ASF_Protection_Type": "DRM"})
    outcome = process([(path, tmp_path / "out" / "film.wmv.mp4")])
    assert (outcome.done, [reader.ENCRYPTED in str(failure) for failure in outcome.failures]) == (0, [True])


def test_a_film_whose_pictures_are_all_of_its_encrypted_kind_is_refused(gray, tmp_path):
    def encrypt(entry):
        return [entry, box(b"encv", entry[8:] + box(b"sinf", box(b"frma", b"avc1")))]

    path = make_film(tmp_path / "film.mp4", gray[:4])
    before, table, after = change_samples(path.read_bytes(), encrypt).partition(b"stsc" + bytes(7) + b"\x01")
    path.write_bytes(before + table + after[:8] + b"\0\0\0\x02" + after[12:])  # They are of the second kind.
    sentence = f"{path}: it is encrypted against copying, so it cannot be decoded"
    assert process([(path, tmp_path / "out" / "film.mp4")]).failures == [sentence]


def test_a_film_with_encrypted_fragments_of_piff_is_refused(gray, tmp_path):
    path, result = make_film(tmp_path / "film.mp4", gray[:4]), tmp_path / "out" / "film.mp4"
    identity = bytes.fromhex("a2394f525a9b4f14a2446c427c648df4")
    path.write_bytes(path.read_bytes() + box(b"moof", box(b"traf", box(b"uuid", identity + bytes(8)))))
    sentence = f"{path}: it is encrypted against copying, so it cannot be decoded"
    assert process([(path, result)]).failures == [sentence] and not result.exists()


@pytest.mark.parametrize(("suffix", "words"), [(".3gp", "tags of 3GP"), (".ts", "the name of its service")])
def test_tags_that_ffmpeg_does_not_tell_are_named(gray, tmp_path, suffix, words):
    for title, lost in (({}, False), ({"title": "Zoo"}, True)):
        path, result = make_film(tmp_path / f"film{suffix}", gray[:2], metadata=title), tmp_path / f"out{suffix}"
        assert colorize(path, result) == [f"{result}: {words} dropped"] * lost


@pytest.mark.parametrize(("width", "lost"), [(128, False), (100, True)])
def test_cropping_of_mov_is_said_to_be_dropped(gray, tmp_path, width, lost):
    aperture = box(b"clap", b"".join(number.to_bytes(4, "big") for number in (width, 1, 96, 1, 0, 1, 0, 1)))
    path, result = make_film(tmp_path / "film.mov", gray[:2]), tmp_path / "out.mov"
    content = change_samples(path.read_bytes(), lambda entry: [box(entry[4:8], entry[8:] + aperture)])
    path.write_bytes(content)
    assert colorize(path, result) == [f"{result}: cropping dropped"] * lost


def test_cropping_of_matroska_is_said_to_be_dropped(gray, tmp_path):
    path, result = make_film(tmp_path / "film.mkv", gray[:2]), tmp_path / "out.mkv"
    assert colorize(path, result) == []
    content, unit = path.read_bytes(), b"\x54\xb2\x81\x04"  # The unit in which the shown size is given.
    assert content.count(unit) == 1
    path.write_bytes(content.replace(unit, b"\x54\xcc\x81\x08"))  # 8 columns at the left are not shown.
    assert colorize(path, result) == [f"{result}: cropping dropped"]


@pytest.mark.parametrize(("letters", "is_text"), [(b"\x80\x80", False), (b"\xc8\xe9", True)])
def test_closed_captions_are_said_to_be_lost(gray, tmp_path, letters, is_text):
    """Captions of CEA-608 are in a message (SEI, ISO/IEC 14496-10) of a picture; 0x80 is their padding."""
    captions = b"\xb5\x00\x31GA94\x03\x41\xff\xfc" + letters + b"\xff"
    message = b"\x00\x00\x00\x01\x06\x04" + bytes([len(captions)]) + captions + b"\x80"
    plain, path, result = make_film(tmp_path / "plain.ts", gray[:6]), tmp_path / "film.ts", tmp_path / "out.ts"
    with av.open(str(plain)) as film, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(film.streams.video[0], opaque=True)
        for number, packet in enumerate(film.demux(video=0)):
            if packet.size:
                captioned = av.Packet((message if number == 3 else b"") + bytes(packet))
                captioned.pts, captioned.dts, captioned.time_base = packet.pts, packet.dts, packet.time_base
                captioned.stream, captioned.is_keyframe = stream, packet.is_keyframe
                container.mux(captioned)
    assert colorize(path, result) == ([f"{result}: closed captions dropped"] if is_text else [])


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_frames_with_side_data_that_pyav_does_not_know_are_turned(gray, tmp_path, rotation):
    """Stereoscopic films of phones have such data, for which there is no encoder here."""

    class Frame(SimpleNamespace):
        @property
        def side_data(self):
            raise ValueError("29 is not a valid Type")

    with Reader(make_film(tmp_path / "film.mp4", gray[:1], rotation=rotation)) as film:
        (frame,) = film
        matrix = tuple(np.sign(display_matrix(frame)))
        assert display_matrix(Frame(rotation=frame.rotation)) == matrix


def test_sound_that_mp4_refuses_is_encoded_anew(gray, tmp_path):
    """MP4 has no MP3 below 16 kHz, which is usual in FLV."""
    path, result = tmp_path / "film.flv", tmp_path / "out.mp4"
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("flv", rate=RATE, width=128, height=96, pix_fmt="yuv420p")
        sound = container.add_stream("libmp3lame", rate=11025, layout="mono")
        for pixels in gray:
            frame = av.VideoFrame.from_ndarray(np.repeat(pixels[..., None], 3, axis=-1), format="rgb24")
            container.mux(pictures.encode(frame.reformat(format="yuv420p")))
        noise = np.random.default_rng(0).normal(0, 3000, (1, 8820)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(noise, format="s16", layout="mono")
        frame.sample_rate = 11025
        container.mux(sound.encode(frame))
        for stream in (pictures, sound):
            container.mux(stream.encode(None))
    encoded, rewrapped = colorize(path, result)
    assert "sound encoded anew, since .mp4 does not hold mp3" in encoded and ".flv" in rewrapped
    with av.open(str(result)) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) / 48000 == pytest.approx(
            0.9, abs=0.1
        )  # LAME puts silence around.


def change_sound(path, changed, change):
    """Copies a film; a function changes each packet of sound, of which it is given the number."""
    with av.open(str(path)) as film, av.open(str(changed), "w") as container:
        copies = {stream.index: container.add_stream_from_template(stream, opaque=True) for stream in film.streams}
        sound = [packet for packet in film.demux(audio=0) if packet.size]
        film.seek(0)
        pictures = [packet for packet in film.demux(video=0) if packet.size]
        for number, packet in enumerate(sound):
            change(number, packet)
        for packet in pictures + sound:
            packet.stream = copies[packet.stream.index]
            container.mux(packet)
    return changed


def test_sound_of_uneven_times_is_encoded_without_gaps(gray, tmp_path):
    """Such as that of Windows Movie Maker, whose packets hold several frames or only parts of one."""

    def pack(number, packet):
        packet.pts = packet.dts = packet.pts - number % 2 * 18

    even = make_film(tmp_path / "even.mkv", np.concatenate([gray, gray]), sound=["libopus"])
    path, result = change_sound(even, tmp_path / "film.mkv", pack), tmp_path / "out.m2ts"
    assert "sound encoded anew" in colorize(path, result)[0]
    with av.open(str(result)) as container:
        frames = list(container.decode(audio=0))
    ends = [frame.time + frame.samples / 48000 for frame in frames]
    np.testing.assert_allclose([frame.time for frame in frames[1:]], ends[:-1], atol=1e-3)
    assert ends[-1] == pytest.approx(40 / RATE, abs=0.15)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_packets_of_sound_at_one_time_are_all_kept(gray, tmp_path, suffix):
    """Matroska has times in milliseconds. If each packet of TrueHD had another one, its sound would come ever later."""

    def gather(number, packet):
        packet.dts = packet.pts = packet.pts if number < 30 else gathered.setdefault("pts", packet.pts)

    gathered = {}
    even = make_film(tmp_path / "even.mkv", gray, sound=["libmp3lame"])
    path, result = change_sound(even, tmp_path / "film.mkv", gather), tmp_path / f"out{suffix}"
    assert colorize(path, result) == []
    assert read_sound(result)[0] == read_sound(even)[0] and len(read_sound(even)[0][0]) > 31
    if suffix == ".mkv":
        assert read_sound(result)[1] == read_sound(path)[1]
    else:
        assert np.diff(read_sound(result)[1][0]).min() > 0


@pytest.mark.parametrize(
    ("name", "packets", "seconds", "packed"),
    [
        ("amrnb", 50, 1, False),
        ("amrnb", 10, 1, True),
        ("amrwb", 25, 1, True),
        ("amrnb", 0, 1, False),
        ("aac", 5, 1, False),
    ],
)
def test_several_frames_of_amr_in_a_packet_are_not_copied(name, packets, seconds, packed):
    """A frame of AMR lasts 20 ms. There is no encoder of it here."""
    rate = 16_000 if name == "amrwb" else 8000
    stream = SimpleNamespace(
        codec_context=SimpleNamespace(name=name),
        frames=packets,
        duration=1000 * seconds,
        time_base=Fraction(1, 1000),
        sample_rate=rate,
    )
    assert has_packed_amr(stream) == packed
