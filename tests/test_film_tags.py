"""Tags of films, such as title, place and camera: each is in the result, or a line says that it is not."""

import av
import pytest
from films import colorize, copy_film, copy_pictures, make_film

APPLE = {
    "com.apple.quicktime.make": "Apple",
    "com.apple.quicktime.location.ISO6709": "+48.1234+011.5678+300.000/",
    "com.apple.quicktime.creationdate": "2020-01-01T10:00:00+0100",
}


def tags_of(path):
    """Tags of a file, by names in small letters, and those of each stream."""
    with av.open(str(path)) as film:
        return {key.lower(): value for key, value in film.metadata.items()}, [s.metadata for s in film.streams]


@pytest.mark.parametrize(
    ("suffix", "lost"),
    [(".mkv", []), (".mp4", ["DIRECTOR", "MOOD"]), (".mov", ["ALBUM_ARTIST", "DIRECTOR", "MOOD"])],
)
def test_tags_that_the_container_does_not_hold_are_named(gray, tmp_path, suffix, lost):
    given = {"title": "One", "ARTIST": "Two", "ALBUM_ARTIST": "Three", "DIRECTOR": "Four", "MOOD": "Five"}
    path, result = make_film(tmp_path / "film.mkv", gray[:2], metadata=given), tmp_path / f"out{suffix}"
    losses = colorize(path, result)
    assert [set(line.split("tags dropped: ")[1].split(", ")) for line in losses] == ([set(lost)] if lost else [])
    kept = {key.lower(): value for key, value in given.items() if key not in lost}
    assert tags_of(result)[0].items() & {key.lower(): value for key, value in given.items()}.items() == kept.items()


def test_a_tag_that_mov_has_in_english_is_named_once(gray, tmp_path):
    """FFmpeg reads it twice, once with its language."""
    path, result = make_film(tmp_path / "film.mov", gray[:2], metadata={"make": "One"}), tmp_path / "out.mp4"
    path.write_bytes(path.read_bytes().replace(b"\x55\xc4", b"\x00\x00"))  # From no language to 0, English.
    assert {"make", "make-eng", "encoder-eng"} <= set(tags_of(path)[0])
    assert colorize(path, result) == [f"{result}: tags dropped: make"]


def test_a_title_is_where_players_of_mp4_look_for_it(gray, tmp_path):
    path = make_film(tmp_path / "film.mp4", gray[:2], metadata={"title": "One", "comment": "Two"})
    assert colorize(path, tmp_path / "out.mp4") == []
    content = (tmp_path / "out.mp4").read_bytes()
    assert b"\xa9nam\x00\x00\x00\x13data\x00\x00\x00\x01\x00\x00\x00\x00One" in content and b"mdta" not in content


def test_tags_of_ogg_are_those_of_the_film(gray, tmp_path):
    result = tmp_path / "out.mp4"
    plain = make_film(tmp_path / "plain.mkv", gray[:2], codec="libvpx", sound=["flac"])
    given = {"title": "Zoo", "DIRECTOR": "Smith"}, {"ARTIST": "Jones", "language": "fra"}
    path = copy_film(plain, tmp_path / "film.ogv", given)
    assert colorize(path, result)[0] == f"{result}: tags dropped: DIRECTOR"
    tags, (_, sound) = tags_of(result)
    assert tags.items() >= {"title": "Zoo", "artist": "Jones"}.items() and sound["language"] == "fra"


@pytest.mark.parametrize("suffix", [".mov", ".mp4"])
@pytest.mark.parametrize("tags", [APPLE, {"com.android.version": "14"}])
def test_the_tags_of_phones_are_kept(gray, tmp_path, suffix, tags):
    plain, path, result = make_film(tmp_path / "plain.mp4", gray[:2]), tmp_path / "film.mov", tmp_path / f"out{suffix}"
    with av.open(str(path), "w", options={"movflags": "use_metadata_tags"}) as container:
        container.metadata.update({**tags, "title": "One"})
        copy_pictures(plain, container)
    assert colorize(path, result) == []
    assert {"title": "One", **{key.lower(): value for key, value in tags.items()}}.items() <= tags_of(result)[0].items()
    content = result.read_bytes()
    assert all(b"mdta" + name.encode() in content for name in tags) and b"mdtamajor_brand" not in content


@pytest.mark.parametrize(
    ("suffix", "language", "lost"),
    [(".mp4", "deu", False), (".mkv", "deu", False), (".mov", "fra", False), (".mov", "deu", True)],
)
def test_titles_and_languages_of_tracks_are_kept_or_named(gray, tmp_path, suffix, language, lost):
    """FFmpeg writes to MOV only the languages of old Macintosh systems, of which German is another code."""
    plain = make_film(tmp_path / "plain.mkv", gray[:4], sound=["aac"])
    result = tmp_path / f"out{suffix}"
    given = {"title": "Zoo", "language": "fra"}, {"title": "Voices", "language": language}
    path = copy_film(plain, tmp_path / "film.mkv", given)
    assert colorize(path, result) == ([f"{result}: tags dropped: language"] if lost else [])
    titles = [tags.get("title", tags.get("name")) for tags in tags_of(result)[1]]
    languages = [tags.get("language") for tags in tags_of(result)[1]]
    assert (titles, languages) == (["Zoo", "Voices"], ["fra", None if lost else language])
    colorize(result, tmp_path / f"again{suffix}")
    assert [tags.get("title", tags.get("name")) for tags in tags_of(tmp_path / f"again{suffix}")[1]] == titles


def test_tags_that_say_nothing_are_not_named_as_lost(gray, tmp_path):
    empty = {"creation_time": "1970-01-01T00:00:00.000000Z", "mood": ""}
    path = make_film(tmp_path / "film.mkv", gray[:2], metadata=empty)
    with av.open(str(path)) as film:
        assert film.metadata["creation_time"] == empty["creation_time"]
    assert colorize(path, tmp_path / "out.mp4") == []


@pytest.mark.parametrize(("mode", "lost"), [("mono", False), ("left_right", True)])
def test_only_stereoscopic_films_lose_their_tag(gray, tmp_path, mode, lost):
    plain = make_film(tmp_path / "plain.mkv", gray[:2])
    path = copy_film(plain, tmp_path / "film.mkv", tags=[{"stereo_mode": mode}])
    losses = colorize(path, tmp_path / "out.mkv")
    assert [line.split(": ")[1] for line in losses] == ["the tag that it is stereoscopic dropped"] * lost
